"""Burned-in text on X-rays: finding tokens, masking them, and measuring what a network makes of them."""

from typing import TYPE_CHECKING, Any

from cxr import lazy

if TYPE_CHECKING:
    from cxr.text.boxes import KINDS, TextBox, kind_of
    from cxr.text.controls import borrowed_boxes, control_boxes
    from cxr.text.corrections import Review, Reviews, tokens_of
    from cxr.text.detection.shared import detect_boxes, detect_text, reading_scores, recognise
    from cxr.text.detection_store import DetectionStore, detect_cached
    from cxr.text.mask import mask_text
    from cxr.text.mask_modes import DEFAULT_MARGIN, DEFAULT_MODE, MASK_MODES, MaskMode
    from cxr.text.stamp import Patch, cut_patch, stamp_patch, word_patch

__all__ = [
    "DEFAULT_MARGIN",
    "DEFAULT_MODE",
    "KINDS",
    "MASK_MODES",
    "DetectionStore",
    "MaskMode",
    "Patch",
    "Review",
    "Reviews",
    "TextBox",
    "borrowed_boxes",
    "control_boxes",
    "cut_patch",
    "detect_boxes",
    "detect_cached",
    "detect_text",
    "kind_of",
    "mask_text",
    "reading_scores",
    "recognise",
    "stamp_patch",
    "tokens_of",
    "word_patch",
]

# The names of the ways to mask are listed without OpenCV.
_public, __dir__ = lazy.attach(
    __name__,
    {
        "boxes": ("KINDS", "TextBox", "kind_of"),
        "controls": ("borrowed_boxes", "control_boxes"),
        "corrections": ("Review", "Reviews", "tokens_of"),
        "detection.shared": ("detect_boxes", "detect_text", "reading_scores", "recognise"),
        "mask": ("mask_text",),
        "mask_modes": ("DEFAULT_MARGIN", "DEFAULT_MODE", "MASK_MODES", "MaskMode"),
        "stamp": ("Patch", "cut_patch", "stamp_patch", "word_patch"),
        "detection_store": ("DetectionStore", "detect_cached"),
    },
)

# Modules that documentation once named here.
_MOVED = {
    "conditions": "cxr.experiments.masking.conditions",
    "effects": "cxr.experiments.masking.effects",
    "shrinking": "cxr.experiments.masking.shrinkage",
}


def __getattr__(name: str) -> Any:
    if name in _MOVED:
        raise AttributeError(f"cxr.text.{name} is {_MOVED[name]} now")
    return _public(name)
