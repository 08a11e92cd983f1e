"""Numbers of a table as logits and probabilities: which of both they are, and whether they can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr.data.tables.text_table import one_text
from cxr.evaluation.metrics import probabilities
from cxr.evaluation.tables.columns import shown, wrong
from cxr.models.card import MULTI_LABEL

ROUNDING = 0.02
"""Sums of probabilities may differ from 1 by this much, as those of rounded numbers do."""
_LEAST = 1e-12  # a probability of 0 has no logarithm


@dataclass(frozen=True)
class Scores:
    """Predictions (N, K): logits and probabilities, what the table held (``scale``), and what was decided, in words."""

    logits: np.ndarray
    chances: np.ndarray
    scale: str
    note: str


def numbers_of(table: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """Return columns as numbers (N, K).

    Raises
    ------
    ManifestError
        For a value that is no finite number, with its row and column.
    """
    values = np.column_stack([pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64) for name in columns])
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        row, k = bad[0]
        text = one_text(table[columns[k]].iloc[row])
        more = f" ({len(bad):,} values are like that)" if len(bad) > 1 else ""
        raise wrong(
            f"row {table.index[row] + 1}, column {columns[k]!r}: {text!r} is not a finite number{more}. Accepted: a "
            "probability or a logit in every row"
        )
    return values


def scores_of(values: np.ndarray, rows: Sequence[int], columns: Sequence[str], task: str, scale: str) -> Scores:
    """Return numbers (N, K) as logits and probabilities.

    A single column of a single-label task is that of the positive class: the other one gets the rest.

    Parameters
    ----------
    rows
        (N,) the number of each row in its table, from 1, for errors.
    scale
        ``probabilities``, ``logits``, or ``auto``: probabilities where all values lie in [0, 1].

    Raises
    ------
    ManifestError
        For probabilities outside [0, 1], or that do not sum to 1 where the classes exclude each other.
    """
    outside = np.argwhere((values < 0) | (values > 1))
    held = scale if scale != "auto" else "logits" if len(outside) else "probabilities"
    if held == "probabilities" and len(outside):
        row, k = outside[0]
        raise wrong(
            f"row {rows[row]}, column {columns[k]!r}: {values[row, k]:g} is not a probability. Accepted: 0 to 1, or "
            "`--scale logits`"
        )
    exclusive = task != MULTI_LABEL
    if held == "logits":
        if scale == "auto" and exclusive:
            _refuse_percentages(values, rows)
        logits = np.column_stack([np.zeros(len(values)), values]) if exclusive and values.shape[1] == 1 else values
        note = "outside 0 to 1, so they are taken as logits" if scale == "auto" else "taken as logits, as requested"
        return Scores(logits, probabilities(logits, task), held, f"Values of {shown(columns)}: {note}.")
    words = "all within 0 to 1" if scale == "auto" else "requested"
    note = f"Values of {shown(columns)}: taken as probabilities ({words})."
    if not exclusive:
        kept = np.clip(values, _LEAST, 1 - 1e-15)
        return Scores(np.log(kept) - np.log1p(-kept), values, held, note)
    chances = np.column_stack([1 - values, values]) if values.shape[1] == 1 else values
    sums = chances.sum(1)
    far = np.flatnonzero(np.abs(sums - 1) > ROUNDING)
    if len(far):
        raise wrong(_not_one(chances, sums, far, rows, columns))
    if (np.abs(sums - 1) > 1e-6).any():
        note += f" Their sums differ from 1 by up to {np.abs(sums - 1).max():.2g}; each row was divided by its sum."
        chances = chances / sums[:, None]
    return Scores(np.log(np.maximum(chances, _LEAST)), chances, held, note)


def _not_one(
    chances: np.ndarray, sums: np.ndarray, far: np.ndarray, rows: Sequence[int], columns: Sequence[str]
) -> str:
    row = far[0]
    values = " + ".join(f"{value:.3g}" for value in chances[row][:6]) + (" + ..." if chances.shape[1] > 6 else "")
    return (
        f"row {rows[row]}: the probabilities of {shown(columns)} sum to {sums[row]:.3g}, not 1 ({values}; {len(far)} "
        f"of {len(sums):,} rows). Accepted: sums within {ROUNDING:g} of 1; `--scale logits`; `--task multi-label` for "
        "findings that do not exclude each other"
    )


def _refuse_percentages(values: np.ndarray, rows: Sequence[int]) -> None:
    sums = values.sum(1)
    if values.shape[1] > 1 and values.min() >= 0 and np.allclose(sums, 100, atol=100 * ROUNDING):
        raise wrong(
            f"row {rows[0]}: the values sum to {sums[0]:.4g}: they look like per cent. Accepted: probabilities from 0 "
            "to 1 (divide by 100), or `--scale logits`"
        )
