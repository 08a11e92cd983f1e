"""The queue on the Train page: who has which device, who waits, and buttons that change the order."""

from __future__ import annotations

import time

from streamlit.testing.v1 import AppTest

from cxr.data import Manifest
from cxr.runs import DeviceQueue, Run, start
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
    press(app, three, "vertical_align_top")
    assert "does not wait for a device" in app.toast[0].value
    assert order() == ["one", "two"]
    assert one.active


def test_an_empty_queue_says_what_it_is(trained: Run) -> None:
    assert "No training is running or waiting on this machine" in said(opened("train", data="demo", recipe="demo"))
