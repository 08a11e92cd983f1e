"""The audit on the Data page: started in the background, what it found, and the command that does the same."""

from __future__ import annotations

from pathlib import Path

from apps import codes, first_place, opened, said

from cxr.data import Manifest
from cxr.experiments.data_audit.job import KIND
from cxr.runs import RunFolder, list_runs


def test_a_button_starts_an_audit_and_its_findings_are_shown(demo: Manifest) -> None:
    app = opened("data", data="demo", look="audit")
    assert app.button(key="audit:start").label == f"Audit these {len(demo)} X-rays"
    app.toggle(key="audit:text").set_value(False).run()
    assert "cxr data audit demo --no-text" in codes(app)
    app.button(key="audit:start").click().run()
    assert not app.exception, app.exception
    (run,) = list_runs(kind=KIND)
    assert run.spec["params"]["text"] is False
    assert run.wait(timeout=300)["state"] == "finished", run.status()["error"]
    app = opened("data", data="demo", look="audit")
    assert not app.exception, app.exception
    assert run.results()["finding"] in said(app)
    assert app.button(key="audit:start").label == "Audit again"
    assert first_place(app, "info") < first_place(app, "toggle", "Search for burned-in text"), "what was found is first"
    tables = [table.value for table in app.dataframe]
    assert any(
        "mean AUC" in table and "Source" in table["property"].str.removesuffix(" ?").tolist() for table in tables
    )
    assert any("every X-ray" in table for table in tables)


def test_an_audit_that_was_stopped_can_be_resumed_here(demo: Manifest, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "runs", KIND, {"manifest": str(demo.path), "text": False})
    folder.update_status(state="stopped", ended=0.0)
    app = opened("data", data="demo", look="audit")
    assert not app.exception, app.exception
    assert app.button(key="audit:resume").label == "Resume"
