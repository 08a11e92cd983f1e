"""Processes of runs that are forked from one that has everything imported already.

A process that imports torch and the rest costs seven seconds of processor time before it begins its work, and few tests
ask about these seconds. While :func:`warm_workers` lasts, ``subprocess.Popen`` recognises the command of a worker
of a run or of a decoding one, and has it forked from a server (one for each process of pytest, started when the first
one is needed). What comes of it is a process as any other: with its own id, session, environment (also in ``/proc``),
folder, files and exit code.

A command whose environment asks for it (:data:`WARM`) is forked as well. Every other one is started as always; so is a
worker whose environment asks for that (:data:`COLD`, which the fixture ``cold_workers`` sets), one that sets what
Python or torch read as they begin, and one without a session of its own, which knows its parent or belongs to its
group: a helper of a training, and a shard.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
COLD = "CXR_TESTS_COLD_WORKERS"
WARM = "CXR_TESTS_WARM"
WORKER = "cxr.runs.worker"
POOL = "from cxr.data.images.pool import"
READ_AT_THE_BEGINNING = ("PYTHON", "OMP_", "MKL_", "OPENBLAS_", "TORCH", "LD_", "CUDA")
FOLLOWED = ("PYTHONUNBUFFERED", "PYTHONFAULTHANDLER", "PYTHONPATH", "OPENBLAS_NUM_THREADS")
"""Of these, what a forked process follows or what makes no difference to it."""
LAZY = ("timm", "torch._dynamo", "torch.optim", "lightning.fabric", "sklearn.metrics", "pandas", "pyarrow.parquet")
"""What jobs import only when they need it."""
_ROOM = "CXR_TESTS_ROOM"  # a variable that is long enough to make room for any environment
_ROOM_BYTES = 2**16
SECONDS_TO_FORK = 300

_plain = subprocess.Popen
_server: _Server | None = None
_in_worker = False
_starting = threading.Lock()


class _Server:
    """The process that forks, and how to reach it."""

    def __init__(self) -> None:
        self.environment = _of_the_beginning(os.environ)
        self._folder = tempfile.TemporaryDirectory(prefix="cxr-warm-")
        self.address = f"{self._folder.name}/socket"
        self._process = _plain(
            [sys.executable, "-m", "tests.warm", self.address],
            cwd=PROJECT,
            env=os.environ | {_ROOM: "x" * _ROOM_BYTES},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # whoever kills a group of processes does not mean it
        )
        assert self._process.stdout.readline() == b"ready\n", "the server of workers did not start"

    def end(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._folder.cleanup()


class _WarmPopen(subprocess.Popen):
    """A process as of ``subprocess.Popen``, forked from the server if it is a run's worker."""

    _ended: int | None = None  # from here its exit status is read

    def _execute_child(self, args: object, *rest: object) -> None:
        if not _is_warm(args, rest):
            return super()._execute_child(args, *rest)
        cwd, env, files, session = rest[4], rest[5], rest[9:15], rest[20]
        request = {
            "command": [os.fspath(word) for word in args],
            "cwd": os.fspath(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "session": bool(session),
        }
        own = [0 if files[0] == -1 else files[0], 1 if files[3] == -1 else files[3], 2 if files[5] == -1 else files[5]]
        self._ended, told = os.pipe()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
                line.settimeout(SECONDS_TO_FORK)  # a fork of a process with threads may never come to itself
                line.connect(_reached().address)
                socket.send_fds(line, [json.dumps(request).encode()], [*own, told])
                self.pid = int(line.recv(32))
        finally:
            os.close(told)
        self._child_created = True
        self._close_pipe_fds(*files)
        return None

    def _internal_poll(self, *args: object, **kwargs: object) -> int | None:
        if self._ended is None:
            return super()._internal_poll(*args, **kwargs)
        if self.returncode is None and self._waitpid_lock.acquire(blocking=False):
            try:
                pid, status = self._try_wait(os.WNOHANG)
                if pid == self.pid and self.returncode is None:
                    self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._ended is None:
            return super()._try_wait(wait_flags)
        if wait_flags and not select.select([self._ended], [], [], 0)[0]:
            return 0, 0
        told = os.read(self._ended, 4)
        os.close(self._ended)
        return self.pid, struct.unpack("i", told)[0] if told else signal.SIGKILL

    def __del__(self, *args: object, **kwargs: object) -> None:
        if self._ended is None:
            super().__del__(*args, **kwargs)
        elif self.returncode is None:
            os.close(self._ended)


def _is_warm(args: object, rest: tuple[object, ...]) -> bool:
    executable, preexec, _, pass_fds, _, env, _, _, shell = rest[:9]
    if not isinstance(args, list) or len(args) < 2 or args[0] != sys.executable or shell or preexec or pass_fds:
        return False
    environment = os.environ if env is None else env
    is_pool = args[1] == "-c" and args[2].startswith(POOL)  # ends as its input is closed, whoever is in its group
    is_worker = args[1:3] == ["-m", WORKER] or (args[1] == "-c" and WORKER in args[2])
    has_session = bool(rest[20])
    return (
        (is_pool or (is_worker and has_session) or bool(environment.get(WARM)))
        and executable in (None, sys.executable)
        and not environment.get(COLD)
        and (is_pool or has_session or not _in_worker)
        and _of_the_beginning(environment) == _reached().environment
    )


def _of_the_beginning(environment: dict[str, str] | os._Environ[str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(READ_AT_THE_BEGINNING) and name not in FOLLOWED
    }


def _reached() -> _Server:
    global _server
    with _starting:
        if _server is None:
            _server = _Server()
        return _server


@contextlib.contextmanager
def warm_workers() -> Iterator[None]:
    """Have workers of runs forked from a process that has everything imported."""
    global _server
    subprocess.Popen = _WarmPopen
    try:
        yield
    finally:
        subprocess.Popen = _plain
        if _server is not None:
            _server.end()
            _server = None


# The server and what becomes of its children.


def main(address: str) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen(64)
    _import_everything()
    gc.collect()
    gc.freeze()  # a collection in a child would copy the pages of all that was imported
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are not waited for
    warnings.filterwarnings("ignore", message=".*multi-threaded.*fork", category=DeprecationWarning)
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:  # closed: the tests are over
            os._exit(0)
        line, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _look_after_one(line)
        line.close()


def _import_everything() -> None:
    from cxr.runs.kinds import KINDS

    importlib.import_module(WORKER)
    for kind in KINDS.values():
        kind.load_job()
        kind.params_model()
        if kind.shard:
            kind.load_shard()
    for name in LAZY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _look_after_one(line: socket.socket) -> None:
    """Fork the process that was asked for, tell its id, and at its end its exit status."""
    try:
        message, files, *_ = socket.recv_fds(line, 2**20, 4)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        pid = os.fork()
        if pid == 0:
            line.close()
            os.close(files[3])
            _become(json.loads(message), files[:3])
        nowhere = os.open(os.devnull, os.O_RDWR)
        for file in (0, 1, 2, *files[:3]):
            os.dup2(nowhere, file)
        line.send(str(pid).encode())
        line.close()
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(BrokenPipeError):
            os.write(files[3], struct.pack("i", status))
    finally:
        os._exit(0)


def _become(request: dict[str, object], files: list[int]) -> None:
    """Be the process that ``request`` describes, and end."""
    code = 1
    try:
        if request["session"]:
            os.setsid()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(request["cwd"])
        _take_environment(request["env"])
        _take_files()
        code = _exit_code(request["command"], request["cwd"])
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _take_environment(environment: dict[str, str]) -> None:
    """Set the variables, also where other processes read them (``/proc``): there runs recognise their processes."""
    global _in_worker
    _in_worker = True
    os.environ.clear()
    os.environ.update(environment)
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])
    block = b"".join(os.fsencode(f"{name}={value}\0") for name, value in environment.items())
    ctypes.memmove(start, block[: end - start].ljust(end - start, b"\0"), end - start)


def _take_files() -> None:
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
    for number, name in ((1, "stdout"), (2, "stderr")):
        raw = open(number, "wb", 0, closefd=False)  # noqa: SIM115
        file = io.TextIOWrapper(raw, encoding="utf-8", errors="backslashreplace", write_through=True)
        setattr(sys, name, file)
        setattr(sys, f"__{name}__", file)
    if os.environ.get("PYTHONFAULTHANDLER"):
        faulthandler.enable()


def _exit_code(command: list[str], cwd: str) -> int:
    flag, what, *arguments = command[1:] if command[1].startswith("-") else ("", *command[1:])
    sys.orig_argv, sys.argv = command, [flag or what, *arguments]
    sys.path[0] = {"-m": cwd, "-c": ""}.get(flag, str(Path(what).parent))
    sys.path[1:1] = [f for f in os.environ.get("PYTHONPATH", "").split(os.pathsep) if f and f not in sys.path]
    importlib.import_module("numpy").random.seed()
    try:
        if not flag:
            runpy.run_path(what, run_name="__main__")
        elif flag == "-m":
            sys.modules.pop(what, None)
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            module = sys.modules["__main__"] = types.ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), module.__dict__)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    from tests import warm

    # Workers start workers: what they know of the server stands in the module of this name.
    warm._server = types.SimpleNamespace(address=sys.argv[1], environment=_of_the_beginning(os.environ))
    subprocess.Popen = warm._WarmPopen
    warm.main(sys.argv[1])
