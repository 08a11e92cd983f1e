"""The numbers of a text experiment and the sentences that say what they mean, as ``results.json`` holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxr.evaluation.metrics import softmax, summarise
from cxr.evaluation.words import percent, points, times
from cxr.text.effects import Answers, beyond_control, effects, moved, paired_means, paired_shares
from cxr.text.review import FileTokens

if TYPE_CHECKING:
    from cxr.text.asking import Kept

SIGNIFICANT = 0.05
SMALLEST_GROUP = 5  # images; of fewer no interval says anything
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

    Returns
    -------
    ``n_images``, ``n_with_text``, ``n_reviewed``, ``n_tokens``, ``tokens_by_kind``, ``masked_share_mean`` (over images
    with text); ``before``, ``after``, ``control`` as :func:`cxr.evaluation.metrics.summarise` in the leading mode;
    ``modes`` as :func:`cxr.text.effects.effects`; ``left_in``, a row per kind and word (:func:`left_in`); ``groups``,
    a row per class and source (:func:`by_group`); ``n_changed`` and ``n_changed_control`` (leading mode, first draw);
    ``changed``, the images whose prediction changes.
    """
    with_text = table[table["n_boxes"] > 0]
    kinds = pd.Series([box.kind for of in found.values() for box in of.boxes], dtype=str).value_counts()
    values: dict[str, Any] = {
        "classes": list(classes),
        "n_images": len(table),
        "n_with_text": len(with_text),
        "n_reviewed": int(table["reviewed"].sum()),
        "n_tokens": int(table["n_boxes"].sum()),
        "tokens_by_kind": {str(kind): int(n) for kind, n in kinds.items()},
        "masked_share_mean": float(with_text["masked_share"].mean()) if len(with_text) else 0.0,
        "n_changed": int(table["changed"].sum()),
        "n_changed_control": int(table["changed_control"].sum()),
        "modes": effects(answers, classes, seed),
        "left_in": left_in(answers, kept, classes, seed),
        "groups": by_group(table, answers, seed),
        "changed": _changed(table),
    }
    return Results(values | {name: summarise(condition_table(table, name), classes, seed=seed) for name in _SHOWN})


def condition_table(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    """Return the table of one condition in the form of plain predictions (``predicted``, ``logit_<class>``, ...)."""
    ending = f"_{condition}"
    own = ("changed", "moved")
    mine = {c: c.removesuffix(ending) for c in table.columns if c.endswith(ending) and not c.startswith(own)}
    return table[["image_id", "split", "label", "patient_id", "source", *mine]].rename(columns=mine)


def _changed(table: pd.DataFrame) -> list[dict[str, Any]]:
    columns = ["image_id", "label", "predicted_before", "predicted_after", "predicted_control", "n_boxes"]
    changed = table.loc[table["changed"], [*columns, "confidence_before"]]
    return changed.sort_values("confidence_before", ascending=False)[columns].to_dict("records")


def left_in(answers: Answers, kept: Mapping[str, Kept], classes: Sequence[str], seed: int = 0) -> list[dict[str, Any]]:
    """Return what each kind of token and each frequent word does by itself, those that change most first.

    All tokens masked is compared with all but these: the leading mode's answers on the images that carry them.

    Returns
    -------
    Rows of ``group`` ("kind" or "word"), ``token``, ``n_images``, ``n_tokens``; ``changed`` (share of the predictions
    that these tokens turn) and ``moved`` as ``{value, low, high}``; ``probability``, by class the mean change that
    leaving them in makes; ``towards``, the class that gains most, None where nothing moves.
    """
    masked = next(iter(answers.tokens.values()))
    rows = []
    for name, one in kept.items():
        group, token = name.split(":", 1)
        without, patients = masked[one.rows], [answers.patients[row] for row in one.rows]
        change = softmax(one.logits) - softmax(without)
        turned = paired_shares({"changed": without.argmax(1) != one.logits.argmax(1)}, patients, seed)
        columns: dict[Any, np.ndarray] = {"moved": moved(without, one.logits[None])}
        columns |= {(c,): change[:, k] for k, c in enumerate(classes)}
        means = turned | paired_means(columns, patients, seed)
        gains = change.mean(0)
        rows.append(
            {
                "group": group,
                "token": token,
                "n_images": len(one.rows),
                "n_tokens": one.n_tokens,
                "changed": means["changed"],
                "moved": means["moved"],
                "probability": {c: means[c,] for c in classes},
                "towards": classes[int(gains.argmax())] if gains.any() else None,
            }
        )
    return sorted(rows, key=lambda row: (-row["moved"]["value"], row["group"], row["token"]))


def by_group(table: pd.DataFrame, answers: Answers, seed: int = 0) -> list[dict[str, Any]]:
    """Return the leading mode's effect within each class and each source of at least 5 images.

    Returns
    -------
    Rows of ``by`` ("label" or "source"), ``group``, ``n_images``, ``n_with_text``; ``changed`` and ``moved`` for
    ``tokens`` and ``random`` and ``beyond_random`` (with ``p``, not corrected: these rows are for looking, not proof).
    """
    mode = next(iter(answers.tokens))
    rows = []
    for by in ("label", "source"):
        values = table[by].fillna("").astype(str).to_numpy()
        for group in sorted(set(values) - {""}):
            chosen = values == group
            if chosen.sum() < SMALLEST_GROUP:
                continue
            mine = answers.only(chosen)
            before, draws = mine.before.argmax(1), {"tokens": mine.tokens[mode][None], "random": mine.random[mode]}
            changed = {name: (logits.argmax(2) != before).mean(0) for name, logits in draws.items()}
            distance = {name: moved(mine.before, logits) for name, logits in draws.items()}
            rows.append(
                {
                    "by": by,
                    "group": group,
                    "n_images": int(chosen.sum()),
                    "n_with_text": int((table["n_boxes"].to_numpy()[chosen] > 0).sum()),
                    "changed": paired_shares(changed, mine.patients, seed),
                    "moved": paired_means(distance, mine.patients, seed),
                    "beyond_random": beyond_control(changed["tokens"] - changed["random"], mine.patients, seed),
                }
            )
    return rows


# --- in words ------------------------------------------------------------------------------------------------------


def finding(results: Mapping[str, Any]) -> str:
    """Return the result in plain sentences with its uncertainty."""
    if not results["n_tokens"]:
        return f"No text was found on the {results['n_images']} images, so there is nothing to mask."
    return " ".join(_sentences(results))


def _sentences(results: Mapping[str, Any]) -> Iterator[str]:
    modes = results["modes"]
    first = next(iter(modes.values()))
    yield (
        f"Masking {results['n_tokens']} tokens on {results['n_with_text']} of {results['n_images']} images changes "
        f"{percent(first['changed']['tokens'])} of the predictions, random boxes of the same sizes "
        f"{percent(first['changed']['random'])}, boxes of other images {percent(first['changed']['other'])}."
    )
    yield _verdict(first, len(modes))
    difference = first["accuracy"]["tokens"]
    if difference["value"] is not None:
        before, after = (100 * results[name]["accuracy"]["value"] for name in ("before", "after"))
        yield (
            f"Accuracy goes from {before:.1f} % to {after:.1f} % (difference {points(difference)}, "
            f"McNemar p = {difference['p_holm']:.2g})."
        )
    relevance = results.get("relevance") or {}
    if relevance.get("n"):
        inside, outside = (relevance[name]["positive"]["gain"] for name in ("tokens", "random"))
        yield f"Tokens hold {times(inside)} the positive relevance of their area, random boxes {times(outside)}."


def _verdict(effect: Mapping[str, Any], n_modes: int) -> str:
    """Say whether predictions, or at least probabilities, change more than under random boxes."""
    beyond, farther, far = effect["beyond_random"], effect["moved_beyond_random"], effect["moved"]
    corrected = f", corrected for {n_modes} mask modes" if n_modes > 1 else ""
    p = f"p = {beyond['p_holm']:.2g}{corrected}"
    moves = (
        f"robabilities move by {far['tokens']['value']:.3f} on average, under random boxes by "
        f"{far['random']['value']:.3f} (p = {farther['p_holm']:.2g})"
    )
    if beyond["p_holm"] < SIGNIFICANT:
        if beyond["value"] > 0:
            other = effect["beyond_other"]
            agree = "" if other["p_holm"] < SIGNIFICANT and other["value"] > 0 else _UNLESS.format(other["p_holm"])
            return f"The tokens matter more than patches of their size ({p}){agree}. P{moves}."
        less = "the text matters less than what lies elsewhere"
        return f"Random boxes change more than the tokens do ({p}): {less}. P{moves}."
    if farther["p_holm"] < SIGNIFICANT and farther["value"] > 0:
        return f"Predictions alone cannot be told apart ({p}), but the network answers to the text: p{moves}."
    return f"The two cannot be told apart ({p}), so this does not show that the text matters. P{moves}."


_UNLESS = ", though boxes of other images do not show it (p = {:.2g})"
