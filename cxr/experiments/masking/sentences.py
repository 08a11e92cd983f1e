"""The result of a text experiment in plain sentences, each with its uncertainty and the X-rays that it is of."""

from __future__ import annotations

import math
from collections.abc import Iterator

from cxr.evaluation.multilabel import THRESHOLD
from cxr.experiments.masking.conclusions import CLAIMS, SIGNIFICANT, Conclusion, conclusion, is_significant, too_weak
from cxr.experiments.masking.effects import SMALLEST_EFFECT, TOO_FEW_PATIENTS
from cxr.experiments.masking.effects_by_finding import standing_out
from cxr.experiments.masking.matched_controls import MARKS
from cxr.experiments.masking.shapes import Comparison, Effect, MaskingNumbers, Numbers, Relevance, Selection
from cxr.formatting import Estimate, number, patients, percent, points, times, xrays
from cxr.models.card import MULTI_LABEL

_MOST_NAMED = 4
_OF_MARKS = "Black boxes are marks themselves, and a network may react to them: see whether inpainting shows the same."


def finding(results: MaskingNumbers) -> str:
    """Return the result in plain sentences with its uncertainty."""
    if not results["n_tokens"]:
        of = xrays(results["n_images"], results.get("n_patients"), "image")
        return f"No text was found on the {of}, so there is nothing to mask."
    return " ".join(_sentences(results))


def selection_in_words(selection: Selection | None, results: Numbers, split: str) -> str:
    """Return that an experiment is of a part of its split, and of how many X-rays; "" of a whole split."""
    if selection is None:
        return ""
    measured = xrays(results["n_images"], results.get("n_patients"))
    whole = f"the split {split}" if split else "the data set"
    how = "picked by hand" if selection["how"] == "picked" else "the first"
    fewer = f" ({selection['n']:,} were chosen)" if selection["n"] != results["n_images"] else ""
    return (
        f"This rests on {measured}{fewer}, {how} of the {selection['of']:,} of {whole}. It does not stand for "
        "the others."
    )


def headline(results: Numbers) -> str:
    """Return the result in one sentence, for a list of many results: what masking changes, and random boxes change."""
    effect = next(iter(results["modes"].values()))
    concluded = conclusion(effect, results.get("task") == MULTI_LABEL)
    if concluded == "less":
        return f"Random boxes move predictions more than burned-in text does ({_looked_at(results)})."
    if concluded == "weak":
        return (
            f"Whether burned-in text matters is not clear: random boxes are too weak a control ({_looked_at(results)})."
        )
    if concluded == "predictions":
        masked, random = (percent(effect["changed"][name]) for name in ("tokens", "random"))
        what = f"changes {masked} of the predictions"
    else:
        masked, random = (number(effect["moved"][name]) for name in ("tokens", "random"))
        what = f"moves probabilities by {masked}"
    return f"Masking burned-in text {what}, masking random boxes {random} ({_looked_at(results)})."


_MEANINGS: dict[Conclusion, str] = {
    "predictions": "The tokens matter more than patches of their size",
    "probabilities": "The tokens matter more than patches of their size",
    "less": "No effect of the text is shown",
    "small": f"Text and random boxes differ by less than {100 * SMALLEST_EFFECT:g} %: too small to matter",
    "weak": "This does not show that the text matters",
    "nothing": "Text and random boxes do not differ significantly, so this does not show that the text matters",
}


def lead(results: MaskingNumbers) -> str:
    """Return what an experiment shows and what that means, to be read above the table of its figures."""
    if not results["n_tokens"]:
        return finding(results)
    first, of_findings = next(iter(results["modes"].values())), results.get("task") == MULTI_LABEL
    concluded = conclusion(first, of_findings)
    unless = ""
    if concluded == "predictions":
        unless = _unless(first["beyond_other"])
    elif concluded == "probabilities" and of_findings:
        unless = _unless(first["moved_beyond_other"])
    return " ".join([headline(results), f"{_MEANINGS[concluded]}{unless}.", *_warnings(results, first)])


def _warnings(results: MaskingNumbers, first: Effect) -> Iterator[str]:
    if first["beyond_random"]["low"] is None:
        yield TOO_FEW_PATIENTS
    if next(iter(results["modes"])) in MARKS and conclusion(first, results.get("task") == MULTI_LABEL) in CLAIMS:
        yield _OF_MARKS


def _sentences(results: MaskingNumbers) -> Iterator[str]:
    first = next(iter(results["modes"].values()))
    if results.get("task") == MULTI_LABEL:
        yield from _of_findings(results, first)
    else:
        yield from _of_predictions(results, first)
    yield from _warnings(results, first)
    yield from _of_match(first, results["n_with_text"])
    relevance = results.get("relevance")
    if relevance and relevance["n"]:
        inside, outside = (of["positive"]["gain"] for of in (relevance["tokens"], relevance["random"]))
        yield (
            f"Tokens hold {times(inside)} the positive relevance of their area, random boxes {times(outside)} "
            f"({relevance_of(relevance)})."
        )


def relevance_of(relevance: Relevance) -> str:
    """Return which X-rays the relevance in tokens is of: ``50 of the 120 X-rays with text, 41 patients``."""
    of = "" if "n_patients" not in relevance else f", {patients(relevance['n_patients'])}"
    return f"{relevance['n']:,} of the {relevance['of']:,} X-rays with text{of}"


def _of_predictions(results: Numbers, first: Effect) -> Iterator[str]:
    yield (
        f"{_masking(results)} changes {percent(first['changed']['tokens'])} of the predictions, random boxes of the "
        f"same sizes {percent(first['changed']['random'])}, boxes of other images {percent(first['changed']['other'])}."
    )
    yield _verdict(first, len(results["modes"]), _looked_at(results))
    difference = first["accuracy"]["tokens"]
    if difference["value"] is not None:
        before, after = (100 * _value(of["accuracy"]) for of in (results["before"], results["after"]))
        n, of = results["before"].get("n"), results["n_images"]
        labelled = xrays(n or of, results["before"].get("n_patients"), "image")
        labelled_part = (
            f" on {labelled}" if n in (None, of) else f" on the {labelled} whose label the network knows (of {of:,})"
        )
        yield (
            f"Accuracy{labelled_part} goes from {before:.1f} % to {after:.1f} % (difference {points(difference)}, "
            f"{_p(difference)})."
        )


def _masking(results: Numbers) -> str:
    with_text, of = results.get("n_patients_with_text"), results.get("n_patients")
    of_patients = "" if of is None or with_text is None else f" ({with_text:,} of {patients(of)})"
    on = f"{results['n_with_text']:,} of {results['n_images']:,} images{of_patients}"
    return f"Masking {results['n_tokens']:,} tokens on {on}"


def _looked_at(results: Numbers) -> str:
    """Return what a test is over: ``269 images of 210 patients``."""
    return xrays(results["n_images"], results.get("n_patients"), "image")


def _of_findings(results: Numbers, first: Effect) -> Iterator[str]:
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
    crossing = "at least one finding crosses" if n > 1 else "it crosses"
    yield (
        f"On {percent(first['changed']['tokens'])} of the {results['n_images']:,} images {crossing} "
        f"{threshold_in_words(results)}, under random boxes on {percent(first['changed']['random'])}."
    )
    difference = first["auc"]["tokens"]
    if difference["value"] is not None:
        before, after = (_value(summary["auc"]) for summary in (results["before"], results["after"]))
        measured = len(first["auc_by_finding"]["tokens"])
        mean = "Mean AUC" if n > 1 else "AUC"
        mean += f" of the {measured} findings that have one" if measured < n else ""
        before_masking = results["before"]
        of = xrays(before_masking.get("n", results["n_images"]), before_masking.get("n_patients"), "image")
        yield f"{mean} goes from {before:.3f} to {after:.3f} (difference {number(difference, signed=True)}), on {of}."


def threshold_in_words(results: Numbers) -> str:
    """Return what a finding crosses where it appears or disappears."""
    stated = set((results.get("thresholds") or {}).values()) - {THRESHOLD}
    return "the threshold that the network states" if stated else f"a probability of {THRESHOLD:g}"


def _verdict_of_findings(effect: Effect, n_modes: int, of: str) -> str:
    beyond = effect["moved_beyond_random"]
    p = f"{_p(beyond)}{_corrected(n_modes)}; {of}"
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
    return f"Text and random boxes do not differ significantly ({p}), so this does not show that the text matters."


def _corrected(n_modes: int) -> str:
    return f", corrected for {n_modes} mask modes" if n_modes > 1 else ""


def _unless(other: Comparison) -> str:
    agree = is_significant(other) and _value(other) > 0
    return "" if agree else f", though boxes of other images do not show it ({_p(other)})"


def _single_findings(effect: Effect, n_tests: int, of: str) -> str:
    names = standing_out(effect["findings"])
    over = f"p below {SIGNIFICANT:g}, Holm over {n_tests} tests; {of}"
    if not names:
        return f"No single finding moves farther than under random boxes ({over})."
    changes = effect["probability"]["tokens"]
    listed = ", ".join(f"{name} ({_value(changes[name]):+z.3f})" for name in names[:_MOST_NAMED])
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"Farther than under random boxes {'moves' if len(names) == 1 else 'move'} {listed}{more} ({over})."


def _verdict(effect: Effect, n_modes: int, of: str) -> str:
    """Say whether predictions, or at least probabilities, change more than under random boxes."""
    beyond, farther, far = effect["beyond_random"], effect["moved_beyond_random"], effect["moved"]
    p, p_moved = (f"{_p(entry)}{_corrected(n_modes)}; {of}" for entry in (beyond, farther))
    sizes = f"{_value(far['tokens']):.3f} on average, under random boxes by {_value(far['random']):.3f} ({p_moved})"
    kind, told_apart = conclusion(effect), is_significant(beyond)
    if kind == "predictions":
        agree = _unless(effect["beyond_other"])
        return f"The tokens matter more than patches of their size ({p}){agree}. Probabilities move by {sizes}."
    if kind == "probabilities":
        apart = f"Predictions alone do not differ significantly ({p}), but the network responds to the text"
        return f"{apart}: probabilities move by {sizes}."
    if kind == "nothing" or told_apart:
        return f"{_no_claim(kind, 'change', p)} Probabilities move by {sizes}."
    # What differs is how far probabilities move: its p is the one that counts.
    apart = f"Predictions alone do not differ significantly ({p}). Probabilities move by {sizes}."
    return f"{apart} {_no_claim(kind, 'move', p_moved)}"


def _value(estimate: Estimate) -> float:
    """Return the value of an estimate, NaN where there is none."""
    return math.nan if estimate["value"] is None else estimate["value"]


def _p(test: Comparison) -> str:
    """Return ``p = 0.012``, corrected."""
    p = test["p_holm"]
    return f"p = {math.nan if p is None else p:.2g}"


def _of_match(effect: Effect, n_with_text: int) -> Iterator[str]:
    """Say how much tokens and random boxes change the picture; nothing in results of an older version."""
    change = effect.get("match", {}).get("change")
    if change:
        yield (
            f"Masking the tokens changes the network's picture by {change['tokens']:.2f} grey levels (of 255) "
            f"on average, masking random boxes by {change['random']:.2f} "
            f"({xrays(n_with_text, noun='image')} with text)."
        )
