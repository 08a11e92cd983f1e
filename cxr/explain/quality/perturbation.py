"""What perturbation of an image gives: how regions are taken out, and the curves of a network's answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr.errors import ExplainError
from cxr.explain.quality.imputation import FILLS, fill_named

STEPS, DRAWS = 16, 5

_REGIONS = 28
_FEWEST, _MOST = 14, 40


@dataclass(frozen=True)
class Removal:
    """How regions are taken out of an image.

    Attributes
    ----------
    patch
        Side of the square regions in pixels of the network's input; None for about 28 regions a side (8 pixels of
        224), of equal size where the input's side can be divided so.
    steps
        Points of a curve after the first, at even shares of the image from 0 to 1.
    fill
        A name in :data:`cxr.explain.quality.imputation.FILLS`.
    draws
        Random orders to compare with.
    seed
        Of the random orders, of the order among equally relevant regions, and of the fill's noise.
    """

    patch: int | None = None
    steps: int = STEPS
    fill: str = next(iter(FILLS))
    draws: int = DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        fill_named(self.fill)
        for name, least in (("steps", 2), ("draws", 1), ("patch", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ExplainError(f"{name} {value!r} is not allowed. Accepted: {least} or more")

    def patch_of(self, side: int) -> int:
        """Return the regions' side for an input whose shorter side has ``side`` pixels."""
        if self.patch is not None:
            return min(self.patch, side)
        even = [p for p in range(1, side + 1) if side % p == 0 and _FEWEST <= side / p <= _MOST]
        return min(even, key=lambda p: abs(side / p - _REGIONS), default=max(1, round(side / _REGIONS)))


@dataclass(frozen=True)
class Curve:
    """What a network says of one class while an image is changed step by step.

    Attributes
    ----------
    share
        (S,), from 0 to 1: share of the image's pixels changed.
    logit, probability
        (S,) of the class: softmax over the classes, or the sigmoid of the finding where the network gives several.
    """

    share: np.ndarray
    logit: np.ndarray
    probability: np.ndarray

    @property
    def area(self) -> float:
        """Area under the probability, 0 to 1."""
        return _area(self.share, self.probability)

    def table(self) -> pd.DataFrame:
        """Return one row per point: share, logit, probability."""
        return pd.DataFrame({"share": self.share, "logit": self.logit, "probability": self.probability})


@dataclass(frozen=True)
class Baseline:
    """Random orders of one image, which serve every map and every class of it.

    ``share`` is (S,); ``logits`` and ``probabilities`` are (draws, S, K) in the order of ``classes``.
    """

    removal: Removal
    classes: tuple[str, ...]
    share: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray

    def curves(self, target: str) -> list[Curve]:
        """Return one curve per draw for a class."""
        k = self.classes.index(target)
        pairs = zip(self.logits[..., k], self.probabilities[..., k], strict=True)
        return [Curve(self.share, logit, probability) for logit, probability in pairs]


@dataclass(frozen=True)
class Perturbation:
    """Regions removed by relevance and in random orders.

    Attributes
    ----------
    target, removal, patch
        The class; how; the regions' side in pixels.
    relevant
        Most relevant regions first.
    random
        One curve per random order.
    least
        Least relevant regions first, None if that was not asked for.
    """

    target: str
    removal: Removal
    patch: int
    relevant: Curve
    random: tuple[Curve, ...]
    least: Curve | None = None

    @property
    def areas(self) -> np.ndarray:
        """(draws,) :attr:`area` against each random order alone: how much the choice of the orders matters."""
        return np.array([_area(c.share, c.logit - self.relevant.logit) for c in self.random])

    @property
    def area(self) -> float:
        """The figure: area between the mean of the random orders' logits and the logits by relevance, in logits.

        It is the mean over all shares removed. Positive: the target's logit falls sooner by relevance than at random.
        Compare maps of one network with it; another network's logits may have another size.
        """
        return float(self.areas.mean())

    @property
    def probability_area(self) -> float:
        """As :attr:`area` for the probability: -1 to 1."""
        return float(np.mean([_area(c.share, c.probability - self.relevant.probability) for c in self.random]))

    def table(self) -> pd.DataFrame:
        """Return all points of all curves: order (relevant, random, least), draw (0 but for random), share, ..."""
        named = [("relevant", 0, self.relevant), *(("random", i, c) for i, c in enumerate(self.random))]
        named += [("least", 0, self.least)] if self.least is not None else []
        parts = [curve.table().assign(order=order, draw=draw) for order, draw, curve in named]
        return pd.concat(parts, ignore_index=True)[["order", "draw", "share", "logit", "probability"]]

    def summary(self) -> pd.DataFrame:
        """Return one row per share for a picture: share, relevant and random (logits), low and high of the draws."""
        draws = np.stack([curve.logit for curve in self.random])
        columns = {"share": self.relevant.share, "relevant": self.relevant.logit, "random": draws.mean(0)}
        columns |= {"low": draws.min(0), "high": draws.max(0)}
        return pd.DataFrame(columns | ({"least": self.least.logit} if self.least is not None else {}))


def removal_shares(steps: int) -> np.ndarray:
    """Return the even shares from 0 to 1, (steps + 1,)."""
    return np.linspace(0.0, 1.0, steps + 1)


def _area(share: np.ndarray, values: np.ndarray) -> float:
    return float(np.trapezoid(values, share))
