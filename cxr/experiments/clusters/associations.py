"""How clusters go with what the data say of their X-rays: class, source, view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cxr.data.audit.contingency import cramers_v, permutation_test
from cxr.evaluation.tests import holm
from cxr.experiments.clusters.groups.structure import SIGNIFICANT
from cxr.experiments.clusters.results import Association
from cxr.formatting import p_value

COLUMNS = ("label", "source", "view")
_NOUNS = {"label": "class", "source": "source", "view": "view"}


def associations(table: pd.DataFrame, labels: np.ndarray, n_tests: int, seed: int) -> list[Association]:
    """Return for each column how it goes with the clusters (N,) of independent X-rays, p not yet corrected.

    Parameters
    ----------
    table
        (N,) rows with :data:`COLUMNS`; "" is unknown and does not count.
    n_tests
        How many p values are corrected together.
    """
    entries = []
    for column in COLUMNS:
        values = table[column].to_numpy(dtype=object)
        known = np.array([value != "" for value in values], bool)
        counts = pd.crosstab(values[known], labels[known]).to_numpy() if known.any() else np.zeros((0, 0), np.int64)
        tested = permutation_test(counts, n_tests, seed) if counts.size else None
        entries.append(
            Association(
                column=column,
                values=len(counts),
                v=cramers_v(counts) if counts.size else None,
                p=tested[0] if tested else None,
                p_corrected=None,
                shown=False,
                sentence="",
            )
        )
    return entries


def corrected(entries: Sequence[Association]) -> None:
    """Correct the p values of all entries together, and say in a sentence what is shown."""
    for entry, p in zip(entries, holm([entry["p"] for entry in entries]), strict=True):
        entry["p_corrected"] = p
        entry["shown"] = p is not None and p < SIGNIFICANT
        v = "" if entry["v"] is None else f"Cramer's V {entry['v']:.2f}, "
        if entry["shown"]:
            noun = _NOUNS[entry["column"]]
            entry["sentence"] = f"The clusters go with the {noun} ({v}corrected p {p_value(p)})."


def counts_of(values: pd.Series) -> dict[str, int]:
    """Return how often each value occurs, the most frequent first; "" is ``unknown``."""
    counts = values.where(values != "", "unknown").value_counts(sort=True)
    return {str(name): int(n) for name, n in counts.items()}
