from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

import cxr.data
from cxr.data.images import pool
from cxr.data.images.pool import WorkerDied, map_in_order


def square(number: int) -> int:
    time.sleep(0.02 if number % 3 == 0 else 0)
    return number * number


def crash_on_seven(number: int) -> int:
    if number == 7:
        os._exit(11)
    return number


def fail_on_three(number: int) -> int:
    return 1 // (number - 3)


def chatter(number: int) -> int:
    os.write(1, b"a decoder that prints")
    return number


def leave_the_pipe_to_a_child(folder: Path) -> None:
    child = os.fork()
    if child == 0:
        time.sleep(600)
    (folder / str(child)).touch()
    os._exit(1)


def stop(number: int) -> int:
    os.kill(os.getpid(), signal.SIGSTOP)
    return number


def test_a_decoding_process_does_not_wait_for_what_it_does_not_need():
    dear = "{'pandas', 'pydicom', 'sklearn', 'torch'}"
    script = f"import sys, cxr.data.images.resize; print(sorted({dear} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_every_name_of_the_package_is_found_though_it_is_loaded_late():
    for name in cxr.data.__all__:
        assert getattr(cxr.data, name) is not None
    assert cxr.data.splits.split_manifest is cxr.data.split_manifest
    with pytest.raises(AttributeError, match="'cxr\\.data' has no attribute 'Manifst'"):
        _ = cxr.data.Manifst


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_order_and_progress_counts_to_the_total(workers: int):
    calls: list[tuple[int, int]] = []
    results = list(map_in_order(square, range(300), workers, lambda done, total: calls.append((done, total))))
    assert results == [n * n for n in range(300)]
    assert calls == [(n, 300) for n in range(1, 301)]


def test_a_worker_that_crashes_costs_one_item():
    results = list(map_in_order(crash_on_seven, range(20), 2))
    assert isinstance(results.pop(7), WorkerDied)
    assert results == [n for n in range(20) if n != 7]


def test_what_a_library_prints_does_not_disturb_the_answers():
    assert list(map_in_order(chatter, range(10), 1)) == list(range(10))


def test_a_function_that_raises_is_a_fault_of_the_program_and_says_on_what():
    with pytest.raises(RuntimeError, match="on 3: ZeroDivisionError"):
        list(map_in_order(fail_on_three, range(10), 1))


def test_no_process_stays_when_the_caller_gives_up(cold_workers):
    results = map_in_order(square, range(500), 2)
    assert next(results) == 0
    results.close()
    names = [" ".join(child.cmdline()) for child in psutil.Process().children() if child.is_running()]
    assert not [name for name in names if "answer_questions" in name]


def test_a_worker_that_ends_is_not_waited_for_while_another_process_holds_its_pipe(tmp_path: Path):
    try:
        (result,) = map_in_order(leave_the_pipe_to_a_child, [tmp_path], 1)
        assert isinstance(result, WorkerDied)
        holders = [psutil.Process(int(file.name)) for file in tmp_path.iterdir()]
        assert len(holders) == 2, "it was asked twice"
        assert all(holder.status() != psutil.STATUS_ZOMBIE for holder in holders)
    finally:
        for file in tmp_path.iterdir():
            os.kill(int(file.name), signal.SIGKILL)


def test_a_worker_that_stands_still_costs_its_item(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pool, "SECONDS_PER_ITEM", 0.5)
    (result,) = map_in_order(stop, [1], 1)
    assert isinstance(result, WorkerDied)


def test_giving_up_does_not_wait_for_a_task_that_a_worker_took_meanwhile(monkeypatch: pytest.MonkeyPatch):
    class TakenMeanwhile(queue.SimpleQueue):
        """As if workers took what is left right after somebody has asked whether something is left."""

        def empty(self) -> bool:
            is_empty = super().empty()
            while not super().empty():
                self.get()
            return is_empty

    monkeypatch.setattr(queue, "SimpleQueue", TakenMeanwhile)
    results = map_in_order(square, range(500), 1)
    assert next(results) == 0
    giving_up = threading.Thread(target=results.close, daemon=True)
    giving_up.start()
    giving_up.join(120)
    assert not giving_up.is_alive()


def test_a_script_without_a_main_guard_can_decode_in_processes(tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(
        "from cxr.data.importers.importing import inspect\n"
        "from cxr.data.images.pool import map_in_order\n"
        "from pathlib import Path\n"
        "print(list(map_in_order(inspect, [Path('absent.png')] * 3, 2)))\n"
    )
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.strip() == str(["does not exist"] * 3)
