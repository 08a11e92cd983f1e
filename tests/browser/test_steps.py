"""Steps to X-rays that the browser has fetched ahead: shown before the server has answered, then confirmed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from test_journey import WAIT_MS, has_no_traceback, settled
from test_links import ANSWERS_COME_LATE, open_page
from test_viewer import frame, pixels, query, viewer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

DIMMED = "document.querySelectorAll('[data-of-another-xray]').length"


@pytest.fixture(scope="module")
def stored(dashboard: Any) -> Any:
    """A dashboard whose heatmaps of the test split are stored."""
    dashboard.cxr("explain", "demo", "--data", "demo", "--split", "test")
    return dashboard


@pytest.fixture
def tab_on_first(stored: Any, tab: Any) -> Any:
    """The explorer on the first X-ray, with the next two fetched."""
    tab.set_viewport_size({"width": 1280, "height": 720})
    tab.goto(f"{stored.url}/explorer?model=demo&data=demo&split=test&sort=class")
    tab.locator(".viewer canvas").first.wait_for(timeout=WAIT_MS)
    settled(tab)
    until(tab, "[2, 3].every(position => v.found({ position }))")
    settled(tab)
    return tab


def until(tab: Any, expression: str) -> None:
    """Wait until an expression of the viewer ``v`` is true."""
    tab.wait_for_function(
        "expression => { const host = [...document.querySelectorAll('*')].find(e => e.shadowRoot?.querySelector("
        "'.viewer')); const v = host?.shadowRoot.querySelector('.viewer').viewer;"
        " return v && new Function('v', `return ${expression}`)(v); }",
        arg=expression,
        timeout=WAIT_MS,
    )


def followed(tab: Any, position: int) -> None:
    """Wait until the page shows the X-ray that the viewer shows, and check that this is the one at ``position``."""
    until(tab, f"!v.isWaiting() && v.data.list.position === {position} && !{DIMMED}")
    settled(tab)
    image_id = query(tab)["image"]
    assert f":{image_id}:" in viewer(tab, "v.data.subject")
    assert tab.locator(".st-key-pick-image input").input_value().endswith(image_id)
    assert viewer(tab, "v.data.strip.find(xray => xray.here).id") == image_id
    has_no_traceback(tab)


@contextmanager
def paused(stored: Any) -> Iterator[Callable[[], None]]:
    """Stop the server's process; the function that is given lets it go on."""
    pid = stored.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield lambda: os.kill(pid, signal.SIGCONT)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_stored_heatmap_is_shown_before_the_server_answers_and_stays_as_it_is(stored: Any, tab_on_first: Any) -> None:
    tab = tab_on_first
    address, entries = tab.url, tab.evaluate("history.length")
    first, second = (xray["id"] for xray in viewer(tab, "v.data.strip.slice(0, 2)"))
    before = pixels(tab, 1)
    with paused(stored) as go_on:
        tab.keyboard.press("ArrowRight")
        until(tab, "v.data.list.position === 2")
        frame(tab)
        shown = [pixels(tab, pane) for pane in range(3)]
        assert (shown[1] != before).any()
        assert f":{second}:" in viewer(tab, "v.data.subject")
        verdict = tab.locator(".verdict").inner_text()
        assert tab.url == address, "the page has not followed"
        assert tab.evaluate(DIMMED) > 2
        assert tab.locator(".viewer").get_attribute("data-busy") == "true"
        given = viewer(tab, "({...v.data, heard: 0})")
        tab.keyboard.press("+")
        viewer(tab, "v.panes.forEach(pane => { pane.frame.dataset.same = '1'; })")
        frame(tab)
        enlarged = [pixels(tab, pane) for pane in range(3)]
        go_on()
        followed(tab, 2)
    assert query(tab)["image"] == second
    assert viewer(tab, "({...v.data, heard: 0})") == given
    assert tab.locator(".pane[data-same='1']").count() == 3, "no pane was drawn anew"
    for pane in range(3):
        np.testing.assert_array_equal(pixels(tab, pane), enlarged[pane])
    assert tab.evaluate("history.length") == entries + 1
    tab.reload()
    tab.locator(".viewer canvas").first.wait_for(timeout=WAIT_MS)
    settled(tab)
    for pane in range(3):
        np.testing.assert_array_equal(pixels(tab, pane), shown[pane])
    assert tab.locator(".verdict").inner_text() == verdict
    tab.go_back()
    followed(tab, 1)
    assert query(tab)["image"] == first


def test_fast_presses_and_held_keys_end_where_they_lead(stored: Any, tab_on_first: Any) -> None:
    tab = tab_on_first
    entries = tab.evaluate("history.length")
    with paused(stored) as go_on:
        for _ in range(3):  # the third has not been fetched
            tab.keyboard.press("n")
        until(tab, "v.data.list.position === 3")
        go_on()
        followed(tab, 4)
    assert entries < tab.evaluate("history.length") <= entries + 3
    until(tab, "v.found({ position: 5 }) && v.found({ position: 3 })")
    with paused(stored) as go_on:
        for _ in range(8):  # all but the first are repeats
            tab.keyboard.down("ArrowLeft")
        tab.keyboard.up("ArrowLeft")
        until(tab, "v.data.list.position === 1 && v.isWaiting()")
        go_on()
        followed(tab, 1)


def test_a_class_that_is_asked_for_meanwhile_is_that_of_the_xray_shown(stored: Any, tab_on_first: Any) -> None:
    tab = tab_on_first
    second = viewer(tab, "v.data.strip[1].id")
    with paused(stored) as go_on:
        tab.get_by_role("button", name=f"Show {second}").click()
        until(tab, "v.data.list.position === 2")
        wanted = viewer(tab, "v.data.prediction.classes[1].name")
        tab.keyboard.press("k")
        go_on()
        until(tab, f"v.data.panes[1].title === 'Heatmap: {wanted}'")
        followed(tab, 2)
    assert (query(tab)["image"], query(tab)["target"]) == (second, wanted)


def test_an_earlier_answer_does_not_bring_back_the_xray_that_was_left(stored: Any, tab_on_first: Any) -> None:
    tab = tab_on_first
    tab.locator(".viewer").evaluate(
        "root => { const v = root.viewer, apply = v.apply; v.seen = [];"
        " v.apply = (data, ...more) => { v.seen.push(data.list.position); apply.call(v, data, ...more); }; }"
    )
    tab.keyboard.press("ArrowRight")
    until(tab, "v.data.list.position === 2")
    tab.wait_for_function("document.querySelector('[data-test-script-state=running]')")
    tab.keyboard.press("ArrowRight")
    followed(tab, 3)
    assert viewer(tab, "v.seen")[:2] == [2, 3]
    assert set(viewer(tab, "v.seen")[2:]) == {3}


def test_what_a_viewer_says_after_its_page_was_left_changes_nothing(stored: Any, tab_on_first: Any) -> None:
    tab = tab_on_first
    with paused(stored) as go_on:
        tab.get_by_test_id("stSidebar").get_by_role("link", name="Text tokens", exact=True).click()
        viewer(tab, "v.trigger('act', { what: 'forget', subject: v.data.subject })")
        go_on()
        tab.get_by_role("heading", name="Text tokens", exact=True, level=1).wait_for()
        settled(tab)
    has_no_traceback(tab)
    assert tab.get_by_test_id("stException").count() == 0


def test_a_page_is_not_emptied_by_what_is_asked_of_the_one_that_was_left(stored: Any, tab_on_first: Any) -> None:
    tab = tab_on_first
    explorer = tab.url
    open_page(tab, "Text tokens")  # what is loaded once would hold up the server's ears later
    tab.context.add_init_script(ANSWERS_COME_LATE)  # so that the page that was left goes on for half a second
    tab.goto(explorer)
    until(tab, "[2, 3].every(position => v.found({ position }))")
    settled(tab)
    question = "v.trigger('act', { what: 'forget', subject: v.data.subject }); asks += 1"
    ask = f"(asks = 0, setInterval(() => {{ {question} }}, 10))"
    tab.get_by_test_id("stSidebar").get_by_role("link", name="Text tokens", exact=True).click()
    viewer(tab, ask)
    heading = tab.get_by_role("heading", name="Text tokens", exact=True, level=1)
    heading.wait_for()
    assert tab.evaluate("asks") > 5
    settled(tab)
    tab.get_by_text("tokens found").wait_for(timeout=30_000)
    assert heading.is_visible()
    has_no_traceback(tab)


def test_a_part_that_is_folded_away_is_made_when_it_is_opened_and_stays_open_at_the_next_x_ray(
    tab_on_first: Any,
) -> None:
    tab = tab_on_first
    words = tab.get_by_text("Deleted heatmaps are computed again when needed.")
    assert words.count() == 0
    title = tab.get_by_text("Stored heatmaps", exact=True)
    title.click()
    words.wait_for()
    tab.get_by_role("heading", level=1).click()
    tab.keyboard.press("ArrowRight")
    followed(tab, 2)
    assert words.count() == 1
    title.click()
    words.wait_for(state="detached")
    has_no_traceback(tab)
