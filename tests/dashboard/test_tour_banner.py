"""The tour's banner: on the stop that the address names and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from apps import opened, said

from cxr.runs import Run
from tests.dashboard.conftest import DASHBOARD

from sections.home.tour import STOPS  # isort: skip  - found through the path that conftest sets

assert DASHBOARD


def press(app: Any, label: str) -> Any:
    next(button for button in app.button if button.label == label).click()
    return app.run()


@pytest.mark.parametrize("number", range(1, len(STOPS) + 1))
def test_every_stop_says_where_it_is_and_shows_what_its_address_names(number: int, trained: Run) -> None:
    stop = STOPS[number - 1]
    app = opened(stop.page.removeprefix("views/").removesuffix(".py"), **stop.query, tour=str(number))
    assert not app.exception
    assert not app.error, said(app)
    assert f"{number} of {len(STOPS)} · {stop.label}" in said(app)
    shown = dict(app.query_params)
    assert {name: shown[name] for name in (*stop.query, "tour")} == {**stop.query, "tour": str(number)}


def test_turning_on_within_a_page_and_closing(trained: Run) -> None:
    app = opened("text", **STOPS[2].query, tour="3")
    app = press(app, "Next")
    assert f"4 of {len(STOPS)}" in said(app)
    assert dict(app.query_params).get("look") == "Whole split"
    app = press(app, "Back")
    assert f"3 of {len(STOPS)}" in said(app)
    assert "look" not in dict(app.query_params)
    app = press(app, "Close")
    assert "tour" not in dict(app.query_params)
    assert f" of {len(STOPS)} ·" not in said(app)


def test_a_stop_of_another_page_is_refused_in_one_line(trained: Run) -> None:
    app = opened("text", tour="1")
    assert [error.value for error in app.error] == [
        "The address names the stop of the tour '1', which is not here. Accepted: 3, 4."
    ]
    assert [title.value for title in app.title] == ["Text tokens"]
    assert [title.value for title in press(app, app.button[0].label).title] == ["Text tokens"]
