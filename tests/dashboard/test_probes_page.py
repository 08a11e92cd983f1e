"""Protocol probes on the Data page: started in the background, what they found, and the command that does the same."""

from __future__ import annotations

from pathlib import Path

from apps import codes, opened, said

from cxr.data import Manifest
from cxr.experiments.probes.results import KIND
from cxr.runs import RunFolder, list_runs


def test_a_button_starts_probes_and_what_they_found_is_shown(demo: Manifest) -> None:
    app = opened("data", data="demo", look="audit")
    assert app.button(key="probes:start").label == f"Probe these {len(demo)} X-rays"
    app.toggle(key="probes:text").set_value(False).run()
    app.selectbox(key="probes:masks").set_value("box").run()
    assert "cxr data probe demo --masks box --no-text" in codes(app)
    app.button(key="probes:start").click().run()
    assert not app.exception, app.exception
    (run,) = list_runs(kind=KIND)
    assert (run.spec["params"]["text"], run.spec["params"]["masks"]) == (False, "box")
    assert run.wait(timeout=300)["state"] == "finished", run.status()["error"]
    app = opened("data", data="demo", look="audit")
    assert not app.exception, app.exception
    assert run.results()["finding"] in said(app)
    assert f"Lungs: a box in each X-ray on {len(demo)} X-rays." in said(app)
    assert app.button(key="probes:start").label == "Probe again"


def test_probes_that_were_stopped_can_be_resumed_here(demo: Manifest, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "runs", KIND, {"manifest": str(demo.path), "text": False})
    folder.update_status(state="stopped", ended=0.0)
    app = opened("data", data="demo", look="audit")
    assert not app.exception, app.exception
    assert app.button(key="probes:resume").label == "Resume"
