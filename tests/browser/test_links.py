"""Addresses in a real Chromium: one entry of the history per step, Back, links opened elsewhere, no host outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest
from test_journey import WAIT_MS, settled

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

PAGES = {
    "Data": r"/data\?data=demo",
    "Train": r"/train\?data=demo&recipe=",
    "Live": r"/live",
    "Studies": r"/study",
    "Results": r"/results\?run=",
    "Compare": r"/compare",
    "LRP explorer": r"/explorer\?model=.*&data=demo&split=test&image=",
    "Text tokens": r"/text\?model=.*&data=demo&split=test&image=",
    "Weights": r"/weights\?model=",
}
"""Link in the sidebar, and the address that the page has completed."""
SETTLED = """() => {
    const app = document.querySelector('[data-testid=stApp]');
    return app && app.getAttribute('data-test-script-state') === 'notRunning'
        && document.querySelector('h1') && !document.querySelector('[data-stale=true]');
}"""

ANSWERS_COME_LATE = """(() => {
    const listen = WebSocket.prototype.addEventListener;
    WebSocket.prototype.addEventListener = function (name, hear, ...rest) {
        const late = (event) => setTimeout(() => hear.call(this, event), 500);
        return listen.call(this, name, name === "message" ? late : hear, ...rest);
    };
})();"""
"""What the server sends reaches the page half a second later, as from far away or from a busy machine."""


@pytest.fixture(autouse=True)
def nothing_from_outside(tab: Any) -> Iterator[None]:
    """No test here, which together open every page, may see a request to another host."""
    outside: list[str] = []

    def watch(request: Any) -> None:
        if urlsplit(request.url).hostname not in ("127.0.0.1", None):
            outside.append(request.url)

    tab.context.on("request", watch)
    yield
    assert outside == []


def entries(tab: Any) -> int:
    return tab.evaluate("history.length")


def query(tab: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(tab.url).query, keep_blank_values=True)


def open_page(tab: Any, name: str) -> None:
    tab.get_by_test_id("stSidebar").get_by_role("link", name=name, exact=True).click()
    tab.wait_for_url(re.compile(PAGES[name]))
    tab.wait_for_function(SETTLED)


def arrive(tab: Any, address: str) -> None:
    tab.goto(address)
    tab.wait_for_function(SETTLED)


def title_of(tab: Any) -> str:
    return tab.locator("h1").first.inner_text()


@pytest.mark.slow
def test_opening_a_page_is_one_entry_and_back_leads_through_all_of_them(measured: Any, tab: Any) -> None:
    arrive(tab, measured.url)
    seen = [(tab.url, title_of(tab))]
    for name in PAGES:
        before = entries(tab)
        open_page(tab, name)
        assert entries(tab) == before + 1, name
        seen.append((tab.url, title_of(tab)))
    assert len({title for _, title in seen}) == len(seen)
    for url, title in reversed(seen[:-1]):
        tab.go_back()
        tab.wait_for_url(url)
        tab.get_by_role("heading", name=title, exact=True, level=1).wait_for()
        tab.wait_for_function(SETTLED)
    assert tab.get_by_test_id("stException").count() == 0


def test_back_pressed_again_before_the_page_between_has_begun_leads_on(measured: Any, tab: Any) -> None:
    tab.context.add_init_script(ANSWERS_COME_LATE)
    arrive(tab, measured.url)
    seen, title = [tab.url], title_of(tab)
    for name in ("LRP explorer", "Results", "Text tokens", "Data"):
        open_page(tab, name)
        seen.append(tab.url)
    before = entries(tab)
    for url in reversed(seen[:-1]):
        tab.go_back()
        tab.wait_for_url(url)  # the address changes at once, the page when the server answers
    tab.get_by_role("heading", name=title, exact=True, level=1).wait_for()
    tab.wait_for_function(SETTLED)
    assert (tab.url, entries(tab)) == (seen[0], before)


def test_a_step_is_one_entry_and_back_and_forward_show_what_their_address_names(measured: Any, tab: Any) -> None:
    arrive(tab, measured.url)
    open_page(tab, "LRP explorer")
    (first,) = query(tab)["image"]
    before = entries(tab)
    tab.get_by_role("button", name="Next X-ray").click()
    tab.wait_for_url(lambda url: f"image={first}" not in url)
    (second,) = query(tab)["image"]
    assert entries(tab) == before + 1
    for go, image_id in ((tab.go_back, first), (tab.go_forward, second)):
        go()
        tab.wait_for_url(re.compile(f"image={image_id}"))
        tab.wait_for_function(
            "id => document.querySelector('.st-key-pick-image input').value.endsWith(id)", arg=image_id
        )
        assert entries(tab) == before + 1


def test_a_wrong_link_is_reported_and_left_alone_until_the_user_goes_on(measured: Any, tab: Any) -> None:
    wrong = f"{measured.url}/results?run=20260101-000000-abcdef-nope&split=test"
    arrive(tab, wrong)
    tab.get_by_text("There is no run '20260101-000000-abcdef-nope' here").wait_for()
    assert tab.url == wrong
    assert tab.get_by_test_id("stMetric").count() == 0
    before = entries(tab)
    tab.get_by_role("button", name=re.compile("Show .* instead")).click()
    tab.get_by_test_id("stMetric").first.wait_for()
    tab.wait_for_url(lambda url: "nope" not in url)
    assert entries(tab) == before + 1
    tab.go_back()
    tab.wait_for_url(wrong)
    tab.get_by_text("There is no run '20260101-000000-abcdef-nope' here").wait_for()


def test_the_cell_that_was_clicked_is_in_the_address_and_opens_elsewhere(measured: Any, tab: Any, browser: Any) -> None:
    arrive(tab, measured.url)
    open_page(tab, "Results")
    cell = tab.locator(".matrix button").first
    cell.wait_for()
    before = entries(tab)
    cell.click()
    tab.wait_for_url(re.compile("cell="))
    heading = tab.get_by_role("heading", name=re.compile(r"True \w+, predicted \w+"))
    heading.wait_for()
    title = heading.inner_text()
    assert entries(tab) == before + 1
    context = browser.new_context()
    elsewhere = context.new_page()
    elsewhere.goto(tab.url)
    elsewhere.get_by_role("heading", name=title, exact=True).wait_for(timeout=WAIT_MS)
    context.close()
    tab.go_back()
    tab.get_by_role("heading", name=re.compile("Errors, the most confident first")).wait_for()
    assert "cell" not in query(tab)


def test_an_upload_is_never_shown_under_the_address_of_another_xray(
    measured: Any, tab: Any, browser: Any, tmp_path: Path
) -> None:
    own = tmp_path / "own.png"
    cv2.imwrite(str(own), np.random.default_rng(0).integers(0, 255, (192, 192), np.uint8))
    arrive(tab, measured.url)
    open_page(tab, "LRP explorer")
    assert "image" in query(tab)
    settled(tab)  # a step of the page that ends now would close the fields again
    tab.get_by_role("button", name="Network", exact=True).click()
    tab.get_by_role("radio", name="Upload").click()
    tab.wait_for_url(re.compile("source=upload"))
    tab.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(own)
    tab.get_by_role("button", name="Picture with legend (PNG)").wait_for()
    assert not {"image", "data", "split"} & set(query(tab))
    context = browser.new_context()
    elsewhere = context.new_page()
    elsewhere.goto(tab.url)
    elsewhere.get_by_text("A link to this page does not hold it").wait_for(timeout=WAIT_MS)
    assert elsewhere.locator(".pane").count() == 0
    context.close()


def test_starting_a_training_leads_to_its_curves_in_one_step(measured: Any, tab: Any) -> None:
    arrive(tab, f"{measured.url}/train?data=demo&recipe=demo")
    before = entries(tab)
    tab.get_by_role("button", name="Start training").click()
    tab.wait_for_url(re.compile(r"/live\?run=[^&]*$"))
    tab.get_by_role("button", name="Stop").click()
    assert entries(tab) == before + 1
    tab.go_back()
    tab.wait_for_url(re.compile(r"/train\?data=demo&recipe=demo"))


def test_icon_and_canvas_come_from_this_machine_too(measured: Any, tab: Any) -> None:
    arrive(tab, f"{measured.url}/text?model=demo&data=demo&look=Correct+boxes")
    tab.locator("canvas.upper-canvas").wait_for()
    icon = tab.evaluate("document.querySelector(\"link[rel~='icon']\").href")
    assert urlsplit(icon).hostname == "127.0.0.1"


def test_an_address_without_a_page_leads_on_to_the_pages_that_exist(measured: Any, tab: Any) -> None:
    tab.goto(f"{measured.url}/nonsense?run=x")
    settled(tab)
    tab.get_by_text("The address names the page 'nonsense', which is not here.").wait_for(timeout=WAIT_MS)
    assert tab.get_by_role("dialog").count() == 0
    tab.get_by_test_id("stMain").get_by_role("link", name="Data").click()
    tab.get_by_role("heading", name="Data", exact=True).wait_for(timeout=WAIT_MS)
    assert urlsplit(tab.url).path == "/data"
    tab.go_back()
    tab.get_by_text("The address names the page 'nonsense', which is not here.").wait_for(timeout=WAIT_MS)
