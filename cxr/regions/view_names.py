"""Names that forms and settings list; nothing heavy is loaded for them."""

from __future__ import annotations

from typing import Literal

View = Literal["full", "no-lungs", "lungs", "border", "text"]
VIEWS: tuple[View, ...] = ("full", "no-lungs", "lungs", "border", "text")
"""What of an X-ray is shown; see :func:`cxr.regions.view_of`."""

Masks = Literal["uniform", "manifest", "segmentation"]
MASKS: tuple[Masks, ...] = ("uniform", "manifest", "segmentation")
"""Whose lung masks are used for the X-rays of a data set; see :func:`cxr.regions.lungs_in`."""

VIEW_TITLES: dict[str, str] = {
    "full": "The whole X-ray",
    "no-lungs": "Without the lungs (a rectangle around both is black)",
    "lungs": "Lungs only",
    "border": "Border only",
    "text": "Burned-in text only",
}
"""The views in words."""
