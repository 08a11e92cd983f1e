"""The page of running trainings in a real Chromium: choices change the curves, stand in the address, and come back."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from cxr.runs import RunFolder

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

SETTLED = """() => {
    const app = document.querySelector('[data-testid=stApp]');
    return app && app.getAttribute('data-test-script-state') === 'notRunning' && document.querySelector('h1');
}"""
RECIPE = {"stages": [{"name": "final"}], "seed": 0}


def training(root: Path, name: str, n: int, **status: Any) -> RunFolder:
    folder = RunFolder.create(root, "train", {"manifest": "m.csv", "recipe": RECIPE}, name)
    row = {"kind": "step", "stage": "final", "stage_index": 0, "epoch": 1, "lr": 1e-3, "images_per_s": 9.0}
    folder.append_metrics([row | {"step": k, "loss": 2 / k, "time": 1000.0 + 30 * k} for k in range(1, n)])
    folder.append_metrics(
        [row | {"kind": "epoch", "step": n, "val_loss": 0.5, "val_accuracy": 0.75, "time": 1e3 + 30 * n}]
    )
    folder.update_status(state="finished", started=1000.0, ended=1000.0 + 30 * n, **status)
    return folder


def shown(tab: Any) -> list[str]:
    """Titles of the axes from left to right, of all charts."""
    tab.wait_for_function("() => document.querySelectorAll('.js-plotly-plot .xtitle').length >= 4")
    return [text.strip() for text in tab.locator(".js-plotly-plot .xtitle").all_text_contents()]


def test_choices_change_the_curves_and_a_link_with_them_shows_the_same(dashboard: Any, tab: Any) -> None:
    root = dashboard.folder / "runs"
    other, run = training(root, "ein Lauf", 40), training(root, "Übung", 200)
    tab.goto(f"{dashboard.url}/live?run={run.id}&compare={other.id}")
    tab.wait_for_function(SETTLED)
    assert shown(tab) == ["step"] * 4
    tab.get_by_text("Time", exact=True).click()
    tab.wait_for_url(re.compile("x=time"))
    tab.get_by_text("Log scale", exact=True).click()
    tab.wait_for_url(re.compile("log=1"))
    link = tab.url
    assert f"run={run.id}" in link
    assert f"compare={other.id}" in link
    tab.goto(dashboard.url)
    tab.goto(link)
    tab.wait_for_function(SETTLED)
    assert shown(tab) == ["minutes since the start"] * 4
    names = set(tab.locator(".js-plotly-plot .legendtext").all_text_contents())
    assert {"Übung · training", "Übung · validation", "ein Lauf · training", "Übung · accuracy"} <= names
    assert tab.get_by_test_id("stException").count() == 0


def test_a_page_of_a_running_training_follows_it_and_stops_asking_at_its_end(dashboard: Any, tab: Any) -> None:
    run = training(dashboard.folder / "runs", "läuft", 20)
    beating = {"state": "running", "pid": 1, "pid_started": 1.0, "host": "elsewhere", "ended": None}
    run.update_status(**beating, heartbeat=time.time(), message="epoch 7/9")
    sent: list[float] = []
    tab.on("websocket", lambda socket: socket.on("framesent", lambda _: sent.append(time.monotonic())))
    tab.goto(f"{dashboard.url}/live?run={run.id}")
    tab.get_by_text("epoch 7/9").wait_for()
    run.update_status(**beating, heartbeat=time.time(), message="epoch 8/9")
    tab.get_by_text("epoch 8/9").wait_for()  # without a click
    run.update_status(state="finished", ended=time.time(), message="all done")
    tab.get_by_text("all done").wait_for()
    tab.get_by_text("From start to end").wait_for()
    tab.wait_for_function(SETTLED)
    before = len(sent)
    with pytest.raises(Exception, match="Timeout"):  # four times as long as it waited between two questions
        tab.wait_for_function("false", timeout=6000)
    assert len(sent) == before
