"""Boxes between the file's pixels, the canvas that they are drawn on, and the table that they are edited in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NotRequired, TypedDict

import pandas as pd

from cxr.errors import TextError
from cxr.text import TextBox, kind_of
from cxr.text.boxes import clip
from cxr.text.corrections import check_box

SIDES = ("x0", "y0", "x1", "y1")
CANVAS_SIDE = 424
"""Longest side of the canvas without zoom, in pixels of the page: what a column of it holds on a laptop."""
_NUMBER = re.compile(r"#(\d+)")


class CanvasBox(TypedDict):
    """A box in pixels of the canvas; without a label it was drawn there."""

    label: NotRequired[str | None]
    left: float
    top: float
    width: float
    height: float


def canvas_size(shape: Sequence[int], zoom: float = 1.0) -> tuple[int, int]:
    """Return width and height of the canvas for an image (H, W)."""
    scale = zoom * CANVAS_SIDE / max(shape[:2])
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def to_canvas(boxes: Sequence[TextBox], shape: Sequence[int], size: tuple[int, int]) -> list[CanvasBox]:
    """Return boxes in pixels of a canvas of ``size`` (width, height), labelled ``#1``, ``#2``, ..."""
    across, down = size[0] / shape[1], size[1] / shape[0]
    return [
        {
            "label": f"#{number}",
            "left": box.x0 * across,
            "top": box.y0 * down,
            "width": box.width * across,
            "height": box.height * down,
        }
        for number, box in enumerate(boxes, 1)
    ]


def from_canvas(
    drawn: Sequence[CanvasBox], start: Sequence[TextBox], shape: Sequence[int], size: tuple[int, int]
) -> list[TextBox]:
    """Return what is drawn in pixels of the file.

    A box labelled ``#n`` is the n-th of ``start``, moved or not, with its text, kind and score; another label is a
    text that was typed on the canvas, none a new box. What lies off the image is cut; what is left of nothing is
    dropped.
    """
    across, down = size[0] / shape[1], size[1] / shape[0]
    boxes = []
    for entry in drawn:
        left, top = entry["left"], entry["top"]
        moved = replace(
            _labelled(str(entry.get("label") or ""), start),
            x0=round(left / across),
            y0=round(top / down),
            x1=round((left + entry["width"]) / across),
            y1=round((top + entry["height"]) / down),
        )
        box = clip(moved, shape)
        if box.area:
            boxes.append(box)
    return boxes


def _labelled(label: str, start: Sequence[TextBox]) -> TextBox:
    number = _NUMBER.fullmatch(label)
    if number and 1 <= int(number[1]) <= len(start):
        return start[int(number[1]) - 1]
    text = "" if number else label.strip()
    return TextBox(0, 0, 1, 1, text, 1.0, kind_of(text))


def to_table(boxes: Sequence[TextBox]) -> pd.DataFrame:
    """Return one row per box: ``box`` (#1, ...), ``text``, ``kind`` and its sides in pixels of the file."""
    rows = [(f"#{n}", b.text, b.kind, b.x0, b.y0, b.x1, b.y1) for n, b in enumerate(boxes, 1)]
    types = {"box": str, "text": str, "kind": str} | dict.fromkeys(SIDES, "Int64")
    return pd.DataFrame(rows, columns=["box", "text", "kind", *SIDES]).astype(types)


def from_table(edited: pd.DataFrame, current: Sequence[TextBox], shape: Sequence[int]) -> list[TextBox]:
    """Return the boxes of an edited table; a row without a number is a new box.

    Raises
    ------
    TextError
        For a row that lacks a side or is no box within the image (H, W).
    """
    boxes = []
    for number, row in enumerate(edited.to_dict("records"), 1):
        missing = [side for side in SIDES if pd.isna(row[side])]
        if missing:
            raise TextError(f"row {number} lacks {', '.join(missing)}: a box needs all four sides in pixels")
        text = "" if pd.isna(row["text"]) else str(row["text"]).strip()
        before = _labelled("" if pd.isna(row["box"]) else str(row["box"]), current)
        kind = "" if pd.isna(row["kind"]) else str(row["kind"])
        if not kind or (text != before.text and kind == before.kind == kind_of(before.text)):
            kind = kind_of(text)  # follows the text as long as nobody chose another
        box = replace(before, **{side: int(row[side]) for side in SIDES}, text=text, kind=kind)
        check_box(box, number, shape)
        boxes.append(box)
    return boxes
