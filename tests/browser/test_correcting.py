"""Boxes of text corrected by hand on the page, with a real mouse."""

from __future__ import annotations

import json
import re

import pytest
from test_journey import WAIT_MS, has_no_traceback, settled, wait_until

SIDE = 192  # of the demo's X-rays


def draw(tab, places: list[tuple[float, float]]) -> None:
    tab.mouse.move(*places[0])
    tab.mouse.down()
    for place in places[1:]:
        tab.mouse.move(*place, steps=5)
    tab.mouse.up()


def boxes_without_text(tab) -> int:
    label = tab.get_by_role("button", name="Read text").inner_text()
    return int(re.search(r"\((\d+)\)", label)[1])


@pytest.mark.slow
def test_a_box_that_is_drawn_is_saved_in_pixels_of_the_file(dashboard, tab) -> None:
    tab.set_viewport_size({"width": 1400, "height": 1500})
    tab.goto(f"{dashboard.url}/text?data=demo&look=Correct+boxes")
    canvas = tab.locator("canvas.upper-canvas")
    canvas.wait_for(timeout=WAIT_MS)
    settled(tab)
    at = canvas.bounding_box()
    corners = [(0.30, 0.40), (0.45, 0.50), (0.55, 0.60)]
    places = [(at["x"] + x * at["width"], at["y"] + y * at["height"]) for x, y in corners]
    before = boxes_without_text(tab)
    drawn = 0
    while boxes_without_text(tab) == before:
        assert drawn < 20, "the canvas takes no box"
        draw(tab, places)  # it takes the mouse only a moment after it is shown
        settled(tab)
        drawn += 1
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
