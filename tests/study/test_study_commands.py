"""``cxr study`` as people type it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxr.experiments.study import EXAMPLES, members, start_study
from cxr.runs import list_runs, local, members_of
from tests.study import quick
from tests.study.conftest import plan


@pytest.fixture(autouse=True)
def quick_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "worker_command", quick.command)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(plan(name="mine").to_yaml())
    return path


def test_a_file_alone_runs_the_study_and_tells_what_it_found(cxr, file, tiny):
    code, out, err = cxr("study", file, "--data", tiny)
    assert code == 0, err
    (study,) = list_runs(kind="study")
    assert f"{study.id} finished after" in out
    assert "4 of 4 trainings finished" in out
    assert "slow against plain: mean validation accuracy over the first 2 epochs" in out


def test_the_same_by_its_whole_name_detached_in_json_then_stopped_listed_and_resumed(cxr, tmp_path, tiny, until):
    slow = plan({"a": {"recipe": "demo", "set": {"description": "slow"}}, "b": "demo"})
    (tmp_path / "slow.yaml").write_text(slow.to_yaml())
    code, out, _ = cxr("study", "run", tmp_path / "slow.yaml", "--data", tiny, "--detach", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["kind"] == "study"
    (study,) = list_runs(kind="study")
    until(lambda: members_of(study) and members_of(study)[0].metrics()[0])
    code, out, _ = cxr("study", "list", "--json")
    (row,) = json.loads(out)
    assert (row["id"], row["trainings"], row["finished"]) == (told["id"], 4, 0)
    assert cxr("runs", "stop", study.id)[0] == 0
    assert [m.state for m in members(study)] == ["stopped"] + ["not started"] * 3
    assert cxr("runs", "resume", study.id, "--detach")[0] == 0
    until(lambda: members(study)[0].state == "running")
    assert cxr("runs", "stop", study.id, "--kill")[0] == 0
    assert members(study)[0].state == "stopped"
    code, _, err = cxr("study", "stop", study.id)
    assert (code, err) == (1, f"error: study {study.id} is stopped already: there is nothing to stop\n")


def test_a_report_calls_a_deleted_training_deleted_and_one_that_never_began_not_started(cxr, tiny, wide_terminal):
    study = start_study(plan(), str(tiny))
    assert study.wait(300)["state"] == "finished"
    first, *_, last = members(study)
    first.run.delete()
    last.run.delete()
    rows = study.folder.read_json("members.json")
    study.folder.write_json("members.json", [*rows[:-1], rows[-1] | {"run": None, "state": "not started"}])
    assert [m.state for m in members(study)] == ["deleted", "finished", "finished", "not started"]
    code, out, _ = cxr("study", "report", study.id)
    assert code == 0
    report = " ".join(out.split())
    assert "plain seed 0 (deleted)" in report
    assert "slow seed 1 (not started)" in report


def test_reports_are_printed_written_and_reported_in_json(cxr, tiny, tmp_path):
    study = start_study(plan(), str(tiny))
    assert study.wait(300)["state"] == "finished"
    code, out, _ = cxr("study", "report", study.id)
    assert code == 0
    assert "best validation accuracy" in out
    assert "Seeds are not patients" in out
    code, out, _ = cxr("study", "report", study.id, "--first", 1, "--accuracy", 0.45, "--json")
    assert [m["key"] for m in json.loads(out)["measures"]][:2] == ["area_1", "reach_0.45"]
    code, out, _ = cxr("study", "report", study.id, "--out", tmp_path / "r.html", "--json")
    assert json.loads(out) == {"files": [str(tmp_path / "r.html")]}
    assert (tmp_path / "r.html").exists()
    code, out, _ = cxr("study", "report", study.id, "--out", tmp_path / "r.png", "--json")
    assert [name.rsplit("/")[-1] for name in json.loads(out)["files"]][:2] == ["r-curves.png", "r-area_2.png"]
    code, _, err = cxr("study", "report", study.id, "--out", tmp_path / "r.docx")
    assert (code, err.count("\n")) == (2, 1)
    assert ".html, .md, .csv" in err


def test_a_study_whose_results_were_written_by_the_version_before_is_opened_and_compared_anew(cxr, tiny):
    study = start_study(plan(), str(tiny))
    assert study.wait(300)["state"] == "finished"
    results = study.results()
    for measure in results["report"]["measures"]:
        for difference in measure["differences"]:
            difference["p_holm"] = 0.5
            del difference["together"]
    del results["report"]["comparisons"]
    study.folder.write_json("results.json", results)
    code, out, err = cxr("study", "report", study.id, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["comparisons"] == 5
    assert {"together", "p", "mean"} <= report["measures"][0]["differences"][0].keys()
    assert cxr("runs", "show", study.id)[0] == 0
    assert cxr("study", "list")[0] == 0


def test_the_example_is_printed_with_its_comments_and_is_a_study(cxr, tmp_path):
    for words in (("study", "--example"), ("study", "show", "claim")):
        code, out, _ = cxr(*words)
        assert (code, out) == (0, EXAMPLES["claim"])
    assert json.loads(cxr("study", "show", "claim", "--json")[1])["seeds"] == [0, 1, 2, 3, 4]


def test_without_studies_the_list_says_how_to_make_one(cxr):
    assert "cxr study show claim" in cxr("study", "list")[1]
    assert cxr("study", "list", "--json")[1] == "[]\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("study", "clam"), "error: unknown study 'clam'. Available: claim, or a YAML file\n"),
        (("study", "claim"), "error: data: missing. Give --data, or `data` in the study: a data set's name or a"),
        (("study", "report", "20250101-000000-abcdef"), "error: there is no run '20250101-000000-abcdef'"),
    ],
)
def test_wrong_use_is_reported_in_one_line(cxr, words, message):
    code, _, err = cxr(*words)
    assert code == 2
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_a_training_is_no_study(cxr, tiny):
    study = start_study(plan(), str(tiny))
    study.wait(300)
    code, _, err = cxr("study", "report", members(study)[0].run.id)
    assert code == 1
    assert "is of the kind train, not a study" in err
