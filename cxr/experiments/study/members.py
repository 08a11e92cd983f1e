"""The trainings of a study: each is a run of its own that names its study, so it is found whatever else is lost."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TypedDict, cast

from cxr.errors import RunError
from cxr.experiments.study.plan import Plan, parse_plan
from cxr.runs import Run, Slurm, members_of
from cxr.runs.slurm.member_jobs import submit_members

NOT_STARTED, DELETED = "not started", "deleted"
MEMBERS = "members.json"
"""Which training each member had at the last look of the study's process."""


@dataclass(frozen=True)
class Member:
    """One training of a study; ``run`` is None before it is started, and once it has been deleted."""

    recipe: str
    seed: int
    run: Run | None
    deleted: bool = False

    @property
    def state(self) -> str:
        """The run's state, ``not started`` or ``deleted``."""
        if self.run is None:
            return DELETED if self.deleted else NOT_STARTED
        return str(self.run.status()["state"])

    @property
    def title(self) -> str:
        """The recipe and the seed in words."""
        return f"{self.recipe} seed {self.seed}"


def plan_of(study: Run) -> Plan:
    """Return the plan of a study's run.

    Raises
    ------
    RunError
        If the run is none of a study.
    """
    if study.kind != "study":
        raise RunError(f"run {study.id} is of the kind {study.kind}, not a study (`cxr study list`)")
    return parse_plan(study.spec["params"]["plan"])


def members(study: Run) -> list[Member]:
    """Return all members in the order in which they are started: seed by seed, so that pairs are complete early."""
    plan = plan_of(study)
    runs: dict[tuple[str, int], Run] = {}
    for run in reversed(members_of(study)):  # the oldest, should there be two
        params = run.spec["params"]
        runs.setdefault((str(params["study_recipe"]), int(params["recipe"]["seed"])), run)
    begun = _begun(study)
    return [
        Member(label, seed, runs.get((label, seed)), deleted=(label, seed) in begun and (label, seed) not in runs)
        for seed in plan.seeds
        for label in plan.labels
    ]


def _begun(study: Run) -> set[tuple[str, int]]:
    """Return recipe and seed of the members that had a training when the study's process last looked."""
    with contextlib.suppress(KeyError, TypeError):  # of another version, or damaged
        rows = cast("list[MemberRow]", study.folder.read_json(MEMBERS) or [])
        return {(row["recipe"], row["seed"]) for row in rows if row["run"] or row["state"] == DELETED}
    return set()


class MemberRow(TypedDict):
    """A training of a study; ``run`` is None before it has been started, and once it has been deleted."""

    recipe: str
    seed: int
    run: str | None
    state: str
    error: str | None


def member_rows(study_members: list[Member]) -> list[MemberRow]:
    """Return what ``members.json`` and the results tell of the members."""
    rows: list[MemberRow] = []
    for member in study_members:
        state = member.state
        rows.append(
            {
                "recipe": member.recipe,
                "seed": member.seed,
                "run": member.run.id if member.run else None,
                "state": state,
                "error": member.run.status()["error"] if member.run else None,
            }
        )
    return rows


def stop_study(study: Run, *, kill: bool = False) -> None:
    """Stop a study and its running members, also where the study's own process has died and left them.

    Parameters
    ----------
    kill
        End the processes at once; what members did since their last checkpoints is lost.

    Raises
    ------
    RunError
        If neither the study nor one of its members is active.
    """
    active = [member.run for member in members(study) if member.run is not None and member.run.active]
    if study.active:
        study.kill() if kill else study.stop()
    elif not active:
        raise RunError(f"study {study.id} is {study.status()['state']} already: there is nothing to stop")
    else:
        for run in active:
            with contextlib.suppress(RunError):  # it came to its end in the meantime
                run.kill() if kill else run.stop()


def retry(study: Run) -> list[Run]:
    """Resume the stopped and failed members of a study that is over, and return them.

    On this machine each waits for its device; on a cluster they are submitted as one job array.
    """
    if study.active:
        raise RunError(f"study {study.id} is {study.status()['state']}: wait until it has ended")
    ended = [member.run for member in members(study) if member.run and member.state in ("stopped", "failed")]
    if study.spec.get("slurm"):
        submit_members(study, [], ended, Slurm.of(study.spec["slurm"]))
        return ended
    return [run.resume() for run in ended]
