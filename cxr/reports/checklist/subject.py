"""What a checklist is filled from: a run, its network's card, its data, and other runs on the same network or data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from cxr.data import Manifest
from cxr.data.library import DataSetFacts, facts_beside, read_excluded
from cxr.data.settings import OnManifest
from cxr.errors import CxrError, RunError
from cxr.evaluation.provenance import provenance_of
from cxr.evaluation.results import EvaluationResults, evaluation_results
from cxr.evaluation.settings import EvaluationParams, OnNetwork
from cxr.evaluation.tables.settings import PredictionsParams
from cxr.models.card import ModelCard
from cxr.networks import network_card, network_file, training_of
from cxr.runs import Run, list_runs
from cxr.training.results import TrainingResults, training_results
from cxr.training.settings import TrainingParams

NOT_STATED = "not stated"
MEASURED_KINDS = ("train", "evaluate", "evaluate-predictions")
"""Kinds of runs that a checklist can be filled from."""


@dataclass(frozen=True)
class Subject:
    """What is known of a run that measured something.

    Attributes
    ----------
    run, results
        The run, finished, and its figures.
    training, card
        The training of its network, and the network's card; None of predictions without a network, and of networks
        that were trained elsewhere.
    manifest
        Its data; None where they are not at hand.
    on_network, on_data
        Other finished runs on the same network, and on the same data, the newest first.
    """

    run: Run
    results: EvaluationResults
    training: Run | None
    card: ModelCard | None
    manifest: Manifest | None
    on_network: list[Run] = field(default_factory=list)
    on_data: list[Run] = field(default_factory=list)

    @classmethod
    def of(cls, run: Run) -> Subject:
        """Collect what is known.

        Raises
        ------
        RunError
            If the run is of another kind or not finished.
        """
        if run.kind not in MEASURED_KINDS:
            raise RunError(
                f"{run.id} is a run of kind {run.kind}. Accepted: a training, an evaluation or a table of predictions"
            )
        results = evaluation_results(run)
        if not results.get("splits"):
            raise RunError(f"{run.id} has no figures yet: wait until it has finished")
        network = _network_of(run)
        training = training_of(network) if network else None
        manifest = _manifest_of(run)
        others = [other for other in list_runs() if other.id != run.id and other.results() is not None]
        return cls(
            run=run,
            results=results,
            training=training,
            card=network_card(network) if network else None,
            manifest=manifest,
            on_network=[other for other in others if network and is_of_network(other, network)],
            on_data=[other for other in others if _same_data(other, manifest)],
        )

    @cached_property
    def trained(self) -> TrainingResults:
        """The results of the network's training, empty where it was trained elsewhere."""
        return training_results(self.training) if self.training else {}

    @cached_property
    def training_table(self) -> pd.DataFrame | None:
        """The table of the data of the training, None where they are not at hand."""
        manifest = _manifest_of(self.training) if self.training else None
        return None if manifest is None else manifest.table

    @cached_property
    def facts(self) -> DataSetFacts:
        """What the import noted of the data, empty for a manifest outside the library."""
        return facts_beside(self.manifest.path) if self.manifest is not None and self.manifest.path else {}

    @cached_property
    def excluded(self) -> pd.DataFrame:
        """``file, reason`` of what the import left out."""
        name = self.manifest.path.parent.name if self.manifest is not None and self.manifest.path else ""
        return read_excluded(name)

    @property
    def network_ref(self) -> str:
        """How commands name the network, or the run of a table of predictions."""
        return self.training.id if self.training else _network_of(self.run) or self.run.id

    def findings_of(self, *kinds: str) -> list[str]:
        """Return a line for each other run of these kinds: its conclusion and its id, the newest of each kind first.

        Those of X-rays that were picked by hand stand for nothing else and are left out.
        """
        runs = [run for run in (*self.on_network, *self.on_data) if run.kind in kinds]
        unique = {run.id: run for run in runs}.values()
        lines = []
        for run in unique:
            results = run.results() or {}
            finding = results.get("finding")
            if isinstance(finding, str) and finding and "selection" not in results:
                lines.append(f"{finding} (run {run.id})")
        return lines

    def evaluations(self) -> list[tuple[str, EvaluationResults]]:
        """Return the figures of this run and of other evaluations of its network, with the name of their data."""
        runs = [self.run, *(run for run in self.on_network if run.kind in MEASURED_KINDS)]
        return [(provenance_of(run).get("data") or run.name, evaluation_results(run)) for run in runs]


def _network_of(run: Run) -> str:
    """Return the network that a run measured or trained, "" for predictions without one."""
    if run.kind == "train":
        return run.id
    params = run.params
    return params.network if isinstance(params, OnNetwork) else ""


def _manifest_of(run: Run) -> Manifest | None:
    try:
        params = run.params
        if isinstance(params, (OnManifest, PredictionsParams)):
            return params.data
    except (CxrError, OSError):
        return None
    return None


def is_of_network(other: Run, network: str) -> bool:
    """Return whether a run trained, measured or explained a network."""
    try:
        params = other.params
        own = params.network if isinstance(params, OnNetwork) else other.id if other.kind == "train" else ""
        return bool(own) and network_file(own) == network_file(network)
    except (CxrError, OSError):
        return False


def _same_data(other: Run, manifest: Manifest | None) -> bool:
    path = other.spec["params"].get("manifest")
    if manifest is None or manifest.path is None or not path or _is_on_network(other):
        return False
    return Path(path) == manifest.path


def _is_on_network(run: Run) -> bool:
    try:
        return isinstance(run.params, (OnNetwork, EvaluationParams, TrainingParams))
    except CxrError:
        return True


def counts_in_words(table: pd.DataFrame, column: str, at_most: int = 12) -> str:
    """Return ``cohen 343, nih 1000`` of a column's values, the commonest first; "not stated" for empty ones."""
    counts = table[column].replace("", NOT_STATED).value_counts()
    return listed(f"{name} {n}" for name, n in counts.items()) if len(counts) <= at_most else f"{len(counts):,} values"


def sentence(text: str) -> str:
    """Return a text with a capital letter at its beginning and a full stop at its end."""
    return f"{text[:1].upper()}{text[1:]}."


def listed(parts: Iterable[str]) -> str:
    """Return parts with commas between them."""
    return ", ".join(parts)
