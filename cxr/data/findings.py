"""Findings of an X-ray, several in one text: ``Effusion|Mass``, ``No Finding`` for none of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

NO_FINDING = "No Finding"
UNCERTAIN = "?"  # before the name of a finding: it may be there or not


def finding_names(text: str) -> list[str]:
    """Return the names in a text of findings, which ``|`` separates."""
    return [name.strip() for name in text.split("|") if name.strip()]


def finding_targets(findings: Iterable[str], classes: Sequence[str]) -> np.ndarray:
    """Return (N, K) of 1 (the image has the finding) and 0, NaN where that is unknown.

    Unknown are all findings of an image without any text, and those that stand behind a ``?``.
    """
    targets = [_targets_of(finding_names(text), classes) for text in findings]
    return np.array(targets, np.float64).reshape(-1, len(classes))


def _targets_of(names: Sequence[str], classes: Sequence[str]) -> list[float]:
    if not names:
        return [np.nan] * len(classes)
    return [np.nan if f"{UNCERTAIN}{name}" in names else float(name in names) for name in classes]
