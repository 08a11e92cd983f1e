"""Random changes of X-rays, vectorised over a batch and repeatable from a generator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from cxr.training.data.augment import Augment

_PADDINGS = {"reflection": "reflection", "edge": "border", "black": "zeros"}  # torch's names


def transformed(settings: Augment, batch: Tensor, generator: torch.Generator, first: int, batch_size: int) -> Tensor:
    """Return changed copies of ``batch``; see :meth:`cxr.training.data.augment.Augment.__call__`."""
    draws = _Draws(batch, generator, first, batch_size)
    out = _move(settings, batch, draws)
    out = _shade(settings, out, draws)
    return out if out is batch else out.clamp_(0, 1)


def _move(settings: Augment, batch: Tensor, draws: _Draws) -> Tensor:
    """Turn, zoom, shear, shift and mirror in one resampling; beyond the frame lies what ``padding`` says."""
    if not (settings.rotate or settings.translate or settings.scale or settings.shear or settings.hflip):
        return batch
    n, _, height, width = batch.shape
    angle = draws.uniform(math.radians(settings.rotate))
    shear = torch.tan(draws.uniform(math.radians(settings.shear)))
    zoom = 1 / (1 + draws.uniform(settings.scale))
    shift_x, shift_y = (2 * draws.uniform(settings.translate) for _ in range(2))
    mirror = 1 - 2 * draws.coin() if settings.hflip else torch.ones_like(zoom)
    cos, sin, aspect = zoom * torch.cos(angle), zoom * torch.sin(angle), height / width
    # The inverse map: where in the original each pixel comes from, in coordinates from -1 to 1.
    from_x = mirror * cos, mirror * (shear * cos - sin * aspect), shift_x
    from_y = sin / aspect, shear * sin / aspect + cos, shift_y
    # Outer sums: F.affine_grid multiplies matrices for the same numbers and takes three times as long as sampling.
    x, y = _centres(width, batch), _centres(height, batch)[:, None]
    grid = batch.new_empty(n, height, width, 2)
    for axis, (by_x, by_y, shift) in enumerate((from_x, from_y)):
        along, down = by_x.view(-1, 1, 1) * x, by_y.view(-1, 1, 1) * y + shift.view(-1, 1, 1)
        torch.add(along, down, out=grid[..., axis])
    return F.grid_sample(batch, grid, mode="bilinear", padding_mode=_PADDINGS[settings.padding], align_corners=False)


def _shade(settings: Augment, batch: Tensor, draws: _Draws) -> Tensor:
    """Change gamma, contrast and brightness, then add noise."""
    out = batch
    if settings.gamma:
        power = torch.exp(draws.uniform(math.log1p(settings.gamma)))
        out = out.clamp(0, 1).pow_(power.view(-1, 1, 1, 1))
    if settings.contrast:
        factor = 1 + draws.uniform(settings.contrast).view(-1, 1, 1, 1)
        mean = out.mean(dim=(1, 2, 3), keepdim=True)
        out = (out * factor).add_(mean * (1 - factor))
    if settings.brightness:
        out = out + draws.uniform(settings.brightness).view(-1, 1, 1, 1)
    if settings.noise:
        deviation = draws.uniform(settings.noise).abs().view(-1, 1, 1, 1)
        out = torch.addcmul(out, draws.grain(), deviation)
    return out


def _centres(pixels: int, like: Tensor) -> Tensor:
    """Return the middles of ``pixels`` pixels between -1 and 1."""
    return (2 * torch.arange(pixels, dtype=like.dtype, device=like.device) + 1) / pixels - 1


@dataclass(frozen=True)
class _Draws:
    """Random numbers for images ``first`` to ``first + N`` of a batch, in the type and on the device of ``like``."""

    like: Tensor
    generator: torch.Generator
    first: int
    batch_size: int

    def uniform(self, limit: float) -> Tensor:
        """Return (N,) numbers between -limit and limit; none are drawn for a limit of 0."""
        if not limit:
            return torch.zeros(len(self.like), dtype=self.like.dtype, device=self.like.device)
        return self._of_this_part((2 * self._rand() - 1) * limit)

    def coin(self) -> Tensor:
        """Return (N,) zeros and ones."""
        return self._of_this_part((self._rand() < 0.5).float())

    def grain(self) -> Tensor:
        """Return Gaussian noise of the batch's shape."""
        shape = (self.batch_size, *self.like.shape[1:])
        return self._of_this_part(torch.randn(shape, generator=self.generator, device=self.generator.device))

    def _rand(self) -> Tensor:
        return torch.rand(self.batch_size, generator=self.generator, device=self.generator.device)

    def _of_this_part(self, values: Tensor) -> Tensor:
        return values[self.first : self.first + len(self.like)].to(self.like)
