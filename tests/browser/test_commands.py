"""The command beside a page is copied by its button, and its look costs no script of Streamlit's."""

from __future__ import annotations

from typing import Any


def test_the_button_of_a_command_copies_it(shared_dashboard: Any, tab: Any) -> None:
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.goto(f"{shared_dashboard.url}/data")
    folded = tab.locator("details:visible", has_text="The same on the command line").first
    folded.locator("summary").click()
    command = folded.locator(".code").first
    command.locator("button").click()
    command.locator("button", has_text="Copied").wait_for()
    text = tab.evaluate("navigator.clipboard.readText()")
    assert text == command.locator("pre").text_content()
    assert text.startswith("cxr data ")
    # Without a secure connection there is no clipboard to write to: the browser copies what is selected.
    tab.evaluate("navigator.clipboard.writeText('something else')")
    tab.evaluate("Object.defineProperty(navigator.clipboard, 'writeText', {value: () => Promise.reject(new Error())})")
    command.locator("button", has_text="Copy").wait_for()
    command.locator("button").click()
    command.locator("button", has_text="Copied").wait_for()
    assert tab.evaluate("navigator.clipboard.readText()") == text
    assert not [url for url in asked if "SyntaxHighlighter" in url]
