"""The frame that a page is sent with. That it is on screen is seen in ``tests/browser/test_steps.py``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import streamlit
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import FileResponse, HTMLResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.dashboard.conftest import DASHBOARD

import first_paint  # isort: skip  - found through the path that conftest sets
from services.page_list import SECTIONS, TITLES  # isort: skip

assert DASHBOARD
PAGE = Path(streamlit.__file__).parent / "static" / "index.html"


def served(*routes: Route) -> TestClient:
    return TestClient(Starlette(routes=[*routes], middleware=[Middleware(first_paint.FirstPaint)]))


@pytest.mark.parametrize(("path", "name"), [("/", ""), ("/live", "live"), ("/base/explorer", "explorer"), ("/x", "")])
def test_the_page_that_streamlit_sends_has_the_sidebar_and_the_title(path, name) -> None:
    page = first_paint.framed(PAGE.read_text(), path)
    assert f"<h1>{TITLES[name]}</h1>" in page
    links = re.findall(r'<a href="\./(\w*)"( aria-current=page)?>([^<]+)</a>', page)
    entries = [(title, file) for section in SECTIONS.values() for file, title, _ in section]
    assert [title for _, _, title in links] == [title for title, _ in entries]
    assert [own for own, here, _ in links if here] == [name]
    assert {own for own, _, _ in links} == {Path(file).stem for _, file in entries} - {"home"} | {""}
    assert page.index("</head>") < page.index('id="first-paint"') < page.index("</body>")


def test_a_page_of_another_streamlit_is_sent_as_it_is() -> None:
    for page in ("<html><head></head><body><div id=root></div></body></html>", "", 2 * '<div id="root"></div>'):
        assert first_paint.framed(page, "/live") == page


def test_only_pages_are_changed_and_a_browser_that_has_one_gets_the_whole_of_it() -> None:
    def parts():
        yield "half, "
        yield "half"

    asked: list[dict[str, str]] = []

    def page(request):
        asked.append(dict(request.headers))
        return FileResponse(PAGE)

    browser = served(
        Route("/media/a", lambda _: HTMLResponse('</head><div id="root"></div>')),
        Route("/_stcore/health", lambda _: HTMLResponse("ok")),
        Route("/words", lambda _: StreamingResponse(parts(), media_type="text/plain")),
        Route("/{path:path}", page),
    )
    answer = browser.get("/live", headers={"if-none-match": '"0"', "accept-encoding": "gzip"})
    assert answer.text == first_paint.framed(PAGE.read_text(), "/live")
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert not {"etag", "last-modified", "content-encoding"} & answer.headers.keys()
    assert not {"if-none-match", "accept-encoding"} & asked[0].keys()
    assert browser.get("/media/a").text == '</head><div id="root"></div>'
    assert browser.get("/_stcore/health").text == "ok"
    assert browser.get("/words").text == "half, half"
    assert browser.head("/live").text == ""
