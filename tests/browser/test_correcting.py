"""Boxes of text corrected by hand on the page, with a real mouse."""

from __future__ import annotations

import json
import time

import pytest
from test_journey import has_no_traceback, wait_until

SIDE = 192  # of the demo's X-rays


def test_a_box_that_is_drawn_is_saved_in_pixels_of_the_file(dashboard, tab) -> None:
    tab.set_viewport_size({"width": 1400, "height": 1500})
    tab.goto(f"{dashboard.url}/text?data=demo&look=Correct+boxes")
    canvas = tab.locator("canvas.upper-canvas")
    canvas.wait_for(timeout=120_000)
    time.sleep(2)  # the component takes the mouse a moment after it is drawn
    at = canvas.bounding_box()
    corners = [(0.30, 0.40), (0.45, 0.50), (0.55, 0.60)]
    places = [(at["x"] + x * at["width"], at["y"] + y * at["height"]) for x, y in corners]
    tab.mouse.move(*places[0])
    tab.mouse.down()
    for place in places[1:]:
        tab.mouse.move(*place, steps=5)
    tab.mouse.up()
    time.sleep(3)
    tab.get_by_role("button", name="Save", exact=True).click()
    manifest = dashboard.folder / "data" / "demo" / "manifest.csv"
    saved = manifest.with_name(f"{manifest.name}.boxes.json")
    wait_until(saved.exists, 60, "the boxes are saved")
    (entry,) = json.loads(saved.read_text(encoding="utf-8"))["images"].values()
    assert entry["shape"] == [SIDE, SIDE]
    wanted = [SIDE * share for share in (0.30, 0.40, 0.55, 0.60)]
    nearest = min(entry["boxes"], key=lambda box: abs(box["x0"] - wanted[0]) + abs(box["y0"] - wanted[1]))
    assert [nearest[side] for side in ("x0", "y0", "x1", "y1")] == pytest.approx(wanted, abs=2)
    tab.get_by_text("1 of 24 X-rays of this split reviewed").wait_for()
    has_no_traceback(tab)
