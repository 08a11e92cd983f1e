"""Random changes of X-rays during training, vectorised over a batch and repeatable from a generator."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

_PADDINGS = {"reflection": "reflection", "edge": "border", "black": "zeros"}  # torch's names


class Augment(BaseModel):
    """Ranges of the changes; every value is drawn per image and uniformly, 0 switches a change off.

    There is no vertical flip: an X-ray upside down does not occur, and gas and fluid levels would tell it at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotate: float = Field(default=0.0, ge=0, le=45, description="turn by up to this many degrees either way")
    translate: float = Field(default=0.0, ge=0, le=0.5, description="move by up to this share of the side")
    scale: float = Field(default=0.0, ge=0, le=0.5, description="zoom by a factor of 1 - scale to 1 + scale")
    shear: float = Field(default=0.0, ge=0, le=30, description="shear sideways by up to this many degrees")
    brightness: float = Field(default=0.0, ge=0, le=0.5, description="add up to this, black is 0 and white is 1")
    contrast: float = Field(default=0.0, ge=0, le=0.9, description="multiply the distance from the image's mean")
    gamma: float = Field(default=0.0, ge=0, le=0.9, description="raise to a power of 1 / (1 + gamma) to 1 + gamma")
    noise: float = Field(default=0.0, ge=0, le=0.25, description="add Gaussian noise of up to this deviation")
    hflip: bool = Field(
        default=False,
        description="mirror half of the images. Off by default because of laterality: a mirrored chest has its heart "
        "on the right (as in dextrocardia) and its L and R markers reversed, and lobes and sides are findings",
    )
    padding: Literal["reflection", "edge", "black"] = Field(
        default="reflection",
        description="what stands where a turned, moved or shrunken image leaves the frame empty: the image mirrored at "
        "its rim, the rim's pixels drawn out, or black, which makes borders that no X-ray has and a network may learn",
    )

    def __call__(
        self, batch: Tensor, generator: torch.Generator, *, first: int = 0, whole: int | None = None
    ) -> Tensor:
        """Return changed copies of ``batch`` (N, 1, H, W), floating point in [0, 1].

        All random numbers come from ``generator``, which must be on the CPU or on the batch's device; on the CPU the
        same state gives the same pixels. Changes that are off draw nothing. With all off, the batch itself returns.

        Parameters
        ----------
        first, whole
            The batch is images ``first`` to ``first + N`` of a batch of ``whole`` images and is changed as it would
            be there, so that a batch may be computed in parts.
        """
        draws = _Draws(batch, generator, first, len(batch) if whole is None else whole)
        out = self._move(batch, draws)
        out = self._shade(out, draws)
        return out if out is batch else out.clamp_(0, 1)

    def _move(self, batch: Tensor, draws: _Draws) -> Tensor:
        """Turn, zoom, shear, shift and mirror in one resampling; beyond the frame lies what ``padding`` says."""
        if not (self.rotate or self.translate or self.scale or self.shear or self.hflip):
            return batch
        n, _, height, width = batch.shape
        angle = draws.uniform(math.radians(self.rotate))
        shear = torch.tan(draws.uniform(math.radians(self.shear)))
        zoom = 1 / (1 + draws.uniform(self.scale))
        shift_x, shift_y = (2 * draws.uniform(self.translate) for _ in range(2))
        mirror = 1 - 2 * draws.coin() if self.hflip else torch.ones_like(zoom)
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
        return F.grid_sample(batch, grid, mode="bilinear", padding_mode=_PADDINGS[self.padding], align_corners=False)

    def _shade(self, batch: Tensor, draws: _Draws) -> Tensor:
        """Change gamma, contrast and brightness, then add noise."""
        out = batch
        if self.gamma:
            power = torch.exp(draws.uniform(math.log1p(self.gamma)))
            out = out.clamp(0, 1).pow_(power.view(-1, 1, 1, 1))
        if self.contrast:
            factor = 1 + draws.uniform(self.contrast).view(-1, 1, 1, 1)
            mean = out.mean(dim=(1, 2, 3), keepdim=True)
            out = (out * factor).add_(mean * (1 - factor))
        if self.brightness:
            out = out + draws.uniform(self.brightness).view(-1, 1, 1, 1)
        if self.noise:
            deviation = draws.uniform(self.noise).abs().view(-1, 1, 1, 1)
            out = torch.addcmul(out, draws.grain(), deviation)
        return out


def _centres(pixels: int, like: Tensor) -> Tensor:
    """Return the middles of ``pixels`` pixels between -1 and 1."""
    return (2 * torch.arange(pixels, dtype=like.dtype, device=like.device) + 1) / pixels - 1


@dataclass(frozen=True)
class _Draws:
    """Random numbers for images ``first`` to ``first + N`` of ``whole``, of the type and on the device of ``like``."""

    like: Tensor
    generator: torch.Generator
    first: int
    whole: int

    def uniform(self, limit: float) -> Tensor:
        """Return (N,) numbers between -limit and limit; none are drawn for a limit of 0."""
        if not limit:
            return torch.zeros(len(self.like), dtype=self.like.dtype, device=self.like.device)
        return self._mine((2 * self._rand() - 1) * limit)

    def coin(self) -> Tensor:
        """Return (N,) zeros and ones."""
        return self._mine((self._rand() < 0.5).float())

    def grain(self) -> Tensor:
        """Return Gaussian noise of the batch's shape."""
        shape = (self.whole, *self.like.shape[1:])
        return self._mine(torch.randn(shape, generator=self.generator, device=self.generator.device))

    def _rand(self) -> Tensor:
        return torch.rand(self.whole, generator=self.generator, device=self.generator.device)

    def _mine(self, values: Tensor) -> Tensor:
        return values[self.first : self.first + len(self.like)].to(self.like)
