"""Studies in real processes with quick members: started, stopped, killed, resumed, failing."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest

from cxr.errors import ManifestError, RecipeError, RunError, WeightsError
from cxr.experiments.study import members, retry, start_study, stop_study
from cxr.experiments.study.job import _POLL_S
from cxr.runs import Run, get_run, list_runs, local, members_of
from tests.study import quick
from tests.study.conftest import plan

SLOW = {"first": {"recipe": "demo", "set": {"description": "slow"}}, "second": "demo"}


@pytest.fixture(autouse=True)
def quick_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "worker_command", quick.command)


@pytest.fixture
def data(tiny: Path, tmp_path: Path) -> Path:
    """The tiny set's manifest in a folder of this test's own."""
    shutil.copytree(tiny.parent, tmp_path / "own")
    return tmp_path / "own" / "manifest.csv"


def states(study: Run) -> list[str]:
    return [member.state for member in members(study)]


def running_member(study: Run) -> Run | None:
    return next((m.run for m in members(study) if m.run and m.state == "running" and m.run.metrics()[0]), None)


def kill_process(run: Run) -> None:
    os.kill(run.status()["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while run.active:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_members_are_all_pairs_seed_by_seed_and_each_names_its_study(data):
    study = start_study(plan(), str(data))
    assert study.wait(300)["state"] == "finished", study.status()
    found = members(study)
    assert [(m.recipe, m.seed) for m in found] == [("plain", 0), ("slow", 0), ("plain", 1), ("slow", 1)]
    assert states(study) == ["finished"] * 4
    for member in found:
        params = member.run.spec["params"]
        assert (params["study"], params["study_recipe"], params["recipe"]["seed"]) == (
            study.id,
            member.recipe,
            member.seed,
        )
        assert member.run.name == f"small {member.recipe} seed {member.seed}"
    told = study.folder.read_json("members.json")
    assert [(row["run"], row["state"]) for row in told] == [(m.run.id, "finished") for m in found]
    assert study.results()["failures"] == []
    assert study.results()["finding"].startswith("4 of 4 trainings finished\nslow against plain: ")


def goes_on_for_a_while(members, until) -> None:
    """Wait until the members' own work has gone on for longer than the study waits between two looks at them."""
    seen = [len(member.metrics()[0]) for member in members]
    more = 3 * _POLL_S / 0.02  # a row takes as long in the quick job
    until(lambda: all(len(m.metrics()[0]) > n + more for m, n in zip(members, seen, strict=True)))


def test_one_member_runs_at_a_time_unless_more_are_requested(data, until):
    slow = {name: {"recipe": "demo", "set": {"description": "slow"}} for name in ("a", "b", "c")}
    study = start_study(plan(slow, parallel=2), str(data))
    until(lambda: len(members_of(study)) == 2)
    until(lambda: running_member(study))
    goes_on_for_a_while([running_member(study)], until)  # the other one waits for the processor
    assert len(members_of(study)) == 2
    study.stop()
    assert study.wait(300)["state"] == "stopped"
    assert states(study)[:3] == ["stopped", "stopped", "not started"]


def test_a_waiting_study_is_light(data, until, cold_workers):
    study = start_study(plan(SLOW), str(data))
    until(lambda: running_member(study))
    process = psutil.Process(study.status()["pid"])
    loaded = " ".join(m.path for m in process.memory_maps())
    assert "libc" in loaded
    assert "libtorch" not in loaded
    assert "pandas" not in loaded


def test_a_stopped_study_stops_its_running_member_starts_none_and_goes_on_when_resumed(data, until):
    study = start_study(plan(SLOW), str(data))
    until(lambda: running_member(study))
    study.stop()
    assert study.wait(300)["state"] == "stopped"
    assert states(study) == ["stopped"] + ["not started"] * 3
    (stopped,) = members_of(study)
    done = len(stopped.metrics()[0])
    (data.parent / "hurry").touch()
    study.resume()
    assert study.wait(300)["state"] == "finished", study.status()
    assert states(study) == ["finished"] * 4
    assert stopped.status()["resumes"] == 1
    assert len(stopped.metrics()[0]) >= done


@pytest.mark.slow
def test_a_study_whose_process_was_killed_leaves_its_member_alive_and_takes_it_up_again(data, until):
    study = start_study(plan(SLOW), str(data))
    until(lambda: running_member(study))
    alive = running_member(study)
    kill_process(study)
    assert study.status()["state"] == "failed"
    seen = len(alive.metrics()[0])
    until(lambda: len(alive.metrics()[0]) > seen)
    study.resume()
    until(lambda: study.status()["state"] == "running")
    goes_on_for_a_while([alive], until)
    assert (len(members_of(study)), alive.status()["resumes"]) == (1, 0)
    (data.parent / "hurry").touch()
    alive.stop()
    alive.wait(300)
    assert study.wait(300)["state"] == "finished", study.status()
    assert states(study)[1:] == ["finished"] * 3


@pytest.mark.slow
def test_a_finished_member_is_never_done_again(data, until):
    recipes = {"quick": "demo", "late": {"recipe": "demo", "set": {"description": "slow"}}}
    study = start_study(plan(recipes), str(data))
    until(lambda: states(study)[1] == "running")
    first = members(study)[0].run
    ended = first.status()["ended"]
    study.stop()
    study.wait(300)
    (data.parent / "hurry").touch()
    study.resume()
    assert study.wait(300)["state"] == "finished"
    assert (first.status()["ended"], first.status()["resumes"]) == (ended, 0)


def test_killing_a_study_kills_its_member_too(data, until):
    study = start_study(plan(SLOW), str(data))
    until(lambda: running_member(study))
    member = running_member(study)
    study.kill()
    assert (study.status()["state"], member.status()["state"]) == ("stopped", "stopped")
    assert local.start_time(member.folder.read_status()["pid"]) is None
    assert len(members_of(study)) == 1


@pytest.mark.parametrize("kill", [False, True])
def test_a_member_left_by_a_dead_study_can_be_stopped_through_it(data, until, kill):
    study = start_study(plan(SLOW), str(data))
    until(lambda: running_member(study))
    member = running_member(study)
    kill_process(study)
    stop_study(study, kill=kill)
    assert member.wait(300)["state"] == "stopped"
    with pytest.raises(RunError, match="nothing to stop"):
        stop_study(study)


def test_a_member_that_fails_is_named_and_does_not_end_the_others(data):
    recipes = {"good": "demo", "bad": {"recipe": "demo", "set": {"description": "fails once"}}}
    study = start_study(plan(recipes), str(data))
    assert study.wait(300)["state"] == "finished"
    assert states(study) == ["finished", "failed", "finished", "failed"]
    failures = study.results()["failures"]
    assert len(failures) == 2
    assert failures[0].startswith("bad seed 0 failed (")
    assert failures[0].endswith("the data are on a disk that is gone")
    assert failures[0] in study.results()["finding"]
    (data.parent / "mended").touch()
    assert len(retry(study)) == 2
    assert [m.run.wait(300)["state"] for m in members(study)] == ["finished"] * 4


def test_a_study_may_stop_at_the_first_failure_and_tries_it_again_when_resumed(data):
    recipes = {"bad": {"recipe": "demo", "set": {"description": "fails once"}}, "good": "demo"}
    study = start_study(plan(recipes, on_failure="stop"), str(data))
    status = study.wait(300)
    assert status["state"] == "failed"
    assert status["error"].startswith("bad seed 0 failed (")
    assert "on a disk that is gone" in status["error"]
    assert states(study) == ["failed"] + ["not started"] * 3
    (data.parent / "mended").touch()
    study.resume()
    assert study.wait(300)["state"] == "finished"
    assert states(study) == ["finished"] * 4


def test_a_study_without_any_finished_member_has_failed(data):
    study = start_study(plan({"bad": {"recipe": "demo", "set": {"description": "fails"}}}), str(data))
    assert study.wait(300)["state"] == "failed"
    assert study.status()["error"].startswith("no training of the study finished; bad seed 0 failed (")


def test_a_member_stopped_by_hand_is_left_alone_and_reported(data, until):
    study = start_study(plan(SLOW, seeds=[3]), str(data))
    until(lambda: running_member(study))
    running_member(study).stop()
    assert study.wait(300)["state"] == "finished"
    assert states(study) == ["stopped", "finished"]
    assert "first seed 3 was stopped" in study.results()["finding"]


def test_a_manifest_that_changes_in_between_ends_the_study(data, until):
    study = start_study(plan(SLOW), str(data))
    until(lambda: running_member(study))
    original = data.read_text()
    data.write_text(original + "\n")
    running_member(study).stop()
    assert study.wait(300)["state"] == "failed"
    assert "has changed since the study began" in study.status()["error"]
    data.write_text(original)
    (data.parent / "hurry").touch()
    study.resume()
    assert study.wait(300)["state"] == "finished"


@pytest.mark.parametrize(
    ("recipes", "error", "message"),
    [
        ({"a": "demo", "b": "dmo"}, RecipeError, r"recipes\.b: unknown recipe 'dmo'\. Available: demo"),
        (
            {"a": {"recipe": "demo", "set": {"stages.3.epochs": 1}}},
            RecipeError,
            r"recipes\.a: stages\.3\.epochs: '3' is",
        ),
        ({"a": {"recipe": "demo", "set": {"device": "cuda:99"}}}, RecipeError, r"recipes\.a: .*device.*cuda:99"),
        ({"a": {"recipe": "demo", "set": {"weights": "none-such"}}}, WeightsError, r"recipes\.a: .*none-such"),
        (
            {"a": "demo", "b": {"recipe": "imagenet", "set": {"weights": "imagenet", "backbone": "densenet121"}}},
            WeightsError,
            r"recipes\.b: no ImageNet weights for 'densenet121'",
        ),
        ({"a": {"recipe": "twice", "set": {"stages.0.sources": ["nowhere"]}}}, RecipeError, r"stages\.0\..*nowhere"),
    ],
)
def test_what_one_member_would_fail_with_is_reported_before_any_starts(data, monkeypatch, recipes, error, message):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    changes = {"set": {}} if any("imagenet" in str(entry) for entry in recipes.values()) else {}
    with pytest.raises(error, match=message):
        start_study(plan(recipes, **changes), str(data))
    assert list_runs() == []


def test_a_manifest_without_splits_and_a_study_without_data_are_refused(data):
    text = data.read_text().splitlines()
    place = text[0].split(",").index("split")
    rows = [",".join("" if i == place and n else v for i, v in enumerate(r.split(","))) for n, r in enumerate(text)]
    data.write_text("\n".join(rows) + "\n")
    with pytest.raises(ManifestError, match="split"):
        start_study(plan(), str(data))
    with pytest.raises(RecipeError, match="data: missing"):
        start_study(plan())
    assert list_runs() == []


def test_a_run_of_another_kind_is_no_study(data, until):
    study = start_study(plan(), str(data))
    until(lambda: members_of(study))
    with pytest.raises(RunError, match="is of the kind train, not a study"):
        members(get_run(members_of(study)[0].id))
