"""The tour from Home: a heatmap after two clicks, what text does after five, and out of it again at any stop."""

from __future__ import annotations

import re
from typing import Any

import pytest
from test_links import SETTLED, query

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]


def on(tab: Any, title: str) -> Any:
    """Go on to the next stop and return its banner, once the page stands."""
    banner = tab.locator(".st-key-tour")
    banner.get_by_role("link", name="Next").or_(banner.get_by_role("button", name="Next")).click()
    banner.get_by_text(title).wait_for()
    tab.wait_for_function(SETTLED)
    assert tab.get_by_test_id("stException").count() == 0
    return banner


def test_the_tour_leads_to_a_heatmap_to_what_text_does_and_to_the_audit(dashboard: Any, tab: Any) -> None:
    tab.set_viewport_size({"width": 1280, "height": 720})
    tab.goto(dashboard.url)
    tab.get_by_role("link", name="Take the tour").click()
    tab.wait_for_url(re.compile("/data.*tour=1"))
    tab.wait_for_function(SETTLED)
    on(tab, "2 of 6")
    tab.wait_for_url(re.compile("image="))
    heatmap = tab.locator(".viewer .pane").nth(1)
    heatmap.wait_for()
    assert heatmap.bounding_box()["y"] < 600, "the heatmap is on the first screen"
    on(tab, "3 of 6")
    on(tab, "4 of 6")
    tab.get_by_role("button", name="Mask the text of all").click()
    tab.get_by_role("heading", name="The whole set").wait_for(timeout=300_000)
    on(tab, "5 of 6")
    tab.get_by_role("button", name="Quick look").click()
    tab.get_by_role("heading", name="Part by part").wait_for(timeout=120_000)
    banner = on(tab, "6 of 6")
    assert tab.get_by_role("button", name="Start training").is_enabled()
    assert banner.get_by_role("link", name="Next").count() == 0
    banner.get_by_role("link", name="Back").click()
    banner.get_by_text("5 of 6").wait_for()
    tab.wait_for_function(SETTLED)
    banner.get_by_role("button", name="Close").click()
    banner.wait_for(state="detached")
    tab.wait_for_function(SETTLED)
    assert "tour" not in query(tab)
    tab.get_by_test_id("stSidebar").get_by_role("link", name="Data", exact=True).click()
    tab.wait_for_url(re.compile(r"/data\?data=demo"))
    tab.wait_for_function(SETTLED)
    assert tab.locator(".st-key-tour").count() == 0
