"""The job ``audit-network``: each part uses the newest run that fits, or starts one, and ranks what it finds.

Runs that it starts are ordinary ones: each waits for its device, has its own page and report, and is found again by
what its figures rest on, whatever becomes of this process.

Files in the run folder: ``part_<name>.json`` (how a part stands and its findings, written when it ends and read again
when the run is resumed), ``duplicates.csv`` and ``duplicates.json`` where duplicates were looked for, and
``results.json``.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import cast

from cxr.errors import CxrError, RunError
from cxr.evaluation.provenance import provenance, provenance_of_table
from cxr.experiments.audit.context import EVALUATION, Context, Part, counted
from cxr.experiments.audit.findings import Finding, Link, PartStatus, State, counts, ranked
from cxr.experiments.audit.part_names import PARTS
from cxr.experiments.audit.parts import BY_NAME
from cxr.experiments.audit.requests import Request, fitting
from cxr.experiments.audit.results import NOTES, KeptPart, NetworkAuditResults, conclusion, part_file, record_of
from cxr.experiments.audit.rules import RULES
from cxr.experiments.audit.settings import NetworkAuditParams
from cxr.experiments.audit.subject import Subject, subject_of
from cxr.runs import ACTIVE, KINDS, Run, RunFolder, Slurm, Stopped, start

_POLL_S = 0.5
_ENDED_PARTS = ("done", "left-out")
NEEDS_NETWORK = "it needs the network itself, and this is a table of its predictions"
NEEDS_IMAGES = "it needs the X-rays, and the table was measured without a data set"

log = logging.getLogger(__name__)
Progress = Callable[[float, str], None]


class _NotDone(Exception):
    def __init__(self, state: State, reason: str) -> None:
        super().__init__(reason)
        self.state, self.reason = state, reason


def run(folder: RunFolder, params: NetworkAuditParams, *, progress: Progress | None = None) -> None:
    """Do an audit, or go on with it: parts that have ended stay, the others are done or tried again.

    Raises
    ------
    RunError
        If not one part could be done.
    Stopped
        After the run that it has started has saved and ended, if the folder asks to stop.
    """
    Auditor(folder, params, progress or (lambda fraction, message: None)).run()


class Auditor:
    """The one process of an audit; what is long is done by the runs that it starts."""

    def __init__(self, folder: RunFolder, params: NetworkAuditParams, progress: Progress) -> None:
        self.audit, self.folder, self.params, self.progress = Run(folder), folder, params, progress
        self.subject = subject_of(params)
        self.context = Context(params, self.subject, folder.path)
        slurm = self.audit.spec.get("slurm")
        self.slurm = Slurm.of(slurm) if slurm else None
        self.started: list[str] = []  # by the part that is being done
        self.used: list[str] = []

    def run(self) -> None:
        """Do every part in turn, then write the results."""
        statuses: list[PartStatus] = []
        findings: list[Finding] = []
        for index, name in enumerate(PARTS):
            if self.folder.stop_requested():
                raise Stopped
            done = self._kept(name) or self._do(name, index)
            statuses.append(done["status"])
            findings += done["findings"]
        if not any(status["state"] == "done" for status in statuses):
            failed = next((f"; {s['title']}: {s['reason']}" for s in statuses if s["state"] == "failed"), "")
            raise RunError(f"not one part of the audit could be done{failed}")
        self.folder.write_json("results.json", self._results(statuses, findings))
        self.progress(1.0, "finished")

    def _kept(self, name: str) -> KeptPart | None:
        """Return a part that an earlier process has ended."""
        kept = cast("KeptPart | None", self.folder.read_json(part_file(name)))
        return kept if kept is not None and kept["status"]["state"] in _ENDED_PARTS else None

    def _do(self, name: str, index: int) -> KeptPart:
        part, began = BY_NAME[name], time.monotonic()
        self.started, self.used, looked = [], [], []
        findings: list[Finding] = []
        state: State = "done"
        reason = ""

        def tell(fraction: float, message: str = "") -> None:
            if self.folder.stop_requested():
                raise Stopped
            self.progress((index + min(1.0, fraction)) / len(PARTS), f"{PARTS[name]}: {message}".rstrip(": "))

        try:
            tell(0.0)
            self._check(part)
            requests = part.requests(self.context)
            for place, request in enumerate(requests):
                self._ensure(request, _share(tell, place, 0.9 / len(requests)))
            if self.params.quick and (why := part.slow(self.context)):
                raise _NotDone("missing", why)
            collected = part.collect(self.context, lambda f, m: tell(0.9 + 0.1 * f, m))
            findings, looked = collected.findings, collected.looked
            if collected.left_out:
                state, reason = "left-out", collected.left_out
        except _NotDone as ending:
            state, reason = ending.state, ending.reason
            if state == "failed" and (why := part.cannot(self.context)):
                state, reason = "left-out", why
        except (CxrError, OSError) as error:
            log.warning("%s: %s", name, error)
            state, reason = "failed", " ".join(str(error).split())
        except Stopped:
            raise
        except Exception as error:  # results of another version, say: the other parts are worth having
            log.exception("part %s", name)
            state, reason = "failed", f"{type(error).__name__}: {error} (see the log)"
        kept = self._status(part, state, reason, looked, findings, time.monotonic() - began)
        if state != "not-asked":
            self.folder.write_json(part_file(name), kept)
        return kept

    def _check(self, part: Part) -> None:
        """Say why a part is not done, before anything is."""
        if self.params.parts and part.name not in self.params.parts:
            raise _NotDone("not-asked", "nobody asked for it")
        if "network" in part.needs and not self.subject.network:
            raise _NotDone("left-out", NEEDS_NETWORK)
        if "images" in part.needs and self.subject.manifest is None:
            raise _NotDone("left-out", NEEDS_IMAGES)
        if why := part.cannot(self.context):
            raise _NotDone("left-out", why)

    def _ensure(self, request: Request, tell: Progress) -> None:
        """Have a finished run for a request: one that is there, or one that is started and waited for."""
        if request.name not in self.context.runs:
            known = tuple(kind for kind in request.kinds if kind in KINDS)
            if not known:
                raise _NotDone("left-out", "this version has no such part")
            chosen = fitting(request, self.folder.path.parent)
            if chosen is None or chosen.active:
                chosen = self._waited_for(request, chosen, known[0], tell)
            self.context.runs[request.name] = chosen
        self.used.append(self.context.runs[request.name].id)

    def _waited_for(self, request: Request, active: Run | None, kind: str, tell: Progress) -> Run:
        if self.params.quick and not request.quick:
            reason = f"run {active.id} is not over" if active is not None else "nobody has done it on these X-rays yet"
            raise _NotDone("missing", reason)
        if active is None and request.params is None:
            raise _NotDone("missing", "nobody has done it on these X-rays yet")
        chosen = active or self._begun(request, kind)
        own = chosen.spec.get("started_by") == self.audit.id
        while (status := chosen.status())["state"] in ACTIVE:
            if self.folder.stop_requested():
                self._stop(chosen, own=own)
            tell(float(status["progress"] or 0.0), str(status["message"]))
            time.sleep(_POLL_S)
        if status["state"] == "finished":
            return chosen
        if self.folder.stop_requested():
            raise Stopped
        ending = f"failed: {status['error']}" if status["state"] == "failed" else "was stopped"
        self.used.append(chosen.id)
        raise _NotDone("failed", f"run {chosen.id} {ending}")

    def _begun(self, request: Request, kind: str) -> Run:
        """Start the run of a request, or go on with one that this audit has started before."""
        earlier = fitting(request, self.folder.path.parent, ("stopped", "failed"), started_by=self.audit.id)
        if earlier is not None:
            with contextlib.suppress(RunError):  # somebody else has just resumed it
                earlier.resume("here" if self.slurm is None else self.slurm)
            self.started.append(earlier.id)
            return earlier
        run_ = start(
            kind,
            {name: value for name, value in (request.params or {}).items() if value is not None},
            root=self.folder.path.parent,
            where=self.slurm,
            started_by=self.audit.id,
        )
        log.info("started %s for %s", run_.id, request.name)
        self.started.append(run_.id)
        return run_

    def _stop(self, member: Run, *, own: bool) -> None:
        """Stop a run that this audit has started and wait until it has saved; one of somebody else goes on."""
        if own:
            with contextlib.suppress(RunError):
                member.stop()
            while member.active:
                time.sleep(_POLL_S)
        raise Stopped

    def _status(
        self, part: Part, state: State, reason: str, looked: list[str], findings: list[Finding], seconds: float
    ) -> KeptPart:
        status: PartStatus = {
            "name": part.name,
            "title": PARTS[part.name],
            "state": state,
            "reason": reason,
            "looked": looked,
            "runs": list(dict.fromkeys(self.used)),
            "started": list(self.started),
            "command": [],
            "link": Link(page="trust", parameters={}),
            "seconds": round(seconds, 1),
        }
        if state not in ("left-out", "not-asked"):
            status["command"] = part.command(self.context)
            link = part.link(self.context)
            values = {name: self._run_of(part, value) for name, value in link["parameters"].items()}
            status["link"] = {"page": link["page"], "parameters": {name: v for name, v in values.items() if v}}
        return {"status": status, "findings": findings}

    def _run_of(self, part: Part, value: str) -> str:
        """Return a value of a link, in which ``{run}`` is the part's own run."""
        if value != "{run}":
            return value
        return next((run_.id for name, run_ in self.context.runs.items() if name == part.name), "")

    def _results(self, statuses: list[PartStatus], findings: list[Finding]) -> NetworkAuditResults:
        order = ranked(findings, [rule.name for rule in RULES])
        n_images, n_patients = _measured(self.context)
        return {
            "finding": conclusion(order, statuses),
            "findings": order,
            "counts": counts(order),
            "parts": statuses,
            "subject": record_of(self.subject),
            "n_images": n_images,
            "n_patients": n_patients,
            "quick": self.params.quick,
            "notes": list(NOTES),
            "provenance": _provenance(self.subject),
        }


def _share(tell: Progress, place: int, length: float) -> Progress:
    """Return what reports the progress of one of several equal shares of a part's work."""
    return lambda fraction, message: tell(length * (place + fraction), message)


def _measured(context: Context) -> tuple[int, int]:
    """Return how many X-rays of how many patients were measured, 0 where none were."""
    if context.subject.table is None and EVALUATION not in context.runs:
        with contextlib.suppress(CxrError, IndexError):
            request = BY_NAME["evaluation"].requests(context)[0]
            earlier = fitting(request, context.folder.parent) if context.folder is not None else None
            if earlier is not None and not earlier.active:
                context.runs[EVALUATION] = earlier
    with contextlib.suppress(CxrError):
        return counted(context.rows)
    return 0, 0


def _provenance(subject: Subject) -> dict[str, str]:
    if subject.table is not None:
        file = subject.table.spec["params"]["predictions"]
        with contextlib.suppress(CxrError, OSError):  # the table may be gone; its predictions are in its run
            return provenance_of_table(file, subject.manifest)
        return dict((subject.table.results() or {}).get("provenance") or {})
    assert subject.manifest is not None  # a network has X-rays
    return provenance(subject.manifest, subject.network)
