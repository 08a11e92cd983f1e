"""Burned-in text: masked where it is, and stamped where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from cxr.experiments.audit.context import Context, Need, Part, Progress
from cxr.experiments.audit.findings import NOTHING, Collected, Link
from cxr.experiments.audit.requests import Fits, Request
from cxr.experiments.masking.conclusions import CLAIMS, conclusion
from cxr.experiments.masking.sentences import headline
from cxr.experiments.masking.settings import is_of_whole_split
from cxr.experiments.masking.shapes import MaskingResults, masking_results
from cxr.experiments.stamping.dose_response import strongest
from cxr.experiments.stamping.results import stamping_results
from cxr.formatting import Estimate, number, p_value, patients, percent, xrays
from cxr.json_types import JsonObject

if TYPE_CHECKING:
    from cxr.runs import Run

MASKING, STAMPING = "text", "stamping"
WORD = "PORTABLE"
"""What is stamped where nobody stamped anything: a word that X-rays of many hospitals carry."""
_STAMPED = 200


class TextPart(Part):
    """Whether predictions depend on text that is burned in."""

    name = "text"
    needs = frozenset[Need]({"network", "images"})

    def requests(self, context: Context) -> list[Request]:
        """Return the experiment that masks all text of the split."""
        subject = context.subject
        assert subject.manifest is not None  # it needs images
        params = {**context.on_network, "split": subject.manifest_split, "workers": context.params.workers}
        request = Request(
            MASKING,
            ("text-experiment",),
            params,
            weights=subject.weights,
            manifest_hash=subject.manifest_hash,
            fits=_of_split(subject.manifest_split),
            command=tuple(self.command(context)),
            link=self.link(context),
        )
        return [request]

    def command(self, context: Context) -> list[str]:
        """Return the command of the experiment."""
        subject = context.subject
        split = ["--split", subject.manifest_split] if subject.manifest_split else []
        return ["cxr", "text", "experiment", subject.network, "--data", subject.data, *split]

    def link(self, context: Context) -> Link:
        """Return the page that shows the experiment."""
        return {"page": "text", "parameters": {**context.subject.link, "look": "Whole split", "run": "{run}"}}

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return whether masking text moves predictions beyond masking as much of the rest."""
        result, run = Collected(), context.runs[MASKING]
        results = masking_results(run)
        if results is None:
            result.left_out = "the experiment is of a version without controls; do it again"
            return result
        n = results["n_images"], results.get("n_patients")
        if not results["n_tokens"]:
            result.looked.append(f"No burned-in text was found on {xrays(*n)}, so there is nothing to mask.")
            return result
        first = next(iter(results["modes"].values()))
        concluded = conclusion(first, context.multi_label)
        if concluded in CLAIMS:
            share = concluded == "predictions"
            figure = first["beyond_random"] if share else first["moved_beyond_random"]
            what = "share of predictions that change" if share else "how far probabilities move"
            result.add(
                context.finding(
                    "text-moves",
                    "text-moves",
                    headline(results),
                    {"value": figure["value"], "low": figure["low"], "high": figure["high"]},
                    detail=results["finding"],
                    figure_name=f"{what}, beyond random boxes",
                    form="points" if share else "number",
                    n=n,
                    not_shown="Which way the text came to matter, and text that was not detected.",
                    next_step="See the X-rays whose prediction changes, and train with masked text.",
                    command=["cxr", "text", "report", run.id],
                    link=_link(self.link(context), run),
                    images=_most_moved(run, results),
                )
            )
        elif concluded in ("less", "weak"):
            result.add(
                context.finding(
                    "text-unclear",
                    "text-unclear",
                    headline(results),
                    NOTHING,
                    detail=results["finding"],
                    n=n,
                    not_shown="Whether the text matters.",
                    next_step="Repeat it with another way of masking.",
                    command=[*self.command(context), "--mode", "inpaint", "--mode", "blur"],
                    link=_link(self.link(context), run),
                )
            )
        else:
            moved = first["moved_beyond_random"]
            upper = "" if moved["high"] is None else f" Moves of up to {moved['high']:.3f} cannot be excluded."
            result.looked.append(
                f"Masking {results['n_tokens']:,} tokens on {results['n_with_text']:,} of {xrays(*n)} is not shown to "
                f"matter: probabilities move by {number(first['moved']['tokens'])}, under random boxes by "
                f"{number(first['moved']['random'])}.{upper}"
            )
        return result


class StampingPart(Part):
    """Planted control: a mark that we put onto X-rays, against the same patch without letters."""

    name = "stamping"
    needs = frozenset[Need]({"network", "images"})

    def requests(self, context: Context) -> list[Request]:
        """Return the newest stamping of any mark; where there is none, one word at one dose on 200 X-rays."""
        subject = context.subject
        assert subject.manifest is not None  # it needs images
        params: JsonObject = {
            **context.on_network,
            "split": subject.manifest_split,
            "word": WORD,
            "sizes": [0.06],
            "contrasts": [1.0],
            "n": _STAMPED,
            "workers": context.params.workers,
        }
        request = Request(
            STAMPING,
            ("text-stamping",),
            params,
            weights=subject.weights,
            manifest_hash=subject.manifest_hash,
            fits=lambda stored, results: stored.get("split", "test") == subject.manifest_split,
            command=tuple(self.command(context)),
            link=self.link(context),
        )
        return [request]

    def command(self, context: Context) -> list[str]:
        """Return the command that stamps."""
        subject = context.subject
        split = ["--split", subject.manifest_split] if subject.manifest_split else []
        return ["cxr", "text", "stamp", subject.network, "--data", subject.data, *split, "--word", WORD]

    def link(self, context: Context) -> Link:
        """Return the page that shows the stamping."""
        return {"page": "text", "parameters": {**context.subject.link, "look": "Stamp", "stamping": "{run}"}}

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return whether a stamped mark turns predictions beyond the same patch without letters."""
        result, run = Collected(), context.runs[STAMPING]
        results = stamping_results(run)
        if results is None or not results["doses"]:
            result.left_out = "no X-ray could be stamped"
            return result
        dose = strongest(results)
        beyond, towards = dose["turned_beyond"], results["towards"]
        n = dose["n"], dose.get("n_patients")
        figure: Estimate = {"value": beyond["value"], "low": beyond["low"], "high": beyond["high"]}
        p = beyond.get("p_holm")
        shown = p is not None and p < 0.05
        found = shown and result.add(
            context.finding(
                f"mark-turns:{towards}",
                "mark-turns",
                results["finding"],
                figure,
                figure_name=f"share of X-rays that {results['token']} turns to {towards}, beyond its control",
                form="points",
                n=n,
                not_shown="Whether X-rays carry such a mark; other marks, places and sizes.",
                next_step="Mask text in training, and stamp the words that the data hold.",
                command=["cxr", "text", "vocabulary", context.subject.data],
                link=_link(self.link(context), run),
            )
        )
        if not found:
            upper = "" if figure["high"] is None else f" Up to {100 * figure['high']:.1f} points cannot be excluded."
            of = "" if n[1] is None else f" of {patients(n[1])}"
            result.looked.append(
                f"Stamping {results['token']} turns {percent(dose['turned']['stamped'])} of {n[0]:,} X-rays{of} to "
                f"{towards}, the same patch without letters {percent(dose['turned']['control'])} "
                f"(p {p_value(p)}).{upper}"
            )
        return result


def _of_split(split: str) -> Fits:
    """Return what accepts experiments on all X-rays of a split."""

    def fits(params: JsonObject, results: JsonObject | None) -> bool:
        return params.get("split", "test") == split and is_of_whole_split(params)

    return fits


def _link(link: Link, run: Run) -> Link:
    values = {name: run.id if value == "{run}" else value for name, value in link["parameters"].items()}
    return {"page": link["page"], "parameters": values}


def _most_moved(run: Run, results: MaskingResults) -> list[str]:
    """Return the X-rays whose predictions masking changes, else those that it moves farthest."""
    changed = [row["image_id"] for row in results["changed"]]
    table = run.predictions()
    if table is None or "moved" not in table:
        return changed
    moved: pd.DataFrame = table[table["n_boxes"] > 0].sort_values("moved", ascending=False)
    return list(dict.fromkeys([*changed, *moved["image_id"].astype(str)]))
