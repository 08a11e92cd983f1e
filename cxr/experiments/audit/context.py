"""What the parts of an audit are given: the subject, the runs that they rest on, and the measured X-rays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd

from cxr.errors import RunError
from cxr.evaluation.metrics import patients_of
from cxr.evaluation.results import EvaluationResults, Summary, evaluation_results
from cxr.evaluation.seen import measured_rows
from cxr.experiments.audit.findings import Collected, Finding, Form, Link, Weight
from cxr.experiments.audit.requests import Request
from cxr.experiments.audit.rules import rule_named
from cxr.experiments.audit.settings import NetworkAuditParams
from cxr.experiments.audit.subject import Subject
from cxr.formatting import Estimate
from cxr.json_types import JsonObject
from cxr.models.card import MULTI_LABEL
from cxr.runs import Run

Need = Literal["network", "images", "results"]
"""What a part cannot do without: the network itself, the X-rays' manifest, or the results of another version."""
Progress = Callable[[float, str], None]
EVALUATION = "evaluation"


@dataclass
class Context:
    """What is audited, and what is there already.

    Attributes
    ----------
    runs
        By the names of requests, the finished runs.
    folder
        Where parts keep what they computed; None where nothing is kept.
    """

    params: NetworkAuditParams
    subject: Subject
    folder: Path | None = None
    runs: dict[str, Run] = field(default_factory=dict)

    @property
    def root(self) -> Path | None:
        """Where the audit's run and others lie; None where nothing is kept."""
        return self.folder.parent if self.folder is not None else None

    @property
    def on_network(self) -> JsonObject:
        """The parameters that all runs with the network share."""
        subject, params = self.subject, self.params
        shared: JsonObject = {"model": subject.network, "device": params.device}
        if subject.manifest is not None:
            shared["manifest"] = str(subject.manifest.path)
        return shared | ({"open_locked": True} if params.open_locked else {})

    @property
    def multi_label(self) -> bool:
        """Whether several classes may be there at once."""
        return self.subject.task == MULTI_LABEL

    @property
    def evaluation(self) -> Run:
        """The run that has measured the subject on its split.

        Raises
        ------
        RunError
            If there is none.
        """
        run = self.subject.table or self.runs.get(EVALUATION)
        if run is None:
            raise RunError("the subject was not measured on this split, which this part rests on")
        return run

    @cached_property
    def results(self) -> EvaluationResults:
        """What the evaluation gives."""
        return evaluation_results(self.evaluation)

    @property
    def summary(self) -> Summary:
        """The figures of the measured split."""
        return self.results["splits"][self.subject.split]

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The predictions of the measured split, without what is left out as seen."""
        return rows_of(self.evaluation, [self.subject.split])

    def finding(
        self,
        name: str,
        rule: str,
        sentence: str,
        figure: Estimate,
        *,
        detail: str = "",
        figure_name: str = "",
        form: Form = "number",
        n: tuple[int | None, int | None] = (None, None),
        not_shown: str = "",
        next_step: str = "",
        command: Sequence[str] = (),
        link: Link | None = None,
        images: Sequence[str] = (),
        held: Estimate | None = None,
        at_most: Weight | None = None,
    ) -> Finding | None:
        """Return a finding where the figure is one by its rule, else None.

        Parameters
        ----------
        held
            What is held against the limits, where it is not the figure that is shown.
        at_most
            A weight that it does not exceed.
        """
        of_rule = rule_named(rule)
        weight = of_rule.weigh(held or figure)
        if weight is None:
            return None
        if at_most == "note" or (at_most == "warning" and weight == "serious"):
            weight = at_most
        return {
            "name": name,
            "part": of_rule.part,
            "rule": rule,
            "weight": weight,
            "score": round(of_rule.score(held or figure), 4),
            "sentence": sentence,
            "detail": detail,
            "figure": figure,
            "figure_name": figure_name,
            "form": form,
            "n_images": n[0],
            "n_patients": n[1],
            "not_shown": not_shown,
            "next_step": next_step,
            "command": list(command),
            "link": link or Link(page="home", parameters={}),
            "images": list(images)[:24],
        }


class Part(ABC):
    """One part of an audit; its parts derive from this.

    Attributes
    ----------
    name
        One of :data:`cxr.experiments.audit.part_names.PARTS`.
    needs
        What it cannot do without.
    """

    name: str
    needs: frozenset[Need] = frozenset()

    def requests(self, context: Context) -> list[Request]:
        """Return the runs that it rests on."""
        return []

    def slow(self, context: Context) -> str:
        """Return why its own work, besides its runs, takes more than seconds; "" where it does not."""
        return ""

    def cannot(self, context: Context) -> str:
        """Return why these X-rays do not allow it, in words that go on a sentence; "" where nothing is known of that.

        It is asked before a run is looked for or started, and again when one has failed.
        """
        return ""

    def further_runs(self, context: Context) -> list[Run]:
        """Return finished runs that it can use without asking for any, the newest first."""
        return []

    @abstractmethod
    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return what it finds; ``context.runs`` holds those of its requests that are finished."""

    @abstractmethod
    def command(self, context: Context) -> list[str]:
        """Return the command that does this part alone."""

    @abstractmethod
    def link(self, context: Context) -> Link:
        """Return the page that shows it."""


def rows_of(run: Run, splits: Sequence[str] = ()) -> pd.DataFrame:
    """Return the predictions that a run's figures are of, of some splits or of all.

    Raises
    ------
    RunError
        If it has none.
    """
    table = run.predictions()
    if table is None:
        raise RunError(f"run {run.id} has no predictions")
    rows = measured_rows(table, evaluation_results(run))
    return rows[rows["split"].isin(list(splits))].reset_index(drop=True) if splits else rows.reset_index(drop=True)


def counted(rows: pd.DataFrame) -> tuple[int, int]:
    """Return the numbers of X-rays and of patients."""
    return len(rows), len(set(patients_of(rows)))
