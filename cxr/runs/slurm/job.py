"""The Slurm job of a run, through submitit: how it is submitted, and what its processes do on their nodes.

Each process of the job starts a worker as on any machine, waits for it, and speaks with Slurm meanwhile. Before the
job's time is over Slurm sends a signal; the first process then asks the run to make room, waits until the training has
saved, and has submitit queue the same job again, which goes on from the checkpoint.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from submitit.core.job_environment import JobEnvironment
from submitit.core.utils import DelayedSubmission, FailedJobError
from submitit.helpers import TorchDistributedEnvironment
from submitit.slurm.slurm import SlurmExecutor

from cxr import paths
from cxr.runs import devices, local
from cxr.runs.folder import RunFolder
from cxr.runs.shards.folders import folder_at
from cxr.runs.slurm.client import FOLDER, ask
from cxr.runs.slurm.settings import Slurm
from cxr.runs.status import ACTIVE

_LEAVE_S = 10.0  # how long before the end of its time the job is queued again although nothing was saved
_POLL_S = 0.1
_HIDDEN = ("SLURM_", "SLURMD_", "SRUN_", "SBATCH_", "SUBMITIT_")
_HIDDEN_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")

log = logging.getLogger("submitit")


def submit(folder: RunFolder, slurm: Slurm, tasks: int, restarts: bool, after: str = "") -> str:
    """Submit the run in ``folder`` as a job of ``tasks`` processes and return its number.

    With ``after`` it waits until that job or array is over, in whatever way.

    Raises
    ------
    subprocess.CalledProcessError
        If sbatch refuses; it holds what sbatch said.
    """
    path = folder.path.resolve()
    executor = Executor(path / FOLDER, max_num_timeout=slurm.requeues + 1)
    executor.update_parameters(**parameters(slurm, tasks, folder.spec["name"]))
    if after:
        executor.update_parameters(dependency=f"afterany:{after}")
    with refusal_of_sbatch():
        return str(executor.submit(task_of(path, slurm, restarts)).job_id)


def task_of(path: Path, slurm: Slurm, restarts: bool) -> Task:
    """Return what the job of the run in the folder ``path`` does (arguments as :func:`submit`)."""
    launched = folder_at(path).read_status().launched
    grace_s = max(1.0, _warning_s(slurm) - _LEAVE_S)
    task = Task(path, local.worker_command(path), slurm.requeues, grace_s, restarts, launched)
    # `auto` is a GPU of this job or the processor, never a GPU of the node that Slurm did not give.
    task.environment[devices.CHOSEN_VARIABLE] = "" if slurm.with_gpus else "cpu"
    return task


@contextlib.contextmanager
def refusal_of_sbatch() -> Iterator[None]:
    """Raise what sbatch said as subprocess.CalledProcessError, and nothing that submitit makes of it or prints."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # submitit prints what it also raises
            yield
    except FailedJobError as error:
        raise error.__cause__ or error from None


def _warning_s(slurm: Slurm) -> int:
    return min(slurm.warn_s, slurm.minutes * 30)


def parameters(slurm: Slurm, tasks: int, name: str) -> dict[str, Any]:
    """Return submitit's parameters for a job of ``tasks`` processes."""
    extra: dict[str, str | bool] = {key: True if value == "true" else value for key, value in slurm.extra.items()}
    given = {"partition": slurm.partition, "account": slurm.account, "gpus_per_node": slurm.gpus}
    if slurm.memory_gb is not None:
        given["mem"] = f"{round(slurm.memory_gb * 1024)}M"
    return {
        **{key: value for key, value in given.items() if value},
        "job_name": " ".join(name.split())[:60] or "cxr",
        "time": slurm.minutes,
        "nodes": slurm.nodes,
        "ntasks_per_node": tasks // slurm.nodes,
        "cpus_per_task": slurm.cpus,
        "signal_delay_s": _warning_s(slurm),
        # srun does not take the cores over from sbatch since Slurm 22.05; and if one process fails, none may wait on.
        "srun_args": [f"--cpus-per-task={slurm.cpus}", "--kill-on-bad-exit=1"],
        # The folder to start in is where `cxr` lies if it runs from a checkout.
        "additional_parameters": {"requeue": True, "chdir": str(paths.home()), **extra},
    }


class Executor(SlurmExecutor):
    """submitit's executor, undisturbed by a job or a group of processes that the submitting process is part of."""

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        hidden = [name for name in os.environ if name.startswith(_HIDDEN) or name in _HIDDEN_NAMES]
        unset = [part for name in hidden if name != "SLURM_CONF" for part in ("-u", name)]
        return ["env", *unset, "sbatch", str(submission_file_path)]


class Task:
    """What each process of the job does; submitit pickles it, and again whenever the job is queued again.

    Parameters
    ----------
    folder
        The run's folder.
    command
        The worker's command line.
    requeues
        How often the job may be queued again.
    grace_s
        How many seconds the worker has to save once its time is nearly over.
    restarts
        Whether the run restarts from the beginning when it is queued again.
    launched
        When the run was started or resumed for this job (Unix time), as its status says; None: not known.
    """

    launched: float | None = None  # also of jobs that an older version pickled

    def __init__(
        self,
        folder: Path,
        command: list[str],
        requeues: int,
        grace_s: float,
        restarts: bool,
        launched: float | None = None,
    ) -> None:
        self.folder, self.command, self.requeues, self.grace_s = folder, command, requeues, grace_s
        self.restarts, self.launched = restarts, launched
        self.environment = local.worker_environment(folder)
        self._worker: subprocess.Popen[bytes] | None = None

    def __call__(self) -> None:
        """Start the worker, wait for it, and end as it did."""
        environment, run = self._own_environment(), folder_at(self.folder)
        first = JobEnvironment().global_rank == 0
        if first:
            self._prepare(run)
        with self._output(run, first) as output:
            self._worker = subprocess.Popen(
                self.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=paths.home(),
                preexec_fn=_deaf,
            )
        while self._worker.poll() is None:
            time.sleep(_POLL_S)
        code = self._worker.returncode
        if first:
            self._after(run, code)
        if code:
            sys.exit(code if code > 0 else 128 - code)

    def checkpoint(self) -> DelayedSubmission:
        """Have the run save, and return what goes on from there; called by submitit on Slurm's warning.

        Leaves the process where there is nothing to go on with: the run has ended, or was queued again too often.
        """
        run = folder_at(self.folder)
        if not self._ended():
            run.request_pause()
            deadline = time.monotonic() + self.grace_s
            while not self._ended() and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        if not self._queue_again(run):
            sys.exit(0)
        return DelayedSubmission(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: not the running worker."""
        return {**self.__dict__, "_worker": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what was pickled, also by the version before, which called one thing otherwise."""
        restarts = state.pop("anew", False)
        self.__dict__.update({"restarts": restarts, **state})

    def _own_environment(self) -> dict[str, str]:
        if JobEnvironment().num_tasks > 1:
            # Slurm has already said which GPUs are ours; the training takes the one of its local rank.
            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        return {**os.environ, **self.environment, local.JOB_VARIABLE: JobEnvironment().job_id}

    def _prepare(self, run: RunFolder) -> None:
        """Make the folder ready for a worker: also after Slurm itself has moved the job off a node that failed."""
        run.clear_pause()
        if self.restarts and int(os.environ.get("SLURM_RESTART_COUNT") or 0):
            run.truncate_metrics(0)
            run.update_status(progress=0.0)

    def _output(self, run: RunFolder, first: bool) -> IO[bytes]:
        # Several nodes cannot append to one file; what the other processes say stays in Slurm's own files.
        return run.log_path.open("ab") if first else os.fdopen(os.dup(sys.stdout.fileno()), "wb")

    def _ended(self) -> bool:
        """Return whether the worker has ended (or not begun), without taking its exit code from who waits for it."""
        if self._worker is None or self._worker.returncode is not None:
            return True
        try:
            return os.waitid(os.P_PID, self._worker.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def _queue_again(self, run: RunFolder) -> bool:
        """Note in the status that the run is queued again; return False if it has ended or may not."""
        with run.status_transaction() as status:
            if status["state"] not in ACTIVE or not self._has(status):
                return False
            if run.user_stop_requested():
                status.update(state="stopped", message="stopped", ended=time.time(), eta_s=None)
                return False
            count = status["requeues"] + 1
            status.update(pid=None, pid_started=None, heartbeat=None, eta_s=None)
            if count > self.requeues:
                times = "1 time" if count == 1 else f"{count} times"
                error = f"Time limit reached {times} ({self.requeues} requeues allowed). Resume to continue."
                status.update(state="failed", message="failed", error=error, ended=time.time())
                return False
            status.update(state="queued", requeues=count)
            status["message"] = f"requeued after time limit ({count} of {self.requeues})"
        return True

    def _after(self, run: RunFolder, code: int) -> None:
        """Look after a run whose worker is gone without having ended the run."""
        status = run.read_status()
        if status["state"] not in ACTIVE or not self._has(status):
            return
        if code == 0 and run.pause_requested():  # Slurm's SIGTERM, which comes before another signal, or before the end
            self._after_making_room(run)
            return
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        more = " (out of memory?)" if code == -signal.SIGKILL else ""
        where = f"on {local.host()} in Slurm job {JobEnvironment().job_id}"
        error = f"its process {how}{more} {where}; see the log"
        with run.status_transaction() as stored:
            if stored["state"] in ACTIVE and self._has(stored):
                stored.update(state="failed", message="failed", error=error, ended=time.time(), eta_s=None)

    def _has(self, status: Mapping[str, Any]) -> bool:
        """Return whether a run is still this job's: after its end another may have resumed it before this one left.

        A run that was resumed has no job yet while the next one is being submitted, so its number alone does not tell.
        """
        if self.launched is not None and status["launched"] != self.launched:
            return False
        return status["job"] in (None, "", JobEnvironment().job_id)

    def _after_making_room(self, run: RunFolder) -> None:
        job = ask(JobEnvironment().job_id, fresh=True)
        if job is None or job.state == "RUNNING":
            log.warning("the run has saved; asking for another turn")
            signal.raise_signal(JobEnvironment._usr_sig())
        else:
            ended = {"message": "saved; its job was ended in Slurm", "ended": time.time(), "eta_s": None}
            with run.status_transaction() as stored:
                if stored["state"] in ACTIVE and self._has(stored):
                    stored.update(state="stopped", **ended)


def _deaf() -> None:
    """Leave Slurm's warning, which reaches every process of the job, to the one that acts on it."""
    signal.signal(JobEnvironment._usr_sig(), signal.SIG_IGN)
