"""One heatmap with its ledger: what pages, pictures, the store and the command line pass to each other."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr.errors import ExplainError, unknown, wrong_use
from cxr.explain.composites import DEFAULT_COMPOSITE, composite_of
from cxr.explain.composites.composite import Settings
from cxr.explain.explanation import BATCH, Explanation
from cxr.explain.precision import PRECISIONS, Trial
from cxr.explain.render import relevance_2d

if TYPE_CHECKING:
    from cxr.explain.explainer import Explainable


@dataclass(frozen=True)
class Method:
    """A composite with all its settings: two equal methods give the same map. Make it with :meth:`of`."""

    composite: str
    bias: str
    options: Settings
    precision: str | None = None

    @classmethod
    def of(
        cls,
        composite: str = DEFAULT_COMPOSITE,
        bias: str | None = None,
        precision: str | None = None,
        options: Settings | None = None,
    ) -> Method:
        """Return the method with these settings, defaults filled in.

        Raises
        ------
        ExplainError
            Unknown composite, bias, precision or option.
        """
        chosen = composite_of(composite)
        if precision not in (None, *PRECISIONS):
            raise wrong_use(ExplainError(unknown("precision", precision, PRECISIONS)))
        return cls(composite, chosen.bias_mode(bias), chosen.settings(composite, options or {}), precision)

    @property
    def key(self) -> str:
        """Text that is the same for equal methods and no others."""
        return json.dumps([self.composite, self.bias, self.options, self.precision], sort_keys=True, default=repr)

    def explain(
        self, model: Explainable, images: Any, targets: Any, batch: int = BATCH, trial: bool | Trial = True
    ) -> Explanation:
        """Explain images by this method; arguments and errors as :func:`cxr.explain.explain`."""
        from cxr.explain.explainer import explain  # maps that are stored are read without torch

        return explain(
            model,
            images,
            targets,
            self.composite,
            bias=self.bias or None,
            batch=batch,
            precision=self.precision,
            trial=trial,
            **self.options,
        )


@dataclass(frozen=True)
class Heatmap:
    """The map of one class on one image.

    Attributes
    ----------
    relevance
        float32 (H, W) at the network's input size, summed over channels. Read from a store it holds three digits.
    target, logit
        The class and its logit.
    composite, bias, options, precision
        As in :class:`cxr.explain.Explanation`.
    positive, negative
        Sum of the map's positive and of its negative values.
    absorbed, lost, residual
        logit = positive + negative + absorbed + lost + residual. NaN for methods without a ledger.
    not_finite
        Values that came out as NaN or infinite and were set to 0.
    notes
        What a reader must know of the method.
    layers, layer_absorbed, layer_lost
        The ledger per layer, from the logit down; empty for methods without one.
    """

    relevance: np.ndarray
    target: str
    logit: float
    composite: str
    bias: str
    options: Settings
    precision: str
    positive: float
    negative: float
    absorbed: float
    lost: float
    residual: float
    not_finite: int = 0
    notes: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    layer_absorbed: np.ndarray = field(default_factory=lambda: np.zeros(0))
    layer_lost: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def total(self) -> float:
        """Relevance on all pixels together."""
        return self.positive + self.negative

    @property
    def has_ledger(self) -> bool:
        """Whether relevance is conserved but for what the ledger books."""
        return bool(np.isfinite(self.absorbed))


def heatmaps_of(result: Explanation) -> list[list[Heatmap]]:
    """Return the heatmaps of each image, one per target."""
    per_image = result.relevance.ndim == 5
    explanation = result if per_image else _with_target_axis(result)
    logits, residual, maps = explanation.target_logits, explanation.residual, relevance_2d(explanation.relevance)
    return [
        [_heatmap(explanation, maps[n, t], logits, residual, n, t) for t in range(maps.shape[1])]
        for n in range(len(maps))
    ]


def _with_target_axis(result: Explanation) -> Explanation:
    names = ("relevance", "absorbed", "lost", "layer_absorbed", "layer_lost", "not_finite")
    return replace(result, **{name: getattr(result, name)[:, None] for name in names})


def _heatmap(
    result: Explanation, flat: np.ndarray, logits: np.ndarray, residual: np.ndarray, n: int, t: int
) -> Heatmap:
    exact = flat.astype(np.float64)
    return Heatmap(
        relevance=flat.astype(np.float32),
        target=result.targets[n][t],
        logit=float(logits[n, t]),
        composite=result.composite,
        bias=result.bias,
        options=result.options,
        precision=result.precision,
        positive=float(exact[exact > 0].sum()),
        negative=float(exact[exact < 0].sum()),
        absorbed=float(result.absorbed[n, t]),
        lost=float(result.lost[n, t]),
        residual=float(residual[n, t]),
        not_finite=int(result.not_finite[n, t]),
        notes=result.notes,
        layers=result.layers,
        layer_absorbed=result.layer_absorbed[n, t],
        layer_lost=result.layer_lost[n, t],
    )


def picture_digest(picture: np.ndarray) -> str:
    """Return 32 hex digits that stand for the pixels and the shape of a network's input picture, uint8 (H, W)."""
    digest = hashlib.blake2b(f"{picture.shape} {picture.dtype}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(picture).tobytes())
    return digest.hexdigest()
