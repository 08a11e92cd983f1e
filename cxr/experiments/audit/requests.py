"""The runs that parts of an audit rest on: an existing one is used where it fits, else one is started.

Whether a run fits is read from what its figures rest on (:mod:`cxr.evaluation.provenance`): the checksum of the weights
and the hash of the manifest, so neither a new name nor a copy of the file makes it another network or other data.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cxr.errors import CxrError
from cxr.evaluation.provenance import provenance_of
from cxr.experiments.audit.findings import Link
from cxr.json_types import JsonObject
from cxr.models.checksums import sha256_of
from cxr.networks import network_file
from cxr.runs import ACTIVE, Run, list_runs

Fits = Callable[[JsonObject, JsonObject | None], bool]
"""Whether a run with these stored parameters and results (None before its end) is of what is asked for."""


def always(params: JsonObject, results: JsonObject | None) -> bool:
    """Accept every run."""
    return True


@dataclass(frozen=True)
class Request:
    """A run that a part of the audit needs.

    Attributes
    ----------
    name
        Its own within the audit.
    kinds
        Kinds of runs that will do; the first one is what is started.
    params
        With which it is started; None where the audit starts none and only uses what exists.
    weights, manifest_hash
        What its figures must rest on; "" for any.
    fits
        What else must hold.
    command
        The command that does the same.
    link
        The page that shows such a run; the run's id takes the place of ``{run}``.
    quick
        Whether it takes seconds.
    """

    name: str
    kinds: tuple[str, ...]
    params: JsonObject | None
    weights: str = ""
    manifest_hash: str = ""
    fits: Fits = always
    command: tuple[str, ...] = ()
    link: Link = field(default_factory=lambda: Link(page="home", parameters={}))
    quick: bool = False

    def link_to(self, run: Run | None) -> Link:
        """Return the page that shows a run."""
        given = {"{run}": run.id if run is not None else ""}
        parameters = {name: given.get(value, value) for name, value in self.link["parameters"].items()}
        return {"page": self.link["page"], "parameters": {name: v for name, v in parameters.items() if v}}


def fitting(
    request: Request, root: Path, states: Sequence[str] = ("finished", *ACTIVE), started_by: str = ""
) -> Run | None:
    """Return the newest run that fits a request, a finished one before one that is not; None without any.

    ``states`` are those that are accepted, ``started_by`` the run whose member it must be.
    """
    chosen: Run | None = None
    for run in _candidates(request, root):
        state = run.status()["state"]
        if state not in states or (started_by and run.spec.get("started_by") != started_by):
            continue
        if state == "finished":
            return run
        chosen = chosen or run
    return chosen


def _candidates(request: Request, root: Path) -> Iterator[Run]:
    """Yield the runs that fit, newest first."""
    runs = [run for run in list_runs(root) if run.kind in request.kinds]
    for run in runs:
        with contextlib.suppress(CxrError, OSError):  # a damaged run is none that fits
            results = run.results()
            if _rests_on(request, run, results) and request.fits(run.spec["params"], results):
                yield run


def _rests_on(request: Request, run: Run, results: JsonObject | None) -> bool:
    if results is None and run.kind == "train":
        return False  # it measures at its end
    record: Mapping[str, str] = provenance_of(run) if results is not None else {}
    manifest_hash = record.get("manifest_hash") or str(run.spec.get("manifest_hash") or "")
    if request.manifest_hash and manifest_hash != request.manifest_hash:
        return False
    return not request.weights or request.weights == (record.get("weights_sha256") or _weights_of(run))


def _weights_of(run: Run) -> str:
    """Return the sha256 of the network that a run's parameters name; "" where there is none (any more)."""
    params = run.spec["params"]
    ref = params.get("run") or params.get("weights") or params.get("model")
    if not ref:
        return ""
    file = network_file(str(ref))
    return _sha256(file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sha256(file: Path, stamp: int) -> str:
    return sha256_of(file)


def measured(split: str, aliases: Mapping[str, str]) -> Fits:
    """Return what accepts evaluations that have measured a split ("" for any), without X-rays that were seen."""

    def fits(params: JsonObject, results: JsonObject | None) -> bool:
        same = not params.get("include_seen") and dict(params.get("aliases") or {}) == dict(aliases)
        if results is not None:
            return same and bool(results.get("splits")) and (not split or split in results["splits"])
        splits: Sequence[str] | None = params.get("splits")
        return same and (split in splits if split and splits else not split and splits is None)

    return fits
