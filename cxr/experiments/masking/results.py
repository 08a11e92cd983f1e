"""The numbers of a text experiment and the sentences that say what they mean, as ``results.json`` holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from cxr.evaluation.metrics import patients_of, probabilities, summarise
from cxr.evaluation.multilabel import THRESHOLD, summarise_findings
from cxr.experiments.masking.effects import (
    SMALLEST_EFFECT,
    TOO_FEW_PATIENTS,
    Answers,
    beyond_control,
    effects,
    moved,
    paired_means,
    paired_shares,
)
from cxr.experiments.masking.effects_by_finding import effects_by_finding, standing_out
from cxr.experiments.masking.matched_controls import MARKS
from cxr.experiments.masking.shrinkage import shrunken_means
from cxr.formatting import number, patients, percent, points, times, xrays
from cxr.models.card import MULTI_LABEL
from cxr.text.corrections import FileTokens

if TYPE_CHECKING:
    from cxr.experiments.masking.predictions import Kept

SIGNIFICANT = 0.05
MATCHES = 0.8
"""Controls that change the picture by less than this share of what the tokens change it by are called too weak."""
SMALLEST_GROUP = 5  # images; of fewer no interval says anything
CLAIMS = ("predictions", "probabilities")
"""Conclusions that claim an effect of the text."""
Conclusion = Literal["predictions", "probabilities", "less", "small", "weak", "nothing"]
_SHOWN = ("before", "after", "control")


@dataclass(frozen=True)
class Results:
    """Everything but the heatmaps' part."""

    values: dict[str, Any]

    def with_relevance(self, relevance: dict[str, Any]) -> dict[str, Any]:
        """Return the whole of ``results.json``, with the finding in plain sentences."""
        whole = self.values | {"relevance": relevance}
        return whole | {"finding": finding(whole)}


def results_of(
    table: pd.DataFrame,
    answers: Answers,
    kept: Mapping[str, Kept],
    classes: Sequence[str],
    found: Mapping[str, FileTokens],
    seed: int = 0,
    thresholds: Mapping[str, float] | None = None,
    match: Mapping[str, Any] | None = None,
) -> Results:
    """Return the numbers of an experiment.

    Parameters
    ----------
    table
        ``predictions.parquet``: one row per image in the order of ``answers``.
    kept
        Answers with some tokens left in, by ``kind:<kind>`` or ``word:<word>``.
    found
        Tokens by image id.
    thresholds
        Of several findings, the probability above which each is said to be there; 0.5 for those without one.
    match
        How well the controls match the tokens, by mask mode (:meth:`cxr.experiments.masking.predictions.Asked.match`).

    Returns
    -------
    ``task``, ``classes``, ``n_images``, ``n_patients``, ``n_with_text``, ``n_patients_with_text``, ``n_reviewed``,
    ``n_tokens``, ``tokens_by_kind``, ``masked_share_mean`` (over images with text); ``before``, ``after``, ``control``
    as :func:`cxr.evaluation.metrics.summarise` (of several findings
    :func:`cxr.evaluation.metrics.summarise_findings`) in the leading mode; ``modes`` as
    :func:`cxr.experiments.masking.effects.effects` (of several findings
    :func:`cxr.experiments.masking.effects_by_finding.effects_by_finding`), with ``match`` where it is known;
    ``left_in``, a row per kind and word (:func:`left_in`); ``groups``, a row per class or finding and source
    (:func:`by_group`); ``n_changed`` and ``n_changed_control`` (leading mode, first draw); ``changed``, images whose
    prediction changes.
    """
    limits = {name: float((thresholds or {}).get(name, THRESHOLD)) for name in classes}
    with_text = table[table["n_boxes"] > 0]
    kinds = pd.Series([box.kind for of in found.values() for box in of.boxes], dtype=str).value_counts()
    values: dict[str, Any] = {
        "task": answers.task,
        "classes": list(classes),
        "n_images": len(table),
        "n_patients": len(set(patients_of(table))),
        "n_with_text": len(with_text),
        "n_patients_with_text": len(set(patients_of(with_text))),
        "n_reviewed": int(table["reviewed"].sum()),
        "n_tokens": int(table["n_boxes"].sum()),
        "tokens_by_kind": {str(kind): int(n) for kind, n in kinds.items()},
        "masked_share_mean": float(with_text["masked_share"].mean()) if len(with_text) else 0.0,
        "n_changed": int(table["changed"].sum()),
        "n_changed_control": int(table["changed_control"].sum()),
        "modes": (effects_by_finding if answers.multi_label else effects)(answers, classes, seed),
        "left_in": left_in(answers, kept, classes, seed),
        "groups": by_group(table, answers, classes, seed),
        "changed": _changed_findings(table, limits) if answers.multi_label else _changed(table),
    }
    for mode, of in (match or {}).items():
        values["modes"][mode]["match"] = of
    if answers.multi_label:
        values["thresholds"] = limits
    for name in _SHOWN:
        values[name] = _summary(condition_table(table, name), answers, limits, seed)
    return Results(values)


def _summary(table: pd.DataFrame, answers: Answers, limits: Mapping[str, float], seed: int) -> dict[str, Any]:
    if not answers.multi_label:
        return summarise(table, list(limits), seed=seed)
    chances = table[[f"prob_{name}" for name in limits]].to_numpy(np.float64)
    return summarise_findings(answers.truth, chances, list(limits), answers.patients, limits, seed=seed)


def condition_table(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    """Return the table of one condition in the form of plain predictions (``predicted``, ``logit_<class>``, ...)."""
    ending = f"_{condition}"
    own = ("changed", "moved")
    mine = {c: c.removesuffix(ending) for c in table.columns if c.endswith(ending) and not c.startswith(own)}
    facts = ["image_id", "split", "label", *(["findings"] if "findings" in table else []), "patient_id", "source"]
    return table[[*facts, *mine]].rename(columns=mine)


def _changed(table: pd.DataFrame) -> list[dict[str, Any]]:
    columns = ["image_id", "label", "predicted_before", "predicted_after", "predicted_control", "n_boxes"]
    changed = table.loc[table["changed"], [*columns, "confidence_before"]]
    return changed.sort_values("confidence_before", ascending=False)[columns].to_dict("records")


def _changed_findings(table: pd.DataFrame, limits: Mapping[str, float]) -> list[dict[str, Any]]:
    changed = table[table["changed"]].sort_values("moved", ascending=False)
    rows = []
    for row in changed.to_dict("records"):
        pairs = {name: (row[f"prob_{name}_before"], row[f"prob_{name}_after"]) for name in limits}
        rows.append(
            {name: row[name] for name in ("image_id", "findings", "n_boxes")}
            | {"appears": [name for name, (before, after) in pairs.items() if before <= limits[name] < after]}
            | {"disappears": [name for name, (before, after) in pairs.items() if after <= limits[name] < before]}
        )
    return rows


def left_in(answers: Answers, kept: Mapping[str, Kept], classes: Sequence[str], seed: int = 0) -> list[dict[str, Any]]:
    """Return what each kind of token and each frequent word does by itself, those that move probabilities most first.

    All tokens masked is compared with all but these: the leading mode's answers on the images that carry them.

    Returns
    -------
    Rows of ``group`` ("kind" or "word"), ``token``, ``n_images``, ``n_tokens``; ``changed`` (share of the predictions
    that these tokens turn) and ``moved`` as ``{value, low, high}``; ``shrunken``, ``moved`` drawn towards that of all
    kinds or words (:func:`cxr.experiments.masking.shrinkage.shrunken_means`), None with too few patients, which come
    last; ``probability``, by class the mean change that leaving them in makes; ``towards``, the class that gains most
    (the finding that moves most, up or down), None where nothing moves.
    """
    masked = next(iter(answers.tokens.values()))
    rows = []
    distances: list[tuple[np.ndarray, list[str]]] = []
    for name, one in kept.items():
        group, token = name.split(":", 1)
        without, patients = masked[one.rows], [answers.patients[row] for row in one.rows]
        change = probabilities(one.logits, answers.task) - probabilities(without, answers.task)
        distance = moved(without, one.logits[None], answers.task)
        distances.append((distance, patients))
        shares = {"changed": answers.differ(without, one.logits), "moved": distance}
        columns: dict[Any, np.ndarray] = {(c,): change[:, k] for k, c in enumerate(classes)}
        means: dict[Any, Any] = paired_shares(shares, patients, seed) | paired_means(columns, patients, seed)
        gains = change.mean(0)
        most = int((np.abs(gains) if answers.multi_label else gains).argmax())
        rows.append(
            {
                "group": group,
                "token": token,
                "n_images": len(one.rows),
                "n_tokens": one.n_tokens,
                "changed": means["changed"],
                "moved": means["moved"],
                "probability": {c: means[c,] for c in classes},
                "towards": classes[most] if gains.any() else None,
            }
        )
    for group in ("kind", "word"):
        of = [k for k, row in enumerate(rows) if row["group"] == group]
        drawn = shrunken_means([distances[k][0] for k in of], [distances[k][1] for k in of])
        for k, entry in zip(of, drawn, strict=True):
            rows[k]["shrunken"] = entry
    return sorted(rows, key=_largest_first)


def _largest_first(row: Mapping[str, Any]) -> tuple[Any, ...]:
    shrunken = row["shrunken"]
    return shrunken is None, -(shrunken or row["moved"])["value"], row["group"], row["token"]


def by_group(table: pd.DataFrame, answers: Answers, classes: Sequence[str] = (), seed: int = 0) -> list[dict[str, Any]]:
    """Return the leading mode's effect within each class (of several findings: finding) and source of 5 images or more.

    Returns
    -------
    Rows of ``by`` ("label", "finding" or "source"), ``group``, ``n_images``, ``n_with_text``; ``changed`` and ``moved``
    for ``tokens`` and ``random`` and ``beyond_random`` (with ``p``, not corrected: these rows are for looking, not
    proof).
    """
    mode = next(iter(answers.tokens))
    rows = []
    for by, group, chosen in _groups(table, answers, classes):
        if chosen.sum() < SMALLEST_GROUP:
            continue
        mine = answers.only(chosen)
        draws = {name: mine.under(mode)[name] for name in ("tokens", "random")}
        changed = {name: mine.changed(logits) for name, logits in draws.items()}
        distance = {name: moved(mine.before, logits, mine.task) for name, logits in draws.items()}
        rows.append(
            {
                "by": by,
                "group": group,
                "n_images": int(chosen.sum()),
                "n_with_text": int((table["n_boxes"].to_numpy()[chosen] > 0).sum()),
                "changed": paired_shares(changed, mine.patients, seed),
                "moved": paired_shares(distance, mine.patients, seed),
                "beyond_random": beyond_control(changed["tokens"] - changed["random"], mine.patients, seed),
            }
        )
    return rows


def _groups(table: pd.DataFrame, answers: Answers, classes: Sequence[str]) -> Iterator[tuple[str, str, np.ndarray]]:
    """Yield what images are grouped by, the group's name, and which of them (N,) belong to it."""
    if answers.multi_label:
        yield from (("finding", name, answers.truth[:, k] == 1) for k, name in enumerate(classes))
    for by in ("source",) if answers.multi_label else ("label", "source"):
        values = table[by].fillna("").astype(str).to_numpy()
        yield from ((by, group, values == group) for group in sorted(set(values) - {""}))


# --- in words ------------------------------------------------------------------------------------------------------


def finding(results: Mapping[str, Any]) -> str:
    """Return the result in plain sentences with its uncertainty."""
    if not results["n_tokens"]:
        of = xrays(results["n_images"], results.get("n_patients"), "image")
        return f"No text was found on the {of}, so there is nothing to mask."
    return " ".join(_sentences(results))


def _sentences(results: Mapping[str, Any]) -> Iterator[str]:
    first = next(iter(results["modes"].values()))
    if results.get("task") == MULTI_LABEL:
        yield from _of_findings(results, first)
    else:
        yield from _of_predictions(results, first)
    if first["beyond_random"]["low"] is None:
        yield TOO_FEW_PATIENTS
    yield from _of_match(first, results["n_with_text"])
    if next(iter(results["modes"])) in MARKS and conclusion(first, results.get("task") == MULTI_LABEL) in CLAIMS:
        yield _OF_MARKS
    relevance = results.get("relevance") or {}
    if relevance.get("n"):
        inside, outside = (relevance[name]["positive"]["gain"] for name in ("tokens", "random"))
        yield (
            f"Tokens hold {times(inside)} the positive relevance of their area, random boxes {times(outside)} "
            f"({relevance_of(relevance)})."
        )


def relevance_of(relevance: Mapping[str, Any]) -> str:
    """Return which X-rays the relevance in tokens is of: ``50 of the 120 X-rays with text, 41 patients``."""
    of = "" if "n_patients" not in relevance else f", {patients(relevance['n_patients'])}"
    return f"{relevance['n']} of the {relevance['of']} X-rays with text{of}"


def _of_predictions(results: Mapping[str, Any], first: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{_masking(results)} changes {percent(first['changed']['tokens'])} of the predictions, random boxes of the "
        f"same sizes {percent(first['changed']['random'])}, boxes of other images {percent(first['changed']['other'])}."
    )
    yield _verdict(first, len(results["modes"]), _looked_at(results))
    difference = first["accuracy"]["tokens"]
    if difference["value"] is not None:
        before, after = (100 * results[name]["accuracy"]["value"] for name in ("before", "after"))
        n, of = results["before"].get("n"), results["n_images"]
        labelled = xrays(n or of, results["before"].get("n_patients"), "image")
        known = f" on {labelled}" if n in (None, of) else f" on the {labelled} whose label the network knows (of {of})"
        yield (
            f"Accuracy{known} goes from {before:.1f} % to {after:.1f} % (difference {points(difference)}, "
            f"p = {difference['p_holm']:.2g})."
        )


def _masking(results: Mapping[str, Any]) -> str:
    with_text, of = results.get("n_patients_with_text"), results.get("n_patients")
    whose = "" if of is None else f" ({with_text} of {patients(of)})"
    return f"Masking {results['n_tokens']} tokens on {results['n_with_text']} of {results['n_images']} images{whose}"


def _looked_at(results: Mapping[str, Any]) -> str:
    """Return what a test is over: ``269 images of 210 patients``."""
    return xrays(results["n_images"], results.get("n_patients"), "image")


def _of_findings(results: Mapping[str, Any], first: Mapping[str, Any]) -> Iterator[str]:
    """Yield the sentences of a network of several findings: no single decision, so no accuracy."""
    n, far = len(results["classes"]), first["moved"]
    of = f"the probabilities of {n} findings" if n > 1 else f"the probability of {results['classes'][0]}"
    yield (
        f"{_masking(results)} moves {of} by {number(far['tokens'])} on average, random boxes of the same sizes by "
        f"{number(far['random'])}, boxes of other images by {number(far['other'])}."
    )
    yield _verdict_of_findings(first, len(results["modes"]), _looked_at(results))
    if n > 1 and not too_weak(first):
        yield _single_findings(first, n * len(results["modes"]), _looked_at(results))
    some = "at least one finding crosses" if n > 1 else "it crosses"
    yield (
        f"On {percent(first['changed']['tokens'])} of the {results['n_images']} images {some} "
        f"{threshold_in_words(results)}, under random boxes on {percent(first['changed']['random'])}."
    )
    difference = first["auc"]["tokens"]
    if difference["value"] is not None:
        before, after = (results[name]["auc"]["value"] for name in ("before", "after"))
        measured = len(first["auc_by_finding"]["tokens"])
        mean = "Mean AUC" if n > 1 else "AUC"
        mean += f" of the {measured} findings that have one" if measured < n else ""
        of = xrays(results["before"].get("n", results["n_images"]), results["before"].get("n_patients"), "image")
        yield f"{mean} goes from {before:.3f} to {after:.3f} (difference {number(difference, signed=True)}), on {of}."


def threshold_in_words(results: Mapping[str, Any]) -> str:
    """Return what a finding crosses where it appears or disappears."""
    stated = set((results.get("thresholds") or {}).values()) - {THRESHOLD}
    return "the threshold that the network states" if stated else f"a probability of {THRESHOLD:g}"


def conclusion(effect: Mapping[str, Any], multi_label: bool = False) -> Conclusion:
    """Return what an effect (of :func:`cxr.experiments.masking.effects.effects`, in one mode) says of the text.

    Returns
    -------
    - ``predictions``: more predictions change than under random boxes; ``probabilities``: they move farther. Of several
      findings there are probabilities alone.
    - ``less``: it is the random boxes that change more
    - ``small``: there is a difference, but below :data:`SMALLEST_EFFECT`
    - ``weak``: there is a difference, but the random boxes change the picture much less than the tokens do
    - ``nothing``: none of these
    """
    beyond = {"predictions": effect["beyond_random"], "probabilities": effect["moved_beyond_random"]}
    if multi_label:
        del beyond["predictions"]
    shown = {name: entry for name, entry in beyond.items() if entry["p_holm"] < SIGNIFICANT}
    more = [name for name, entry in shown.items() if entry["value"] >= SMALLEST_EFFECT]
    less = [name for name, entry in shown.items() if entry["value"] <= -SMALLEST_EFFECT]
    if less and (not more or less[0] == "predictions"):
        return "less"
    if more and too_weak(effect):
        return "weak"
    if more:
        return "predictions" if more[0] == "predictions" else "probabilities"
    return "small" if shown else "nothing"


def too_weak(effect: Mapping[str, Any]) -> bool:
    """Return whether random boxes change the picture much less than the tokens do; False where that is not known."""
    change = effect.get("match", {}).get("change")
    return bool(change) and change["random"] < MATCHES * change["tokens"]


def _verdict_of_findings(effect: Mapping[str, Any], n_modes: int, of: str) -> str:
    beyond = effect["moved_beyond_random"]
    p = f"p = {beyond['p_holm']:.2g}{_corrected(n_modes)}; {of}"
    kind = conclusion(effect, multi_label=True)
    if kind == "probabilities":
        return f"The tokens matter more than patches of their size ({p}){_unless(effect['moved_beyond_other'])}."
    return _no_claim(kind, "move", p)


def _no_claim(kind: Conclusion, verb: str, p: str) -> str:
    """Return the sentence of a conclusion that claims nothing of the text, in which tokens and boxes ``verb``."""
    if kind == "less":
        return f"Random boxes {verb} more than the tokens do ({p}): no effect of the text is shown."
    if kind == "small":
        return f"Text and random boxes differ by less than {100 * SMALLEST_EFFECT:g} % ({p}): too small to matter."
    if kind == "weak":
        return (
            f"Tokens {verb} more than random boxes do ({p}), but these change the picture much less, so this does not "
            "show that the text matters."
        )
    return f"Text and random boxes cannot be told apart ({p}), so this does not show that the text matters."


def _corrected(n_modes: int) -> str:
    return f", corrected for {n_modes} mask modes" if n_modes > 1 else ""


def _unless(other: Mapping[str, Any]) -> str:
    agree = other["p_holm"] < SIGNIFICANT and other["value"] > 0
    return "" if agree else f", though boxes of other images do not show it (p = {other['p_holm']:.2g})"


def _single_findings(effect: Mapping[str, Any], n_tests: int, of: str) -> str:
    names = standing_out(effect)
    over = f"p below {SIGNIFICANT:g}, Holm over {n_tests} tests; {of}"
    if not names:
        return f"No single finding moves farther than under random boxes ({over})."
    changes = effect["probability"]["tokens"]
    listed = ", ".join(f"{name} ({changes[name]['value']:+z.3f})" for name in names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"Farther than under random boxes {'moves' if len(names) == 1 else 'move'} {listed}{more} ({over})."


_MOST_NAMED = 4
_OF_MARKS = (
    "Black boxes are marks themselves, which a network may know by their place: see whether inpainting shows it too."
)


def _verdict(effect: Mapping[str, Any], n_modes: int, of: str) -> str:
    """Say whether predictions, or at least probabilities, change more than under random boxes."""
    beyond, farther, far = effect["beyond_random"], effect["moved_beyond_random"], effect["moved"]
    p, p_moved = (f"p = {entry['p_holm']:.2g}{_corrected(n_modes)}; {of}" for entry in (beyond, farther))
    sizes = f"{far['tokens']['value']:.3f} on average, under random boxes by {far['random']['value']:.3f} ({p_moved})"
    kind, told_apart = conclusion(effect), beyond["p_holm"] < SIGNIFICANT
    if kind == "predictions":
        agree = _unless(effect["beyond_other"])
        return f"The tokens matter more than patches of their size ({p}){agree}. Probabilities move by {sizes}."
    if kind == "probabilities":
        apart = f"Predictions alone cannot be told apart ({p}), but the network answers to the text"
        return f"{apart}: probabilities move by {sizes}."
    if kind == "nothing" or told_apart:
        return f"{_no_claim(kind, 'change', p)} Probabilities move by {sizes}."
    # What differs is how far probabilities move: its p is the one that counts.
    apart = f"Predictions alone cannot be told apart ({p}). Probabilities move by {sizes}."
    return f"{apart} {_no_claim(kind, 'move', p_moved)}"


def _of_match(effect: Mapping[str, Any], n_with_text: int) -> Iterator[str]:
    """Say how much tokens and random boxes change the picture; nothing in results of an older version."""
    change = effect.get("match", {}).get("change")
    if change:
        yield (
            f"Masking the tokens changes the network's picture by {change['tokens']:.2f} grey levels (of 255) "
            f"on average, masking random boxes by {change['random']:.2f} "
            f"({xrays(n_with_text, noun='image')} with text)."
        )
