"""Opening pages of the dashboard under AppTest, and reading what they say."""

from __future__ import annotations

import contextlib
import html
import io
import json
import re
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from cxr.cli.python_calls import python_call

EVERY_PAGE = Path(__file__).resolve().parents[2] / "dashboard" / "every_page.py"


def opened(page: str, /, **query: str) -> AppTest:
    """Open a page as a link with these query parameters does."""
    app = AppTest.from_file(str(EVERY_PAGE), default_timeout=300)
    app.run()
    for name, value in query.items():
        app.query_params[name] = value
    app.switch_page(f"views/{page}.py")
    return app.run()


def unfolded(app: AppTest, part: str) -> AppTest:
    """Open a part of the page that is folded away, as a click on its title does."""
    app.session_state[f"{part}:fold"] = True
    return app.run()


def done_by_call(*words: object) -> str:
    """Do what the Python lines beside a command say, with no name but their own, and return what they print."""
    lines = python_call(["cxr", *words])
    assert lines, f"no call of {words}"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(lines, "page", "exec"), {})
    return printed.getvalue()


def without_time(text: str) -> str:
    """Return a report without the minute in which it was made, which may end between two of them."""
    return re.sub(r"\d\d:\d\d UTC", "", text)


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


def codes(app: AppTest) -> list[str]:
    """Return the commands and other text that a page shows as it is typed, in their order."""
    pages = "\n".join(element.proto.body for element in app.get("html"))
    return [html.unescape(text) for text in re.findall(r'<div class="code"><pre>(.*?)</pre>', pages, re.DOTALL)]


def said(app: AppTest) -> str:
    """Return all that a page says in words, without the signs that keep Markdown from reading names as its own."""
    elements = [*app.info, *app.warning, *app.error, *app.success, *app.caption, *app.header, *app.markdown, *app.text]
    return re.sub(r"\\([^\w\s])", r"\1", "\n".join(str(element.value) for element in elements))


def first_place(app: AppTest, kind: str, label: str = "") -> int:
    """Return the place, from the top of the page, of the first element of a kind, with this label where it has one."""
    elements = [(e.type, getattr(e, "label", "")) for e in app.main]
    return next(k for k, (found, named) in enumerate(elements) if found == kind and named.startswith(label))


def shown(app: AppTest) -> dict[str, str]:
    """The address that the browser has after a page ran: Streamlit's, or the one that it was completed to."""
    return {name: values[-1] for name, values in app.session_state["address"].shown.items()}


def shown_in_viewer(app: AppTest) -> dict[str, Any]:
    """Return what the viewer was given to show."""
    return json.loads(_component(app, "cxr_viewer").json)


def shown_in_gallery(app: AppTest) -> list[dict[str, str]]:
    """Return the pictures of the first grid of X-rays."""
    return json.loads(_component(app, "cxr_gallery").json)["pictures"]


def open_in_gallery(app: AppTest, image_id: str) -> AppTest:
    """Click on a picture of the first grid of X-rays."""
    return _heard(app, "cxr_gallery", json_trigger_value=json.dumps([{"event": "open", "value": image_id}]))


def matrix_of(app: AppTest) -> dict[str, Any]:
    """Return what the confusion matrix shows: its classes, the texts of its cells, the chosen cell."""
    return json.loads(_component(app, "cxr_matrix").json)


def click_cell(app: AppTest, true: str, predicted: str) -> AppTest:
    """Click on a cell of the confusion matrix."""
    value = json.dumps([{"event": "cell", "value": [true, predicted]}])
    return _heard(app, "cxr_matrix", json_trigger_value=value)


def _component(app: AppTest, name: str) -> Any:
    return next(part.proto for part in app.get("bidi_component") if part.proto.component_name == name)


def change_look(app: AppTest, **values: Any) -> AppTest:
    """Do as the viewer does when its settings were changed."""
    given = shown_in_viewer(app)
    look = given["look"] | values | {"arrival": given["arrival"]}
    return _heard(app, "cxr_viewer", json_value=json.dumps({"look": look}))


def act_in_viewer(app: AppTest, what: str, **values: Any) -> AppTest:
    """Do as the viewer does when it wants something of the page."""
    given = shown_in_viewer(app)
    value = {"what": what, "subject": given["subject"], **values}
    if what == "show":
        value = {"number": given["heard"] + 1, "context": given["context"], **value}
    return _heard(app, "cxr_viewer", json_trigger_value=json.dumps([{"event": "act", "value": value}]))


def ask_ahead(app: AppTest, **wish: str) -> dict[str, Any] | None:
    """Ask what the viewer would be given after one more click, as it does without running the page."""
    from widgets.panes import frames  # found through the path that conftest sets

    given = shown_in_viewer(app)
    token = given["frames"].split("/")[-2]
    answer = frames.answer(token, {}, {"context": given["context"], **wish})
    if answer is None:
        return None
    length = int.from_bytes(answer[:4], "little")
    told = json.loads(answer[4 : 4 + length])
    assert len(answer) == 4 + length + sum(file["size"] for file in told["files"])
    shown = told["data"]["images"] + told["data"]["maps"]
    assert {file["url"] for file in told["files"]} == {part["url"] for part in shown}
    return told["data"] | {"arrival": given["arrival"], "look": given["look"]}


def without_addresses(data: dict[str, Any]) -> dict[str, Any]:
    """Return what a viewer is given without the addresses of its files, which have a server on a page alone."""
    files = {name: [{**part, "url": ""} for part in data[name]] for name in ("images", "maps")}
    return {**data, **files, "heard": 0}


def _heard(app: AppTest, name: str, **value: str) -> AppTest:
    component = _component(app, name).id
    states = app._tree.get_widget_states()
    widget = component if "json_value" in value else f"$$STREAMLIT_INTERNAL_KEY_{component}__events"
    states.widgets.add(id=widget, **value)
    return app._run(states)
