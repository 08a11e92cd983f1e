"""The frame that a page is sent with. That it is on screen is seen in ``tests/browser/test_steps.py``."""

from __future__ import annotations

import re
from html import escape
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


@pytest.mark.parametrize(("path", "name"), [("/", ""), ("/live", "live"), ("/explorer/", "explorer"), ("/x", "")])
def test_the_page_that_streamlit_sends_has_the_sidebar_and_the_title(path, name) -> None:
    page = first_paint.framed(PAGE.read_text(), path)
    assert f"<h1>{TITLES[name]}</h1>" in page
    links = re.findall(r'<a href="\./(\w*)"( aria-current=page)?>([^<]+)</a>', page)
    entries = [(title, file) for section in SECTIONS.values() for file, title, _ in section]
    assert [title for _, _, title in links] == [title for title, _ in entries]
    assert [own for own, here, _ in links if here] == [name]
    assert {own for own, _, _ in links} == {Path(file).stem for _, file in entries} - {"home"} | {""}
    assert page.index("</head>") < page.index('id="first-paint"') < page.index("</body>")


def test_below_a_page_there_is_none_and_what_is_sent_says_so() -> None:
    browser = served(Route("/{path:path}", lambda _: FileResponse(PAGE)))
    for path, name in (("/a/b", "a/b"), ("/live/x.html", "live/x.html"), ("/a%2Fb/", "a/b"), ("/<i>/b", "<i>/b")):
        answer = browser.get(path)
        assert answer.status_code == 404
        assert escape(f"The address names the page {name!r}, which is not here.") in answer.text
        assert '<base href="/">' in answer.text
        assert "aria-current" not in answer.text.partition("</style>")[2]
        assert "Loading" not in answer.text
        assert "<script type=" not in answer.text, "Streamlit's scripts are not found from there"
    assert browser.get("/a").status_code == 200
    assert browser.get("/static/js/gone.js").text == PAGE.read_text()


@pytest.mark.parametrize("base", ["/some/where", "/tools/data", "/media", "/v1.5"])
def test_below_a_base_path_the_frame_is_of_the_page_that_is_named(base, monkeypatch) -> None:
    monkeypatch.setattr(first_paint, "prefix", lambda: base)
    browser = served(Route("/{path:path}", lambda _: FileResponse(PAGE)))
    for path, name in (("", ""), ("/", ""), ("/live", "live"), ("/data", "data")):
        assert f"<h1>{TITLES[name]}</h1>" in browser.get(f"{base}{path}").text
    answer = browser.get(f"{base}/a/b")
    assert answer.status_code == 404
    assert f'<base href="{base}/">' in answer.text


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
