"""Heatmaps that a training draws of the X-rays it gets most wrong: a file for each epoch that they were asked for."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast
from zipfile import BadZipFile

import numpy as np

from cxr.errors import CxrError
from cxr.explain import DEFAULT_COMPOSITE
from cxr.explain.heatmap import Method, heatmaps_of
from cxr.explain.store import packed_map
from cxr.files import replacing
from cxr.training.watching.worst import WorstOfValidation, WorstXray

if TYPE_CHECKING:
    from cxr.models import XrayClassifier
    from cxr.runs import Run
    from cxr.runs.folder import RunFolder

FOLDER = "heatmaps"
MOST = 8  # X-rays that are explained each time

log = logging.getLogger(__name__)


class _Facts(TypedDict):
    stage: str
    stage_index: int
    epoch: int
    masked: bool
    composite: str
    targets: list[str]
    logits: list[float]
    scales: list[float]
    xrays: list[WorstXray]


@dataclass(frozen=True)
class EpochHeatmaps:
    """The K X-rays with the highest loss of a validation, and what their predictions rested on then.

    Attributes
    ----------
    stage, stage_index, epoch
        When; ``epoch`` counts from 1 in its stage.
    masked
        Whether the network saw the X-rays without their burned-in text.
    composite
        By which they are explained.
    xrays
        What the validation said of each.
    targets, logits
        The class that is explained, which is the predicted one, or the finding with the largest loss; and its logit.
    pictures
        uint8 (K, H, W), as the network saw them.
    relevance
        float32 (K, H, W), signed, in the units of the logit; it holds three digits.
    """

    stage: str
    stage_index: int
    epoch: int
    masked: bool
    composite: str
    xrays: list[WorstXray]
    targets: list[str]
    logits: list[float]
    pictures: np.ndarray
    relevance: np.ndarray


class HeatmapDrawer:
    """Draws them, and lets the training go on where that cannot be done.

    Parameters
    ----------
    folder
        Of the run; None for a process that helps and draws nothing.
    model
        The network before several processes share it: its layers are changed then, and what is explained is this one
        with the weights of the moment. None where one process trains alone.
    """

    def __init__(self, folder: RunFolder | None, model: XrayClassifier | None = None) -> None:
        self._folder = folder
        self._plain = copy.deepcopy(model)

    def draw(self, model: XrayClassifier, pictures: np.ndarray, worst: WorstOfValidation) -> None:
        """Explain the first X-rays of a validation by the network it was of, and keep the heatmaps.

        Parameters
        ----------
        pictures
            uint8 (K, H, W) of the first K X-rays of ``worst``.
        """
        if self._folder is None:
            return
        xrays = worst["xrays"][: len(pictures)]
        try:
            if self._plain is not None:
                self._plain.network.load_state_dict(model.network.state_dict())
            targets = [xray["target"] for xray in xrays]
            explanation = Method.of().explain(self._plain or model, pictures, targets)
            maps = [heatmaps[0] for heatmaps in heatmaps_of(explanation)]
            packed = [packed_map(heatmap.relevance) for heatmap in maps]
            facts: _Facts = {
                "stage": worst["stage"],
                "stage_index": worst["stage_index"],
                "epoch": worst["epoch"],
                "masked": worst["masked"],
                "composite": DEFAULT_COMPOSITE,
                "targets": targets,
                "logits": [heatmap.logit for heatmap in maps],
                "scales": [scale for _, scale in packed],
                "xrays": xrays,
            }
            _write(self._folder.path, facts, pictures, np.stack([values for values, _ in packed]))
        # RuntimeError: a GPU whose memory the training itself needs.
        except (CxrError, OSError, RuntimeError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            log.warning("no heatmaps are drawn after epoch %d: %s", worst["epoch"], reason)


def _write(run: Path, facts: _Facts, pictures: np.ndarray, maps: np.ndarray) -> None:
    (run / FOLDER).mkdir(exist_ok=True)
    words = np.frombuffer(json.dumps(facts, ensure_ascii=False).encode(), np.uint8)
    name = f"{facts['stage_index']}-{facts['epoch']:05d}.npz"
    with replacing(run / FOLDER / name) as draft, draft.open("wb") as file:
        np.savez_compressed(file, facts=words, pictures=pictures, maps=maps)


def drawn_epochs(run: Run) -> list[tuple[int, int]]:
    """Return (stage index, epoch) of all heatmaps that a training has drawn, in this order."""
    return sorted(_drawn(run.folder.path / FOLDER))


def _drawn(folder: Path) -> Iterator[tuple[int, int]]:
    for path in folder.glob("*-*.npz"):
        stage, _, epoch = path.stem.partition("-")
        if stage.isdecimal() and epoch.isdecimal():
            yield int(stage), int(epoch)


def read_heatmaps(run: Run, stage_index: int, epoch: int) -> EpochHeatmaps | None:
    """Return what a training drew after an epoch (counted from 1), None where it drew nothing or it is unreadable."""
    path = run.folder.path / FOLDER / f"{stage_index}-{epoch:05d}.npz"
    try:
        with np.load(path) as stored:
            facts = cast(_Facts, json.loads(stored["facts"].tobytes()))
            pictures, maps = stored["pictures"], stored["maps"].astype(np.float32)
        return EpochHeatmaps(
            facts["stage"],
            facts["stage_index"],
            facts["epoch"],
            facts["masked"],
            facts["composite"],
            facts["xrays"],
            facts["targets"],
            facts["logits"],
            pictures,
            maps * np.asarray(facts["scales"], np.float32)[:, None, None],
        )
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
