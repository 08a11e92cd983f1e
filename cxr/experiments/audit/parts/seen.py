"""Seen before: X-rays among those measured that the network was trained or chosen on."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cxr.evaluation.intervals import mean_intervals
from cxr.evaluation.metrics import estimate, patients_of
from cxr.evaluation.seen import n_seen_of, seen_in_words
from cxr.experiments.audit.context import Context, Need, Part, Progress
from cxr.experiments.audit.findings import NOTHING, Collected, Link
from cxr.experiments.audit.parts.evaluation import EvaluationPart
from cxr.experiments.audit.requests import Request
from cxr.formatting import Estimate, percent, xrays


class SeenPart(Part):
    """What of the measured split the network has seen."""

    name = "seen"
    needs = frozenset[Need]({"network"})

    def requests(self, context: Context) -> list[Request]:
        """Return the measure of the network, which has compared the X-rays already."""
        return EvaluationPart().requests(context)

    def command(self, context: Context) -> list[str]:
        """Return the command that measures."""
        return EvaluationPart().command(context)

    def link(self, context: Context) -> Link:
        """Return the page of results."""
        return EvaluationPart().link(context)

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return which X-rays of the split were seen, and whether they are in the figures."""
        result, seen, split = Collected(), context.results.get("seen"), context.subject.split
        of_split = seen["splits"].get(split) if seen else None
        if seen is None or of_split is None:
            result.left_out = "the measure is of a version that did not compare; measure again"
            return result
        table = context.evaluation.predictions()
        assert table is not None  # it has results
        rows = table[table["split"] == split].reset_index(drop=True)
        share = share_of((rows["seen"] != "").to_numpy(), rows)
        n = len(rows), len(set(patients_of(rows)))
        n_seen = n_seen_of(of_split)
        ids = [i for row in seen["images"] if row["split"] == split for i in row["ids"]]
        where = f"{n_seen:,} of {xrays(*n)} ({of_split['trained']:,} trained on, {of_split['chosen']:,} chosen on"
        where += f", {of_split['patients']:,} of patients that it has seen)" if of_split.get("patients") else ")"
        if n_seen and not of_split["left_out"]:
            result.add(
                context.finding(
                    "seen-in-figures",
                    "seen-in-figures",
                    f"The network has seen {where}, and the figures are with them: {percent(share)}.",
                    share,
                    figure_name="share of the measured X-rays that were seen",
                    form="percent",
                    n=n,
                    not_shown="How the network does on new X-rays.",
                    next_step="Measure without them, or on X-rays that the training never touched.",
                    command=self.command(context),
                    link=self.link(context),
                    images=ids,
                )
            )
        elif n_seen:
            result.add(
                context.finding(
                    "seen-left-out",
                    "seen-left-out",
                    f"The network has seen {where}. {'It is' if n_seen == 1 else 'They are'} left out of every figure.",
                    share,
                    figure_name="share of the split that was seen",
                    form="percent",
                    n=n,
                    not_shown="Copies that were much edited, and patients under another id or source.",
                    next_step="Look for duplicates, and make splits by patient.",
                    command=["cxr", "data", "duplicates", context.subject.data, "--group"],
                    link=self.link(context),
                    images=ids,
                )
            )
        if seen["unknown"]:
            result.add(
                context.finding(
                    "training-unknown",
                    "training-unknown",
                    f"Not known: {'; '.join(seen['unknown'])}. X-rays that the network remembers may be among those "
                    "measured.",
                    NOTHING,
                    n=n,
                    not_shown="Whether any X-ray was seen.",
                    next_step="Ask its author for the list, or measure X-rays that are newer than the network.",
                    link=self.link(context),
                )
            )
        if not n_seen and not seen["unknown"]:
            upper = "" if share["high"] is None else f" A share of {100 * share['high']:.1f} % cannot be excluded."
            result.looked += [f"{line}{upper}" for line in seen_in_words(seen, split)[:1]]
        return result


def share_of(chosen: np.ndarray, rows: pd.DataFrame) -> Estimate:
    """Return the share of the rows (N,) that are ``chosen``, with its interval over patients."""
    if not len(rows):
        return NOTHING
    (limits,) = mean_intervals(np.asarray(chosen, np.float64)[:, None], patients_of(rows), bounded=True)
    return estimate(float(np.mean(chosen)), limits)
