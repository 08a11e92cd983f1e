"""From a cell of the confusion matrix to its X-rays, to a heatmap, to the same without text: three clicks."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from test_journey import WAIT_MS, click_largest_cell, has_no_traceback, settled

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def query(tab: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(tab.url).query)


def clicks(tab: Any) -> int:
    return int(tab.evaluate("() => Number(sessionStorage.getItem('clicks') || 0)"))


def overlay(tab: Any) -> Any:
    return tab.locator(".viewer figcaption").get_by_text("Overlay", exact=True)


@pytest.fixture
def counted(tab: Any) -> Any:
    """A tab of a small laptop that counts the clicks in it."""
    tab.set_viewport_size({"width": 1280, "height": 720})
    tab.add_init_script(
        "addEventListener('click', (event) => { if (event.isTrusted) sessionStorage.setItem('clicks',"
        " 1 + Number(sessionStorage.getItem('clicks') || 0)); }, true);"
    )
    return tab


@pytest.mark.slow
def test_a_cell_leads_to_heatmaps_with_and_without_text_in_three_clicks(shared_dashboard, counted) -> None:
    tab = counted
    tab.goto(f"{shared_dashboard.url}/results")
    tab.locator(".matrix button").first.wait_for()
    settled(tab)
    pictures = tab.locator(".gallery img")
    accuracy = tab.get_by_test_id("stMetric").filter(has_text="Accuracy")
    for shown in (accuracy, tab.locator(".matrix button").first):
        box = shown.bounding_box()
        assert box["y"] + box["height"] <= 720, "figures and matrix stand on the first screen"

    count = click_largest_cell(tab)  # 1
    tab.get_by_role("heading", name=re.compile(rf"True \w+, predicted \w+ \({count}\)")).wait_for()
    settled(tab)
    first = pictures.first.bounding_box()
    assert first["y"] + first["height"] <= 720, "the X-rays of a cell stand on the first screen"
    assert "cell" in query(tab)

    pictures.first.click()  # 2
    overlay(tab).wait_for(timeout=WAIT_MS)

    tab.get_by_role("button", name="Without text").click()  # 3
    tab.get_by_text(re.compile(r"^Text masked: logit ")).wait_for(timeout=WAIT_MS)
    assert clicks(tab) <= 3
    has_no_traceback(tab)
    assert urlsplit(tab.url).path == "/results", "all of it on the page that it began on"


@pytest.mark.slow
def test_a_picture_opens_in_place_with_its_neighbours_and_leads_to_the_explorer(shared_dashboard, tab) -> None:
    tab.goto(f"{shared_dashboard.url}/results?cell=normal,normal")
    pictures = tab.locator(".gallery button")
    pictures.first.wait_for()
    settled(tab)
    first, second = (pictures.nth(k).get_attribute("title") for k in (0, 1))
    pictures.first.click()
    viewer = tab.get_by_role("dialog").locator(".viewer")
    overlay(tab).wait_for(timeout=WAIT_MS)
    assert f":{first}:" in viewer.get_attribute("data-subject")
    tab.keyboard.press("ArrowRight")
    tab.get_by_role("dialog").get_by_text(second, exact=True).first.wait_for()
    tab.get_by_role("link", name="Explain", exact=True).click()
    tab.wait_for_url(re.compile(rf"/explorer\?.*image={second}"))
    overlay(tab).wait_for(timeout=WAIT_MS)


@pytest.mark.slow
def test_an_xray_of_a_data_set_opens_large_with_what_is_known_of_it(shared_dashboard, tab) -> None:
    tab.goto(f"{shared_dashboard.url}/data?data=demo")
    picture = tab.locator(".gallery button").first
    picture.wait_for()
    settled(tab)
    name = picture.get_attribute("title")
    picture.click()
    tab.locator(".viewer canvas").first.wait_for()
    assert tab.locator(".pane").count() == 1
    assert not tab.get_by_label("Opacity", exact=True).is_visible()
    tab.get_by_text(name, exact=True).first.wait_for()
    assert f"image={name}" in tab.evaluate("location.search")
    has_no_traceback(tab)


@pytest.mark.slow
def test_the_threshold_and_the_curve_are_in_the_address_and_come_back(shared_dashboard, tab) -> None:
    tab.goto(f"{shared_dashboard.url}/results?tab=curves&curve=scores&threshold=0.25&prevalence=5")
    tab.get_by_text("A threshold of 0.25").wait_for()
    tab.get_by_text(re.compile(r"Where 5 % of X-rays have it")).wait_for()
    settled(tab)
    slider = tab.get_by_role("slider")
    slider.focus()
    for value in ("0.255", "0.26"):
        slider.press("ArrowRight")
        tab.get_by_text(f"A threshold of {value}", exact=True).wait_for()
        tab.wait_for_url(re.compile(rf"threshold={re.escape(value)}(&|$)"))
    tab.get_by_role("radio", name="Calibration").or_(tab.get_by_role("button", name="Calibration")).first.click()
    tab.wait_for_url(re.compile(r"curve=calibration"))
    assert query(tab)["prevalence"] == ["5"]
    assert query(tab)["threshold"] == ["0.26"]
    has_no_traceback(tab)
