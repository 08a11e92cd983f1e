"""A study of real trainings, disturbed in every way, ends as its members do when each is run alone."""

from __future__ import annotations

import os
import signal

import pytest
from safetensors.torch import load_file

from cxr.experiments.study import load_plan, members, start_study
from cxr.experiments.study.comparison import report
from cxr.runs import Run, members_of, start
from tests.study.conftest import plan

VOLATILE = ("time", "images_per_s", "wait_s")


def rows(run: Run) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in VOLATILE} for row in run.metrics()[0]]


@pytest.mark.slow
def test_a_study_that_was_stopped_and_killed_equals_its_members_run_alone(tiny, until):
    study = start_study(plan(), str(tiny))
    until(lambda: members_of(study) and members_of(study)[0].metrics()[0])
    study.stop()
    assert study.wait(300)["state"] == "stopped"
    assert members(study)[0].state in ("stopped", "finished")
    study.resume()
    until(lambda: len(members_of(study)) == 2)
    os.kill(study.status()["pid"], signal.SIGKILL)
    until(lambda: study.status()["state"] == "failed")
    study.resume()
    assert study.wait(300)["state"] == "finished", study.status()

    found = members(study)
    assert [m.state for m in found] == ["finished"] * 4
    assert len(members_of(study)) == 4
    alone = start("train", found[0].run.spec["params"] | {"study": None}, name="alone", detached=False)
    assert rows(alone) == rows(found[0].run)
    assert alone.results()["splits"] == found[0].run.results()["splits"]
    ours, theirs = (load_file(r.folder.checkpoints / "best.safetensors") for r in (alone, found[0].run))
    assert all((ours[name] == theirs[name]).all() for name in ours)

    told = report(study)
    assert [m.key for m in told.measures] == ["area_2", "start", "reach_0.7", "best", "test_accuracy"]
    curve = {r["epoch"]: r["val_accuracy"] for r in rows(found[0].run) if r["kind"] == "epoch"}
    assert {e: v for e, v in told.learning_curves[0].curves["val_accuracy"].items() if e} == curve
    assert told.measures[4].values["plain"][0] == found[0].run.results()["splits"]["test"]["accuracy"]["value"]
    assert study.results()["report"]["sentences"] == list(told.sentences)


def test_the_example_of_the_claim_can_be_read_and_compares_the_paper_s_recipes():
    claim = load_plan("claim")
    assert claim.labels == ["scratch", "imagenet", "twice", "twice-keep", "once"]
    assert len(claim.pairs) == 10
    assert claim.pairs[0] == ("imagenet", "scratch")
    assert claim.recipes["once"].changes == {"weights": None}
