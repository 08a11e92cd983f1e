"""The job ``study``: starts the members, waits for them, and tells what they found.

On this machine they are started one after another; on a cluster all are submitted at once, as one job array, and this
process, which stays here, only watches them.

Members are runs of their own. Whatever becomes of this process, a running member goes on, and a resumed study takes it
up again: what has been started is read from the members' own specs, never from what this process remembered.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from cxr.errors import RunError
from cxr.experiments.study.members import MEMBERS, NOT_STARTED, Member, member_rows, members
from cxr.experiments.study.settings import StudyParams
from cxr.experiments.study.start import file_hash
from cxr.runs import ACTIVE, Run, RunFolder, Slurm, Status, Stopped, start
from cxr.runs.slurm.member_jobs import submit_members
from cxr.runs.starting import prepare
from cxr.training.settings import TrainingParams

_POLL_S = 0.5
_MOST_BEFORE_END = 0.99  # of the progress: the comparison is still to be made

log = logging.getLogger(__name__)
Progress = Callable[[float, str], None]


class _Request(TypedDict):
    params: TrainingParams
    name: str
    root: Path
    manifest_hash: str


def run_study(folder: RunFolder, params: StudyParams, *, progress: Progress | None = None) -> None:
    """Do a study, or go on with it: finished members stay, stopped and failed ones are resumed, running ones adopted.

    Writes members.json, rows of kind ``member`` and, at the end, results.json.

    Raises
    ------
    RunError
        If no member finished, the manifest has changed, or one failed and the plan says to stop then.
    Stopped
        After the running members have saved and ended, if the folder asks to stop.
    """
    Orchestrator(folder, params, progress).run()


class Orchestrator:
    """The one process of a study; it loads neither torch nor pandas while it waits."""

    def __init__(self, folder: RunFolder, params: StudyParams, progress: Progress | None = None) -> None:
        self.study, self.folder, self.params, self.plan = Run(folder), folder, params, params.plan
        self.progress = progress or (lambda fraction, message: None)
        self.members = members(self.study)
        self.states = [""] * len(self.members)
        self.tried = [False] * len(self.members)  # whether this process has started or resumed it
        slurm = self.study.spec.get("slurm")
        self.slurm = Slurm.of(slurm) if slurm else None

    def run(self) -> None:
        """Bring every member to an end, then write the results."""
        self._look()
        while todo := [i for i, state in enumerate(self.states) if self._is_open(i, state)]:
            if self.folder.stop_requested():
                self._stop_members()
                raise Stopped
            self._stop_on_failure()
            waiting = [i for i in todo if self.states[i] not in ACTIVE]
            if self.slurm is None:
                for index in waiting[: max(0, self.plan.parallel - (len(todo) - len(waiting)))]:
                    self._begin(index)
            elif waiting:
                self._submit(waiting, self.slurm)
            time.sleep(_POLL_S)
            self._look()
        if self.folder.stop_requested() and "stopped" in self.states:
            raise Stopped
        self._stop_on_failure()
        self._write_results()

    def _is_open(self, index: int, state: str) -> bool:
        return state in ACTIVE or (state != "finished" and not self.tried[index])

    def _begin(self, index: int) -> None:
        """Start a member, or resume it where it was started before."""
        member, self.tried[index] = self.members[index], True
        self._check_manifest()
        if member.run is not None:
            log.info("resuming %s: %s", member.title, member.run.id)
            with contextlib.suppress(RunError):  # somebody else has just resumed it
                member.run.resume("here")
        else:
            self.members[index] = Member(member.recipe, member.seed, start("train", **self._request(member)))
            log.info("started %s: %s", member.title, self.members[index].run)

    def _submit(self, indices: list[int], slurm: Slurm) -> None:
        """Submit members together: those not started yet, and those that were stopped or failed."""
        self._check_manifest()
        stopped = [member.run for member in (self.members[i] for i in indices) if member.run is not None]
        new = []
        for index in indices:
            self.tried[index], member = True, self.members[index]
            if member.run is None:
                run = prepare("train", **self._request(member), where=slurm)
                self.members[index] = Member(member.recipe, member.seed, run)
                new.append(run)
        submit_members(self.study, new, stopped, slurm)
        log.info("submitted to Slurm: %d started, %d resumed", len(new), len(stopped))

    def _request(self, member: Member) -> _Request:
        """Return the arguments with which a member is started."""
        params = TrainingParams(
            recipe=self.params.recipes[member.recipe].model_copy(update={"seed": member.seed}),
            manifest=self.params.manifest,
            data_name=self.params.data_name,
            study=self.study.id,
            study_recipe=member.recipe,
        )
        return {
            "params": params,
            "name": f"{self.plan.name} {member.title}",
            "root": self.folder.path.parent,
            "manifest_hash": str(self.study.spec.get("manifest_hash", "")),  # all members were checked with the study
        }

    def _check_manifest(self) -> None:
        if file_hash(self.params.manifest) != self.params.manifest_sha256:
            raise RunError(
                f"the manifest {self.params.manifest} has changed since the study began, so its trainings could not "
                "be compared: put it back, or start a new study"
            )

    def _look(self) -> None:
        """Read the members' states, and write them down where they have changed."""
        statuses = [member.run.status() if member.run else None for member in self.members]
        states = [status["state"] if status else NOT_STARTED for status in statuses]
        rows = [
            {"kind": "member", "recipe": m.recipe, "seed": m.seed, "run": m.run.id, "state": state, "time": time.time()}
            for m, state, before in zip(self.members, states, self.states, strict=True)
            if m.run is not None and state != before
        ]
        for index, (state, before) in enumerate(zip(states, self.states, strict=True)):
            if state == "stopped" and before in ACTIVE:  # by hand: whoever did that does not want it back at once
                self.tried[index] = True
        if states != self.states:
            self.folder.append_metrics(rows)
            self.folder.write_json(MEMBERS, member_rows(self.members))
        self.states = states
        self._tell(statuses)

    def _tell(self, statuses: list[Status | None]) -> None:
        done = [1.0 if s and s["state"] == "finished" else float(s["progress"] or 0) if s else 0.0 for s in statuses]
        counts = [f"{self.states.count('finished')} of {len(self.members)} trainings finished"]
        counts += [f"{n} failed" for n in [self.states.count("failed")] if n]
        current = [
            f"{member.title}: {status['message']}"
            for member, status in zip(self.members, statuses, strict=True)
            if status and status["state"] in ACTIVE
        ]
        share = min(sum(done) / len(done), _MOST_BEFORE_END)
        self.progress(share, "; ".join([", ".join(counts), *current[:2]]))

    def _active(self) -> list[Run]:
        return [m.run for m, state in zip(self.members, self.states, strict=True) if m.run and state in ACTIVE]

    def _stop_members(self) -> None:
        """Stop what runs and wait until it has saved; a member that cannot be stopped any more has ended itself."""
        for run in self._active():
            with contextlib.suppress(RunError):
                run.stop()
        while self._active():
            time.sleep(_POLL_S)
            self._look()

    def _stop_on_failure(self) -> None:
        failed = [i for i, state in enumerate(self.states) if state == "failed" and self.tried[i]]
        if failed and self.plan.on_failure == "stop":
            self._stop_members()
            raise RunError(f"{self._failure(failed[0])}. The study stops there, as `on_failure: stop` says")

    def _failure(self, index: int) -> str:
        member = self.members[index]
        assert member.run is not None
        return f"{member.title} failed ({member.run.id}): {member.run.status()['error']}"

    def _write_results(self) -> None:
        from cxr.experiments.study.comparison import report

        failures = [self._failure(i) for i, state in enumerate(self.states) if state == "failed"]
        finished = self.states.count("finished")
        if not finished:
            raise RunError(f"no training of the study finished; {'; '.join(failures) or 'all were stopped'}")
        comparison = report(self.study)
        head = f"{finished} of {len(self.states)} trainings finished"
        stopped = [f"{m.title} was stopped" for m, s in zip(self.members, self.states, strict=True) if s == "stopped"]
        results = {
            "finding": "\n".join([head, *failures, *stopped, *comparison.sentences]),
            "members": member_rows(self.members),
            "failures": failures,
            "report": comparison.to_dict(),
        }
        self.folder.write_json("results.json", results)
