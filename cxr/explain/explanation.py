"""What comes out of explaining: relevance maps with what is needed to read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cxr.explain.composites.composite import Settings
from cxr.explain.lrp.propagator import Propagated
from cxr.explain.precision import Trial

BATCH = 4
"""Images explained at once by default: relevance takes about 65 MB an image for densenet121 at 224 px."""


@dataclass(frozen=True)
class Explanation:
    """Relevance maps with what is needed to read them.

    Attributes
    ----------
    relevance
        Signed, at the network's input size: (N, C, H, W), or (N, T, C, H, W) for lists of T targets per image.
        float32; float64 for a float64 network. Positive speaks for the target. C are the network's input channels.
    logits
        (N, K), of all classes in the order of ``classes``.
    absorbed, lost
        (N,) or (N, T), float64: what biases (and epsilon) absorbed, and what zero denominators lost. The ledger closes:
        sum of relevance + absorbed + lost = explained logit. NaN for methods without a ledger; networks other than
        DenseNets book both under ``absorbed``.
    targets
        Class names per image: (name,) or T names.
    composite, classes, bias, options, notes
        Name of the composite; class names; bias mode in force ("" where none); options in force; what a reader must
        know of the method.
    layers, layer_absorbed, layer_lost
        Names of L layers from the logit down, and the ledger per layer, (N, L) or (N, T, L).
    precision
        "float64", "float32" or "bfloat16": in what numbers relevance was propagated.
    trial
        How bfloat16 did on the first image, where it was asked for; else None.
    not_finite
        Values of ``relevance`` that came out as NaN or infinite and were set to 0, (N,) or (N, T).
    """

    relevance: np.ndarray
    logits: np.ndarray
    absorbed: np.ndarray
    lost: np.ndarray
    targets: tuple[tuple[str, ...], ...]
    composite: str
    classes: tuple[str, ...]
    bias: str = ""
    options: Settings = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    layer_absorbed: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    layer_lost: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    precision: str = "float32"
    trial: Trial | None = None
    not_finite: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    @property
    def target_logits(self) -> np.ndarray:
        """The explained logits, of the shape of ``absorbed``."""
        columns = [[self.classes.index(name) for name in names] for names in self.targets]
        picked = np.take_along_axis(self.logits, np.asarray(columns, dtype=int).reshape(len(self.logits), -1), axis=1)
        return picked.reshape(self.absorbed.shape)

    @property
    def residual(self) -> np.ndarray:
        """Logit minus relevance, absorbed and lost, of the shape of ``absorbed``: rounding, or a fault."""
        on_pixels = self.relevance.sum(axis=(-3, -2, -1), dtype=np.float64)
        return self.target_logits - on_pixels - self.absorbed - self.lost


def joined(
    parts: Sequence[Propagated],
    targets: tuple[tuple[str, ...], ...],
    per_image: bool,
    **shared_fields: Any,
) -> Explanation:
    """Return the explanation of all images from those of their batches.

    Parameters
    ----------
    targets
        Class names per image.
    per_image
        Whether arrays have an axis for the targets of an image.
    known
        What else an :class:`Explanation` holds.
    """
    relevance, not_finite = _finite(np.concatenate([part.relevance for part in parts]))
    absorbed, lost = (np.concatenate([getattr(part, key) for part in parts]) for key in ("absorbed", "lost"))
    has_ledger = bool(parts[0].layers)
    totals = [entry.sum(-1) if has_ledger else np.full(entry.shape[:2], np.nan) for entry in (absorbed, lost)]
    arrays = [relevance, absorbed, lost, not_finite, *totals]
    relevance, absorbed, lost, not_finite, *totals = arrays if per_image else [array[:, 0] for array in arrays]
    return Explanation(
        relevance=relevance,
        logits=np.concatenate([part.logits for part in parts]),
        absorbed=totals[0],
        lost=totals[1],
        targets=targets,
        layers=parts[0].layers,
        layer_absorbed=absorbed,
        layer_lost=lost,
        not_finite=not_finite,
        **shared_fields,
    )


def _finite(relevance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return relevance with NaN and infinity set to 0, and how many values of each map were."""
    bad = ~np.isfinite(relevance)
    count = bad.sum(axis=(2, 3, 4))
    return (np.where(bad, 0, relevance) if count.any() else relevance), count
