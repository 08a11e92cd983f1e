"""Not what they seem: X-rays that are inverted, turned, lateral, no chest, of children, empty or cut."""

from __future__ import annotations

from cxr.experiments.audit.context import Context, Need, Part, Progress
from cxr.experiments.audit.findings import Collected, Link
from cxr.experiments.audit.parts.new_results import results_of, size_of
from cxr.experiments.audit.parts.seen import share_of
from cxr.experiments.audit.requests import Request
from cxr.formatting import percent, xrays

RUN, KIND = "checks", "check-data"


class Checks(Part):
    """X-rays that look like something else than an upright frontal chest X-ray of an adult."""

    name = "checks"
    needs = frozenset[Need]({"images"})

    def requests(self, context: Context) -> list[Request]:
        """Return the check of the whole data set."""
        subject = context.subject
        assert subject.manifest is not None  # it needs images
        request = Request(
            RUN,
            (KIND,),
            {"manifest": str(subject.manifest.path)},
            manifest_hash=subject.manifest_hash,
            fits=lambda stored, results: not stored.get("split"),
            command=tuple(self.command(context)),
            link=self.link(context),
        )
        return [request]

    def command(self, context: Context) -> list[str]:
        """Return the command of the check."""
        return ["cxr", "data", "check", context.subject.data]

    def link(self, context: Context) -> Link:
        """Return the page of the data set."""
        return {"page": "data", "parameters": context.subject.data_link}

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return the share of X-rays that are not what they seem."""
        result, manifest = Collected(), context.subject.manifest
        assert manifest is not None  # it needs images
        results = results_of(context.runs[RUN])
        flags, n = results.get("flags") or [], size_of(results)
        ids = list(dict.fromkeys(str(flag["image_id"]) for flag in sorted(flags, key=lambda flag: -flag["score"])))
        table = manifest.table.reset_index(drop=True)
        share = share_of(table["image_id"].isin(ids).to_numpy(), table)
        kinds = ", ".join(f"{name} {count}" for name, count in (results.get("counts") or {}).items() if count)
        found = result.add(
            context.finding(
                "not-what-they-seem",
                "not-what-they-seem",
                f"{len(ids)} of {xrays(len(table))} look like something else than an upright frontal X-ray of an adult "
                f"({kinds}): {percent(share)}.",
                share,
                figure_name="share of X-rays that are not what they seem",
                form="percent",
                n=n,
                not_shown=str(results.get("false_alarms") or "Which of them are false alarms.")
                if isinstance(results.get("false_alarms"), str)
                else "Which of them are false alarms: look at the pictures.",
                next_step="Look at them, correct or leave out what is wrong, and train again.",
                command=self.command(context),
                link=self.link(context),
                images=ids,
            )
        )
        if not found:
            reach = "" if share["high"] is None else f" A share of {100 * share['high']:.1f} % cannot be excluded."
            result.looked.append(f"None of {xrays(len(table))} is shown to be something else than it seems.{reach}")
        return result
