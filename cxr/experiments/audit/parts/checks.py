"""Not what they seem: X-rays that are inverted, turned, lateral, no chest, of children, empty or cut."""

from __future__ import annotations

from cxr.experiments.audit.context import Context, Progress
from cxr.experiments.audit.findings import NOTHING, Collected
from cxr.experiments.audit.parts.new_results import less, results_of, size_of
from cxr.experiments.audit.parts.of_one_run import OfDataSet
from cxr.experiments.audit.parts.seen import share_of
from cxr.formatting import Estimate, percent, xrays
from cxr.json_types import JsonObject


class Checks(OfDataSet):
    """X-rays that look like something else than an upright frontal chest X-ray of an adult."""

    name = "checks"
    kind, verb, look = "check-data", "check", "check"

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return the share of X-rays that are not what they seem."""
        result, manifest = Collected(), context.subject.manifest
        assert manifest is not None  # it needs images
        results = results_of(context.runs[self.name])
        flags, n = results.get("flags") or [], size_of(results)
        ids = list(dict.fromkeys(str(flag["image_id"]) for flag in sorted(flags, key=lambda flag: -flag["score"])))
        table = manifest.table.reset_index(drop=True)
        share = share_of(table["image_id"].isin(ids).to_numpy(), table)
        kinds = ", ".join(f"{name} {count}" for name, count in (results.get("counts") or {}).items() if count)
        alarms = _false_alarms(results)
        expected = alarms["value"] or 0.0
        found = result.add(
            context.finding(
                "not-what-they-seem",
                "not-what-they-seem",
                f"{len(ids):,} of {xrays(len(table))} may be something else than an upright frontal X-ray of an adult "
                f"({kinds}): {percent(share)}; {percent(alarms)} of X-rays that were taken as they are get a flag too.",
                share,
                figure_name="share of X-rays that may not be what they seem",
                form="percent",
                n=n,
                not_shown="Which of them are false alarms: look at the pictures.",
                next_step="Look at them, correct or leave out what is wrong, and train again.",
                command=self.command(context),
                link=self.link(context),
                images=ids,
                held=less(share, expected),
            )
        )
        if not found:
            reach = "" if share["high"] is None else f" A share of {100 * share['high']:.1f} % cannot be excluded."
            result.looked.append(
                f"{len(ids):,} of {xrays(len(table))} may not be what they seem: no more than false alarms make.{reach}"
            )
        return result


def _false_alarms(results: JsonObject) -> Estimate:
    """Return the share of X-rays, taken as they are, that get a flag of any kind, as the check states it."""
    stated = results.get("false_alarms") or []
    return next((of["share"] for of in stated if of["kind"] == "any"), NOTHING)
