"""The ways of taking tokens out of an X-ray, by name: what pages, commands and recipes offer, without OpenCV.

What each of them does to the pixels is in :mod:`cxr.text.mask`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

DEFAULT_MODE = "inpaint"
"""How experiments mask by default: of all modes it leaves the least of a patch (docs/text.md has figures)."""
DEFAULT_MARGIN = 0.1
MOST_MARGIN = 100
"""In pixels: a box grown by more would cover what is no text at all."""
"""Fraction of a box's shorter side by which it grows before it is masked: letters have soft rims."""


@dataclass(frozen=True)
class MaskMode:
    """A way of masking; ``soft`` ones are blended in at the rim.

    A soft mask is whole over the box and the inner half of its margin and fades out over the outer half: a sharp edge
    would be a mark of its own. Inpainting begins at the rim, and black is meant to be seen.
    """

    title: str
    description: str
    soft: bool = True

    @property
    def fill(self) -> NoReturn:
        """What a mode's function was found by; it needs OpenCV, so it stands elsewhere now."""
        raise AttributeError("MaskMode.fill is cxr.text.mask.FILLS[name] now")


MASK_MODES: dict[str, MaskMode] = {
    "black": MaskMode("Black", "Boxes become black, as a censored picture does; a strong mark.", soft=False),
    "mean": MaskMode("Local mean", "Boxes take the mean grey of a ring around each of them."),
    "blur": MaskMode("Blur", "Boxes are blurred until nothing can be read; bright ink stays a bright smear."),
    "noise": MaskMode("Noise", "Boxes take Gaussian noise of the mean and deviation of a ring around them."),
    "inpaint": MaskMode("Inpainting", "Boxes are filled from their rim (Telea 2004).", soft=False),
    "inpaint-ns": MaskMode(
        "Inpainting, fluid", "Boxes are filled from their rim (Navier-Stokes, Bertalmio 2001).", soft=False
    ),
    "swap": MaskMode("Swap", "Boxes take a patch of their size of like grey from elsewhere on the X-ray."),
}
"""Mask modes by the name that pages, the command line and run folders use."""
