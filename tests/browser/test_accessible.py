"""axe-core finds nothing serious and no skipped level of headings, light and dark; pictures have alternative texts."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from test_journey import WAIT_MS, has_no_traceback, settled, wait_until

DASHBOARD = Path(__file__).parents[2] / "dashboard"
PAGES = ("", "data", "train", "live", "study", "results", "trust", "compare", "explorer", "text", "weights", "glossary")
OF_DEMO = {"explorer": "explorer?model=demo", "text": "text?model=demo&data=demo&split=test"}


def all_is_drawn(tab) -> None:
    settled(tab)
    wait_until(lambda: tab.locator("[data-testid=stSkeleton]").count() == 0, 60, "all is drawn")
    has_no_traceback(tab)


def background(tab) -> int:
    """How bright the page is, 0 to 255."""
    colour = tab.evaluate("() => getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor")
    return sum(map(int, re.findall(r"\d+", colour)[:3])) // 3


@pytest.mark.slow
def test_axe_finds_nothing_serious_on_any_page_in_the_light_and_in_the_dark_theme(shared_dashboard, browser):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = browser.new_context(viewport={"width": 1280, "height": 720}, color_scheme="light")
    tab = context.new_page()
    tab.set_default_timeout(WAIT_MS)
    faults = {}
    for theme, is_shown in (("light", lambda: background(tab) > 200), ("dark", lambda: background(tab) < 60)):
        tab.emulate_media(color_scheme=theme)
        for page in PAGES:
            tab.goto(f"{shared_dashboard.url}/{OF_DEMO.get(page, page)}")
            tab.locator("h1").first.wait_for()
            all_is_drawn(tab)
            wait_until(is_shown, 60, f"the {theme} theme of {page or 'the first page'}")
            faults[page, theme] = [
                (fault["id"], [node["html"][:120] for node in fault["nodes"][:3]])
                for fault in axe.run(tab).response["violations"]
                if fault["impact"] in ("serious", "critical") or fault["id"] == "heading-order"
            ]
    context.close()
    assert {page: found for page, found in faults.items() if found} == {}


@pytest.mark.slow
def test_the_first_stop_of_the_keyboard_leads_past_the_sidebar(shared_dashboard, tab):
    tab.goto(f"{shared_dashboard.url}/explorer?model=demo")
    tab.locator(".viewer canvas").first.wait_for(timeout=WAIT_MS)
    all_is_drawn(tab)
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the page"
    assert tab.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    tab.keyboard.press("Enter")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.closest('[data-testid=stMain]') !== null")
    assert tab.get_by_role("button", name="Skip to the page").bounding_box()["y"] < 0


def test_every_picture_has_an_alternative_text():
    without = []
    for path in DASHBOARD.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "image":
                is_widget = any(word.arg in ("width", "caption") for word in node.keywords)
                if is_widget and all(word.arg != "alt" for word in node.keywords):
                    without.append(f"{path.relative_to(DASHBOARD)}:{node.lineno}")
    assert without == []
