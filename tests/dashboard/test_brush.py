"""Selecting bars and points in the charts of a class's probability lists the X-rays that they stand for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apps import open_address, opened, refused, said, shown_in_gallery
from streamlit.testing.v1 import AppTest

from cxr.runs import Run
from tests.dashboard.test_results_sections import FINDINGS, NAMES, measured

from sections.results import brush  # isort: skip  - found through the path that conftest sets
from sections.results.brush import Stretch  # isort: skip


def bars(app: AppTest) -> list[dict[str, Any]]:
    specs = [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
    return next(
        spec for spec in specs if any("customdata" in trace for trace in spec["data"]) and "barmode" in spec["layout"]
    )["data"]


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_the_xrays_of_a_bar_are_as_many_as_it_says(tmp_path: Path, task: str) -> None:
    run = measured(tmp_path, task)
    name = (NAMES if task == "single-label" else FINDINGS)[1]
    choice = {"tab": "curves", "curve": "scores", ("class" if task == "single-label" else "finding"): name}
    app = opened("results", run=run.id, **choice)
    checked = 0
    for trace in bars(app):
        n, low, high, side = max(trace["customdata"], key=lambda row: row[0])
        assert n > 0
        stretch = brush.of_points([{"customdata": [n, low, high, side]}])
        assert stretch is not None
        open_address(app, {"run": run.id, **choice, "range": stretch.text})
        assert not app.exception
        assert not app.error
        assert f"X-rays {side} {name} that get {name}" in said(app)
        assert f": {n} X-ray" in said(app)
        listed = app.dataframe[-1].value
        assert len(listed) == n
        checked += 1
    assert checked == 2


def test_all_bars_together_hold_every_xray_once(tmp_path: Path) -> None:
    """Also those on an edge between two bars."""
    edges = np.linspace(0, 1, 41)
    ends = brush.bar_ends(edges)
    scores = np.concatenate([edges, np.random.default_rng(0).random(1000)])
    inside = [int(((scores >= low) & (scores <= high)).sum()) for low, high in ends]
    assert inside == np.histogram(scores, edges)[0].tolist()


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([[5, 0.5, 0.6, "with"], [2, 0.1, 0.2, "with"]], Stretch(0.1, 0.6, "with")),
        ([[5, 0.5, 0.6, "with"], [2, 0.6, 0.7, "without"]], Stretch(0.5, 0.7)),
        ([[12, 6, 0.25, 0.5, ""]], Stretch(0.25, 0.5)),  # of a bin of the calibration
        ([[12, 6]], None),  # of one after scaling
        ([None], None),  # of a line that says nothing
        ([], None),
    ],
)
def test_what_is_selected_becomes_one_stretch(points: list[Any], expected: Stretch | None) -> None:
    assert brush.of_points([{"customdata": point} if point else {} for point in points]) == expected


@pytest.mark.parametrize("text", ["", "0.5", "0.6,0.5", "0,2", "nan,1", "0,1,maybe", "0,1,with,with", "a,b"])
def test_an_address_that_is_no_stretch_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        Stretch.parse(text)
    assert Stretch.parse(Stretch(0.1, 1 / 3, "without").text) == Stretch(0.1, 1 / 3, "without")


def test_a_stretch_shows_the_pictures_and_goes_away_again(trained: Run) -> None:
    choice = {"run": trained.id, "split": "test", "tab": "curves", "curve": "calibration"}
    app = opened("results", **choice, range="0.0,1.0")
    assert not app.exception
    assert not app.error
    table = trained.predictions()
    assert table is not None
    n = int((table["split"] == "test").sum())
    assert f"a probability of 0 to 1: {n} X-rays" in said(app)
    assert shown_in_gallery(app)
    app.button(key="results:range:none").click().run()
    assert "a probability of 0 to 1" not in said(app)
    refused(app, choice, "range")
