"""Patients drawn with replacement (the bootstrap), as numbers of times that each is drawn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

CHUNK = 100
"""As many draws at once: 25,000 patients take 10 MB."""


def draws_of(n_patients: int, n_draws: int, seed: int = 0, chunk: int = CHUNK) -> Iterator[np.ndarray]:
    """Yield how often each patient is drawn, float32 (P, C) with C <= ``chunk``, ``n_draws`` columns in all.

    Every column sums to P. A patient's row is contiguous, so that rows are picked and added up fast.
    """
    rng = np.random.default_rng(seed)
    for start in range(0, n_draws, chunk):
        columns = min(chunk, n_draws - start)
        drawn = rng.integers(0, n_patients, (n_patients, columns), dtype=np.int32)
        drawn *= columns
        drawn += np.arange(columns, dtype=np.int32)
        counts = np.bincount(drawn.ravel(), minlength=n_patients * columns)
        yield counts.reshape(n_patients, columns).astype(np.float32)
