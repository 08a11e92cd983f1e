"""The confusion matrix by keyboard: one stop of the Tab key, arrows from cell to cell, Enter for its X-rays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from test_journey import WAIT_MS, settled

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


@pytest.fixture
def tab(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    opened = context.new_page()
    opened.set_default_timeout(WAIT_MS)
    yield opened
    context.close()


@pytest.mark.slow
def test_arrows_lead_from_cell_to_cell_and_enter_shows_the_x_rays(shared_dashboard: Any, tab: Any) -> None:
    tab.goto(f"{shared_dashboard.url}/results")
    cells = tab.locator(".matrix button")
    cells.first.wait_for()
    settled(tab)
    classes = tab.locator(".matrix th[scope=row]").all_text_contents()
    assert cells.count() == len(classes) ** 2
    assert tab.locator(".matrix button[tabindex='0']").count() == 1
    cells.first.focus()
    for key in ("ArrowLeft", "ArrowRight", "ArrowDown"):  # the first leads nowhere
        tab.keyboard.press(key)
    tab.keyboard.press("Enter")
    heading = tab.get_by_role("heading", name=re.compile(rf"True {classes[1]}, predicted {classes[1]} \("))
    heading.wait_for()
    settled(tab)
    chosen = tab.locator(".matrix button[aria-pressed=true]")
    label = chosen.get_attribute("aria-label")
    count, named = chosen.locator("b").inner_text(), heading.inner_text()
    assert label.startswith(f"True {classes[1]}, predicted {classes[1]}: {count}, ")
    assert named.endswith(f"({count})")
    assert tab.locator(".matrix button:focus").get_attribute("aria-label") == label, "the keyboard stays where it was"
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name=re.compile("Errors, the most confident first")).wait_for()
    settled(tab)
    assert chosen.count() == 0
