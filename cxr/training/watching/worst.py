"""The X-rays of a validation that a network gets most wrong: a small file beside the metrics, replaced as a whole."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from cxr.errors import RunError
from cxr.runs.folder import RunFolder

if TYPE_CHECKING:
    from cxr.runs import Run

WORST = "worst.json"
MOST = 24  # X-rays that are kept

log = logging.getLogger(__name__)


class WorstXray(TypedDict):
    """An X-ray of a validation.

    ``loss`` is its cross entropy, not weighted by class; of findings the mean over those that are known.
    ``truth``, ``predicted`` and ``confidence`` are of its class, or of the finding with the largest loss. ``target`` is
    the predicted class, or that finding: what a heatmap of the mistake explains.
    """

    image_id: str
    loss: float
    truth: str
    predicted: str
    confidence: float
    target: str


class WorstOfValidation(TypedDict):
    """What :data:`WORST` holds.

    ``epoch`` counts from 1 in its stage, 0 is before the first step. ``manifest`` is that of a stage with data of its
    own, None where it is the run's. ``masked`` says that the network saw the X-rays without their text.
    """

    stage: str
    stage_index: int
    epoch: int
    n_val: int
    manifest: str | None
    masked: bool
    xrays: list[WorstXray]


def worst_xrays(
    ids: Sequence[str], classes: Sequence[str], targets: np.ndarray, logits: np.ndarray, most: int = MOST
) -> list[WorstXray]:
    """Return the X-rays with the highest loss, the highest first.

    Parameters
    ----------
    targets
        Class indices (N,), or findings (N, K) of 0 and 1, NaN where unknown. An X-ray without a known one is left out.
    logits
        (N, K), finite.
    """
    logits = logits.astype(np.float64)
    describe = _of_class if targets.ndim == 1 else _of_finding
    losses, truth, predicted, confidence, target = describe(classes, targets, logits)
    ranked = np.argsort(-losses, kind="stable")[:most]  # NaN last
    return [
        {
            "image_id": ids[k],
            "loss": round(float(losses[k]), 5),
            "truth": truth[k],
            "predicted": predicted[k],
            "confidence": round(float(confidence[k]), 5),
            "target": target[k],
        }
        for k in ranked
        if np.isfinite(losses[k])
    ]


_Described = tuple[np.ndarray, list[str], list[str], np.ndarray, list[str]]


def _of_class(classes: Sequence[str], targets: np.ndarray, logits: np.ndarray) -> _Described:
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    predicted = logits.argmax(axis=1)
    rows = np.arange(len(targets))
    names = [classes[k] for k in targets], [classes[k] for k in predicted]
    return -log_p[rows, targets], *names, np.exp(log_p[rows, predicted]), names[1]


def _of_finding(classes: Sequence[str], targets: np.ndarray, logits: np.ndarray) -> _Described:
    known = np.isfinite(targets)
    losses = np.where(known, np.logaddexp(0, np.where(targets == 1, -logits, logits)), 0.0)
    rows, finding = np.arange(len(targets)), losses.argmax(axis=1)
    margin, present = logits[rows, finding], targets[rows, finding] == 1
    means = losses.sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)
    truth = [_in_words(classes[k], there) for k, there in zip(finding, present, strict=True)]
    predicted = [_in_words(classes[k], value > 0) for k, value in zip(finding, margin, strict=True)]
    return means, truth, predicted, np.exp(-np.logaddexp(0, -np.abs(margin))), [classes[k] for k in finding]


def _in_words(finding: str, present: bool) -> str:
    return f"{finding} {'present' if present else 'absent'}"


def write_worst(folder: RunFolder, worst: WorstOfValidation) -> None:
    """Replace a run's file; a training goes on without it where it cannot be written."""
    try:
        folder.write_json(WORST, worst)
    except (OSError, RunError) as error:
        log.warning("the X-rays with the highest loss are not kept: %s", error)


def read_worst(run: Run) -> WorstOfValidation | None:
    """Return what a training keeps of its last validation, None before there is one or where it cannot be read."""
    found: WorstOfValidation | None = None
    with contextlib.suppress(RunError, OSError):
        found = run.folder.read_json(WORST)
    return found if isinstance(found, dict) and isinstance(found.get("xrays"), list) else None
