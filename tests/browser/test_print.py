"""What wipes on a screen stands side by side on paper, and no table is cut off there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr import reports
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


@pytest.mark.slow
def test_a_table_of_thirteen_columns_has_its_place_on_a_page_and_on_a_screen(browser) -> None:
    style = (Path(reports.__file__).parent / "templates" / "style.css").read_text(encoding="utf-8")
    columns = ["mask", "changed, text masked", "changed, random boxes", "changed, boxes of another image",
               "beyond random boxes", "p (random)", "p (another image)", "probabilities moved", "… random boxes",
               "p (moved)", "accuracy", "macro F1", "AUC"]  # fmt: skip
    cells = ["Inpainting", *["6.7 % [4.3, 10.5]"] * 3, "+4.1 points [+0.8, +7.3]", "0.026", "0.0096",
             *["0.030 [0.024, 0.040]"] * 2, "0.0001", *["+0.013 [-0.025, +0.051]"] * 3]  # fmt: skip
    rows = (("th", columns), ("td", cells))
    table = "".join(f"<tr>{''.join(f'<{tag}>{cell}</{tag}>' for cell in row)}</tr>" for tag, row in rows)
    for media, width in (("screen", 1280), ("print", 718)):  # A4 less Chromium's margins
        tab = browser.new_page(viewport={"width": width, "height": 600})
        tab.emulate_media(media=media)
        tab.set_content(f"<style>{style}</style><table>{table}</table>")
        inner, outer = tab.evaluate("(() => { const t = document.querySelector('table');"
                                    "return [t.scrollWidth, t.clientWidth]; })()")  # fmt: skip
        assert inner <= outer + 1, f"{media}: {inner} px in {outer}"
        tab.close()


def _greys(tab, within: dict | None = None) -> list[int]:
    """Return the grey values at a quarter and at three quarters of a width."""
    box = within or tab.locator(".pictures").bounding_box()
    picture = cv2.imdecode(np.frombuffer(tab.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
    row = round(box["y"] + box["height"] / 2)
    return [int(picture[row, round(box["x"] + share * box["width"])]) for share in (0.25, 0.75)]
