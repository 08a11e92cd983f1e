"""Which of the real X-rays the model of appearance learns from, which set its thresholds, and which only test it.

Whole patients, and groups of duplicates, are in one part. Every source that is not named here is for the test alone.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from cxr.data.splits import connected_groups

SHARES = {"nih": (0.6, 0.2), "cohen": (0.4, 0.2)}
"""By source the shares of patients that are learned from, and that set thresholds; the rest tests."""


def parts(table: pd.DataFrame) -> np.ndarray:
    """Return ``train``, ``thresholds`` or ``test`` for each row (N,) of a table with source, patient and duplicates."""
    groups = connected_groups(table.fillna({"patient_id": "", "dup_group": ""}), ["patient_id", "dup_group"])
    first = table.groupby(groups)["patient_id"].transform("min")
    return np.array([_part(str(source), str(name)) for source, name in zip(table["source"], first, strict=True)])


def _part(source: str, group: str) -> str:
    train, thresholds = SHARES.get(source, (0.0, 0.0))
    place = int.from_bytes(hashlib.blake2b(group.encode(), digest_size=8).digest(), "big") / 2**64
    return "train" if place < train else "thresholds" if place < train + thresholds else "test"
