"""The process behind every run: ``python -m cxr.runs.worker RUN_FOLDER`` reads what is asked for and does it.

The kind of a run (:mod:`cxr.runs.kinds`) names the function that does the work. A job that returns although a stop was
asked for counts as stopped, unless it reported a progress of 1.0 before.

Work that is cut into shards (:mod:`cxr.runs.shards`) has a process like this for each shard, given the shard's folder.

A training on several devices has several such processes. The first, of rank 0, is the run's; those whose environment
says ``RANK`` 1 or more are its helpers: they call the job function and do nothing else; they have no lock, no place in
the queue, and write no status.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from cxr.errors import CxrError, RunError, system_error
from cxr.locks import FileLock
from cxr.runs import devices, local
from cxr.runs.folder import WORKER_LOCK, RunFolder, Stopped
from cxr.runs.kinds import Kind, kind_of
from cxr.runs.process import statuses_of_shards
from cxr.runs.queue import DeviceQueue
from cxr.runs.shards import processes
from cxr.runs.shards.folders import SHARE, ShardFolder, failure, folder_at, remove_parts, shards_of
from cxr.runs.status import ENDED, StatusFields
from cxr.runs.storage import DiskFullError, disk_full, is_disk_full

HEARTBEAT_S = 2.0
_OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "_ALLOC_FAILED")
_PROGRESS_EVERY_S = 0.5
_PREDECESSOR_S = 5.0  # how long the process of before may take to leave after its last word

log = logging.getLogger("cxr.runs.worker")


def main(folder: str | os.PathLike[str]) -> int:
    """Do the work of the run in ``folder`` and return the exit code: 0 finished or stopped, 1 failed, 2 refused."""
    rank = int(os.environ.get("RANK") or 0)
    who = f"rank {rank} " if rank else ""
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format=f"%(asctime)s {who}%(levelname)s %(message)s", force=True
    )
    run = folder_at(Path(folder).resolve())
    if rank:
        return _help(run)
    lock = FileLock(run.path / WORKER_LOCK)
    try:
        kind = kind_of(run.spec["kind"])
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


def _work(run: RunFolder, kind: Kind) -> int:
    _stop_on_signals(run)
    with Heartbeat(run):
        outcome = _outcome(run, kind)
    log.info("%s%s", outcome["state"], f": {outcome['error']}" if outcome["error"] else "")
    with contextlib.suppress(DiskFullError):  # whoever looks sees that the process is gone, and a full disk
        run.end_status(**outcome, ended=time.time() if outcome["state"] in ENDED else None, eta_s=None)
    return 1 if outcome["state"] == "failed" else 0


def _begin(run: RunFolder, kind: Kind) -> None:
    run.reserve_status()
    now = time.time()
    with run.status_transaction() as status:
        status.update(
            pid=os.getpid(),
            pid_started=local.start_time(os.getpid()),
            heartbeat=now,
            started=status["started"] or now,
            error=None,
            ended=None,
            host=local.host(),
            job=os.environ.get(local.JOB_VARIABLE),
            submitting=False,
        )
    log.info("run %s (%s), process %d", run.id, kind.name, os.getpid())


def _help(run: RunFolder) -> int:
    """Do a helper's share of somebody else's training; return 0 if it came to an end, 1 if it failed."""
    _stop_on_signals(run)
    try:
        kind_of(run.spec["kind"]).load_job()(run, run.params, progress=_no_report)
    except Stopped:
        log.info("stopped")
    except BaseException as error:
        log.error("%s", "".join(traceback.format_exception(error)).rstrip())
        return 1
    return 0


def _no_report(fraction: float, message: str = "") -> None:
    """Report nothing: the first process does."""


def _outcome(run: RunFolder, kind: Kind) -> StatusFields:
    """Do the job and return the fields of the status that tell how it ended."""
    try:
        _begin(run, kind)
        complete = _do(run, kind)
    except Stopped:
        complete = False
    except BaseException as error:
        log.error("%s", "".join(traceback.format_exception(error)).rstrip())
        return {"state": "failed", "error": one_line(error), "message": "failed"}
    if complete:
        return {"state": "finished", "error": None, "progress": 1.0, "message": "finished"}
    if run.pause_requested():
        gone = {"pid": None, "pid_started": None, "heartbeat": None}
        return {"state": "queued", "error": None, "message": "saved, waiting for its next turn", **gone}
    return {"state": "stopped", "error": None, "message": "stopped"}


def _do(run: RunFolder, kind: Kind) -> bool:
    """Do the job, once a device is free if it needs one; return whether it came to its end."""
    if isinstance(run, ShardFolder):  # it works where its run has got room
        return _do_now(run, kind)
    if local.JOB_VARIABLE in os.environ:  # Slurm is the queue there
        return _do_now(run, kind)
    options = devices.options_of(kind, run.spec["params"], len(shards_of(run)) or 1)
    if options is None:
        return _do_now(run, kind)
    queue = DeviceQueue(run.path.parent)
    with queue.turn(run.id, options, run.stop_requested, lambda text: _say_queued(run, text)) as device:
        if device is None:
            return False
        os.environ[devices.CHOSEN_VARIABLE] = device
        return _do_now(run, kind, devices.neighbours(device, len(options[device])))


def _do_now(run: RunFolder, kind: Kind, places: Sequence[str] = ()) -> bool:
    if run.stop_requested():
        return False
    with run.status_transaction() as status:
        if status["state"] != "stopping":
            status.update(state="running", message="loading")
    report = Progress(run)
    # Imported now, so not before the run's turn has come.
    if isinstance(run, ShardFolder):
        kind.load_shard()(run, run.params, progress=report)
    elif shards_of(run):
        _do_shards_and_merge(run, kind, places, report)
    else:
        kind.load_job()(run, run.params, progress=report)
    report.flush()
    run.flush_metrics()
    complete = not run.stop_requested() or run.read_status()["progress"] == 1.0
    if complete:
        remove_parts(run)
    return complete


def _do_shards_and_merge(run: RunFolder, kind: Kind, places: Sequence[str], report: Progress) -> None:
    def merging(fraction: float, message: str = "") -> None:
        report(1 - (1 - SHARE) * (1 - fraction), message)

    if local.JOB_VARIABLE in os.environ:  # its shards were jobs of their own, which are over
        statuses = statuses_of_shards(run)
        if not all(status.state == "finished" for status in statuses):
            raise failure(shards_of(run), statuses)
        kind.load_job()(run, run.params, progress=merging)
    elif processes.complete(run, [place for place in places if place != "cpu"], report):
        kind.load_job()(run, run.params, progress=merging)


def _say_queued(run: RunFolder, text: str) -> None:
    log.info("%s", text)
    with contextlib.suppress(DiskFullError), run.status_transaction() as status:
        if status["state"] == "queued":
            status["message"] = text


class Progress:
    """The callback that a job reports to: writes progress, message and the time left, twice a second at most."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._began: tuple[float, float] | None = (
            None  # (time, fraction) of the first report: a resumed job is not at 0
        )
        self._written = 0.0
        self._pending: StatusFields | None = None

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
            self._written = time.monotonic()
            with contextlib.suppress(DiskFullError):  # no reason to end the work: it is said again the next time
                self._run.update_status(**self._pending)
                self._pending = None

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
                    if self._run.user_stop_requested() and status["state"] in ("queued", "running"):
                        status.update(state="stopping", message="stopping after the present step")
            except (OSError, DiskFullError) as error:
                log.warning("the status cannot be written: %s", error)


def one_line(error: BaseException) -> str:
    """Return what a user needs to know of ``error`` in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, CxrError):
        return text
    if is_disk_full(error):
        return disk_full(getattr(error, "filename", None))
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"{error.filename} is gone: put it back, then resume the run"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{system_error(error)} (see the log)"
    if _is_out_of_memory(error, text):
        where, other = ("the GPU", "precision bf16-mixed") if _is_gpu(text) else ("this machine", "a smaller network")
        return (
            f"{where} ran out of memory: start again with a larger accumulate, a smaller batch, a smaller size or "
            f"{other}; or resume once other programs have freed some memory"
        )
    return f"unexpected {type(error).__name__}: {text[:300]} (see the log)"


def _is_out_of_memory(error: BaseException, text: str) -> bool:
    # Torch is recognised by name: a job that never used it should not have to import it to fail.
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or (
        isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)
    )


def _is_gpu(text: str) -> bool:
    return any(word in text for word in ("CUDA", "CUBLAS", "cuDNN", "HIP"))


def _stop_on_signals(run: RunFolder) -> None:
    """Turn SIGTERM and SIGINT into the request to stop that the job looks at; Slurm's mean to make room."""
    request = run.request_pause if local.JOB_VARIABLE in os.environ else run.request_stop

    def ask(*_: object) -> None:
        request()  # only the flag: taking the status's lock here could wait for this very thread

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m cxr.runs.worker RUN_FOLDER")
    sys.exit(main(sys.argv[1]))
