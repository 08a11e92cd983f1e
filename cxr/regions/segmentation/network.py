"""A light U-Net (Ronneberger et al. 2015): skips are added, not joined, which halves the work."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

WIDTHS = (12, 24, 48, 96)
"""Channels at a half of the picture's side, and at a quarter, an eighth and a sixteenth of it."""


def _block(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class LungNet(nn.Module):
    """From a picture (N, 1, S, S), S a multiple of 16, to logits (N, 1, S, S): is a pixel inside a lung?"""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        # At half the side, as most of the work would be done at the full one; outlines are smooth enough for it.
        self.stem = nn.Sequential(_block(1, widths[0], stride=2), _block(widths[0], widths[0]))
        self.down = nn.ModuleList(
            nn.Sequential(_block(inputs, outputs, stride=2), _block(outputs, outputs))
            for inputs, outputs in pairwise(widths)
        )
        self.context = _block(widths[-1], widths[-1], dilation=2)
        self.narrow = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1, bias=False) for outputs, inputs in reversed(list(pairwise(widths)))
        )
        self.up = nn.ModuleList(_block(width, width) for width in reversed(widths[:-1]))
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return logits of the pictures' shape."""
        skips = [self.stem(pictures)]
        for stage in self.down:
            skips.append(stage(skips[-1]))
        signal = self.context(skips.pop())
        for narrow, block in zip(self.narrow, self.up, strict=True):
            larger = functional.interpolate(narrow(signal), scale_factor=2.0, mode="bilinear", align_corners=False)
            signal = block(larger + skips.pop())
        return functional.interpolate(self.head(signal), scale_factor=2.0, mode="bilinear", align_corners=False)
