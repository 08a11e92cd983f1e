"""Random changes of X-rays during training, vectorised over a batch and repeatable from a generator."""

from __future__ import annotations

import math

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F


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

    def __call__(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Return changed copies of ``batch`` (N, 1, H, W), floating point in [0, 1].

        All random numbers come from ``generator``, which must be on the CPU or on the batch's device; on the CPU the
        same state gives the same pixels. Changes that are off draw nothing. With all off, the batch itself returns.
        """
        out = self._move(batch, generator)
        out = self._shade(out, generator)
        return out if out is batch else out.clamp_(0, 1)

    def _move(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Turn, zoom, shear, shift and mirror in one resampling; beyond the frame it is black as under a collimator."""
        if not (self.rotate or self.translate or self.scale or self.shear or self.hflip):
            return batch
        n, _, height, width = batch.shape
        angle = _uniform(n, math.radians(self.rotate), batch, generator)
        shear = torch.tan(_uniform(n, math.radians(self.shear), batch, generator))
        zoom = 1 / (1 + _uniform(n, self.scale, batch, generator))
        shift_x, shift_y = (2 * _uniform(n, self.translate, batch, generator) for _ in range(2))
        mirror = torch.ones_like(zoom)
        if self.hflip:
            mirror = 1 - 2 * (torch.rand(n, generator=generator, device=generator.device) < 0.5).to(batch)
        cos, sin, aspect = zoom * torch.cos(angle), zoom * torch.sin(angle), height / width
        # Rows of the inverse map: where in the original each pixel comes from, in coordinates from -1 to 1.
        rows = [mirror * cos, mirror * (shear * cos - sin * aspect), shift_x, sin / aspect, shear * sin / aspect + cos]
        theta = torch.stack([*rows, shift_y], dim=1).view(n, 2, 3)
        grid = F.affine_grid(theta, list(batch.shape), align_corners=False)
        return F.grid_sample(batch, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _shade(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        """Change gamma, contrast and brightness, then add noise."""
        n, out = len(batch), batch
        if self.gamma:
            power = torch.exp(_uniform(n, math.log1p(self.gamma), batch, generator))
            out = out.clamp(0, 1) ** power.view(-1, 1, 1, 1)
        if self.contrast:
            factor = 1 + _uniform(n, self.contrast, batch, generator).view(-1, 1, 1, 1)
            mean = out.mean(dim=(1, 2, 3), keepdim=True)
            out = (out - mean) * factor + mean
        if self.brightness:
            out = out + _uniform(n, self.brightness, batch, generator).view(-1, 1, 1, 1)
        if self.noise:
            deviation = _uniform(n, self.noise, batch, generator).abs().view(-1, 1, 1, 1)
            grain = torch.randn(batch.shape, generator=generator, device=generator.device).to(batch)
            out = out + deviation * grain
        return out


def _uniform(n: int, limit: float, like: Tensor, generator: torch.Generator) -> Tensor:
    """Return (n,) numbers between -limit and limit; none are drawn for a limit of 0."""
    if not limit:
        return torch.zeros(n, dtype=like.dtype, device=like.device)
    draws = torch.rand(n, generator=generator, device=generator.device)
    return ((2 * draws - 1) * limit).to(like)
