"""The queue on the Train page: who has which device, who waits, and buttons that change the order."""

from __future__ import annotations

import contextlib
import time

from streamlit.testing.v1 import AppTest

from cxr.data import Manifest
from cxr.paths import runs_root
from cxr.runs import DeviceQueue, Run, start
from cxr.runs.folder import RunFolder
from tests.dashboard.apps import opened, said
from tests.dashboard.conftest import RECIPE

LONG = RECIPE | {"stages": [RECIPE["stages"][0] | {"epochs": 2000}]}


def line_up(demo: Manifest, *names: str) -> list[Run]:
    runs = []
    for name in names:
        run = start("train", {"recipe": LONG, "manifest": str(demo.path), "data_name": "demo"}, name=name)
        deadline = time.monotonic() + 30
        while run.id not in [row["id"] for row in DeviceQueue().rows()]:
            assert time.monotonic() < deadline, "\n".join(run.folder.log_tail())
            time.sleep(0.05)
        runs.append(run)
    return runs


def order() -> list[str]:
    return [row["name"] for row in DeviceQueue().rows()]


def press(app: AppTest, run: Run, which: str) -> None:
    app.button(key=f"queue:{run.id}:{which}").click().run()
    assert not app.exception


def test_train_shows_the_queue_and_its_buttons_change_the_order(demo: Manifest) -> None:
    _, two, three, four = line_up(demo, "one", "two", "three *x*", "four")
    app = opened("train", data="demo", recipe="demo")
    assert not app.exception
    assert said(app).count("since ") == 4
    assert app.button(key=f"queue:{two.id}:arrow_upward").disabled
    assert app.button(key=f"queue:{four.id}:arrow_downward").disabled
    press(app, four, "vertical_align_top")
    assert order() == ["one", "four", "two", "three *x*"]
    press(app, four, "arrow_downward")
    assert order() == ["one", "two", "four", "three *x*"]
    press(app, four, "arrow_downward")
    assert order() == ["one", "two", "three *x*", "four"]
    press(app, three, "arrow_upward")
    assert order() == ["one", "three *x*", "two", "four"]


def test_a_button_of_a_run_whose_turn_has_come_meanwhile_says_so(demo: Manifest) -> None:
    one, _, three = line_up(demo, "one", "two", "three")
    app = opened("train", data="demo", recipe="demo")
    three.kill()
    deadline = time.monotonic() + 30
    while "three" in order():  # a killed process is one until its parent has looked after it
        assert time.monotonic() < deadline
        time.sleep(0.05)
    press(app, three, "vertical_align_top")
    assert "does not wait for a device" in app.toast[0].value
    assert order() == ["one", "two"]
    assert one.active


def test_an_empty_queue_says_what_it_is(trained: Run) -> None:
    assert "No run uses a device of this machine or waits for one" in said(opened("train", data="demo", recipe="demo"))


def test_the_queue_leads_to_the_page_that_shows_a_run_s_kind(demo: Manifest) -> None:
    on_demo = {"manifest": str(demo.path)}
    runs = {
        "live": RunFolder.create(runs_root(), "train", {"recipe": LONG, "data_name": "demo", **on_demo}, "a training"),
        "results": RunFolder.create(runs_root(), "evaluate", {"weights": "demo", **on_demo}, "an evaluation"),
        "": RunFolder.create(runs_root(), "explain", {"model": "demo", **on_demo}, "heatmaps"),
    }
    with contextlib.ExitStack() as stack:
        for number, folder in enumerate(runs.values()):
            options = {f"device {number}": (f"device {number}",)}
            stack.enter_context(DeviceQueue().turn(folder.id, options, lambda: False, lambda _: None))
        app = opened("train", data="demo", recipe="demo")
    assert not app.exception
    links = {link.proto.label: link.proto for link in app.get("page_link")}
    for name, page in (("a training", "live"), ("an evaluation", "results")):
        assert links[name].page == page
        assert links[name].query_string == f"run={runs[page].id}"
    assert "heatmaps" not in links
    assert "heatmaps" in said(app)
