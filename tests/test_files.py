"""Files are replaced as a whole, one by one and several together, whoever else writes or has died while writing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cxr.files import creating, replacing, replacing_together, settle


def write_pair(folder: Path, text: str) -> None:
    with replacing_together(folder) as draft:
        for name in ("a", "b"):
            (draft / name).write_text(text)


def pair(folder: Path) -> tuple[str, str]:
    return (folder / "a").read_text(), (folder / "b").read_text()


def test_a_file_that_could_not_be_written_leaves_the_old_one_and_no_draft(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as draft:
        draft.write_text(str(1 / 0))
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_of_two_writers_the_first_wins_and_no_draft_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(PermissionError("no links")))
    for text in ("first", "second"):
        with creating(tmp_path / "a") as draft:
            draft.write_text(text)
    assert (tmp_path / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_of_many_writers_at_once_one_wins_and_all_read_the_same(tmp_path: Path) -> None:
    ready = threading.Barrier(8)
    read: list[str] = []

    def write(k: int) -> None:
        with creating(tmp_path / "a") as draft:
            draft.write_text(str(k) * 10_000)
            ready.wait()
        read.append((tmp_path / "a").read_text())

    threads = [threading.Thread(target=write, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read) == 8
    assert len(set(read)) == 1


def test_files_are_replaced_together_and_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "set"
    write_pair(folder, "1")
    (folder / "images").mkdir()
    write_pair(folder, "2")
    assert pair(folder) == ("2", "2")
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "images"]


def test_of_files_that_belong_together_none_is_replaced_if_one_could_not_be_written(tmp_path: Path) -> None:
    write_pair(tmp_path, "old")

    def fail() -> None:
        with replacing_together(tmp_path) as draft:
            (draft / "a").write_text("new")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert pair(tmp_path) == ("old", "old")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_what_a_killed_process_had_finished_is_moved_by_the_next_reader_or_writer(tmp_path: Path) -> None:
    write_pair(tmp_path, "old")
    script = (
        "import os, sys; from pathlib import Path; from cxr import files\n"
        "files.settle = lambda folder: None if not (folder / '.pending').exists() else os.kill(os.getpid(), 9)\n"
        "with files.replacing_together(Path(sys.argv[1])) as draft:\n"
        "    (draft / 'a').write_text('new'); (draft / 'b').write_text('new')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert pair(tmp_path) == ("old", "old")
    settle(tmp_path)
    assert pair(tmp_path) == ("new", "new")
    settle(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_many_writers_and_readers_at_once_end_with_the_files_of_one_writer(tmp_path: Path) -> None:
    stop = threading.Event()

    def write(number: int) -> None:
        for turn in range(15):
            write_pair(tmp_path, f"{number}-{turn}")

    def read() -> None:
        while not stop.is_set():
            settle(tmp_path)

    readers = [threading.Thread(target=read) for _ in range(2)]
    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    a, b = pair(tmp_path)
    assert a == b
    assert a.endswith("-14")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_drafts_that_dead_processes_left_are_removed_after_a_day(tmp_path: Path) -> None:
    (tmp_path / ".new-1-dead").mkdir()
    (tmp_path / ".a.1-dead.tmp").write_text("half")
    (tmp_path / ".b.2-alive.tmp").write_text("half")
    for name in (".new-1-dead", ".a.1-dead.tmp"):
        os.utime(tmp_path / name, (time.time() - 2 * 86400,) * 2)
    write_pair(tmp_path, "1")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".b.2-alive.tmp", "a", "b"]
