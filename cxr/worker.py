"""The process behind every run: ``python -m cxr.worker RUN_FOLDER`` reads what is asked for and does it.

The only place that maps a kind of run to the function that does the work. Such a function has the form
``job(folder: RunFolder, spec: dict, *, progress: Callable[[float, str], None]) -> None``; it looks at
``folder.stop_requested()`` as often as it can end well, saves, and returns (or raises
:class:`~cxr.runs.folder.Stopped`). A job that returns although a stop was asked for counts as stopped, unless it
reported a progress of 1.0 before.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cxr.errors import CxrError, RunError, unknown
from cxr.runs import launch
from cxr.runs.folder import ENDED, WORKER_LOCK, RunFolder, Stopped
from cxr.runs.locks import DeviceQueue, FileLock

KINDS = {
    "train": "cxr.training:train",
    "evaluate": "cxr.evaluation.run:evaluate",
    "explain": "cxr.explain.run:explain_run",
    "text-experiment": "cxr.text.experiment:run",
    "import": "cxr.data.jobs:run_import",
    "demo": "cxr.data.jobs:run_demo",
}
ONE_PER_DEVICE = ("train",)

HEARTBEAT_S = 2.0
_PROGRESS_EVERY_S = 0.5
_PREDECESSOR_S = 5.0  # how long the process of before may take to leave after its last word

log = logging.getLogger("cxr.worker")


def main(folder: str | os.PathLike[str]) -> int:
    """Do the work of the run in ``folder`` and return the exit code: 0 finished or stopped, 1 failed, 2 refused."""
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    run = RunFolder(Path(folder).resolve())
    lock = FileLock(run.path / WORKER_LOCK)
    try:
        kind = run.spec["kind"]
        if not lock.acquire(timeout=_PREDECESSOR_S):
            raise RunError(f"run {run.id} has a process already")
        if run.read_status()["state"] in ENDED:
            raise RunError(f"run {run.id} is {run.read_status()['state']}: `cxr runs resume {run.id}` starts it again")
    except (CxrError, OSError) as error:
        log.error("%s", error)
        return 2
    try:
        return _work(run, kind)
    finally:
        lock.release()


def _work(run: RunFolder, kind: str) -> int:
    _stop_on_signals(run)
    now = time.time()
    with run.status_transaction() as status:
        status.update(
            pid=os.getpid(),
            pid_started=launch.start_time(os.getpid()),
            heartbeat=now,
            started=status["started"] or now,
            error=None,
            ended=None,
        )
    log.info("run %s (%s), process %d", run.id, kind, os.getpid())
    with Heartbeat(run):
        outcome = _outcome(run, kind)
    log.info("%s%s", outcome["state"], f": {outcome['error']}" if outcome["error"] else "")
    run.update_status(**outcome, ended=time.time(), eta_s=None)
    return 1 if outcome["state"] == "failed" else 0


def _outcome(run: RunFolder, kind: str) -> dict[str, Any]:
    """Do the job and return the fields of the status that tell how it ended."""
    try:
        complete = _do(run, kind)
    except Stopped:
        complete = False
    except BaseException as error:
        log.error("%s", "".join(traceback.format_exception(error)).rstrip())
        return {"state": "failed", "error": one_line(error), "message": "failed"}
    if complete:
        return {"state": "finished", "error": None, "progress": 1.0, "message": "finished"}
    return {"state": "stopped", "error": None, "message": "stopped"}


def _do(run: RunFolder, kind: str) -> bool:
    """Do the job, in the device's queue if it needs one; return whether it came to its end."""
    if kind not in KINDS:
        raise RunError(unknown("kind of run", kind, KINDS))
    spec = run.spec
    if kind not in ONE_PER_DEVICE:
        return _do_now(run, kind, spec)
    queue = DeviceQueue(run.path.parent, _device(spec["params"]), run.id)
    with queue.turn(run.stop_requested, lambda text: _say_queued(run, text)) as ours:
        return ours and _do_now(run, kind, spec)


def _do_now(run: RunFolder, kind: str, spec: dict[str, Any]) -> bool:
    if run.stop_requested():
        return False
    with run.status_transaction() as status:
        if status["state"] != "stopping":
            status.update(state="running", message="loading")
    report = Progress(run)
    _load(KINDS[kind])(run, spec, progress=report)
    report.flush()
    return not run.stop_requested() or run.read_status()["progress"] == 1.0


def _say_queued(run: RunFolder, text: str) -> None:
    log.info("%s", text)
    with run.status_transaction() as status:
        if status["state"] == "queued":
            status["message"] = text


def _load(where: str) -> Callable[..., None]:
    module, _, function = where.partition(":")
    return getattr(importlib.import_module(module), function)


def _device(params: dict[str, Any]) -> str:
    """Return the device that a training will use, such as ``cpu`` or ``cuda:0``; ``auto`` takes the first GPU."""
    recipe = params.get("recipe")
    device = str((recipe.get("device") if isinstance(recipe, dict) else None) or "auto")
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    return "cuda:0" if device == "cuda" else device


class Progress:
    """The callback that a job reports to: writes progress, message and the time left, twice a second at most."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._began: tuple[float, float] | None = (
            None  # (time, fraction) of the first report: a resumed job is not at 0
        )
        self._written = 0.0
        self._pending: dict[str, Any] | None = None

    def __call__(self, fraction: float, message: str = "") -> None:
        """Report that ``fraction`` (0 to 1) is done."""
        fraction, now = min(1.0, max(0.0, float(fraction))), time.monotonic()
        self._began = self._began or (now, fraction)
        self._pending = {"progress": fraction, "eta_s": self._time_left(now, fraction)}
        if message:
            self._pending["message"] = message
        if fraction == 1.0 or now - self._written >= _PROGRESS_EVERY_S:
            self.flush()

    def flush(self) -> None:
        """Write what has not been written yet."""
        if self._pending is not None:
            self._run.update_status(**self._pending)
            self._pending, self._written = None, time.monotonic()

    def _time_left(self, now: float, fraction: float) -> float | None:
        began, first = self._began or (now, fraction)
        done = fraction - first
        return None if done <= 0 else round((now - began) * (1 - fraction) / done, 1)


class Heartbeat:
    """A thread that notes every two seconds that the process lives, and shows a request to stop as ``stopping``."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._end.wait(HEARTBEAT_S):
            try:
                with self._run.status_transaction() as status:
                    status["heartbeat"] = time.time()
                    if self._run.stop_requested() and status["state"] in ("queued", "running"):
                        status.update(state="stopping", message="stopping after the present step")
            except OSError as error:
                log.warning("the status cannot be written: %s", error)


def one_line(error: BaseException) -> str:
    """Return what a user needs to know of ``error`` in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, CxrError):
        return text
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full ({error.filename or 'while writing'}): make room, then resume the run"
    if _is_out_of_memory(error, text):
        where = "the GPU" if "CUDA" in text else "this machine"
        return f"{where} ran out of memory: take a smaller batch, image size or network, then start again"
    return f"unexpected {type(error).__name__}: {text[:300]} (see the log)"


def _is_out_of_memory(error: BaseException, text: str) -> bool:
    # Torch is recognised by name: a job that never used it should not have to import it to fail.
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in text or "out of memory" in text)
    )


def _stop_on_signals(run: RunFolder) -> None:
    """Turn SIGTERM and SIGINT into the request to stop that the job looks at."""

    def ask(*_: object) -> None:
        run.request_stop()  # only the flag: taking the status's lock here could wait for this very thread

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m cxr.worker RUN_FOLDER")
    sys.exit(main(sys.argv[1]))
