"""Locks end with their process, whatever it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxr.runs.locks import DeviceQueue, FileLock, is_held

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
from cxr.runs.locks import FileLock
lock = FileLock(Path({str(tmp_path / "lock")!r}))
assert lock.acquire()
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
"""
    holder = run_python(script)
    child = int(holder.stdout.readline())
    try:
        assert is_held(tmp_path / "lock")
        holder.kill()
        holder.wait()
        time.sleep(0.1)
        os.kill(child, 0)  # it lives
        assert not is_held(tmp_path / "lock")
    finally:
        os.kill(child, signal.SIGKILL)
        holder.stdout.close()


def test_a_waiting_process_that_was_killed_holds_nobody_up(tmp_path):
    first = FileLock(tmp_path / ".locks" / "cpu.lock")
    assert first.acquire()
    script = f"""
from pathlib import Path
from cxr.runs.locks import DeviceQueue
with DeviceQueue(Path({str(tmp_path)!r}), "cpu", "second").turn(lambda: False, lambda text: print(text, flush=True)):
    pass
"""
    second = run_python(script)
    assert second.stdout.readline() == "waiting for cpu, behind another run\n"
    second.kill()
    second.wait()
    second.stdout.close()
    said = []
    with DeviceQueue(tmp_path, "cpu", "third").turn(lambda: bool(said), said.append) as ours:
        assert not ours
    assert said == ["waiting for cpu, behind another run"]
    first.release()
    with DeviceQueue(tmp_path, "cpu", "third").turn(lambda: False, said.append) as ours:
        assert ours
        assert (tmp_path / ".locks" / "cpu.lock").read_text() == "third"
    assert list((tmp_path / ".locks" / "cpu.waiting").iterdir()) == []
    assert not is_held(tmp_path / ".locks" / "cpu.lock")


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_a_device_is_given_back_when_the_work_fails(tmp_path, device):
    queue = DeviceQueue(tmp_path, device, "one")
    with pytest.raises(ZeroDivisionError), queue.turn(lambda: False, print):
        _ = 1 / 0
    with DeviceQueue(tmp_path, device, "two").turn(lambda: False, print) as ours:
        assert ours
