"""Opening pages of the dashboard under AppTest, and reading what they say."""

from __future__ import annotations

import re
from pathlib import Path

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


def said(app: AppTest) -> str:
    """Return all that a page says in words, without the signs that keep Markdown from reading names as its own."""
    elements = [*app.info, *app.warning, *app.error, *app.success, *app.caption, *app.markdown]
    return re.sub(r"\\([^\w\s])", r"\1", "\n".join(str(element.value) for element in elements))
