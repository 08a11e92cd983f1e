"""The folder of a run: the one place that knows which files it holds and how they are written.

One process writes (the worker), any number of processes read. Whatever is replaced is written to a temporary name in
the same folder, synced and renamed, so a reader sees the old file or the new one and never a half; what grows
(``metrics.jsonl``) grows by whole lines. A worker killed at any moment leaves a folder that can be read and resumed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cxr.errors import RunError
from cxr.files import replacing
from cxr.runs.kinds import Params, kind_of
from cxr.runs.metrics.metrics_file import MetricsReader, MetricsRow, ends_in_half_a_line, parse_lines, read_block
from cxr.runs.spec import Spec, new_run_id, new_spec
from cxr.runs.status import Status, StatusFields
from cxr.runs.storage import DiskFullError, create_json, disk_full, explaining_full_disk, locked, to_json, write_json

if TYPE_CHECKING:
    import pandas as pd

SPEC, STATUS, METRICS, LOG = "spec.json", "status.json", "metrics.jsonl", "log.txt"
RESULTS, PREDICTIONS, CHECKPOINTS = "results.json", "predictions.parquet", "checkpoints"
STOP_FLAG, WORKER_LOCK, STATUS_LOCK, RESERVE = "stop", ".lock", ".status.lock", ".status.reserve"
MAKE_ROOM_FLAG = "make-room"  # a cluster wants the place back: as a stop, but the run will be queued again

_RESERVE_BYTES = 16384  # more than any status takes


class Stopped(Exception):
    """Raised by a job that ends early because a stop was requested, after it has saved what it needs.

    A job may as well just return; this spares functions deep inside it from passing a flag upwards.
    """


class RunFolder:
    """Read and write one run's folder.

    Parameters
    ----------
    path
        The folder. It need not exist before it is written to; :meth:`create` makes a new one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path if isinstance(path, Path) else Path(path)  # a Path of a Path takes time: of a thousand, 10 ms
        self._torn_line = True  # whether metrics.jsonl may end in half a line: unknown until looked at
        self._unwritten = b""  # what metrics.jsonl still lacks, because the disk was full

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @classmethod
    def create(
        cls,
        root: str | os.PathLike[str],
        kind: str,
        params: Mapping[str, Any],
        name: str = "",
        manifest_hash: str = "",
        slurm: Mapping[str, Any] | None = None,
        shards: int = 1,
        started_by: str = "",
    ) -> RunFolder:
        """Make a new run below ``root``, complete before it gets its name, and return it.

        ``slurm`` are the settings of its job if it is to run on a cluster (see ``cxr.runs.slurm.job_state``).
        ``shards`` is the number of its shards (see ``cxr.runs.shards``), ``started_by`` the id of the run whose member
        it is.

        Raises
        ------
        DiskFullError
            If there is no room for it; nothing is left of it then.
        """
        root = Path(root)
        run_id = new_run_id(name or kind)
        draft = cls(root / f".new-{run_id}")
        spec = new_spec(run_id, kind, params, name, manifest_hash, slurm, shards, started_by)
        try:
            with explaining_full_disk(draft.path):
                draft.checkpoints.mkdir(parents=True)
                write_json(draft.path / SPEC, spec)
                write_json(draft.path / STATUS, Status())
                draft.log_path.touch()
                draft.path.rename(root / run_id)
        finally:
            shutil.rmtree(draft.path, ignore_errors=True)  # still there only if something went wrong
        return cls(root / run_id)

    # what the run is

    @property
    def id(self) -> str:
        """The run's id, which is the name of its folder."""
        return self.path.name

    @property
    def spec(self) -> Spec:
        """What was requested.

        Raises
        ------
        RunError
            If the folder is no run's: ``spec.json`` is missing or damaged.
        """
        spec = self.read_json(SPEC)
        if not isinstance(spec, dict):
            there = (self.path / SPEC).exists()
            why = f"{SPEC} is damaged" if there else f"it has no {SPEC}"
            raise RunError(f"{self.path} is not the folder of a run: {why}")
        return cast(Spec, spec)

    @property
    def params(self) -> Params:
        """The parameters of the run's job, of the model that its kind names.

        Raises
        ------
        CxrError
            If the folder is no run's, its kind is unknown, or a parameter is not allowed: one line names it.
        """
        spec = self.spec
        return kind_of(spec.get("kind")).params_model().of(spec.get("params") or {})

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / CHECKPOINTS

    @property
    def log_path(self) -> Path:
        """The file that takes what the worker prints."""
        return self.path / LOG

    # status

    def read_status(self) -> Status:
        """Return status.json, with defaults for what it lacks; ``Run.status`` also looks after the process."""
        try:
            stored = json.loads((self.path / STATUS).read_bytes())
        except (OSError, ValueError):
            stored = {}
        return Status.read(stored)

    def update_status(self, **changes: Any) -> Status:
        """Change some fields of status.json, leave the others, and return all of them.

        Safe between threads and processes: the heartbeat, the job and whoever asks for a stop all write here.

        Raises
        ------
        RunError
            For a state or a field that there is not.
        """
        with self.status_transaction() as status:
            status.update(changes)
        return Status(**status)

    @contextlib.contextmanager
    def status_transaction(self) -> Iterator[StatusFields]:
        """Hold the status against other writers, hand its fields out to be changed, check and write them at the end."""
        with locked(self.path / STATUS_LOCK):
            before = self.read_status()
            fields = dict(before)
            yield fields
            status = before.replace(**fields)
            if status != before:
                write_json(self.path / STATUS, status)

    def reserve_status(self) -> None:
        """Set room aside for the last status, which a full disk must not keep from being written.

        Raises
        ------
        DiskFullError
            If there is none.
        """
        path = self.path / RESERVE
        with explaining_full_disk(path), path.open("wb") as file:
            file.write(os.urandom(_RESERVE_BYTES))  # bytes that no file system stores as a hole
            os.fsync(file.fileno())

    def end_status(self, **changes: Any) -> Status:
        """Change the status as :meth:`update_status` does, as a process's last word: also on a full disk.

        Raises
        ------
        DiskFullError
            If the disk is full and nothing was set aside by :meth:`reserve_status`.
        """
        with locked(self.path / STATUS_LOCK):
            status = self.read_status().replace(**changes)
            try:
                write_json(self.path / STATUS, status)
            except DiskFullError:
                self._write_into_reserve(status)
            (self.path / RESERVE).unlink(missing_ok=True)
        return status

    def _write_into_reserve(self, status: Mapping[str, Any]) -> None:
        path, content = self.path / RESERVE, to_json(status, indent=1).encode() + b"\n"
        if not path.exists() or path.stat().st_size < len(content):
            raise DiskFullError(disk_full(self.path / STATUS))
        with explaining_full_disk(path), path.open("rb+") as file:  # over bytes that have their place on the disk
            file.write(content)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        path.replace(self.path / STATUS)

    # metrics

    def append_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows to metrics.jsonl in one write; numbers that are not finite become null.

        What a full disk does not take is kept and written before the next rows, or by :meth:`flush_metrics`.
        """
        self._unwritten += "".join(to_json(dict(row)) + "\n" for row in rows).encode()
        with contextlib.suppress(DiskFullError):
            self.flush_metrics()

    def flush_metrics(self) -> None:
        """Write the rows that a full disk did not take.

        Raises
        ------
        DiskFullError
            If it still does not; they are kept.
        """
        if not self._unwritten:
            return
        path = self.path / METRICS
        with explaining_full_disk(path):
            target = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                if self._torn_line and ends_in_half_a_line(target):
                    self._unwritten = b"\n" + self._unwritten
                self._torn_line = False
                while self._unwritten:
                    self._unwritten = self._unwritten[os.write(target, self._unwritten) :]
            finally:
                os.close(target)

    def metrics(self, since: int = 0) -> tuple[list[MetricsRow], int]:
        """Return the complete rows after byte ``since`` and the offset to ask from next time.

        An unfinished last line is left for the next call, a damaged line is skipped. If the file has become shorter
        than ``since`` the rows come from the beginning (the returned offset may then be below ``since``). A reader
        that must notice every truncation uses :meth:`metrics_reader`.
        """
        rows, offset, _ = self.read_metrics(since)
        return rows, offset

    def metrics_reader(self) -> MetricsReader:
        """Return a reader that remembers its place and notices when a resumed run has taken rows back."""
        return MetricsReader(self)

    def metrics_size(self) -> int:
        """Return the length of metrics.jsonl in bytes, synced to disk: what a checkpoint notes as its position.

        Raises
        ------
        DiskFullError
            If the disk does not take rows that were appended.
        """
        self.flush_metrics()
        try:
            target = os.open(self.path / METRICS, os.O_RDWR)
        except FileNotFoundError:
            return 0
        try:
            os.fsync(target)
            return os.fstat(target).st_size
        finally:
            os.close(target)

    def truncate_metrics(self, offset: int) -> None:
        """Cut metrics.jsonl to ``offset`` bytes, the position noted in the checkpoint that a run resumes from.

        Truncates before it raises ``metrics_generation``, so that a reader in between sees a shorter file and one
        afterwards a new generation: neither keeps a row that was taken back.
        """
        path = self.path / METRICS
        if path.exists() and offset < path.stat().st_size:
            os.truncate(path, max(0, offset))
        self._torn_line, self._unwritten = True, b""
        with self.status_transaction() as status:
            status["metrics_generation"] += 1

    def read_metrics(self, since: int, most_bytes: int = -1) -> tuple[list[MetricsRow], int, int]:
        """Return the rows after byte ``since``, where the next begin, and how many lines are damaged."""
        block, offset = read_block(self.path / METRICS, since, most_bytes)
        rows, damaged = parse_lines(block)
        return rows, offset, damaged

    # results

    def write_json(self, name: str, value: Any) -> Path:
        """Write ``value`` to the file ``name`` of this folder, all or nothing, and return its path."""
        return write_json(self._file(name), value)

    def create_json(self, name: str, value: Any) -> Any:
        """Write ``value`` to the file ``name`` unless another process was first, and return what is there now."""
        create_json(self._file(name), value)
        return self.read_json(name)

    def read_json(self, name: str) -> Any:
        """Return the content of a JSON file of this folder, or None if there is none; RunError if it is damaged."""
        path = self._file(name)
        try:
            return json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError as error:
            raise RunError(f"{path} is damaged: {error}") from error

    def write_predictions(self, table: pd.DataFrame) -> Path:
        """Write predictions.parquet, all or nothing."""
        path = self.path / PREDICTIONS
        with explaining_full_disk(path), replacing(path) as draft:
            table.to_parquet(draft, index=False)
        return path

    def predictions(self) -> pd.DataFrame | None:
        """Return the predictions, one row per image, or None if the run has none yet."""
        path = self.path / PREDICTIONS
        if not path.exists():
            return None
        import pandas as pd

        return pd.read_parquet(path)

    def _file(self, name: str) -> Path:
        if Path(name).name != name or name in ("", ".", ".."):
            raise RunError(f"{name!r} is not the name of a file in a run's folder")
        return self.path / name

    # log

    def log_tail(self, n: int = 50) -> list[str]:
        """Return the last ``n`` lines of the log, read from its end (at most its last 64 KiB)."""
        try:
            with self.log_path.open("rb") as source:
                size = source.seek(0, os.SEEK_END)
                source.seek(max(0, size - 65536))
                block = source.read()
        except FileNotFoundError:
            return []
        return block.decode("utf-8", "replace").splitlines()[-n:] if n > 0 else []

    # stop

    def request_stop(self) -> None:
        """Ask the job to stop at its next step; safe inside a signal handler."""
        (self.path / STOP_FLAG).touch()

    def stop_requested(self) -> bool:
        """Return whether the job has to save and end, for good or for now: two ``stat``, cheap at every step."""
        return self.user_stop_requested() or (self.path / MAKE_ROOM_FLAG).exists()

    def user_stop_requested(self) -> bool:
        """Return whether somebody asked for a stop, for good."""
        return (self.path / STOP_FLAG).exists()

    def clear_stop(self) -> None:
        """Forget a request to stop."""
        (self.path / STOP_FLAG).unlink(missing_ok=True)

    def request_pause(self) -> None:
        """Ask the job to save and end because its time on a cluster is over; safe inside a signal handler."""
        (self.path / MAKE_ROOM_FLAG).touch()

    def pause_requested(self) -> bool:
        """Return whether the job gives its place to another and is queued again; a requested stop goes first."""
        return (self.path / MAKE_ROOM_FLAG).exists() and not self.user_stop_requested()

    def clear_pause(self) -> None:
        """Forget a request to give the place to another."""
        (self.path / MAKE_ROOM_FLAG).unlink(missing_ok=True)
