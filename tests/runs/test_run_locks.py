"""Locks end with their process, whatever it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cxr.locks import FileLock, is_held

PROJECT = Path(__file__).resolve().parents[2]


def run_python(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT, stdout=subprocess.PIPE, text=True)


def test_a_lock_is_held_by_one_and_free_after_its_release(tmp_path):
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert not is_held(tmp_path / "lock")
    assert first.acquire()
    assert is_held(tmp_path / "lock")
    assert not second.acquire(timeout=0.1)
    first.release()
    assert second.acquire()
    second.release()


def test_a_lock_is_free_after_its_holder_was_killed_even_if_a_forked_child_lives_on(tmp_path):
    script = f"""
import os, time
from pathlib import Path
from cxr.locks import FileLock
lock = FileLock(Path({str(tmp_path / "lock")!r}))
assert lock.acquire()
if not os.fork():
    print(os.getpid(), flush=True)  # said by the child, which has given its copy up by then
time.sleep(60)
"""
    holder = run_python(script)
    child = int(holder.stdout.readline())
    try:
        assert is_held(tmp_path / "lock")
        holder.kill()
        holder.wait()
        os.kill(child, 0)  # it lives
        assert not is_held(tmp_path / "lock")
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_a_locked_file_says_what_its_holder_wrote_and_only_the_holder_writes(tmp_path):
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert first.acquire()
    first.write(b"one")
    first.write(b"two")
    assert (tmp_path / "lock").read_bytes() == b"two"
    with pytest.raises(ValueError, match="is not held"):
        second.write(b"three")
    first.release()
