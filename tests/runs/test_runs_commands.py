"""``cxr runs`` in front of real runs of small jobs."""

from __future__ import annotations

import json

import pytest

from cxr.runs import list_runs, start


def test_a_list_without_runs_says_what_to_do_next(cxr):
    assert cxr("runs", "list", "--json") == (0, "[]\n", "")
    assert "no runs yet; `cxr demo`" in cxr("runs", "list")[1]


@pytest.mark.parametrize("command", ["show", "stop", "resume", "delete", "log"])
def test_a_run_that_is_not_there_is_an_error_in_one_line_and_in_json(cxr, command):
    code, out, err = cxr("runs", command, "20250101-000000-abcdef", "--json")
    assert code == 2
    assert err.startswith("error: there is no run '20250101-000000-abcdef'")
    assert err.count("\n") == 1
    assert json.loads(out)["error"] in err


def test_a_path_in_place_of_an_id_is_refused(cxr):
    code, _, err = cxr("runs", "delete", "../data")
    assert (code, "is not a run's id" in err) == (2, True)


@pytest.mark.usefixtures("job_kinds")
def test_a_run_is_listed_shown_stopped_resumed_and_deleted(cxr, has_rows):
    run = start("train", {"n": 100_000}, name="mine")
    has_rows(run)
    code, out, _ = cxr("runs", "list", "--json")
    (listed,) = json.loads(out)
    assert (code, listed["id"], listed["state"], listed["name"]) == (0, run.id, "running", "mine")
    assert run.id in cxr("runs", "list")[1]
    assert json.loads(cxr("runs", "list", "--kind", "explain", "--json")[1]) == []

    told = json.loads(cxr("runs", "show", run.id, "--json")[1])
    assert (told["id"], told["params"], told["status"]["state"]) == (run.id, {"n": 100_000}, "running")
    assert "state     running" in cxr("runs", "show", run.id)[1]
    assert any(f"run {run.id}" in line for line in json.loads(cxr("runs", "log", run.id, "--json")[1]))

    code, _, err = cxr("runs", "delete", run.id)
    assert (code, err) == (1, f"error: run {run.id} is running: stop it before deleting it\n")
    code, out, _ = cxr("runs", "stop", run.id, "--json")
    assert (code, json.loads(out)["state"]) == (0, "stopped")
    code, _, err = cxr("runs", "stop", run.id)
    assert (code, err) == (1, f"error: run {run.id} is stopped already: there is nothing to stop\n")

    code, out, _ = cxr("runs", "resume", run.id, "--detach", "--json")
    assert (code, json.loads(out)["status"]["resumes"]) == (0, 1)
    has_rows(run, 5)
    code, out, _ = cxr("runs", "stop", run.id, "--kill", "--json")
    assert (code, json.loads(out)["state"]) == (0, "stopped")
    assert cxr("runs", "delete", run.id)[0] == 0
    assert list_runs() == []


@pytest.mark.usefixtures("job_kinds")
def test_a_resume_in_the_foreground_follows_to_the_end(cxr, has_rows):
    run = start("train", {"n": 40, "pause": 0.03})
    has_rows(run)
    run.stop()
    run.wait(300)
    code, out, _ = cxr("runs", "resume", run.id)
    assert (code, f"{run.id} finished after" in out) == (0, True)
    assert [row["step"] for row in run.metrics()[0]] == list(range(40))


@pytest.mark.usefixtures("job_kinds")
def test_a_run_that_fails_while_it_is_followed_is_an_error(cxr, has_rows):
    run = start("fail", {"how": "user"})
    run.wait(300)
    code, out, err = cxr("runs", "resume", run.id, "--json")
    assert code == 1
    assert err.endswith(f"error: run {run.id} failed: x.png is not an image: it holds text\n")
    assert "error" in json.loads(out)
