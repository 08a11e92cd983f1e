"""Convolutions of a sweep, and feature maps as rows of pixels.

Pictures are (n, c, h, w) or (n, t, c, h, w); rows are (n, t, pixels, c), row-major, so a dense block is one buffer,
"its first c channels" a view, and every convolution sees a channels-last picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cxr.explain.lrp.feature_maps import Parts


@dataclass(frozen=True)
class Convolve:
    """A convolution of stride 1 with its weights (out, in, k, k), called on channels-last pictures."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    padding: int

    def __call__(self, picture: torch.Tensor) -> torch.Tensor:
        """Return (n, out, h', w') of (n, in, h, w)."""
        return F.conv2d(picture, self.weight, self.bias, padding=self.padding)


@dataclass(frozen=True)
class Convolution:
    """Stacked rows of weights for the forward sweep, and their transposed selection for the backward sweep."""

    forward: Convolve
    backward: Convolve
    outputs: int
    minus_of: torch.Tensor | None

    def parts(self, z: torch.Tensor) -> Parts:
        """Return what the rows of z (n, t, p, rows) are: the value, and sums of positive and negative contributions."""
        o = self.outputs
        plus = z[..., o : 2 * o] if z.shape[-1] > o else None
        minus = z[..., 2 * o :] if z.shape[-1] > 2 * o else None
        return Parts(z[..., :o], plus, minus, self.minus_of)


@dataclass(frozen=True)
class StemKernels:
    """A convolution of the stem, its batch norm folded: ``weight`` S W, ``shift`` t; ``conv`` from the second on."""

    name: str
    weight: torch.Tensor
    shift: torch.Tensor
    conv: Convolution | None
    stride: tuple[int, int]
    padding: tuple[int, int]


def as_rows(picture: torch.Tensor, targets: int) -> torch.Tensor:
    """(n t, c, h, w) to (n, t, h w, c)."""
    n, c, h, w = picture.shape
    return picture.permute(0, 2, 3, 1).reshape(n // targets, targets, h * w, c)


def convolved(rows: torch.Tensor, convolve: Convolve, height: int) -> torch.Tensor:
    """Convolve (n, t, p, c) rows as pictures of ``height``; stride 1."""
    n, t, p, c = rows.shape
    rows = rows.to(convolve.weight.dtype)
    return as_rows(convolve(rows.reshape(n * t, height, p // height, c).permute(0, 3, 1, 2)), t)


def unpooled(rows: torch.Tensor, pooled: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """Repeat each pixel of (n, t, p, c) on the 2 x 2 it was pooled from; what was left out gets zero."""
    n, t, _, c = rows.shape
    (h, w), (height, width) = pooled, size
    spread = rows.view(n, t, h, 1, w, 1, c).expand(-1, -1, -1, 2, -1, 2, -1)
    if (2 * h, 2 * w) == size:
        return spread.reshape(n, t, height * width, c)
    whole = rows.new_zeros((n, t, height, width, c))
    whole[:, :, : 2 * h, : 2 * w] = spread.reshape(n, t, 2 * h, 2 * w, c)
    return whole.view(n, t, height * width, c)
