"""The check on the Data page: started in the background, its pictures by kind, and the command that does the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from apps import codes, opened, said
from PIL import Image

from cxr.data import Manifest
from cxr.experiments.appearance.job import KIND
from cxr.runs import RunFolder, list_runs


def test_a_button_starts_a_check_and_its_pictures_are_shown_by_kind(demo: Manifest) -> None:
    turned, inverted = demo.ids[:2]
    for image_id, change in ((turned, lambda x: np.rot90(x, 2)), (inverted, lambda x: 255 - x)):
        path = demo.image_path(image_id)
        Image.fromarray(np.ascontiguousarray(change(np.asarray(Image.open(path).convert("L"))))).save(path)
    app = opened("data", data="demo", look="check")
    assert app.button(key="check:start").label == f"Check these {len(demo)} X-rays"
    assert "cxr data check demo" in codes(app)
    app.button(key="check:start").click().run()
    assert not app.exception, app.exception
    (run,) = list_runs(kind=KIND)
    assert run.wait(timeout=300)["state"] == "finished", run.status()["error"]
    app = opened("data", data="demo", look="check", flag="rotated-180")
    assert not app.exception, app.exception
    results = run.results()
    assert results["finding"] in said(app)
    assert app.button(key="check:start").label == "Check again"
    flags = {(flag["image_id"], flag["kind"]) for flag in results["flags"]}
    assert {(turned, "rotated-180"), (inverted, "inverted")} <= flags
    assert app.selectbox(key="check:kind").value == "rotated-180"
    tables = [table.value for table in app.dataframe if "what was seen" in table.value]
    assert set(tables[0]["what was seen"]) == {"Turned clockwise by 180 degrees."}
    app.selectbox(key="check:kind").set_value("inverted").run()
    tables = [table.value for table in app.dataframe if "what was seen" in table.value]
    assert inverted in tables[0]["X-ray"].tolist()
    assert "cxr data check demo --without demo-checked.csv" in codes(app)


def test_a_check_that_was_stopped_can_be_resumed_here(demo: Manifest, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "runs", KIND, {"manifest": str(demo.path)})
    folder.update_status(state="stopped", ended=0.0)
    app = opened("data", data="demo", look="check")
    assert not app.exception, app.exception
    assert app.button(key="check:resume").label == "Resume"
