"""Behind a reverse proxy: another name of the host, and a path of its own that is called as one of our pages."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest
from conftest import FLAGS, chromium_path
from test_journey import WAIT_MS, has_no_traceback, settled
from test_steps import until
from test_stored import HOLD
from test_viewer import viewer

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

NAME, BASE = "cxr.example.org", "/tools/data"
AT = "model=demo&data=demo&split=test"
PAGES = {
    "": "Chest X-rays: what did the network look at?",
    "data?data=demo": "Data",
    "results": "Results",
    f"explorer?{AT}": "LRP explorer",
    f"explorer?{AT}&look=grid": "LRP explorer",
    f"text?{AT}&look=Correct+boxes": "Text tokens",
    "glossary?tour=2": "Glossary",
    "nonsense": "No such page",
}
PICTURES = {"look=grid": ".xgrid-tile img", "Correct": "canvas.upper-canvas"}
BROKEN = "[...document.images].filter(image => image.complete && !image.naturalWidth).map(image => image.src)"


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            to.sendall(part)
    for end in (source, to):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def proxy_of(port: int) -> Iterator[int]:
    """Pass on what comes, the name of the host in it as the browser has it; give the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                browser, _ = listener.accept()
                dashboard = socket.create_connection(("127.0.0.1", port))
                for ends in ((browser, dashboard), (dashboard, browser)):
                    threading.Thread(target=_pass_on, args=ends, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


@pytest.fixture(scope="module")
def behind(measured: Any, browser: Any) -> Iterator[tuple[str, Any]]:
    """The address that people know, and a browser that finds it."""
    measured.cxr("explain", "demo", "--data", "demo", "--split", "test")
    measured.kill()
    measured.base = BASE
    measured.start()
    rule = f"--host-resolver-rules=MAP {NAME} 127.0.0.1"
    with proxy_of(measured.port) as port:
        other = browser.browser_type.launch(executable_path=chromium_path(), args=[*FLAGS, rule])
        yield f"http://{NAME}:{port}", other
        other.close()


@pytest.fixture
def page(behind: tuple[str, Any]) -> Iterator[Any]:
    """A page that may ask for nothing outside of the base path, and whose every question must be answered."""
    browser = behind[1]
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    wrong: list[tuple[int, str]] = []

    def look(answer: Any) -> None:
        address = urlsplit(answer.url)
        searching = "/_stcore/" in address.path  # Streamlit tries below which path its server answers
        if address.scheme == "http" and not searching and (answer.status >= 400 or not address.path.startswith(BASE)):
            wrong.append((answer.status, answer.url))

    context.on("response", look)
    opened = context.new_page()
    opened.set_default_timeout(WAIT_MS)
    yield opened
    context.close()
    assert wrong == []


@pytest.mark.parametrize("address", PAGES)
def test_every_page_has_its_parts(behind: tuple[str, Any], page: Any, address: str) -> None:
    page.goto(f"{behind[0]}{BASE}/{address}")
    page.get_by_role("heading", name=PAGES[address], exact=True, level=1).wait_for()
    settled(page)
    for word, picture in PICTURES.items():
        if word in address:
            page.locator(picture).first.wait_for()
    assert page.evaluate(BROKEN) == []
    icon = page.evaluate("document.querySelector(\"link[rel~='icon']\").href")
    assert urlsplit(icon).path.startswith(f"{BASE}/media/")
    page.get_by_test_id("stSidebar").get_by_role("link", name="Home", exact=True).click()
    page.get_by_role("heading", name=PAGES[""], exact=True, level=1).wait_for()
    assert urlsplit(page.url).path == f"{BASE}/"
    has_no_traceback(page)


def test_a_stored_heatmap_is_shown_before_the_page_has_followed(behind: tuple[str, Any], page: Any) -> None:
    page.context.add_init_script(HOLD)
    page.goto(f"{behind[0]}{BASE}/explorer?{AT}")
    page.locator(".viewer canvas").first.wait_for()
    settled(page)
    second = viewer(page, "v.data.strip[1].id")
    until(page, f"v.found({{ id: '{second}' }})")
    page.evaluate("held = true")
    page.keyboard.press("ArrowRight")
    until(page, f"v.isWaiting() && v.leads && v.idOf(v.data) === '{second}'")
    page.evaluate("letGo()")
    page.wait_for_url(re.compile(f"image={second}"))


def test_a_file_is_taken_and_one_is_given(behind: tuple[str, Any], page: Any, tmp_path: Path) -> None:
    own = tmp_path / "own.png"
    cv2.imwrite(str(own), np.random.default_rng(0).integers(0, 255, (192, 192), np.uint8))
    page.goto(f"{behind[0]}{BASE}/explorer?model=demo&source=upload")
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(own)
    page.locator(".viewer canvas").first.wait_for()
    page.goto(f"{behind[0]}{BASE}/explorer?{AT}&look=grid")
    page.locator(".xgrid-tile img").first.wait_for()
    settled(page)
    page.get_by_role("button", name="Select all", exact=True).click()
    page.locator("[data-testid=stMarkdown]", has_text=" selected").wait_for()
    settled(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    assert download.value.path().read_text().startswith("image_id,")


def test_below_a_page_there_is_none_and_the_way_back_is_shown(behind: tuple[str, Any]) -> None:
    context = behind[1].new_context()
    page = context.new_page()
    answer = page.goto(f"{behind[0]}{BASE}/a/b")
    assert answer.status == 404
    page.get_by_text("The address names the page 'a/b', which is not here.").wait_for()
    page.get_by_role("link", name="Results").click()
    page.wait_for_url(re.compile(rf"{BASE}/results"))
    page.get_by_role("heading", name="Results", exact=True, level=1).wait_for(timeout=WAIT_MS)
    context.close()
