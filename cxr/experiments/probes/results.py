"""What probes give: an entry for each question and view, and sentences about what is still read where it should not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict, cast

import pandas as pd

from cxr.errors import RunError
from cxr.experiments.data_audit.results import LeftOut, interval_in_words
from cxr.experiments.probes.questions import CLASS, FINDING, KINDS, SOURCE, SOURCE_WITHIN
from cxr.formatting import NOTHING, Estimate, p_value, xrays

if TYPE_CHECKING:
    from cxr.runs import Run

KIND = "probe-data"
SIGNIFICANT = 0.05
VIEWS = ("full", "no-lungs", "border", "lungs", "text")
"""What a probe sees, in the order of tables."""

TITLES = {
    "full": "the whole X-ray",
    "no-lungs": "without the lungs",
    "border": "the border alone",
    "lungs": "the lungs alone",
    "text": "burned-in text alone",
}
SAME, NO_PLAUSIBLE = "the same on every X-ray", "too few patients with plausible lungs"
_OF_ONE_VIEW = (SAME, NO_PLAUSIBLE)
OF_THE_PROTOCOL = ("no-lungs", "border", "text")
"""Views that do not show the lungs: a class that can be read there can be read without the disease."""

NOTES = (
    "Score: balanced accuracy, the mean over classes of the share of X-rays that are recognised, cross-validated by "
    "patient; patients that share a copy of an X-ray count as one. Intervals are 95 %, over patients, and wider since "
    "folds learn from the same X-rays. They leave out how much another classifier would differ.",
    "Chance is the mean score under permuted labels, p the share of permutations that score as high. Both are of one "
    "randomly drawn X-ray of each patient. p is corrected for the number of probes (Holm). Below 0.05 a probe counts "
    "as shown; the others have a question mark.",
    "The classifier is a linear discriminant of fixed descriptors. What it cannot read, a network may: a probe that is "
    "not shown does not prove a clean data set.",
    "A source that can be told apart, or a class that can be read without the lungs, is a warning about how the data "
    "were collected. It does not show that a network uses it. The outside of the lungs also shows heart, devices and "
    "how ill patients lie, and the outline of a mask tells something by itself.",
)


class ProbeEntry(TypedDict):
    """One probe: what is predicted (``target``), from which view, and how well.

    ``kind`` and ``of`` are the parts of ``target``. ``classes`` are the answers that count, ``left_out`` those with too
    few patients. ``score`` is the balanced accuracy, ``auc`` the mean area under the curve over classes.
    ``permutations`` were drawn. ``warning``: shown, and about the protocol, not about the lungs. What cannot be
    computed is None, and ``reason`` says why.
    """

    target: str
    kind: str
    of: str
    view: str
    classes: list[str]
    left_out: list[str]
    n_images: int
    n_patients: int
    score: Estimate
    auc: Estimate
    chance: float | None
    p: float | None
    p_corrected: float | None
    permutations: int
    shown: bool
    warning: bool
    sentence: str
    reason: str


class ProbeResults(TypedDict):
    """The results of probes, as ``results.json`` holds them.

    ``masks`` is the way of all lungs, ``lungs_from`` on how many X-rays they came from where.
    """

    n_images: int
    n_patients: int
    n_available: int
    task: str
    split: str
    text: bool
    views: list[str]
    masks: str
    lungs_from: dict[str, int]
    finding: str
    probes: list[ProbeEntry]
    left_out: list[LeftOut]
    correction: str
    notes: list[str]
    provenance: dict[str, str]


def probe_results(run: Run) -> ProbeResults:
    """Return the results of finished probes.

    Raises
    ------
    RunError
        If the run did not probe a data set, or is not finished.
    """
    results = run.results()
    if results is None or run.kind != KIND:
        raise RunError(f"run {run.id} has no results of probes to report")
    return cast("ProbeResults", results)


def is_warning(kind: str, view: str) -> bool:
    """Return whether a probe that is shown says something of the protocol: a source, or a class without the lungs."""
    return kind in (SOURCE, SOURCE_WITHIN) or view in OF_THE_PROTOCOL


_SEEN = {
    "full": "From the whole X-ray",
    "no-lungs": "Without the lungs",
    "border": "From the border alone",
    "lungs": "From the lungs alone",
    "text": "From burned-in text alone",
}


def question_in_words(kind: str, of: str) -> str:
    """Return what a probe predicts as a sentence has it: ``whether there is Edema``, ``the source within covid19``."""
    words = {CLASS: "the class", SOURCE: "the source", FINDING: f"whether there is {of}"}
    return words.get(kind, f"the source within {of}")


def sentence(entry: ProbeEntry) -> str:
    """Return in plain words how well a probe does.

    >>> entry = {"kind": "class", "of": "", "view": "no-lungs", "chance": 0.36}
    >>> sentence(entry | {"score": {"value": 0.91, "low": 0.88, "high": 0.93}})
    'Without the lungs the class is still predicted with balanced accuracy 0.91 (0.88 to 0.93), chance 0.36.'
    """
    still = "still " if entry["view"] == "no-lungs" else ""
    chance = "" if entry["chance"] is None else f", chance {entry['chance']:.2f}"
    return (
        f"{_SEEN[entry['view']]} {question_in_words(entry['kind'], entry['of'])} is {still}predicted with balanced "
        f"accuracy {interval_in_words(entry['score'])}{chance}."
    )


def ordered(entries: Sequence[ProbeEntry]) -> list[ProbeEntry]:
    """Return entries by what is predicted and by view, as tables and figures show them."""
    return sorted(entries, key=lambda e: (KINDS.index(e["kind"]), e["of"], VIEWS.index(e["view"])))


def warnings(entries: Sequence[ProbeEntry]) -> list[ProbeEntry]:
    """Return the probes that warn, the farthest above chance first; those of the class before those of the source."""
    own = [entry for entry in entries if entry["warning"]]
    return sorted(own, key=lambda e: (e["kind"] in (SOURCE, SOURCE_WITHIN), -_above_chance(e)))


def _above_chance(entry: ProbeEntry) -> float:
    value, chance = entry["score"]["value"], entry["chance"]
    return 0.0 if value is None or chance is None else (value - chance) / max(1 - chance, 1e-9)


_IN_FINDING = 4


def finding(entries: Sequence[ProbeEntry], n_images: int, n_patients: int) -> str:
    """Return what the probes found in a few sentences: what is read without the lungs first, then the source."""
    n = xrays(n_images, n_patients)
    tested = [entry for entry in entries if entry["p"] is not None and is_warning(entry["kind"], entry["view"])]
    if not tested:
        return (
            f"Nothing could be probed on {n}: no class and no source has a second one with enough patients beside it."
        )
    warned = warnings(entries)
    if not warned:
        return (
            f"None of {len(tested)} probes of the source, or of the class without the lungs, is shown to predict it, "
            f"on {n}. That does not prove a clean data set."
        )
    first = _varied(warned)
    some = " ".join(entry["sentence"] for entry in first)
    more = "" if len(first) == len(warned) else f" {len(warned) - len(first)} more are in the table."
    return (
        f"{len(warned)} of {len(tested)} probes warn: source or class can be read from what is no sign of disease, on "
        f"{n}. {some}{more}"
    )


def _varied(warned: Sequence[ProbeEntry]) -> list[ProbeEntry]:
    """Return the first probes to name: those of the class, and the best one of a source and of a source in a class."""
    own = [entry for entry in warned if entry["kind"] in (CLASS, FINDING)]
    others = [next((e for e in warned if e["kind"] == kind), None) for kind in (SOURCE, SOURCE_WITHIN)]
    named = [entry for entry in others if entry is not None]
    return own[: _IN_FINDING - len(named)] + named


def probe_cells(entry: ProbeEntry) -> dict[str, str]:
    """Return a row of the table that people read, by its columns; ? after a probe that is not shown."""
    return {
        "predicted": question_in_words(entry["kind"], entry["of"]),
        "from": TITLES[entry["view"]] + ("" if entry["shown"] or entry["p"] is None else " ?"),
        "balanced accuracy": interval_in_words(entry["score"]),
        "chance": NOTHING if entry["chance"] is None else f"{entry['chance']:.2f}",
        "AUC": interval_in_words(entry["auc"]),
        "p": p_value(entry["p_corrected"]),
        "X-rays": f"{entry['n_images']:,}",
        "patients": f"{entry['n_patients']:,}",
    }


def flat(entries: Sequence[ProbeEntry]) -> pd.DataFrame:
    """Return the entries as a table: one row for each probe, three columns for score and AUC."""
    rows = []
    for entry in entries:
        row = {key: value for key, value in entry.items() if key not in ("score", "auc", "classes", "left_out")}
        row |= {"classes": "|".join(entry["classes"]), "left_out": "|".join(entry["left_out"])}
        for name, of in (("score", entry["score"]), ("auc", entry["auc"])):
            row |= {name: of["value"], f"{name}_low": of["low"], f"{name}_high": of["high"]}
        rows.append(row)
    return pd.DataFrame(rows)


_MASKS = {"segmentation": "the shipped segmentation", "manifest": "the manifest's masks", "box": "a box in each X-ray"}


def lungs_in_words(results: ProbeResults) -> str:
    """Return where the lungs came from: ``Lungs: the shipped segmentation on 1480 X-rays.``, and where from nowhere."""
    masks, counts = results["masks"], results["lungs_from"]
    none = counts.get("none", 0)
    said = f"Lungs: {_MASKS[masks]} on {xrays(counts.get(masks, 0))}."
    if not none:
        return said
    return f"{said} It was not plausible on {xrays(none)}: of these the whole X-ray and the text alone are probed."


def sampled_in_words(results: ProbeResults) -> str:
    """Return how many X-rays were drawn of how many, "" if all of them were probed."""
    n, available = results["n_images"] + len(results["left_out"]), results["n_available"]
    return "" if n == available else f"{n:,} of {xrays(available)} were drawn by lot, by patient."


def not_probed(entries: Sequence[ProbeEntry]) -> list[str]:
    """Return what could not be asked and why, and which classes or sources do not count, each once."""
    lines: dict[str, None] = {}
    for entry in entries:
        asked = question_in_words(entry["kind"], entry["of"])
        asked = asked[0].upper() + asked[1:]
        if entry["reason"] in _OF_ONE_VIEW:
            lines[f"{asked}, {TITLES[entry['view']]}: {entry['reason']}."] = None
        elif entry["reason"]:
            lines[f"{asked}: {entry['reason']}."] = None
        elif entry["left_out"]:
            lines[f"{asked}: left out for too few patients: {', '.join(entry['left_out'])}."] = None
    return list(lines)


MOST_IN_FIGURE = 40


def in_figure(entries: Sequence[ProbeEntry]) -> tuple[list[ProbeEntry], str]:
    """Return the probes that a figure has room for, in their order, and in words how many there are if that is more.

    Those that warn go before those that do not.
    """
    known = [entry for entry in entries if entry["score"]["value"] is not None]
    if len(known) <= MOST_IN_FIGURE:
        return known, ""
    first = {id(entry) for entry in sorted(known, key=lambda e: (not e["warning"], not e["shown"]))[:MOST_IN_FIGURE]}
    return [entry for entry in known if id(entry) in first], f" ({MOST_IN_FIGURE} of {len(known)})"


def row_name(entry: ProbeEntry) -> str:
    """Return how a figure names a probe: ``the class, without the lungs``."""
    return f"{question_in_words(entry['kind'], entry['of'])}, {TITLES[entry['view']]}"
