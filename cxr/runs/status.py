"""How a run stands: the content of its ``status.json``, typed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from cxr.errors import RunError

State = Literal["queued", "running", "stopping", "stopped", "finished", "failed"]
ACTIVE: tuple[State, ...] = ("queued", "running", "stopping")
ENDED: tuple[State, ...] = ("stopped", "finished", "failed")
STATES: tuple[State, ...] = get_args(State)
StatusFields = dict[str, Any]
"""Fields of a :class:`Status` by name: all that a writer works on, or some to change; checked when they are written."""


@dataclass(frozen=True, eq=False)
class Status(Mapping[str, Any]):
    """How a run stands. Fields are read as attributes, or as keys of a read-only mapping.

    Attributes
    ----------
    state
        One of ``STATES``.
    progress, message, eta_s
        The share of the work that is done (0 to 1), what it does now, in words, and the seconds it still needs.
    pid, pid_started, host
        Its process, when that started (Unix time), and the machine that it works on.
    heartbeat
        When the process last gave a sign of life (Unix time); None before it has begun.
    error
        Why it failed, in one line.
    launched, started, ended
        Unix times: when it was last started or resumed, when it first began, when it ended.
    resumes, requeues
        How often it was resumed by hand, and how often Slurm queued it again since then.
    metrics_generation
        Goes up whenever rows of metrics are taken back.
    job
        Of a run on a cluster the number of its Slurm job, "" until it has one.
    submitting
        Whether the run was given to Slurm and has not begun since.
    """

    state: State = "queued"
    progress: float = 0.0
    message: str = ""
    eta_s: float | None = None
    pid: int | None = None
    pid_started: float | None = None
    heartbeat: float | None = None
    error: str | None = None
    launched: float | None = None
    started: float | None = None
    ended: float | None = None
    resumes: int = 0
    metrics_generation: int = 0
    host: str | None = None
    job: str | None = None
    requeues: int = 0
    submitting: bool = False

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise RunError(f"unknown state {self.state!r}. Available: {', '.join(STATES)}")

    @classmethod
    def read(cls, stored: object) -> Status:
        """Return the status in the content of a file, with defaults for what it lacks.

        Keys that this version does not know are left out; a state that it does not know counts as queued.
        """
        values = {name: value for name, value in _mapping(stored).items() if name in FIELDS}
        if values.get("state") not in STATES:
            values.pop("state", None)
        return cls(**values)

    def replace(self, **changes: Any) -> Status:
        """Return a status with some fields changed.

        Raises
        ------
        RunError
            For a state or a field that there is not.
        """
        strange = sorted(set(changes) - FIELDS.keys())
        if strange:
            raise RunError(f"unknown field of the status {strange[0]!r}. Available: {', '.join(FIELDS)}")
        return dataclasses.replace(self, **changes)

    @property
    def active(self) -> bool:
        """Whether the run is queued, running or stopping."""
        return self.state in ACTIVE

    def __getitem__(self, name: str) -> Any:
        if name not in FIELDS:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(FIELDS)

    def __len__(self) -> int:
        return len(FIELDS)


FIELDS: Mapping[str, None] = dict.fromkeys(field.name for field in dataclasses.fields(Status))


def _mapping(stored: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", stored) if isinstance(stored, Mapping) else {}


QUEUED_AGAIN: Mapping[str, Any] = {
    "state": "queued",
    "message": "starting",
    "eta_s": None,
    "pid": None,
    "pid_started": None,
    "heartbeat": None,
    "error": None,
    "ended": None,
    "host": None,
    "job": None,
    "requeues": 0,
    "submitting": False,
}
"""What changes in the status of a run that is resumed."""
