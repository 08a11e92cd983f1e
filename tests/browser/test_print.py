"""What wipes on a screen stands side by side on paper."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cxr.reports.slider import slider_html


@pytest.mark.slow
def test_both_pictures_of_a_slider_are_whole_in_print(browser) -> None:
    tab = browser.new_page(viewport={"width": 600, "height": 600})
    as_it_is = np.full((64, 64), 120, np.uint8)
    as_it_is[:, :32] = 60
    masked = np.full((64, 64), 200, np.uint8)
    tab.set_content(slider_html(as_it_is, masked, ("as it is", "text masked"), 400))
    assert _greys(tab) == [60, 200]
    tab.emulate_media(media="print")
    assert tab.locator("input").is_hidden()
    first, second = (tab.locator("img").nth(k).bounding_box() for k in (1, 0))
    assert first["x"] + first["width"] <= second["x"], "as it is stands on the left"
    assert _greys(tab, within=first) == [60, 120], "its right half is not wiped away"
    tab.close()


def _greys(tab, within: dict | None = None) -> list[int]:
    """Return the grey values at a quarter and at three quarters of a width."""
    box = within or tab.locator(".pictures").bounding_box()
    picture = cv2.imdecode(np.frombuffer(tab.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
    row = round(box["y"] + box["height"] / 2)
    return [int(picture[row, round(box["x"] + share * box["width"])]) for share in (0.25, 0.75)]
