"""axe-core finds nothing serious on any page, in the light and in the dark theme; pictures have alternative texts."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from test_journey import has_no_traceback, settled, wait_until

DASHBOARD = Path(__file__).parents[2] / "dashboard"
PAGES = ("", "data", "train", "live", "study", "results", "trust", "compare", "explorer", "text", "weights", "glossary")
OF_DEMO = {"explorer": "explorer?model=demo", "text": "text?model=demo&data=demo&split=test"}


@pytest.fixture(scope="module")
def evaluated(dashboard):
    dashboard.cxr("evaluate", "demo", "--data", "demo")
    return dashboard


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(evaluated, browser, theme: str):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    context = browser.new_context(viewport={"width": 1280, "height": 720}, color_scheme=theme)
    faults = {}
    for page in PAGES:
        tab = context.new_page()
        tab.set_default_timeout(60_000)
        tab.goto(f"{evaluated.url}/{OF_DEMO.get(page, page)}")
        tab.locator("h1").first.wait_for()
        settled(tab)
        wait_until(lambda tab=tab: tab.locator("[data-testid=stSkeleton]").count() == 0, 60, "all is drawn")
        has_no_traceback(tab)
        found = axe.run(tab).response["violations"]
        faults[page] = [
            (fault["id"], [node["html"][:120] for node in fault["nodes"][:3]])
            for fault in found
            if fault["impact"] in ("serious", "critical")
        ]
        tab.close()
    context.close()
    assert {page: found for page, found in faults.items() if found} == {}


def test_every_picture_has_an_alternative_text():
    without = []
    for path in DASHBOARD.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "image":
                is_widget = any(word.arg in ("width", "caption") for word in node.keywords)
                if is_widget and all(word.arg != "alt" for word in node.keywords):
                    without.append(f"{path.relative_to(DASHBOARD)}:{node.lineno}")
    assert without == []
