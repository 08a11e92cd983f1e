"""Burned-in text on X-rays: finding tokens, masking them, and measuring what a network makes of them."""

from cxr.text.boxes import KINDS, TextBox, kind_of
from cxr.text.controls import borrowed_boxes, control_boxes
from cxr.text.corrections import Review, Reviews, tokens_of
from cxr.text.detection.detector import detect_boxes, detect_text, recognise
from cxr.text.mask import DEFAULT_MARGIN, DEFAULT_MODE, MASK_MODES, MaskMode, mask_text
from cxr.text.stamp import Patch, cut_patch, stamp_patch, word_patch
from cxr.text.store import DetectionStore, detect_cached

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
    "recognise",
    "stamp_patch",
    "tokens_of",
    "word_patch",
]
