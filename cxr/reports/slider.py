"""Two pictures in one place with a slider between them, as HTML that needs nothing else."""

from __future__ import annotations

import base64
import html
import itertools

import cv2
import numpy as np

_numbers = itertools.count(1)

_TEMPLATE = """<figure class="compare" id="{name}" style="margin:0;max-width:{width}px;font-family:inherit">
<div style="position:relative;line-height:0;overflow:hidden;border-radius:0.4rem">
<img src="{after}" alt="{after_title}" style="width:100%">
<img src="{before}" alt="{before_title}" class="top"
 style="position:absolute;inset:0;width:100%;height:100%;clip-path:inset(0 50% 0 0)">
<span class="line" style="position:absolute;top:0;bottom:0;left:50%;width:2px;background:#f2a65a"></span></div>
<input type="range" min="0" max="100" value="50" aria-label="{before_title} or {after_title}"
 style="width:100%;margin:0.5rem 0 0;accent-color:#f2a65a">
<figcaption style="display:flex;justify-content:space-between;font-size:0.875rem;line-height:1.4">
<span>◀ {before_title}</span><span>{after_title} ▶</span></figcaption>
<script>(()=>{{const f=document.getElementById("{name}"),r=f.querySelector("input");
r.addEventListener("input",()=>{{f.querySelector(".top").style.clipPath=`inset(0 ${{100-r.value}}% 0 0)`;
f.querySelector(".line").style.left=r.value+"%";}});}})();</script></figure>"""


def slider_html(before: np.ndarray, after: np.ndarray, titles: tuple[str, str], width: int) -> str:
    """Return a figure in which a slider wipes from ``before`` to ``after``.

    Parameters
    ----------
    before, after
        uint8 (H, W), or RGB (H, W, 3), of one shape.
    titles
        What each of them is.
    width
        The most that it takes, in pixels; it shrinks with its surroundings.
    """
    before_title, after_title = (html.escape(title) for title in titles)
    return _TEMPLATE.format(
        name=f"compare-{next(_numbers)}",
        width=width,
        before=png_url(before),
        after=png_url(after),
        before_title=before_title,
        after_title=after_title,
    )


def png_url(picture: np.ndarray) -> str:
    """Return a uint8 picture, grey or RGB, as a ``data:`` address."""
    coloured = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    written, data = cv2.imencode(".png", coloured)
    assert written  # any uint8 array can be
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode()
