"""A worker that is forked from the warm server is a process as one that was started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests import warm

NAMED = "# cxr.runs.worker\n"  # what the server recognises
TELL = (
    NAMED + "import os, sys, json; print(json.dumps({'argv': sys.argv, 'cwd': os.getcwd(), 'pid': os.getpid(), "
    "'session': os.getsid(0), 'shown': os.environ.get('SHOWN'), 'home': os.environ.get('HOME'), "
    "'input': sys.stdin.read(), 'torch': 'torch' in sys.modules}))"
)
LONG = NAMED + "import time; print('here', flush=True); time.sleep(600)"


def told(tmp_path: Path) -> dict:
    import json

    environment = {**os.environ, "SHOWN": "ä 肺", "PYTHONUNBUFFERED": "1"}
    environment.pop("HOME", None)
    process = subprocess.Popen(
        [sys.executable, "-c", TELL, "one", "two words"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, env=environment, start_new_session=True,
    )  # fmt: skip
    out, _ = process.communicate(b"given")
    return json.loads(out) | {"expected": process.pid, "code": process.returncode}


def test_it_has_its_words_folder_environment_input_and_session(tmp_path, monkeypatch):
    forked = told(tmp_path)
    monkeypatch.setenv(warm.COLD, "1")
    started = told(tmp_path)
    assert (forked.pop("torch"), started.pop("torch")) == (True, False)
    for one in (forked, started):
        assert one.pop("pid") == one.pop("session") == one.pop("expected")
    assert forked == started


@pytest.mark.parametrize(
    ("code", "expected"),
    [("", 0), ("import sys; sys.exit(3)", 3), ("raise ValueError('no')", 1), ("import sys; sys.exit('no')", 1)],
)
def test_it_has_its_exit_code_and_its_last_words(code, expected):
    command = [sys.executable, "-c", NAMED + code]
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True)
    assert done.returncode == expected
    assert ("no" in done.stderr) == ("no" in code)


def test_it_is_killed_and_its_end_is_seen_while_others_live():
    processes = [
        subprocess.Popen([sys.executable, "-c", LONG], stdout=subprocess.PIPE, start_new_session=True) for _ in range(2)
    ]
    assert [process.stdout.readline() for process in processes] == [b"here\n"] * 2
    assert [process.poll() for process in processes] == [None, None]
    os.kill(processes[0].pid, signal.SIGKILL)
    assert processes[0].wait(300) == -signal.SIGKILL
    assert processes[0].poll() == -signal.SIGKILL
    assert not psutil.pid_exists(processes[0].pid)
    with pytest.raises(subprocess.TimeoutExpired):
        processes[1].wait(0.05)
    processes[1].terminate()
    assert processes[1].wait(300) == -signal.SIGTERM
    for process in processes:
        process.stdout.close()


def test_other_processes_see_its_environment():
    process = subprocess.Popen(
        [sys.executable, "-c", LONG],
        stdout=subprocess.PIPE,
        env={**os.environ, "CXR_RUN_FOLDER": "/some/where"},
        start_new_session=True,
    )
    process.stdout.readline()
    seen = psutil.Process(process.pid).environ()
    process.kill()
    process.communicate()
    assert seen["CXR_RUN_FOLDER"] == "/some/where"
    assert seen["PATH"] == os.environ["PATH"]


def test_what_python_reads_as_it_begins_needs_a_process_that_begins():
    done = subprocess.run(
        [sys.executable, "-c", NAMED + "import sys; print('torch' in sys.modules, sys.flags.optimize)"],
        env={**os.environ, "PYTHONOPTIMIZE": "1"},
        start_new_session=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "False 1\n"


def test_a_command_that_asks_for_it_is_forked_be_it_a_module_or_a_file(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys\nif __name__ == '__main__':\n    print(sys.argv[1:], 'torch' in sys.modules)\n")
    environment = {**os.environ, warm.WARM: "1"}
    for command in ([str(script)], ["-m", "script"]):
        done = subprocess.run(
            [sys.executable, *command, "a", "b"], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.stdout == "['a', 'b'] True\n", done.stderr


def test_a_worker_without_a_session_of_its_own_is_a_child_of_who_starts_it():
    done = subprocess.run(
        [sys.executable, "-c", NAMED + "import os; print(os.getppid())"], capture_output=True, text=True
    )
    assert done.stdout == f"{os.getpid()}\n"
