"""The parameters of the runs that measure a trained network, and what all runs with a trained network share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from cxr.data.settings import OnManifest
from cxr.errors import ManifestError, RunError, wrong_use
from cxr.networks import training_of
from cxr.runs.kinds import DeviceName, NameOrFile

if TYPE_CHECKING:
    from cxr.data.manifest import Manifest


def network_name(network_ref: str) -> str:
    """Return how people call a network: its training's name, or that of its weights."""
    training = training_of(network_ref)
    return training.name if training else Path(network_ref).stem


def check_ids(manifest: Manifest, ids: Sequence[str], split: str = "") -> None:
    """Raise a ManifestError for the first of ``ids`` that is not in ``manifest``, the X-rays of ``split`` ("": all)."""
    known = set(manifest.ids) if ids else set()
    missing = next((image_id for image_id in ids if image_id not in known), None)
    if missing is None:
        return
    among = f"the split {split!r}" if split else f"{manifest.path or 'the manifest'}"
    other = " Accepted: ids of this split, or the split '' for those of every split." if split else ""
    raise wrong_use(ManifestError(f"ids: {missing!r} is none of the {len(manifest):,} X-rays of {among}.{other}"))


class OnNetwork(OnManifest):
    """Parameters of a run that asks a trained network about the X-rays of a manifest.

    Attributes
    ----------
    open_locked
        Look at splits that are locked (see :mod:`cxr.data.openings`), too.
    """

    model: NameOrFile
    """A training's run id, a weights file, or the name of shipped weights."""
    device: DeviceName = "auto"
    open_locked: bool = False

    @property
    def network(self) -> str:
        """The network: a run's id, a weights file, or the name of weights."""
        return self.model

    def check(self) -> list[str]:
        """Raise a CxrError if the network cannot be loaded."""
        from cxr.networks import load_network

        load_network(self.network)
        self.refuse_locked()
        return []

    def refuse_locked(self) -> None:
        """Raise a ManifestError if the run would look at a locked split and ``open_locked`` does not allow it."""
        from cxr.data.openings import refuse_locked

        refuse_locked(self.data, self.splits_looked_at(), opened=self.open_locked)

    def splits_looked_at(self) -> tuple[str, ...]:
        """Return the names of the splits that the run looks at; a look at every X-ray is one at every split."""
        split: str | None = getattr(self, "split", None)
        return (split,) if split else self.data.splits


class EvaluationParams(OnNetwork):
    """What a measure is asked for; the network is named by one of ``run``, ``weights`` and ``model``.

    Attributes
    ----------
    splits
        Names of splits, or ``all``; None takes those that are new to the network (see
        :func:`cxr.evaluation.selection.select`).
    aliases
        ``{name in the data: the network's name of it}``.
    include_seen
        Measure X-rays that the network was trained or chosen on with the others (see :mod:`cxr.evaluation.seen`).
    """

    model: NameOrFile = ""
    run: NameOrFile = ""
    weights: NameOrFile = ""
    splits: tuple[str, ...] | None = None
    aliases: dict[str, str] = Field(default_factory=dict)
    include_seen: bool = False

    @model_validator(mode="before")
    @classmethod
    def _one_split_is_several(cls, values: Any) -> Any:
        splits = values.get("splits")
        return dict(values) | ({"splits": (splits,)} if isinstance(splits, str) else {})

    @model_validator(mode="after")
    def _names_a_network(self) -> EvaluationParams:
        if not self.network:
            raise RunError("run: missing. Give a training's id as run, or a weights file or a shipped name as weights")
        return self

    @property
    def network(self) -> str:
        """The network: a run's id, a weights file, or the name of weights."""
        return self.run or self.weights or self.model

    def check(self) -> list[str]:
        """Raise a CxrError if the network cannot be loaded, or a split or a name in ``aliases`` does not exist."""
        from cxr.evaluation.selection import check_splits
        from cxr.evaluation.truth import renamed
        from cxr.networks import load_network

        card = load_network(self.network)[0].card
        check_splits(self.data.splits, self.splits or ())
        self.refuse_locked()
        renamed(self.data, self.aliases, card.classes, card.task)
        return []

    def splits_looked_at(self) -> tuple[str, ...]:
        """Return the splits that were named; others are measured only if they are not locked."""
        return self.splits or ()

    def default_name(self) -> str:
        """Return the run's name."""
        return f"evaluate {network_name(self.network)}"
