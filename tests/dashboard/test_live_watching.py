"""The X-rays that a training gets most wrong and what it takes of its machine, on the page of running trainings."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apps import open_in_gallery, opened, said, shown, shown_in_gallery, shown_in_viewer
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest
from cxr.paths import runs_root
from cxr.runs import Run, RunFolder
from cxr.runs.metrics.metrics_table import MetricsTable
from cxr.runs.metrics.usage_file import USAGE, UsageTable
from cxr.training.watching.heatmaps import FOLDER, read_heatmaps
from cxr.training.watching.worst import WORST, read_worst
from tests.dashboard.conftest import DASHBOARD

from sections.live import usage  # isort: skip  - found through the path that conftest sets
from sections.live.axes import View  # isort: skip

assert DASHBOARD


def training(data: Path, xrays: list[dict[str, Any]], **worst: Any) -> Run:
    recipe = {"stages": [{"name": "own"}], "seed": 0}
    folder = RunFolder.create(runs_root(), "train", {"recipe": recipe, "manifest": str(data)}, "watched")
    folder.update_status(state="finished", started=1000.0, ended=4000.0, launched=1000.0)
    place = {"stage": "own", "stage_index": 0, "epoch": 2, "n_val": 9, "manifest": None, "masked": False}
    folder.write_json(WORST, place | worst | {"xrays": xrays})
    return Run(folder)


def test_live_shows_the_xrays_of_the_last_validation_and_opens_them_in_place(trained: Run) -> None:
    worst = read_worst(trained)
    assert worst is not None
    app = opened("live", run=trained.id)
    assert not app.exception
    assert not app.error
    assert "Highest loss on validation X-rays, after epoch 2 of stage final" in said(app)
    first, shown = worst["xrays"][0], shown_in_gallery(app)
    assert [picture["id"] for picture in shown] == [xray["image_id"] for xray in worst["xrays"]][:8]
    assert shown[0]["caption"].startswith(f"{first['truth']} → {first['predicted']}")
    assert f"{100 * first['confidence']:.0f} %, loss {first['loss']:.2f}" in shown[0]["caption"]
    open_in_gallery(app, first["image_id"])
    assert not app.exception
    assert first["image_id"] in json.dumps(shown_in_viewer(app))


def test_live_shows_the_heatmaps_that_were_drawn_and_a_link_those_of_an_earlier_epoch(trained: Run) -> None:
    app = opened("live", run=trained.id)
    assert not app.exception
    slider = app.select_slider(key=f"live:drawn:{trained.id}")
    assert (slider.options, slider.value) == (["stage 1, epoch 1", "stage 1, epoch 2"], "0-2")
    newest = read_heatmaps(trained, 0, 2)
    assert newest is not None
    assert captions_of_pictures(app)[0].startswith(f"{newest.xrays[0]['truth']} → {newest.xrays[0]['predicted']}")
    assert len(captions_of_pictures(app)) == len(newest.xrays) == 6
    assert "drawn" not in shown(app)
    slider.set_value("0-1").run()
    earlier = read_heatmaps(trained, 0, 1)
    assert earlier is not None
    assert "after epoch 1 of stage final" in said(app)
    expected = [f"Logit of {t}: {v:+.2f}" for t, v in zip(earlier.targets, earlier.logits, strict=True)]
    assert [caption.split("\n")[2] for caption in captions_of_pictures(app)] == expected
    link = shown(app)
    assert link["drawn"] == "0-1"
    assert "after epoch 1 of stage final" in said(opened("live", **link))
    assert "'0-9'" in opened("live", run=trained.id, drawn="0-9").error[0].value


def test_whoever_looks_at_the_newest_heatmaps_sees_the_next_and_who_looks_at_others_stays(trained: Run) -> None:
    app = opened("live", run=trained.id)
    folder, key = trained.folder.path / FOLDER, f"live:drawn:{trained.id}"
    shutil.copy(folder / "0-00002.npz", folder / "0-00003.npz")
    app.run()
    assert app.select_slider(key=key).value == "0-3"
    app.select_slider(key=key).set_value("0-1").run()
    shutil.copy(folder / "0-00002.npz", folder / "0-00004.npz")
    app.run()
    assert app.select_slider(key=key).value == "0-1"
    (folder / "0-00001.npz").write_bytes(b"PK")
    assert "their file is damaged" in said(app.run())
    assert not app.exception


def captions_of_pictures(app: AppTest) -> list[str]:
    """Return what stands below the pictures, as it reads."""
    captions = [picture.caption for element in app.get("image") for picture in element.proto.imgs]
    return [caption.replace("\\", "").replace("  \n", "\n") for caption in captions]


def test_findings_of_a_stage_with_data_of_its_own_are_shown_from_there_and_are_not_explained(
    demo: Manifest, tmp_path: Path
) -> None:
    """The run's own manifest is not needed for them."""
    ids = demo.ids[:2]
    xrays = [
        {"image_id": i, "loss": 3.0, "truth": "Mass present", "predicted": "Mass absent", "confidence": 0.97}
        for i in [*ids, "gone since"]
    ]
    run = training(tmp_path / "none.csv", xrays, manifest=str(demo.path), masked=True, epoch=0)
    app = opened("live", run=run.id)
    assert not app.exception
    assert not app.error
    assert [picture["id"] for picture in shown_in_gallery(app)] == list(ids)
    assert "Mass present → Mass absent" in shown_in_gallery(app)[0]["caption"]
    page = said(app)
    assert "before the first step of stage own" in page
    assert "without their burned-in text" in page
    assert "explained by" not in page


def test_a_data_set_that_is_gone_is_said_in_one_line(private_folders: None, tmp_path: Path) -> None:
    xray = {"image_id": "a", "loss": 3.0, "truth": "x", "predicted": "y", "confidence": 0.9}
    app = opened("live", run=training(tmp_path / "none.csv", [xray]).id)
    assert not app.exception
    assert [error.value for error in app.error if "none.csv is missing" in error.value]


def follows() -> None:
    """A page of the following alone: it is drawn once and then looks again."""
    import streamlit as st

    from cxr.runs import get_run

    from sections.live import worst

    run = get_run(st.session_state["run"])
    if "live:worst" not in st.session_state:
        worst.read(run)
    worst.follow(run)


def test_a_new_validation_is_drawn_unless_an_xray_is_open(demo: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    import streamlit

    reruns: list[int] = []
    monkeypatch.setattr(streamlit, "rerun", lambda: reruns.append(1))
    xray = {"image_id": demo.ids[0], "loss": 3.0, "truth": "x", "predicted": "y", "confidence": 0.9}
    assert demo.path is not None
    run = training(demo.path, [xray])
    app = AppTest.from_function(follows)
    app.session_state["run"] = run.id
    app.run()
    assert (len(reruns), len(app.button)) == (0, 0)
    file = run.folder.path / WORST
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    app.session_state["gallery:open"] = demo.ids[0]
    app.run()
    assert (len(reruns), [button.label for button in app.button]) == (0, ["Show the X-rays of the newest validation"])
    app.button[0].click().run()
    assert not app.exception
    assert (len(reruns), len(app.button)) == (1, 0)


def watched(rows: list[dict[str, Any]], steps: int = 4) -> Run:
    folder = RunFolder.create(runs_root(), "train", {"recipe": {"stages": [{"name": "s"}]}, "manifest": "m.csv"}, "u")
    base = {"stage": "s", "stage_index": 0, "epoch": 1}
    times = [
        {"kind": "step", "step": k, "loss": 1.0, "lr": 0.1, "images_per_s": 9.0, "wait_s": 0.0}
        for k in range(1, steps + 1)
    ]
    end = {"kind": "epoch", "step": steps, "val_loss": 1.0, "time": 1000.0 + 10 * steps}
    folder.append_metrics([base | row | {"time": 1000.0 + 10 * row["step"]} for row in times] + [base | end])
    folder.update_status(state="finished", started=1000.0, ended=2000.0, launched=1000.0)
    (folder.path / USAGE).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Run(folder)


def test_processor_and_memory_are_drawn_with_their_last_values_beside_the_speed(private_folders: None) -> None:
    rows = [{"time": 1005.0 + 5 * k, "cores": 1 + k / 10, "memory_mb": 1000 + 100 * k} for k in range(8)]
    app = opened("live", run=watched(rows).id)
    assert not app.exception
    titles = [json.loads(chart.proto.spec)["layout"]["title"]["text"] for chart in app.get("plotly_chart")]
    assert sorted(titles)[-2:] == ["Processor: 1.7 cores", "Validation"]
    assert "Memory: 1.7 GB" in titles
    assert not any(title.startswith("GPU") for title in titles)


@pytest.mark.parametrize(
    ("axis", "expected"), [("step", [1, 1.5, 2]), ("epoch", [0.25, 0.375, 0.5]), ("time", [0, 5, 10])]
)
def test_what_was_used_lies_where_its_moment_does_on_every_axis(
    private_folders: None, axis: Any, expected: list[float]
) -> None:
    rows = [{"time": 1010.0 + 5 * k, "cores": 1.0, "memory_mb": 500, "gpu": 50, "gpu_mb": 2000} for k in range(3)]
    run = watched(rows)
    charts = usage.charts_of(
        UsageTable(run.folder.path).refresh(), MetricsTable(run.folder).refresh(), View(axis, unit_s=1.0)
    )
    assert list(charts) == ["cores", "memory_mb", "gpu", "gpu_mb"]
    assert charts["gpu"].layout.title.text == "GPU: 50 %"
    for figure in charts.values():
        assert np.allclose(figure.data[0].x, expected)


def test_what_was_used_before_the_first_step_is_drawn_over_time_alone(private_folders: None) -> None:
    run = watched([{"time": 1.0, "cores": 1.0, "memory_mb": 500}])
    columns, empty = UsageTable(run.folder.path).refresh(), MetricsTable(RunFolder(run.folder.path / "none")).refresh()
    assert usage.charts_of(columns, empty, View("step")) == {}
    assert usage.charts_of(columns, empty, View("time"))["cores"].data[0].x.tolist() == [0.0]
