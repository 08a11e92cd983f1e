"""Every page under AppTest: with nothing there, with data alone, and with a finished run."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

HOME = str(Path(__file__).resolve().parents[2] / "dashboard" / "Home.py")
PAGES = ("home", "data", "train", "live", "results", "explorer", "text")


def opened(page: str, **query: str) -> AppTest:
    app = AppTest.from_file(HOME, default_timeout=120)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    app.switch_page(f"views/{page}.py")
    return app.run()


def said(app: AppTest) -> str:
    boxes = [*app.info, *app.warning, *app.error, *app.caption, *app.markdown]
    return "\n".join(str(box.value) for box in boxes)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_with_nothing_to_show_says_what_to_do(page: str) -> None:
    app = opened(page)
    assert not app.exception
    assert app.title[0].value
    assert app.info, "an empty page must tell the next step"
