"""What was done since an audit: runs that its parts would use now and that it has not seen."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from cxr.errors import CxrError
from cxr.experiments.audit.context import Context
from cxr.experiments.audit.findings import PartStatus
from cxr.experiments.audit.parts import BY_NAME
from cxr.experiments.audit.requests import Request, fitting
from cxr.experiments.audit.results import network_audit_results
from cxr.experiments.audit.settings import NetworkAuditParams
from cxr.experiments.audit.subject import subject_of
from cxr.runs import Run

_BROKEN = ("stopped", "failed")


@dataclass(frozen=True)
class Later:
    """The runs for a part of an audit that the audit has not seen.

    Attributes
    ----------
    runs
        One for each that the part rests on: a finished one, else one that is active, else the newest that broke off.
    complete
        Whether the part has all that it needs now, so that an audit does it in seconds.
    """

    runs: tuple[Run, ...]
    complete: bool


def later_runs(audit: Run) -> dict[str, Later]:
    """Return by name the parts of a finished audit for which there are runs that it has not seen.

    Of a part that was done, only what was started after the audit counts, and a run that several parts rest on is of
    the first of them.
    """
    later: dict[str, Later] = {}
    with contextlib.suppress(CxrError, OSError):  # the network or its X-rays are gone: nothing can be told
        params = NetworkAuditParams.of(audit.params)
        context = Context(params, subject_of(params), audit.folder.path)
        named: set[str] = set()
        for status in network_audit_results(audit)["parts"]:
            if status["name"] not in BY_NAME or status["state"] == "left-out":
                continue
            of_part = _later(context, status, audit, named)
            if of_part.runs:
                later[status["name"]] = of_part
                named |= {run.id for run in of_part.runs}
    return later


def _later(context: Context, status: PartStatus, audit: Run, named: set[str]) -> Later:
    part, done = BY_NAME[status["name"]], status["state"] == "done"
    requests = part.requests(context)
    newest = [run for request in requests if (run := _newest(request, audit)) is not None]
    newest += part.further_runs(context)[:1]
    used = {*status["runs"], audit.id}
    unseen = [run for run in newest if run.id not in used and run.spec.get("started_by") != audit.id]
    runs = tuple(run for run in unseen if not done or (run.created > audit.created and run.id not in named))
    ready = len(newest) >= len(requests) and all(run.status()["state"] == "finished" for run in newest)
    return Later(runs, complete=ready and not part.slow(context))


def _newest(request: Request, audit: Run) -> Run | None:
    """Return the run that an audit would use or wait for now, else the newest that broke off since."""
    root = audit.folder.path.parent
    run = fitting(request, root)
    if run is not None:
        return run
    broken = fitting(request, root, _BROKEN)
    return broken if broken is not None and broken.created > audit.created else None
