"""Denominators: exact zeros pass nothing on, small ones are left as they are."""

from __future__ import annotations

from collections.abc import Callable

import torch

TINY = {torch.float64: 1e-200, torch.float32: 1e-30, torch.bfloat16: 1e-30}
"""What counts as zero in a denominator. Sums of terms of one sign do not cancel: whatever is larger is exact."""


def inverse(values: torch.Tensor) -> torch.Tensor:
    """Return 1 / values, 0 where a value is zero (below :data:`TINY`)."""
    return torch.where(values.abs() > TINY[values.dtype], values, torch.inf).reciprocal_()


def divided(relevance: torch.Tensor, sums: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor | float]:
    """Return relevance over contributions, and what is lost where there are none; (n, t, p, c) and (n, t)."""
    if sums is None:
        return torch.zeros_like(relevance), total(relevance)
    nothing = sums.abs() <= TINY[sums.dtype]
    if not bool(nothing.any()):
        return relevance / sums, 0.0
    return relevance * inverse(sums), total(torch.where(nothing, relevance, 0))


def total(values: torch.Tensor) -> torch.Tensor:
    """Sum over pixels and channels, (n, t, p, c) to (n, t), in float64."""
    return values.sum(dim=(2, 3), dtype=torch.float64)


def exact_division(z: torch.Tensor) -> torch.Tensor:
    """Return denominators as they are, infinity for those that are zero, so that nothing passes there.

    Below 1e8 times the smallest normal number of its type (1e-30 in float32) a quotient could overflow: that is zero.
    zennit's rules take it as their stabiliser.
    """
    return torch.where(z.abs() > 1e8 * torch.finfo(z.dtype).tiny, z, torch.inf)


def stabilised(epsilon: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return z -> z + epsilon sgn(z), infinity at zero."""
    return lambda z: exact_division(z + epsilon * z.sign())
