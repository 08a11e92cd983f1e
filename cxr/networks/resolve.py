"""Which trained network a name means: its file, its card, its title, what it has seen, and the network itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.earlier_names import renamed
from cxr.errors import RunError, WeightsError, wrong_use
from cxr.models.card import ModelCard
from cxr.models.seen_images import Seen
from cxr.models.weights import find_weights, list_weights, load_model, read_card, read_seen
from cxr.paths import runs_root
from cxr.runs import ACTIVE, Run, RunFolder, list_runs
from cxr.runs.folder import CHECKPOINTS
from cxr.runs.index import once_a_look

if TYPE_CHECKING:
    from cxr.models.classifier import XrayClassifier

BEST = "best.safetensors"
"""The file in a training's folder of checkpoints that holds its network."""

_TRAINING = "train"


@dataclass(frozen=True)
class TrainedNetwork:
    """A network that can be chosen: a training's, or that of a weights file.

    Attributes
    ----------
    ref
        What it is called everywhere: the training's id, or the name of the weights.
    run
        Its training, None for weights.
    """

    ref: str
    run: Run | None = None


def network_file(network_ref: str | Path) -> Path:
    """Return the weights file that ``network_ref`` means; of a training that of its best epoch.

    Parameters
    ----------
    network_ref
        A training's id or folder, a .safetensors file, or the name of weights in the folder of weights or of those
        that we ship, such as ``demo``.

    Raises
    ------
    WeightsError
        If there is no such network, or the training has no checkpoint yet.
    """
    text, path = str(network_ref), Path(network_ref).expanduser()
    if path.is_file():
        return path
    folder = _run_folder(network_ref)
    if folder is not None and has_network(folder):
        return _best(folder)
    if folder is not None and (folder.path / "spec.json").is_file():
        raise _without_network(Run(folder))
    try:
        return find_weights(text)
    except WeightsError:
        names = ", ".join(name for name, _, _ in list_weights()) or "none"
        raise wrong_use(
            WeightsError(f"no trained network {text!r}: a run's id, a .safetensors file or a name is needed ({names})")
        ) from None


@renamed(source="network_ref")
def load_network(network_ref: str | Path) -> tuple[XrayClassifier, str]:
    """Return the network (evaluation mode, CPU) that ``network_ref`` means, and a line that describes it.

    Raises
    ------
    WeightsError
        As :func:`network_file`, and if the file is damaged or has no card.
    """
    path = network_file(network_ref)
    model = load_model(path)
    return model, _description(model.card, path)


def network_card(network_ref: str | Path) -> ModelCard | None:
    """Return the card of the network that ``network_ref`` means, None for a file without one; errors as above."""
    return read_card(network_file(network_ref))


def network_title(network_ref: str | Path) -> str:
    """Return what people call the network that ``network_ref`` means: ``demo (20261128-140312-a1b2c3)``, or ``demo``.

    The name is that of its card; where it comes from, its training's id or its file's name, stands behind it.
    """
    path = network_file(network_ref)
    return _title(read_card(path), path)


def seen_by(network_ref: str | Path) -> Seen | None:
    """Return which X-rays the network that ``network_ref`` means has seen, None where its file does not tell."""
    return read_seen(network_file(network_ref))


def training_of(network_ref: str | Path) -> Run | None:
    """Return the training whose id, folder or checkpoint ``network_ref`` is; None for other weights."""
    path = Path(network_ref).expanduser()
    folder = RunFolder(path.parent.parent) if path.is_file() else _run_folder(network_ref)
    if folder is None or not (folder.path / "spec.json").is_file():
        return None
    run = Run(folder)
    try:
        return run if run.kind == _TRAINING else None
    except RunError:  # its spec is damaged
        return None


def has_network(run: Run | RunFolder) -> bool:
    """Return whether a run has a network that can be loaded."""
    folder = run.folder if isinstance(run, Run) else run
    return os.path.isfile(f"{folder.path}{os.sep}{CHECKPOINTS}{os.sep}{BEST}")  # noqa: PTH113 - a thousand at once


def list_networks(*, finished: bool = False) -> list[TrainedNetwork]:
    """Return all networks that can be chosen: those of trainings, the newest first, then weights by their name.

    ``finished`` leaves out the networks of trainings that are not at their end.
    """
    trainings = once_a_look(
        f"networks of {runs_root()}", lambda: [run for run in list_runs(kind=_TRAINING) if has_network(run)]
    )
    if finished:
        trainings = [run for run in trainings if run.status()["state"] == "finished"]
    return [TrainedNetwork(run.id, run) for run in trainings] + [TrainedNetwork(name) for name, _, _ in list_weights()]


def _without_network(run: Run) -> WeightsError:
    """Return the error for a run that has no network (yet)."""
    if run.kind != _TRAINING:
        of_kind = f"run {run.id} is of the kind {run.kind!r} and has no network of its own"
        return wrong_use(WeightsError(f"{of_kind}. Accepted: a training's id, a .safetensors file or a name"))
    state = run.status()["state"]
    mend = "wait for the end of its first epoch" if state in ACTIVE else f"it is {state}. Resume it, or train another"
    return WeightsError(f"run {run.id} has no checkpoint yet: {mend}")


def _run_folder(network_ref: str | Path) -> RunFolder | None:
    """Return the folder of a run that an id or a folder may mean; None for what can be neither."""
    text, path = str(network_ref), Path(network_ref).expanduser()
    if (path / "spec.json").is_file():
        return RunFolder(path)
    return RunFolder(runs_root() / text) if text and Path(text).name == text else None


def _best(folder: RunFolder) -> Path:
    return folder.checkpoints / BEST


def _description(card: ModelCard, path: Path) -> str:
    trained = f", trained on {card.trained_on}" if card.trained_on else ""
    return f"{_title(card, path)}: {card.backbone} at {card.size} px, {', '.join(card.classes)}{trained}"


def _title(card: ModelCard | None, path: Path) -> str:
    where = path.parent.parent.name if path.name == BEST else path.stem
    return f"{card.name} ({where})" if card is not None and card.name and card.name != where else where
