"""What is on screen before Streamlit's scripts have run: the sidebar and the title, in the colours of the visitor."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_frame_of_a_page_is_there_without_scripts_works_and_gives_way(
    shared_dashboard: Any, tab: Any, theme: str
) -> None:
    tab.emulate_media(color_scheme=theme)
    tab.route("**/static/js/*.js", lambda route: route.abort())
    tab.goto(f"{shared_dashboard.url}/live")
    assert tab.locator("#first-paint h1").inner_text() == "Live"
    behind = "getComputedStyle(document.getElementById('first-paint')).backgroundColor"
    assert tab.evaluate(behind) == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 22, 28)"}[theme]
    tab.locator("#first-paint a", has_text="Glossary").click()
    tab.wait_for_url("**/glossary")
    assert tab.locator("#first-paint h1").inner_text() == "Glossary"
    tab.unroute("**/static/js/*.js")
    tab.reload()
    tab.wait_for_selector("[data-testid=stApp] h1:has-text('Glossary')", timeout=60_000)
    assert tab.locator("#first-paint").count() == 0
    # A theme that was chosen in the menu is that of the frame too.
    other = {"light": "Dark", "dark": "Light"}[theme]
    tab.evaluate("name => localStorage.setItem('stActiveTheme-/glossary-v2', JSON.stringify({name}))", other)
    tab.route("**/static/js/*.js", lambda route: route.abort())
    tab.reload()
    assert tab.evaluate(behind) == {"Light": "rgb(255, 255, 255)", "Dark": "rgb(17, 22, 28)"}[other]
