"""Signed in as a viewer or a researcher: what each may look at, press and do."""

from __future__ import annotations

import re
from typing import Any

import pytest
import streamlit as st
from apps import EVERY_PAGE, said, shown_in_viewer
from streamlit.testing.v1 import AppTest

from cxr import permission
from cxr.data import Manifest
from cxr.permission import NotAllowedError
from cxr.runs import Run, list_runs
from tests.dashboard.conftest import DASHBOARD

from services import people  # isort: skip  - found through the path that conftest sets
from widgets.access import acts  # isort: skip
from widgets import address  # isort: skip
from widgets.panes import frames  # isort: skip

assert DASHBOARD
AUTH = {"redirect_uri": "http://localhost:8501/oauth2callback", "cookie_secret": "x" * 40, "client_id": "cxr"}
ROLES = {"researcher": ["ana@example.org", "*@lab.example.org"], "viewer": "*@example.org"}
PAGES = ("home", "data", "train", "live", "study", "results", "trust", "compare", "explorer", "text", "weights")
# What looks, computes for the one who looks, or only changes what is shown.
FOR_ALL = re.compile(
    "Sign out|Next|Previous|Predict all|Close|Show|Measure the map|Make |Reset|Read text|Discard|Grid|One X-ray|"
    r"Select|Try it|Look for text|^\d+ X-rays?$|^$"
)


@pytest.fixture(autouse=True)
def no_guard_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard of the page under test is gone afterwards."""
    monkeypatch.setattr(permission, "_guards", [])


def opened_by(email: str | None, page: str = "home", roles: dict[str, Any] = ROLES, **facts: Any) -> AppTest:
    app = AppTest.from_file(str(EVERY_PAGE), default_timeout=180)
    app.secrets["auth"], app.secrets["roles"] = AUTH, roles
    app.user = {"is_logged_in": email is not None, **({"email": email} if email else {}), **facts}
    app.run()
    if page != "home":
        app.switch_page(f"views/{page}.py")
        app.run()
    assert not app.exception
    return app


@pytest.mark.parametrize(
    ("email", "roles", "expected"),
    [
        ("ana@example.org", ROLES, "researcher"),
        ("Bo@LAB.example.org", ROLES, "researcher"),
        ("Zoë@example.org", ROLES, "viewer"),
        ("eve@example.com", ROLES, None),
        ("", ROLES, None),
        ("", {"viewer": ["*"]}, None),
        ("eve@example.com", {}, "viewer"),
        ("ana@example.org", {"researcher": 5}, None),
    ],
)
def test_the_role_of_an_address(email: str, roles: dict[str, Any], expected: str | None) -> None:
    assert people.role_of(email, roles) == expected


def test_before_the_sign_in_nothing_is_shown(demo: Manifest) -> None:
    app = opened_by(None)
    assert [button.label for button in app.button] == ["Sign in"]
    assert "demo" not in said(app)
    assert not app.dataframe


def test_an_address_that_is_not_listed_or_not_verified_is_turned_away(demo: Manifest) -> None:
    app = opened_by("eve@example.com")
    (error,) = app.error
    assert error.value.replace("\\", "") == (
        "`eve@example.com` is signed in, but has no role here. Whoever runs this dashboard can add the address to "
        "[roles] in its secrets file."
    )
    assert [button.label for button in app.button] == ["Sign out"]
    assert opened_by("ana@example.org", email_verified=False).error
    assert not opened_by("ana@example.org", email_verified=True).error


@pytest.mark.parametrize("page", PAGES)
def test_a_viewer_sees_each_page_and_can_press_nothing_that_changes_something(page: str, trained: Run) -> None:
    app = opened_by("zoe@example.org", page)
    assert not app.error, said(app)
    open_to_viewers = [button.label for button in app.button if not button.disabled]
    assert [label for label in open_to_viewers if not FOR_ALL.search(label)] == []
    assert "viewer" in said(app)


def test_an_e_mail_address_is_no_link_beside_the_pages_either(demo: Manifest) -> None:
    app = opened_by("zoe@example.org")
    assert "`zoe@example.org` · viewer" in [caption.value for caption in app.sidebar.caption]
    assert address.plain("a_b+c@x-ray.example.org. `d@e.org` *e* @ f") == (
        "`a_b+c@x-ray.example.org`. `d@e.org` \\*e\\* @ f"
    )


def test_a_researcher_presses_what_a_viewer_cannot(trained: Run) -> None:
    def start_of(email: str) -> Any:
        app = opened_by(email, "train")
        return app, next(button for button in app.button if button.label == "Start training")

    app, refused = start_of("zoe@example.org")
    assert (refused.disabled, refused.help) == (True, acts.FOR_RESEARCHERS)
    states = app._tree.get_widget_states()  # a message that no browser of this page would send
    states.widgets.add(id=refused.proto.id, trigger_value=True)
    app._run(states)
    assert len(list_runs()) == 1
    app, allowed = start_of("bo@lab.example.org")
    assert not allowed.disabled
    allowed.click()
    app.run()
    assert not app.exception
    assert len(list_runs()) == 2


SIGNED = {"_streamlit_user": "signed", "_streamlit_user__1": "and the rest of it"}


def test_stored_heatmaps_are_given_to_an_open_explorer_as_long_as_its_visitor_may_look(
    demo: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(st.context), "cookies", SIGNED | {"theme": "dark"})
    app = opened_by("bo@example.org", "explorer")
    shown = shown_in_viewer(app)
    (here,) = [xray["id"] for xray in shown["strip"] if xray["here"]]
    token, wish = shown["frames"].split("/")[-2], {"context": shown["context"], "image": here}
    assert frames.answer(token, {}, wish) is not None, "nobody signs in here"
    with monkeypatch.context() as server:
        server.setattr(people, "asks_for_sign_in", lambda: True)
        only_ana = {"researcher": "ana@example.org"}
        half = {"_streamlit_user": "signed"}
        for roles, cookies, may_look in (
            (ROLES, SIGNED, True),
            (ROLES, SIGNED | {"theme": "light"}, True),
            (only_ana, SIGNED, False),
            (ROLES, {}, False),
            (ROLES, half, False),
            (ROLES, SIGNED | {"_streamlit_user": "another"}, False),
        ):
            server.setattr(people, "_section", {"roles": roles}.__getitem__)
            assert (frames.answer(token, cookies, wish) is not None) == may_look, (roles, cookies)
            assert (frames.small_png(token, cookies, here) is not None) == may_look, (roles, cookies)
    app.session_state["frames:renewed"] = True  # as after a step of the viewer alone, or a run that was broken off
    app.switch_page("views/data.py")
    app.run()
    assert not app.exception
    assert frames.answer(token, {}, wish) is None


def test_who_is_not_known_by_a_cookie_gets_nothing_outside_of_a_page(
    demo: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened_by("bo@example.org", "explorer")
    shown = shown_in_viewer(app)
    monkeypatch.setattr(people, "asks_for_sign_in", lambda: True)
    monkeypatch.setattr(people, "_section", {"roles": ROLES}.__getitem__)
    token, wish = shown["frames"].split("/")[-2], {"context": shown["context"], "image": shown["strip"][0]["id"]}
    assert frames.answer(token, {}, wish) is None


def change_of_a_page_that_forgot_to_ask() -> None:
    import streamlit as st

    from cxr.errors import CxrError
    from cxr.permission import guard_with
    from cxr.runs import list_runs

    from services import people

    guard_with(people.refuse_viewers)
    try:
        list_runs()[0].delete()
    except CxrError as error:
        st.error(str(error))


@pytest.mark.parametrize(("email", "left"), [("zoe@example.org", 1), ("ana@example.org", 0)])
def test_a_page_that_forgets_to_ask_changes_nothing_for_a_viewer(email: str, left: int, trained: Run) -> None:
    app = AppTest.from_function(change_of_a_page_that_forgot_to_ask, default_timeout=60)
    app.secrets["auth"], app.secrets["roles"] = AUTH, ROLES
    app.user = {"is_logged_in": True, "email": email}
    app.run()
    errors = [error.value.replace("\\", "") for error in app.error]
    refusal = "zoe@example.org is a viewer and may not delete a run: ask a researcher"
    assert errors == ([refusal] if left else [])
    assert len(list_runs()) == left


def test_without_sign_in_everybody_is_a_researcher_and_work_outside_of_pages_is_not_asked(
    private_folders: None,
) -> None:
    people.refuse_viewers("start a run")
    app = AppTest.from_file(str(EVERY_PAGE), default_timeout=180).run()
    assert not app.exception
    assert "Sign" not in str([button.label for button in app.button])
    assert issubclass(NotAllowedError, PermissionError)
