"""Whatever one click on the explorer leads to is on screen before the page has followed, where it is stored."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_journey import WAIT_MS, has_no_traceback, settled, wait_until
from test_steps import DIMMED, until
from test_viewer import frame, pixels, query, viewer

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

OTHER, OTHER_LABEL = "epsilon", "LRP: epsilon everywhere"
AT = "model=demo&data=demo&split=test&sort=class"


HOLD = """(() => {
    const listen = WebSocket.prototype.addEventListener, waiting = [];
    window.held = false;
    WebSocket.prototype.addEventListener = function (name, hear, ...rest) {
        const hold = (event) => window.held ? waiting.push(() => hear.call(this, event)) : hear.call(this, event);
        return listen.call(this, name, name === "message" ? hold : hear, ...rest);
    };
    window.letGo = () => { window.held = false; while (waiting.length) waiting.shift()(); };
})();"""
"""While ``held`` is true the page hears nothing of its script; ``letGo`` ends that."""


@pytest.fixture(scope="module")
def stored(dashboard: Any, browser: Any) -> Any:
    """Stored are maps of the predicted class, and of the first X-ray those of all classes and of a second composite."""
    dashboard.cxr("explain", "demo", "--data", "demo", "--split", "test")
    context = browser.new_context()
    for more in ("&classes=all", f"&composite={OTHER}"):
        opened(dashboard, context.new_page(), more)
    context.close()
    return dashboard


def opened(stored: Any, tab: Any, more: str = "") -> None:
    tab.goto(f"{stored.url}/explorer?{AT}{more}")
    tab.locator(".viewer canvas").first.wait_for(timeout=WAIT_MS)
    settled(tab)


@pytest.fixture
def explorer(stored: Any, tab: Any) -> Any:
    """The explorer on the first X-ray."""
    tab.set_viewport_size({"width": 1280, "height": 720})
    tab.context.add_init_script(HOLD)
    opened(stored, tab)
    return tab


ACTIVE = "input => document.getElementById(input.getAttribute('aria-activedescendant'))?.textContent"


def pick(tab: Any, name: str, label: str, *, by_key: bool = False, rested: bool = False) -> None:
    """Pick an option; ``rested`` on it until the browser holds what is stored of it, or at once."""
    field = tab.locator(f".st-key-pick-{name} input")
    field.click()
    if not by_key:
        field.fill(label)  # a long list holds only the options in sight
    option = tab.get_by_role("option", name=label, exact=True)
    option.wait_for()
    while by_key and field.evaluate(ACTIVE) != label:
        field.press("ArrowDown")
    if rested:
        if not by_key:
            option.hover()
        until(tab, f"[...v.frames].some(([wish, asked]) => asked.entry && wish.includes('\"{label}\"'))")
    if by_key:
        field.press("Enter")
    else:
        option.click()


def tile(tab: Any) -> dict[str, str]:
    xray = viewer(tab, "v.data.strip[6].id")
    tab.get_by_role("button", name=f"Show {xray}").click()
    return {"image": xray}


def picked_xray(tab: Any) -> dict[str, str]:
    xray = viewer(tab, "v.data.strip[5]")
    pick(tab, "image", f"{xray['caption']} · {xray['id']}")
    return {"image": xray["id"]}


def second_class(tab: Any) -> dict[str, str]:
    name = viewer(tab, "v.data.prediction.classes[1].name")
    tab.locator(".viewer button.class").nth(1).click()
    return {"target": name}


def class_by_key(tab: Any) -> dict[str, str]:
    tab.keyboard.press("k")
    return {"target": viewer(tab, "v.data.prediction.classes[1].name")}


def picked_class(tab: Any) -> dict[str, str]:
    name = viewer(tab, "v.data.prediction.classes[2].name")
    pick(tab, "target", name, by_key=True, rested=True)
    return {"target": name}


def picked_composite(tab: Any) -> dict[str, str]:
    pick(tab, "composite", OTHER_LABEL, rested=True)
    return {"composite": OTHER}


def all_classes(tab: Any) -> dict[str, str]:
    tab.get_by_role("button", name="All classes").click()
    return {"classes": "all"}


CLICKS = (tile, picked_xray, second_class, class_by_key, picked_class, picked_composite, all_classes)


@pytest.mark.parametrize("click", CLICKS, ids=lambda click: click.__name__)
def test_what_is_stored_is_on_screen_before_the_page_has_followed_and_is_what_the_page_shows(
    explorer: Any, click: Callable[[Any], dict[str, str]]
) -> None:
    tab = explorer
    before = tab.url
    tab.evaluate("held = true")
    wanted = click(tab)
    until(tab, "v.isWaiting() && v.leads")
    frame(tab)
    panes = viewer(tab, "v.panes.length")
    shown = [pixels(tab, pane) for pane in range(panes)]
    given = viewer(tab, "({...v.data, heard: 0})")
    words = tab.locator(".viewer .stage").inner_text()
    viewer(tab, "v.panes.forEach(pane => { pane.frame.dataset.same = '1'; })")
    assert tab.url == before
    assert tab.evaluate(DIMMED) > 2
    tab.evaluate("letGo()")
    until(tab, f"!v.isWaiting() && !{DIMMED}")
    settled(tab)
    assert wanted.items() <= query(tab).items()
    assert viewer(tab, "({...v.data, heard: 0})") == given
    assert tab.locator(".viewer .stage").inner_text() == words
    assert tab.locator(".pane[data-same='1']").count() == panes, "no pane was drawn anew"
    for pane in range(panes):
        np.testing.assert_array_equal(pixels(tab, pane), shown[pane])
    has_no_traceback(tab)


def test_clicks_one_after_the_other_end_where_all_of_them_lead(explorer: Any) -> None:
    tab = explorer
    tab.locator(".viewer").evaluate(
        "root => { const v = root.viewer, apply = v.apply; v.seen = [];"
        " v.apply = (data, ...more) => { apply.call(v, data, ...more);"
        " v.seen.push(data.panes[1].title + data.subject); }; }"
    )
    tab.evaluate("held = true")
    wanted = second_class(tab)
    until(tab, "v.isWaiting() && v.leads")
    second = viewer(tab, "v.data.strip[1].id")
    tab.keyboard.press("ArrowRight")  # its map of this class is not stored
    tab.evaluate("letGo()")
    until(tab, f"!v.isWaiting() && v.data.list.position === 2 && !{DIMMED}")
    settled(tab)
    assert query(tab)["image"] == second
    assert query(tab)["target"] == wanted["target"]
    seen = viewer(tab, "v.seen")
    assert all(f"Heatmap: {wanted['target']}" in words for words in seen), seen
    assert seen == sorted(seen, key=lambda words: f":{second}:" in words), "it went back to what was left"
    assert viewer(tab, "v.frames.size") <= 10


def test_what_is_not_stored_is_shown_when_the_page_has_computed_it(explorer: Any) -> None:
    tab = explorer
    first = viewer(tab, "v.data.maps[0].url")
    pick(tab, "composite", "For comparison: Gradient x input")
    until(tab, f"!v.isWaiting() && v.data.maps[0].url !== '{first}'")
    settled(tab)
    assert query(tab)["composite"] == "gradient-x-input"
    assert viewer(tab, "v.root.dataset.busy") == "false"
    has_no_traceback(tab)


def test_a_pointer_that_rests_on_a_tile_fetches_its_heatmap(explorer: Any) -> None:
    tab = explorer
    xray = viewer(tab, "v.data.strip[7].id")
    tab.get_by_role("button", name=f"Show {xray}").hover()
    until(tab, f"v.found({{ id: '{xray}' }})")


def test_heatmaps_are_given_to_the_page_that_shows_them_alone(stored: Any, explorer: Any) -> None:
    tab = explorer
    url, context = (viewer(tab, f"v.data.{name}") for name in ("frames", "context"))
    image = viewer(tab, "v.data.strip[1].id")

    def given(address: str, context: str) -> int:
        with urllib.request.urlopen(f"{stored.url}{address}?context={context}&image={image}") as answer:
            return len(answer.read())

    assert given(url, context) > 10_000
    assert given(url, "another") == 0
    token = url.split("/")[-2]
    assert given(url.replace(token, token[::-1]), context) == 0
    tab.keyboard.press("i")  # a step that runs the part of the viewer alone
    tab.wait_for_url(re.compile(r"invert=1"))
    settled(tab)
    assert given(url, context) > 10_000
    tab.get_by_test_id("stSidebar").get_by_role("link", name="Data", exact=True).click()
    tab.get_by_role("heading", name="Data", exact=True, level=1).wait_for()
    settled(tab)
    assert given(url, context) == 0, "the page was left"


def test_what_a_session_was_given_an_address_for_ends_with_it(stored: Any, browser: Any) -> None:
    addresses = []
    for _ in range(2):
        context = browser.new_context()
        tab = context.new_page()
        opened(stored, tab)
        url, at, image = (viewer(tab, f"v.data.{what}") for what in ("frames", "context", "strip[1].id"))
        addresses.append(f"{stored.url}{url}?context={at}&image={image}")
        assert _size(addresses[-1]) > 10_000
        context.close()
        wait_until(lambda: _size(addresses[-1]) == 0, 30, "the server has seen that the page is closed")
    tokens = [address.split("/")[-2] for address in addresses]
    assert len(set(tokens)) == 2, "each session has its own"
    assert min(map(len, tokens)) >= 128 / 6, "of 6 bits a letter, too many to try"


def _size(address: str) -> int:
    with urllib.request.urlopen(address) as answer:
        return len(answer.read())
