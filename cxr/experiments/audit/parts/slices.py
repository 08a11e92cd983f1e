"""Slices: parts of the measured X-rays on which the network does worse than on the rest."""

from __future__ import annotations

from cxr.evaluation.slices import Slice, SliceResults, slices_of
from cxr.evaluation.slices.wording import stands_out, where_in_words
from cxr.experiments.audit.context import EVALUATION, Context, Part, Progress
from cxr.experiments.audit.findings import Collected, Finding, Link
from cxr.experiments.audit.parts.evaluation import EvaluationPart
from cxr.experiments.audit.parts.new_results import negative
from cxr.experiments.audit.requests import Request
from cxr.formatting import p_value

_MOST = 5


class SlicesPart(Part):
    """The worst slices by source, view, sex, age and further columns, and by pairs of them."""

    name = "slices"

    def requests(self, context: Context) -> list[Request]:
        """Return the measure that is divided."""
        return EvaluationPart().requests(context)

    def command(self, context: Context) -> list[str]:
        """Return the command that divides."""
        run = context.subject.table or context.runs.get(EVALUATION)
        return ["cxr", "slices", run.id if run is not None else "RUN", "--split", context.subject.split]

    def link(self, context: Context) -> Link:
        """Return the page of results."""
        return EvaluationPart().link(context)

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return the slices that are shown to be worse than the rest."""
        result = Collected()
        slices = slices_of(
            context.evaluation,
            splits=[context.subject.split],
            progress=lambda done, total: progress(done / max(1, total), f"{done:,} of {total:,} slices compared"),
        )
        single = [entry for entry in slices["slices"] if stands_out(entry)]
        pairs = [entry for entry in slices["pairs"] if stands_out(entry)]
        worse = [entry for entry in single if (entry["difference"]["value"] or 0) < 0]
        worse.sort(key=lambda entry: entry["difference"]["high"] or 0)
        for entry in (worse or pairs)[:_MOST]:  # pairs mostly repeat what one column shows
            result.add(self._finding(context, slices, entry))
        compared = [entry for entry in slices["slices"] if not entry["too_small"]]
        small = len(slices["slices"]) - len(compared)
        n_all = f"{len(compared):,} slices and {slices['pairs_compared']:,} pairs"
        if not result.findings:
            lows = [-low for entry in compared if (low := entry["difference"]["low"]) is not None]
            reach = f" A slice that is {_size(max(lows), slices)} worse cannot be excluded." if lows else ""
            result.looked.append(f"No slice is shown to be worse than the rest, of {n_all} compared.{reach}")
        if small:
            result.looked.append(f"{small:,} slices hold too few patients to compare.")
        return result

    def _finding(self, context: Context, slices: SliceResults, entry: Slice) -> Finding | None:
        difference, shares = entry["difference"], slices["figure"] == "accuracy"
        worse = negative({"value": difference["value"], "low": difference["low"], "high": difference["high"]})
        where = where_in_words(entry["where"])
        return context.finding(
            f"slice:{where}",
            "slice-worse",
            f"{entry['sentence']} (p {p_value(difference['p_holm'])}, corrected)",
            worse,
            figure_name=f"{slices['figure']} lost in X-rays with {where}",
            form="points" if shares else "number",
            n=(entry["n"], entry["n_patients"]),
            not_shown="Why. A slice may hold harder X-rays, another mix of classes, or other devices.",
            next_step="Look at the errors of this slice, and add such X-rays to the training.",
            command=self.command(context),
            link=self.link(context),
            images=_errors_in(context, entry),
        )


def _errors_in(context: Context, entry: Slice) -> list[str]:
    """Return the X-rays of a slice that are wrong, the most confident first; none for findings or bands."""
    rows, manifest = context.rows, context.subject.manifest
    if context.multi_label or manifest is None:
        return []
    table = manifest.table.set_index("image_id")
    chosen = rows["label"] != rows["predicted"]
    for column, group in entry["where"].items():
        if column not in table:
            return []
        values = rows["image_id"].map(table[column]).fillna("").astype(str)
        if group is not None and group not in set(values):
            return []  # a band of numbers
        chosen &= values == (group or "")
    wrong = rows[chosen].sort_values("confidence", ascending=False) if "confidence" in rows else rows[chosen]
    return [str(image_id) for image_id in wrong["image_id"]]


def _size(value: float, slices: SliceResults) -> str:
    return f"{100 * value:.0f} points" if slices["figure"] == "accuracy" else f"{value:.2f}"
