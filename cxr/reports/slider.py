"""Two pictures in one place with a slider between them, for reports and pages."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np

from cxr.reports.html_page import page


@dataclass(frozen=True)
class Pair:
    """What the slider of the templates shows: two pictures of one shape, as ``data:`` addresses, and their titles."""

    before: str
    after: str
    before_title: str
    after_title: str
    width: int


def pair_of(before: np.ndarray, after: np.ndarray, titles: tuple[str, str], width: int) -> Pair:
    """Return a pair of pictures.

    Parameters
    ----------
    before, after
        uint8 (H, W), or RGB (H, W, 3), of one shape.
    titles
        What each of them is.
    width
        The most that it takes, in pixels; it shrinks with its surroundings.
    """
    return Pair(png_url(before), png_url(after), *titles, width)


def slider_html(before: np.ndarray, after: np.ndarray, titles: tuple[str, str], width: int) -> str:
    """Return :func:`pair_of` as HTML that needs nothing else: a slider wipes from ``before`` to ``after``."""
    return page("slider.html", pair=pair_of(before, after, titles, width))


def png_url(picture: np.ndarray) -> str:
    """Return a uint8 picture, grey or RGB, as a ``data:`` address."""
    coloured = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    written, data = cv2.imencode(".png", coloured)
    assert written  # any uint8 array can be
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()
