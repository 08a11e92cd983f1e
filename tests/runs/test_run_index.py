"""Lists of runs come from one index, which reads a file again only if it has changed and is never out of date."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from cxr import paths
from cxr.errors import RunError
from cxr.runs import Run, RunFolder, get_run, index, list_runs
from cxr.runs.index import FileContents
from cxr.runs.kinds import KINDS


@pytest.fixture
def root() -> Path:
    return paths.runs_root()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes were read of each file that the index read."""
    sizes: list[int] = []
    reading = index._all_of

    def record(handle: int, size: int) -> bytes:
        content = reading(handle, size)
        sizes.append(len(content))
        return content

    monkeypatch.setattr(index, "_all_of", record)
    return sizes


@pytest.fixture
def settled_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "SETTLED_S", -1.0)


def states(root: Path) -> dict[str, str]:
    return {run.name: run.status().state for run in list_runs(root)}


def finished(root: Path, name: str, kind: str = "train") -> RunFolder:
    folder = RunFolder.create(root, kind, {"manifest": "m.csv"}, name)
    folder.update_status(state="finished")
    return folder


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_what_the_index_says_is_what_the_files_say(root: Path, kind: str, settled_at_once: None) -> None:
    folder = finished(root, "größe", kind)
    for _ in range(2):
        (run,) = list_runs(root, kind=kind)
        direct = get_run(folder.id, root)
        assert (run.id, run.kind, run.name, run.created) == (folder.id, kind, "größe", direct.spec["created"])
        assert run.spec == folder.spec == direct.spec
        assert run.status() == folder.read_status()
        assert list_runs(root, kind="no such kind") == []


def test_a_second_list_reads_no_file_that_has_not_changed(root: Path, reads: list[int], settled_at_once: None) -> None:
    for n in range(5):
        finished(root, f"r{n}")
    first = states(root)
    assert len(reads) == 10
    assert states(root) == first
    assert len(reads) == 10


def test_a_file_changed_a_moment_ago_is_read_again_even_if_nothing_tells_that_it_changed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writes within one tick of the file system's clock may leave the same size, times and even inode."""
    folder = finished(root, "a")
    unchanging = index._Stamp(0, 0, 0, time.time_ns(), 0)
    monkeypatch.setattr(index._Stamp, "of", lambda handle: unchanging)
    assert states(root) == {"a": "finished"}
    folder.update_status(state="stopped")
    assert states(root) == {"a": "stopped"}


def test_every_change_of_a_status_is_seen(root: Path, settled_at_once: None) -> None:
    folder = finished(root, "a")
    (run,) = list_runs(root)
    for n in range(50):
        state = ("stopped", "finished", "failed")[n % 3]
        folder.update_status(state=state, message=f"{n:02d}")
        assert states(root) == {"a": state}
        assert (run.status().state, run.status().message) == (state, f"{n:02d}"), "also by a run that is in hand"


def test_a_run_that_is_made_deleted_or_renamed_is_seen(root: Path, settled_at_once: None) -> None:
    a, b = finished(root, "a"), finished(root, "b")
    assert [run.id for run in list_runs(root)] == [b.id, a.id]
    Run(a).delete()
    assert [run.id for run in list_runs(root)] == [b.id]
    b.path.rename(root / "elsewhere")
    assert [run.id for run in list_runs(root)] == ["elsewhere"]
    again = finished(root, "c")
    again.path.rename(b.path)  # another run under a name that was known
    assert {run.id: run.name for run in list_runs(root)} == {"elsewhere": "b", b.id: "c"}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Each look at a folder of runs."""
    seen: list[Path] = []
    looking = index._folders

    def record(root: Path) -> list[str]:
        seen.append(root)
        return looking(root)

    monkeypatch.setattr(index, "_folders", record)
    return seen


def test_within_one_look_a_folder_in_which_no_run_came_or_went_is_listed_once(
    root: Path, looks: list[Path], settled_at_once: None
) -> None:
    a = finished(root, "a")
    with index.one_look():
        first = list_runs(root)
        assert [run.id for run in list_runs(root)] == [run.id for run in first] == [a.id]
        assert [run.id for run in list_runs(root, kind="import")] == []
        assert looks == [root]
        a.update_status(state="failed")
        assert states(root) == {"a": "failed"}, "a status is asked for each time"
        b = finished(root, "b")
        assert [run.name for run in list_runs(root)] == ["b", "a"]
        Run(a).delete()
        assert [run.name for run in list_runs(root)] == ["b"]
        list_runs(root).clear()
        assert [run.id for run in list_runs(root)] == [b.id]
    before = len(looks)
    list_runs(root), list_runs(root)
    assert len(looks) == before + 2, "after it each list looks"


def test_within_one_look_a_run_that_came_a_moment_ago_keeps_nothing(root: Path, looks: list[Path]) -> None:
    """What comes within one tick of the file system's clock may leave the folder's times as they are."""
    finished(root, "a")
    with index.one_look():
        list_runs(root), list_runs(root)
    assert len(looks) == 2


def test_a_run_resumed_elsewhere_within_one_look_is_seen(root: Path, settled_at_once: None) -> None:
    run = Run(finished(root, "a"))
    with index.one_look():
        list_runs(root)
        run._rewrite(run.spec, run.spec | {"slurm": {"gpus": 1}})
        assert "slurm" in list_runs(root)[0].spec


def test_each_thread_looks_for_itself(root: Path, looks: list[Path], settled_at_once: None) -> None:
    finished(root, "a")
    with index.one_look():
        list_runs(root)
        other = threading.Thread(target=list_runs, args=(root,))
        other.start()
        other.join()
    assert len(looks) == 2


def test_a_half_written_status_is_a_run_without_one_and_is_read_once_it_is_whole(
    root: Path, settled_at_once: None
) -> None:
    folder = finished(root, "a")
    path = folder.path / "status.json"
    whole = path.read_text()
    assert states(root) == {"a": "finished"}
    for half in (whole[: len(whole) // 2], "", "[1]", "\0" * 40):
        path.write_text(half)
        assert states(root) == {"a": "failed"}, "its process was never started"
        path.write_text(whole)
        assert states(root) == {"a": "finished"}
    path.unlink()
    assert states(root) == {"a": "failed"}


@pytest.mark.parametrize("damaged", ["", "null", "[1]", '{"state": "no such state"}'])
def test_a_run_that_has_worked_and_lost_its_status_is_not_said_to_have_never_started(root: Path, damaged: str) -> None:
    never, worked = finished(root, "never"), finished(root, "worked")
    worked.log_path.write_text("epoch 3/3\n")
    for folder in (never, worked):
        (folder.path / "status.json").write_text(damaged)
    assert Run(never).status().error == "its process was never started; resume it to try again"
    assert "status.json is missing or damaged" in (Run(worked).status().error or "")


@pytest.mark.parametrize(("content", "said"), [("[]", "spec.json is damaged"), (None, "it has no spec.json")])
def test_a_spec_that_is_damaged_is_not_said_to_be_missing(root: Path, content: str | None, said: str) -> None:
    path = finished(root, "a").path / "spec.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(RunError, match=said):
        RunFolder(path.parent).spec  # noqa: B018 - reading it is what is tested


def test_a_damaged_spec_leaves_the_list_and_comes_back_repaired(root: Path, settled_at_once: None) -> None:
    folder = finished(root, "a")
    path = folder.path / "spec.json"
    whole = path.read_text()
    for damaged in ("", whole[:40], "[]", json.dumps({"kind": "train"}), json.dumps({"kind": 3, "created": 1.0})):
        path.write_text(damaged)
        assert list_runs(root) == []
    path.write_text(whole)
    assert [run.name for run in list_runs(root)] == ["a"]


def test_a_resume_is_seen_with_its_new_place(root: Path, settled_at_once: None) -> None:
    folder = finished(root, "a")
    folder.update_status(state="stopped")
    assert states(root) == {"a": "stopped"}
    (run,) = list_runs(root)
    with run.queued_again():
        assert states(root) == {"a": "queued"}
        assert run.status().resumes == 1
    moved = {**folder.spec, "slurm": {"partition": "gpu"}}
    folder.write_json("spec.json", moved)
    (again,) = list_runs(root)
    assert again.spec == moved


def test_each_caller_has_a_spec_of_its_own(root: Path, settled_at_once: None) -> None:
    finished(root, "a")
    (first,), (second,) = list_runs(root), list_runs(root)
    first.spec["params"]["manifest"] = "spoilt"
    assert second.spec["params"]["manifest"] == list_runs(root)[0].spec["params"]["manifest"] == "m.csv"


def test_sessions_that_list_while_a_run_changes_see_each_state_in_order(root: Path, settled_at_once: None) -> None:
    folder = finished(root, "a")
    seen: list[list[int]] = [[], [], []]
    done = threading.Event()

    def look(mine: list[int]) -> None:
        while not done.is_set():
            mine += [int(run.status().message or 0) for run in list_runs(root)]

    threads = [threading.Thread(target=look, args=(mine,)) for mine in seen]
    for thread in threads:
        thread.start()
    for n in range(1, 200):
        folder.update_status(message=str(n))
    done.set()
    for thread in threads:
        thread.join()
    assert all(mine == sorted(mine) for mine in seen)
    assert [run.status().message for run in list_runs(root)] == ["199"]


def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled_at_once: None) -> None:
    monkeypatch.setattr(index, "_MOST_FILES", 3)
    contents = FileContents(lambda path, content: content.decode())
    for n in range(10):
        (tmp_path / str(n)).write_text(str(n))
        assert contents.read(str(tmp_path / str(n))) == str(n)
        assert len(contents._known) <= 3


def test_the_list_of_a_folder_that_is_not_there_or_is_a_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert list_runs(tmp_path / "nowhere") == list_runs(tmp_path / "file") == []
