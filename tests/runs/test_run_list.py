"""Runs are found by id, never by path, and lists bear with whatever lies in the folder."""

from __future__ import annotations

import pytest

from cxr import paths
from cxr.errors import RunError
from cxr.runs import RunFolder, get_run, list_runs
from cxr.runs.storage import write_json


@pytest.mark.parametrize("text", ["../secret", "/etc", "..", ".locks", "a/b", "", "x\n", "%2e%2e"])
def test_a_path_is_not_accepted_as_an_id(text):
    with pytest.raises(RunError, match="is not a run's id") as caught:
        get_run(text)
    assert "\n" not in str(caught.value)


def test_a_run_that_is_not_there_is_named():
    with pytest.raises(RunError, match="there is no run '20250101-000000-abcdef'"):
        get_run("20250101-000000-abcdef")


def test_a_list_has_the_newest_first_and_can_be_narrowed_to_a_kind():
    root = paths.runs_root()
    folders = [
        RunFolder.create(root, kind, {}, name) for kind, name in [("train", "a"), ("explain", "b"), ("train", "c")]
    ]
    assert [run.id for run in list_runs()] == [folder.id for folder in reversed(folders)]
    assert [run.name for run in list_runs(kind="train")] == ["c", "a"]


def test_a_list_bears_with_no_folder_and_with_half_made_and_foreign_ones():
    root = paths.runs_root()
    assert list_runs() == []
    good = RunFolder.create(root, "train", {}, "good")
    (root / "empty").mkdir()
    (root / ".new-x").mkdir()
    (root / "a file").write_text("")
    (root / "damaged").mkdir()
    (root / "damaged" / "spec.json").write_text('{"id": "dam')
    (root / "foreign").mkdir()
    write_json(root / "foreign" / "spec.json", {"kind": 3})
    (root / "list").mkdir()
    write_json(root / "list" / "spec.json", [1])
    (root / "link").symlink_to(root / "nowhere")
    half = RunFolder.create(root, "train", {}, "half")
    (half.path / "status.json").write_text('{"state": "runn')
    runs = list_runs()
    assert [run.id for run in runs] == [half.id, good.id]
    assert [run.status()["state"] for run in runs] == ["failed", "failed"]
