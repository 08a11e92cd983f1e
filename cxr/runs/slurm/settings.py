"""What a run asks of Slurm, and how it is written on the command line and stored."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cxr.errors import RunError, wrong_use
from cxr.json_types import JsonObject
from cxr.runs.devices import names_gpu
from cxr.runs.kinds import Kind

OURS = ("array", "signal", "output", "error", "open-mode", "ntasks", "ntasks-per-node", "requeue", "no-requeue", "wrap")
_KEYS = {
    "partition": "partition",
    "time": "minutes",
    "gpus": "gpus",
    "nodes": "nodes",
    "cpus": "cpus",
    "mem": "memory_gb",
    "account": "account",
    "requeues": "requeues",
    "warn": "warn_s",
    "at-once": "at_once",
}
_LEAST = {"minutes": 1, "gpus": 0, "nodes": 1, "cpus": 1, "requeues": 0, "warn_s": 1, "at_once": 0}


@dataclass(frozen=True)
class Slurm:
    """What a run asks of Slurm.

    Attributes
    ----------
    partition
        The partition; the cluster's default if empty.
    minutes
        The time limit. A training that needs longer saves before it and is queued again.
    gpus
        GPUs on each node; a training runs one process on each of them.
    nodes
        Number of nodes.
    cpus
        Processor cores of each process.
    memory_gb
        Memory of each node in GiB; the cluster's default if None.
    account
        The account that pays, where there are such.
    requeues
        How often the run may be queued again after its time was over.
    warn_s
        How many seconds before its time is over it begins to save.
    extra
        Further options of sbatch by their long names, such as ``{"qos": "high", "exclusive": "true"}``.
    at_once
        How many jobs of one array (the members of a study) may run at the same time; 0 leaves it to the cluster.

    Raises
    ------
    RunError
        For a value out of range or an option that cxr sets itself.
    """

    partition: str = ""
    minutes: int = 60
    gpus: int = 0
    nodes: int = 1
    cpus: int = 2
    memory_gb: float | None = None
    account: str = ""
    requeues: int = 10
    warn_s: int = 120
    extra: Mapping[str, str] = field(default_factory=dict)
    at_once: int = 0

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise wrong_use(RunError(f"slurm: {name} is {value!r}. Allowed: a whole number from {least}"))
        if self.memory_gb is not None and not self.memory_gb > 0:
            raise wrong_use(RunError(f"slurm: memory_gb is {self.memory_gb!r}. Allowed: a number above 0, or None"))
        for name, value in {"partition": self.partition, "account": self.account, **self.extra}.items():
            _check_option(name, value)

    @classmethod
    def parse(cls, text: str) -> Slurm:
        """Read ``partition=debug,time=30,gpus=1,...`` as the command line has it; other keys are sbatch's options.

        Raises
        ------
        RunError
            For what is no pair, no number where one is needed, or a value out of range.
        """
        known: dict[str, Any] = {}
        extra: dict[str, str] = {}
        for pair in filter(None, (part.strip() for part in text.split(","))):
            key, equals, value = pair.partition("=")
            if not (key and equals and value):
                raise RunError(f"slurm: {pair!r} is not of the form key=value, as in partition=gpu,time=120,gpus=1")
            if key in _KEYS:
                known[_KEYS[key]] = _value(key, value)
            else:
                extra[key] = value
        return cls(**known, extra=extra)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Slurm:
        """Return what a run's spec holds under ``slurm``."""
        return cls(**stored)

    def stored(self) -> JsonObject:
        """Return the settings as the spec keeps them."""
        return dataclasses.asdict(self) | {"extra": dict(self.extra)}

    def option(self) -> str:
        """Return the settings as ``--slurm`` takes them: what differs from the defaults, and the time."""
        default = Slurm()
        shown = {
            key: f"{value:g}" if isinstance(value, float) else str(value)
            for key, name in _KEYS.items()
            if (value := getattr(self, name)) != getattr(default, name) or name == "minutes"
        }
        return ",".join(f"{key}={value}" for key, value in (shown | dict(self.extra)).items())

    @property
    def with_gpus(self) -> bool:
        """Whether the job gets a GPU, also by an option of sbatch's own such as gres or gpus-per-task."""
        return self.gpus > 0 or any(name == "gres" or name.startswith(("gpus", "tres-per")) for name in self.extra)

    def tasks(self, kind: Kind, params: Mapping[str, Any]) -> int:
        """Return the number of processes, one per GPU; without GPUs as many as stored parameters ask devices for.

        Raises
        ------
        RunError
            If the parameters need another number of devices, or a GPU where none is requested, or the work is not
            one that several processes share.
        """
        device, devices = kind.requested_devices(params)
        if names_gpu(device) and not self.with_gpus:
            raise wrong_use(
                RunError(
                    f"slurm: the {kind.device_in or 'run'} needs device {device!r} but no GPU is requested: add gpus=1"
                )
            )
        total = self.nodes * (self.gpus or max(1, devices // self.nodes))
        if total > 1 and kind.processes == "one":
            raise wrong_use(
                RunError(f"slurm: {kind.name!r} is the work of one process. Allowed: nodes=1 and gpus=0 or 1")
            )
        if devices not in (1, total) or (total > 1 and kind.device_in and not params.get(kind.device_in)):
            raise wrong_use(
                RunError(
                    f"slurm: nodes={self.nodes} and gpus={self.gpus} make {total} processes, the "
                    f"{kind.device_in or 'run'} has devices {devices}. Allowed: devices {total}, or 1 to have it set"
                )
            )
        return total


def _value(key: str, value: str) -> Any:
    try:
        if key in ("partition", "account"):
            return value
        if key == "mem":
            return float(re.sub("(?i)gi?b?$", "", value))
        return _minutes(value) if key == "time" else int(value)
    except ValueError as error:
        allowed = {"time": "minutes, HH:MM:SS or D-HH:MM:SS", "mem": "a number of GiB"}.get(key, "a whole number")
        raise wrong_use(RunError(f"slurm: {key} is {value!r}. Allowed: {allowed}")) from error


def _minutes(text: str) -> int:
    days, dash, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if len(parts) == 1 and not dash:
        return parts[0]
    if len(parts) != 3:
        raise ValueError(text)
    hours, minutes, seconds = parts
    return int(days or 0) * 1440 + hours * 60 + minutes + (seconds > 0)


def _check_option(name: str, value: object) -> None:
    if name in OURS:
        raise wrong_use(
            RunError(f"slurm: {name} is set by cxr itself. Allowed: {', '.join(_KEYS)} and other options of sbatch")
        )
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise wrong_use(
            RunError(f"slurm: {name!r} is no option of sbatch. Allowed: long names such as qos or constraint")
        )
    if not isinstance(value, str) or not value.isprintable():
        raise wrong_use(RunError(f"slurm: {name} is {value!r}. Allowed: one line of text"))
