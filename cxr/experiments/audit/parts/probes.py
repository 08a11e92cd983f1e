"""Protocol probes: what a small classifier tells of the class, or of the source, from a part of the X-ray."""

from __future__ import annotations

from cxr.experiments.audit.context import Context, Progress
from cxr.experiments.audit.findings import Collected, Finding
from cxr.experiments.audit.parts.new_results import less
from cxr.experiments.audit.parts.of_one_run import OfDataSet
from cxr.experiments.probes.questions import CLASS, FINDING, SOURCE_WITHIN
from cxr.experiments.probes.results import KIND, OF_THE_PROTOCOL, TITLES, ProbeEntry, probe_results
from cxr.formatting import xrays

_MOST, _NAMED = 3, 6


class Probes(OfDataSet):
    """The class without the lungs, and the source within a class."""

    name = "probes"
    kind, verb = KIND, "probe"

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return the strongest probes of the class without the lungs, and of the source within a class."""
        result, results = Collected(), probe_results(context.runs[self.name])
        n, silent = (results["n_images"], results["n_patients"]), []
        asked = [entry for entry in results["probes"] if entry["p"] is not None and _rule_of(entry)]
        shown = [entry for entry in asked if entry["shown"]]
        for rule in ("predicted-without-lungs", "source-predicted"):
            own = sorted((e for e in shown if _rule_of(e) == rule), key=_above, reverse=True)
            for entry in own[:_MOST]:
                result.add(self._finding(context, entry, rule))
            if len(own) > _MOST:
                result.looked.append(f"{len(own) - _MOST} more probes are shown; the page of the data set lists them.")
        silent = [entry for entry in asked if not entry["shown"]]
        if silent:
            highs = [
                high for entry in silent if (high := less(entry["score"], entry["chance"] or 0)["high"]) is not None
            ]
            reach = f" {100 * max(highs):.0f} points above chance cannot be excluded." if highs else ""
            named = ", ".join(f"{entry['target']} from {TITLES[entry['view']]}" for entry in silent[:_NAMED])
            more = f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
            result.looked.append(f"Not shown to be predictable, on {xrays(*n)}: {named}{more}.{reach}")
        unasked = [entry for entry in results["probes"] if entry["p"] is None and _rule_of(entry)]
        if unasked:
            reasons = dict.fromkeys(entry.get("reason") or "no reason is stated" for entry in unasked)
            views = dict.fromkeys(f"{entry['target']} from {TITLES[entry['view']]}" for entry in unasked)
            result.looked.append(f"Could not be probed: {', '.join(views)} ({'; '.join(reasons)}).")
        if not asked:
            result.looked.append(f"Nothing could be probed on {xrays(*n)}: {results['finding']}")
        return result

    def _finding(self, context: Context, entry: ProbeEntry, rule: str) -> Finding | None:
        return context.finding(
            f"probe:{entry['target']}:{entry['view']}",
            rule,
            entry["sentence"],
            less(entry["score"], entry["chance"] or 0.0),
            figure_name=f"balanced accuracy above chance: {entry['target']} from {TITLES[entry['view']]}",
            form="points",
            n=(entry["n_images"], entry["n_patients"]),
            not_shown="That the network uses it: relevance by region and masking say that.",
            next_step="See what else differs between the classes, and measure the network without it.",
            command=["cxr", "data", "audit", context.subject.data],
            link=self.link(context),
        )


def _rule_of(entry: ProbeEntry) -> str:
    """Return the rule that a probe is held against, "" for one that says nothing of the protocol."""
    if entry["kind"] in (CLASS, FINDING):
        return "predicted-without-lungs" if entry["view"] in OF_THE_PROTOCOL else ""
    return "source-predicted" if entry["kind"] == SOURCE_WITHIN and entry["view"] == "full" else ""


def _above(entry: ProbeEntry) -> float:
    low = entry["score"]["low"]
    return (low if low is not None else 0.0) - (entry["chance"] or 0.0)
