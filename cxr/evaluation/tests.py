"""Tests: p values corrected for several questions."""

from __future__ import annotations

from collections.abc import Sequence


def holm(ps: Sequence[float | None]) -> list[float | None]:
    """Return the p values corrected for their number (Holm 1979); None stays None and does not count."""
    sorted_p = sorted((p, k) for k, p in enumerate(ps) if p is not None)
    corrected: list[float | None] = [None] * len(ps)
    least = 0.0
    for rank, (p, k) in enumerate(sorted_p):
        least = max(least, min(1.0, p * (len(sorted_p) - rank)))
        corrected[k] = least
    return corrected
