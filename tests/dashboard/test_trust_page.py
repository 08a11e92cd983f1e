"""The page Can this be trusted: what is audited, findings in order, parts that are missing, and the address."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from apps import codes, opened, refused, said

from cxr.data import Manifest
from cxr.reports import audit as report
from cxr.runs import Run, list_runs
from tests.audits.finished import finished

from widgets import viewer  # isort: skip  - found through the path that conftest sets

QUICK = {"quick": True}


@pytest.fixture
def audit(trained: Run, demo: Manifest) -> Run:
    """A quick look at the trained network."""
    return finished("audit-network", {"model": trained.id, "manifest": str(demo.path), "split": "test", **QUICK})


def test_a_quick_look_is_started_and_its_findings_are_shown(trained: Run, demo: Manifest):
    app = opened("trust")
    assert not app.exception
    assert app.button(key="trust:start").label == "Audit"
    assert any(code == f"cxr audit {trained.id} --data demo --split test" for code in codes(app))
    app.button(key="trust:quick").click().run()
    assert not app.exception
    (run,) = list_runs(kind="audit-network")
    assert run.spec["params"]["quick"] is True
    assert run.wait(300)["state"] == "finished", run.status()["error"]
    app = opened("trust", audit=run.id)
    assert not app.exception
    assert app.selectbox(key="pick:model").value == trained.id
    results = run.results()
    assert results["finding"] in said(app)
    for finding in results["findings"]:
        assert finding["sentence"] in said(app)
        assert finding["not_shown"] in said(app)


def test_what_more_there_is_to_say_of_a_finding_stands_below_it_and_in_every_report(audit: Run):
    results = audit.results()
    assert results is not None
    assert len(results["findings"]) > 1
    for finding in results["findings"]:
        del finding["detail"]  # as in audits of before
    results["findings"][0]["detail"] = "Masking 25,000 tokens changes <4> of the predictions."
    audit.folder.write_json("results.json", results)
    app = opened("trust", audit=audit.id)
    assert not app.exception
    (more,) = [box for box in app.expander if box.label == "More"]
    assert [text.value for text in more.markdown] == [viewer.plain(results["findings"][0]["detail"])]
    assert "<details><summary>More</summary><p>Masking 25,000 tokens changes &lt;4&gt; of" in report.to_html(audit)
    assert report.to_markdown(audit).count("- More: Masking 25,000 tokens") == 1
    assert report.findings_table(results["findings"])["detail"].tolist().count("") == len(results["findings"]) - 1


def test_parts_are_shown_as_looked_at_or_missing_and_one_can_be_done_alone(audit: Run, monkeypatch):
    monkeypatch.setattr("cxr.runs.starting.launch", lambda folder: None)
    app = opened("trust", audit=audit.id)
    text = said(app)
    assert "Test figures" in text
    assert "Burned-in text · not done" in text
    assert "Not what they seem · not done" in text
    assert "green-badge" not in text
    for status in audit.results()["parts"]:
        assert all(sentence in text for sentence in status["looked"])
    missing = sum(status["state"] == "missing" for status in audit.results()["parts"])
    assert app.button(key="trust:start").label == f"Do the {missing} missing parts"
    app.button(key="trust:do:text").click().run()
    assert not app.exception
    newest = list_runs(kind="audit-network")[0]
    assert newest.id != audit.id
    assert newest.spec["params"]["parts"] == ["evaluation", "seen", "external", "slices", "text", "openings"]


def test_a_part_that_failed_is_offered_where_it_says_why_and_not_as_the_next_step(audit: Run):
    results = audit.results()
    assert results is not None
    (text,) = [status for status in results["parts"] if status["name"] == "text"]
    for status in results["parts"]:
        if status["state"] in ("missing", "not-asked"):
            status["state"] = "left-out"
    text |= {"state": "failed", "reason": "no class has 30 patients"}
    audit.folder.write_json("results.json", results)
    app = opened("trust", audit=audit.id)
    assert not app.exception
    assert app.button(key="trust:start").label == "Audit again"
    assert "Failed: no class has 30 patients." in said(app)
    assert app.button(key="trust:do:text").label == "Do this part"


def test_the_checklists_are_filled_in_when_they_are_wanted_and_the_report_says_how_far(audit: Run):
    app = opened("trust", audit=audit.id)
    assert not app.exception
    assert "CLAIM 2024: of 44 items" not in said(app)
    app.toggle(key="trust:checklist").set_value(True).run()
    assert not app.exception
    assert "CLAIM 2024: of 44 items" in said(app)
    assert list(app.query_params["checklist"]) == ["1"]
    (claim, *_) = [frame.value for frame in app.dataframe if "asks for" in frame.value.columns]
    assert len(claim) == 44
    page = report.to_html(audit)
    assert "Reporting checklists" in page
    assert "CLAIM 2024" in page


def test_a_running_audit_shows_what_its_ended_parts_have_found(audit: Run):
    found = audit.results()["findings"]
    (audit.folder.path / "results.json").unlink()
    audit.folder.update_status(state="stopped", ended=0.0)
    app = opened("trust", audit=audit.id)
    assert not app.exception
    assert "So far, 13 of 13 parts" in said(app)
    assert all(finding["sentence"] in said(app) for finding in found)
    assert app.button(key="trust:resume").label == "Resume"


def test_the_x_rays_behind_a_finding_are_one_click_away_and_stand_in_the_address(demo: Manifest, tmp_path: Path):
    """A table of predictions that are wrong for one source alone."""
    rows = pd.DataFrame(demo.table)
    rows["source"] = np.where(np.arange(len(rows)) % 2, "east", "west")
    rows.to_csv(demo.path, index=False)
    classes = sorted(set(rows["label"]))
    said_class = [
        classes[(classes.index(label) + (source == "east")) % len(classes)]
        for label, source in zip(rows["label"], rows["source"], strict=True)
    ]
    table = pd.DataFrame({name: [0.9 if said == name else 0.05 for said in said_class] for name in classes})
    table.insert(0, "image", list(rows["image_id"]))
    table.to_csv(tmp_path / "theirs.csv", index=False)
    params = {"predictions": str(tmp_path / "theirs.csv"), "manifest": str(demo.path)}
    measured = finished("evaluate-predictions", params, name="theirs")
    split = "train" if "train" in measured.results()["splits"] else next(iter(measured.results()["splits"]))
    audit = finished("audit-network", {"predictions": measured.id, "split": split, **QUICK})
    app = opened("trust", audit=audit.id)
    assert not app.exception
    assert app.selectbox(key="pick:model").value == measured.id
    number = next(k for k, finding in enumerate(audit.results()["findings"], 1) if finding["images"])
    app.button(key=f"trust:see:{number}").click().run()
    assert not app.exception
    assert app.query_params["finding"] in (str(number), [str(number)])
    assert [head.value for head in app.header if "X-rays behind" in head.value] == [
        f"The X-rays behind finding {number}"
    ]
    again = opened("trust", model=measured.id, split=split, audit=audit.id, finding=str(number))
    assert any("X-rays behind" in head.value for head in again.header)
    app.button(key=f"trust:see:{number}").click().run()
    assert not any("X-rays behind" in head.value for head in app.header)


def test_what_an_address_names_and_is_not_there_is_told(audit: Run, trained: Run):
    app = opened("trust", model=trained.id, data="demo", split="test", audit=audit.id)
    query = {"model": trained.id, "data": "demo", "split": "test", "audit": audit.id}
    refused(app, query, "model", "data", "split", "audit", "finding", "external")


def test_x_rays_from_elsewhere_are_chosen_and_stand_in_the_address_and_in_the_command(trained: Run, demo: Manifest):
    rows = pd.DataFrame(demo.table)
    rows.loc[rows.index % 5 == 0, "split"] = "hospital"
    rows.to_csv(demo.path, index=False)
    app = opened("trust", model=trained.id, data="demo", split="test")
    key = f"trust:external:{trained.id}:demo"
    assert app.multiselect(key=key).value == ["demo:hospital"]
    assert any(code.endswith("--external demo:hospital") for code in codes(app))
    app.multiselect(key=key).set_value([]).run()
    assert not app.exception
    assert app.query_params["external"] in ("none", ["none"])
    again = opened("trust", model=trained.id, data="demo", split="test", external="none")
    assert again.multiselect(key=key).value == []
    assert not any("--external" in code for code in codes(again))


def test_without_a_network_the_page_says_what_to_do(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sections.trust.choice.list_networks", list)
    app = opened("trust")
    assert not app.exception
    assert "No trained network yet, and no table of predictions." in said(app)


def test_what_was_run_since_the_audit_stands_there_as_newer_and_not_as_missing(audit: Run, demo: Manifest):
    results = audit.results()
    assert results is not None
    assert "not what they seem" in results["finding"]
    check = finished("check-data", {"manifest": str(demo.path)})
    app = opened("trust", audit=audit.id)
    assert not app.exception
    text = said(app)
    assert "Newer than this audit, and not in its findings" in text
    assert check.results()["finding"][:100] in text
    assert "Not what they seem · not in this audit, done since" in text
    assert "Not what they seem · not done" not in text
    assert "not what they seem" not in next(box.value for box in (*app.warning, *app.info))
    missing = sum(status["state"] == "missing" for status in results["parts"])
    assert app.button(key="trust:start").label == f"Do the {missing - 1} missing parts"
    app.button(key="trust:take-in").click().run()
    assert not app.exception
    newest = list_runs(kind="audit-network")[0]
    assert newest.wait(300)["state"] == "finished"
    assert next(status for status in newest.results()["parts"] if status["name"] == "checks")["state"] == "done"
    assert "Newer than this audit" not in said(opened("trust", audit=newest.id))


def test_a_later_run_that_failed_says_why_beside_the_part(audit: Run, demo: Manifest):
    failed = finished("check-data", {"manifest": str(demo.path)})
    (failed.folder.path / "results.json").unlink()
    failed.folder.update_status(state="failed", error="the X-rays could not be read")
    app = opened("trust", audit=audit.id)
    assert not app.exception
    assert "Not what they seem · not in this audit, failed since" in said(app)
    assert "The X-rays could not be read" in said(app)
    assert not [button for button in app.button if button.key == "trust:take-in"]
