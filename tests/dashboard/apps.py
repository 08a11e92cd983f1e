"""Opening pages of the dashboard under AppTest, and reading what they say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

HOME = Path(__file__).resolve().parents[2] / "dashboard" / "Home.py"


def opened(page: str, /, **query: str) -> AppTest:
    """Open a page as a link with these query parameters does."""
    app = AppTest.from_file(str(HOME), default_timeout=180)
    app.run()
    for name, value in query.items():
        app.query_params[name] = value
    app.switch_page(f"views/{page}.py")
    return app.run()


def open_address(app: AppTest, query: dict[str, Any]) -> AppTest:
    """Open an address on the page that is shown, as a link or Back does."""
    app.query_params.clear()
    app.query_params.update(query)
    return app.run()


def refused(app: AppTest, query: dict[str, str], *params: str) -> None:
    """Check that each of these parameters, added with nonsense to an address, is told in one line."""
    for param in params:
        open_address(app, query | {param: "nope"})
        assert not app.exception, (param, app.exception)
        assert len(app.error) == 1, (param, said(app))
        assert "'nope'" in app.error[0].value, param
        assert dict(app.query_params) == query | {param: "nope"}


def said(app: AppTest) -> str:
    """Return all that a page says in words, without the signs that keep Markdown from reading names as its own."""
    elements = [*app.info, *app.warning, *app.error, *app.success, *app.caption, *app.markdown, *app.text]
    return re.sub(r"\\([^\w\s])", r"\1", "\n".join(str(element.value) for element in elements))
