"""The numbers of a text experiment, as ``results.json`` holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cxr.evaluation.metrics import patients_of, probabilities, summarise
from cxr.evaluation.multilabel import THRESHOLD, summarise_findings
from cxr.evaluation.results import Summary
from cxr.experiments.masking.effects import (
    Answers,
    beyond_control,
    effects,
    moved,
    paired_means,
    paired_shares,
)
from cxr.experiments.masking.effects_by_finding import effects_by_finding
from cxr.experiments.masking.shapes import (
    ChangedClassRow,
    ChangedFindingsRow,
    GroupRow,
    LeftInRow,
    Match,
    Numbers,
)
from cxr.experiments.masking.shrinkage import shrunken_means
from cxr.text.corrections import FileTokens

if TYPE_CHECKING:
    from cxr.experiments.masking.predictions import LeftIn

SMALLEST_GROUP = 5  # images; of fewer no interval says anything


def results_of(
    table: pd.DataFrame,
    answers: Answers,
    left_in_answers: Mapping[str, LeftIn],
    classes: Sequence[str],
    file_tokens: Mapping[str, FileTokens],
    seed: int = 0,
    thresholds: Mapping[str, float] | None = None,
    match: Mapping[str, Match] | None = None,
) -> Numbers:
    """Return the numbers of an experiment.

    Parameters
    ----------
    table
        ``predictions.parquet``: one row per image in the order of ``answers``.
    left_in_answers
        Answers with some tokens left in, by ``kind:<kind>`` or ``word:<word>``.
    file_tokens
        Tokens by image id.
    thresholds
        Of several findings, the probability above which each is said to be there; 0.5 for those without one.
    match
        How well the controls match the tokens, by mask mode (``ConditionPredictions.match``).

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
    kinds = pd.Series([box.kind for of in file_tokens.values() for box in of.boxes], dtype=str).value_counts()
    modes = (effects_by_finding if answers.multi_label else effects)(answers, classes, seed)
    for mode, of in (match or {}).items():
        modes[mode]["match"] = of

    def summary(condition: str) -> Summary:
        return _summary(condition_table(table, condition), answers, limits, seed)

    numbers: Numbers = {
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
        "modes": modes,
        "left_in": left_in(answers, left_in_answers, classes, seed),
        "groups": by_group(table, answers, classes, seed),
        "changed": _changed_findings(table, limits) if answers.multi_label else _changed(table),
        "before": summary("before"),
        "after": summary("after"),
        "control": summary("control"),
    }
    if answers.multi_label:
        numbers["thresholds"] = limits
    return numbers


def _summary(table: pd.DataFrame, answers: Answers, limits: Mapping[str, float], seed: int) -> Summary:
    if not answers.multi_label:
        return summarise(table, list(limits), seed=seed)
    chances = table[[f"prob_{name}" for name in limits]].to_numpy(np.float64)
    return summarise_findings(answers.truth, chances, list(limits), answers.patients, limits, seed=seed)


def condition_table(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    """Return the table of one condition in the form of plain predictions (``predicted``, ``logit_<class>``, ...)."""
    ending = f"_{condition}"
    own = ("changed", "moved")
    columns = {c: c.removesuffix(ending) for c in table.columns if c.endswith(ending) and not c.startswith(own)}
    facts = ["image_id", "split", "label", *(["findings"] if "findings" in table else []), "patient_id", "source"]
    return table[[*facts, *columns]].rename(columns=columns)


def _changed(table: pd.DataFrame) -> list[ChangedClassRow]:
    columns = ["image_id", "label", "predicted_before", "predicted_after", "predicted_control", "n_boxes"]
    changed = table.loc[table["changed"], [*columns, "confidence_before"]]
    rows: list[ChangedClassRow] = changed.sort_values("confidence_before", ascending=False)[columns].to_dict("records")
    return rows


def _changed_findings(table: pd.DataFrame, limits: Mapping[str, float]) -> list[ChangedFindingsRow]:
    changed = table[table["changed"]].sort_values("moved", ascending=False)
    rows: list[ChangedFindingsRow] = []
    for row in changed.to_dict("records"):
        pairs = {name: (row[f"prob_{name}_before"], row[f"prob_{name}_after"]) for name in limits}
        rows.append(
            {
                "image_id": row["image_id"],
                "findings": row["findings"],
                "n_boxes": row["n_boxes"],
                "appears": [name for name, (before, after) in pairs.items() if before <= limits[name] < after],
                "disappears": [name for name, (before, after) in pairs.items() if after <= limits[name] < before],
            }
        )
    return rows


def left_in(
    answers: Answers, left_in_answers: Mapping[str, LeftIn], classes: Sequence[str], seed: int = 0
) -> list[LeftInRow]:
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
    measured: list[LeftInRow] = []
    distances: list[tuple[np.ndarray, list[str]]] = []
    for name, answer in left_in_answers.items():
        group, token = name.split(":", 1)
        without, patients = masked[answer.rows], [answers.patients[row] for row in answer.rows]
        change = probabilities(answer.logits, answers.task) - probabilities(without, answers.task)
        distance = moved(without, answer.logits[None], answers.task)
        distances.append((distance, patients))
        shares = {"changed": answers.differ(without, answer.logits), "moved": distance}
        means = paired_shares(shares, patients, seed)
        gains = change.mean(0)
        most = int((np.abs(gains) if answers.multi_label else gains).argmax())
        measured.append(
            {
                "group": group,
                "token": token,
                "n_images": len(answer.rows),
                "n_tokens": answer.n_tokens,
                "changed": means["changed"],
                "moved": means["moved"],
                "probability": paired_means({c: change[:, k] for k, c in enumerate(classes)}, patients, seed),
                "towards": classes[most] if gains.any() else None,
                "shrunken": None,
            }
        )
    for group in ("kind", "word"):
        of = [k for k, row in enumerate(measured) if row["group"] == group]
        drawn = shrunken_means([distances[k][0] for k in of], [distances[k][1] for k in of])
        for k, entry in zip(of, drawn, strict=True):
            measured[k]["shrunken"] = entry
    return sorted(measured, key=_largest_first)


def _largest_first(row: LeftInRow) -> tuple[bool, float, str, str]:
    shrunken = row.get("shrunken")
    size = row["moved"]["value"] if shrunken is None else shrunken["value"]
    return shrunken is None, -(size or 0.0), row["group"], row["token"]


def by_group(table: pd.DataFrame, answers: Answers, classes: Sequence[str] = (), seed: int = 0) -> list[GroupRow]:
    """Return the leading mode's effect within each class (of several findings: finding) and source of 5 images or more.

    Returns
    -------
    Rows of ``by`` ("label", "finding" or "source"), ``group``, ``n_images``, ``n_with_text``; ``changed`` and ``moved``
    for ``tokens`` and ``random`` and ``beyond_random`` (with ``p``, not corrected: these rows are for looking, not
    proof).
    """
    mode = next(iter(answers.tokens))
    rows: list[GroupRow] = []
    for by, group, chosen in _groups(table, answers, classes):
        if chosen.sum() < SMALLEST_GROUP:
            continue
        group_answers = answers.only(chosen)
        draws = {name: group_answers.under(mode)[name] for name in ("tokens", "random")}
        changed = {name: group_answers.changed(logits) for name, logits in draws.items()}
        distance = {name: moved(group_answers.before, logits, group_answers.task) for name, logits in draws.items()}
        rows.append(
            {
                "by": by,
                "group": group,
                "n_images": int(chosen.sum()),
                "n_with_text": int((table["n_boxes"].to_numpy()[chosen] > 0).sum()),
                "changed": paired_shares(changed, group_answers.patients, seed),
                "moved": paired_shares(distance, group_answers.patients, seed),
                "beyond_random": beyond_control(changed["tokens"] - changed["random"], group_answers.patients, seed),
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
