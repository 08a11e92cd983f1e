"""Faithfulness: does a network answer as its heatmap says when the picture is changed where the map is strong?

- :func:`region_perturbation` takes regions out, most relevant first (Samek et al. 2017, "Evaluating the Visualization
  of What a Deep Neural Network Has Learned"; regions of one pixel are pixel flipping, Bach et al. 2015), and compares
  with random orders, since any removal lowers a logit. Its figure is the area between the two curves.
- :func:`deletion` and :func:`insertion` (Petsiuk et al. 2018, "RISE").
- :func:`measure_faithfulness` does all of it for one image, and compares the map with those of other classes
  (:mod:`cxr.explain.quality.agreement`) and of a network that forgets (:mod:`cxr.explain.quality.randomisation`).

Everything works on the network's own input. Forward passes run in a private copy; the model is only read.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from cxr.errors import ExplainError, ImageError, unknown
from cxr.evaluation.metrics import probabilities
from cxr.explain.explainer import Explainable, explain
from cxr.explain.frozen import prepared
from cxr.explain.quality.agreement import ClassSensitivity, class_sensitivity
from cxr.explain.quality.imputation import FILLS, fill_named
from cxr.explain.quality.randomisation import Randomisation, explaining, randomise_parameters
from cxr.explain.render import relevance_2d
from cxr.models.card import SINGLE_LABEL
from cxr.models.image_batch import as_batch

Progress = Callable[[float, str], None]

STEPS, DRAWS, BATCH = 16, 5, 8
SENSITIVITIES = ("gradient", "smoothgrad")
"""Ways of explaining whose sign says which way a pixel would have to change: their absolute values make the order."""
SLOW = ("integrated-gradients", "smoothgrad", "occlusion")
"""Ways of explaining that take seconds for an image: parameters are not randomised unless that is asked for."""

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
    """Regions taken out by relevance and in random orders.

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


@dataclass(frozen=True)
class Faithfulness:
    """All measures of one map.

    ``absolute`` tells whether absolute values of relevance made the order of regions and pixels. ``classes`` is None
    for a network of one class, ``randomisation`` if it was not asked for; ``seconds`` is the time that all of it took.
    """

    target: str
    composite: str
    absolute: bool
    perturbation: Perturbation
    deletion: Curve
    insertion: Curve
    classes: ClassSensitivity | None
    randomisation: Randomisation | None
    seconds: float


def measure_faithfulness(
    model: Explainable,
    image: Any,
    target: str,
    composite: str,
    *,
    removal: Removal | None = None,
    absolute: bool | None = None,
    others: int = 4,
    randomise: bool | None = None,
    batch: int = BATCH,
    progress: Progress | None = None,
    **options: Any,
) -> Faithfulness:
    """Explain one image and measure the map with everything this module has.

    About 125 forward passes and 9 explanations at the defaults: 6 s for densenet121 at 224 px on two processor cores.

    Parameters
    ----------
    image
        One image of those that :func:`cxr.explain.explain` takes.
    composite, options
        As :func:`cxr.explain.explain` takes them.
    absolute
        Whether absolute values of relevance make the order; None for :data:`SENSITIVITIES` alone. Maps are compared
        as they are.
    others
        Classes besides the target whose maps are compared: those with the highest logits.
    randomise
        Whether to randomise parameters too, which explains again for each part of the network; None for all ways but
        the :data:`SLOW` ones.
    batch
        Inputs passed forward at once.
    progress
        Called with the share done (0 to 1) and what is being done.

    Raises
    ------
    ExplainError
        What :func:`cxr.explain.explain` refuses.
    """
    began, removal = time.perf_counter(), removal or Removal()
    randomise = composite not in SLOW if randomise is None else randomise
    tell = _Parts(progress or _silent, (8, 60, 12, 12, 15 if randomise else 0))
    scorer = _Scorer(model, image, batch)
    compared = (target, *scorer.highest(target, others))
    tell.next("explaining")(0.0, ", ".join(compared))
    relevance = explain(model, _one_image(image), [compared], composite, **options).relevance[0]
    maps = dict(zip(compared, relevance_2d(relevance), strict=True))
    absolute = composite in SENSITIVITIES if absolute is None else absolute
    ordered = np.abs(maps[target]) if absolute else maps[target]
    perturbation = _perturb(scorer, ordered, target, removal, None, False, tell.next("taking out regions"))
    deleted = _delete(scorer, ordered, target, removal.steps, "mean", removal.seed, tell.next("deleting pixels"))
    inserted = _insert(scorer, ordered, target, removal.steps, "blur", removal.seed, tell.next("inserting pixels"))
    randomised = None
    if randomise:
        maps_of, step = explaining(_one_image(image), target, composite, **options), tell.next("randomising parameters")
        original = maps[target][None]
        randomised = randomise_parameters(model, maps_of, original=original, seed=removal.seed, progress=step)
    alike = class_sensitivity(maps, target) if len(maps) > 1 else None
    seconds = time.perf_counter() - began
    return Faithfulness(target, composite, absolute, perturbation, deleted, inserted, alike, randomised, seconds)


def region_perturbation(
    model: Explainable,
    image: Any,
    relevance: np.ndarray,
    target: str,
    *,
    removal: Removal | None = None,
    baseline: Baseline | None = None,
    least: bool = False,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> Perturbation:
    """Take regions out of an image, most relevant first, and in random orders.

    A region's relevance is its mean over pixels. Equally relevant regions go in random order.

    Parameters
    ----------
    image
        One image of those that the model's ``preprocess`` takes, such as uint8 (H, W).
    relevance
        (H, W) or (C, H, W) at the network's input size, signed.
    target
        A class name, usually the explained one.
    baseline
        Random orders of the same image by :func:`random_baseline`, to share them between maps; ``removal`` is theirs
        then. None makes them.
    least
        Whether to take out the least relevant regions first as well.

    Raises
    ------
    ExplainError
        Unknown target; relevance of another size than the network's input, or with values that are not finite.
    """
    scorer = _Scorer(model, image, batch)
    chosen = baseline.removal if baseline is not None else removal or Removal()
    return _perturb(scorer, relevance, target, chosen, baseline, least, progress or _silent)


def random_baseline(
    model: Explainable,
    image: Any,
    removal: Removal | None = None,
    *,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> Baseline:
    """Return random orders of an image for :func:`region_perturbation`; parameters as there."""
    return _baseline(_Scorer(model, image, batch), removal or Removal(), progress or _silent)


def deletion(
    model: Explainable,
    image: Any,
    relevance: np.ndarray,
    target: str,
    *,
    steps: int = STEPS,
    fill: str = "mean",
    seed: int = 0,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> Curve:
    """Delete single pixels, most relevant first; a small :attr:`Curve.area` is good. Errors as region_perturbation's.

    Petsiuk et al. put zeros in a normalised image, which is the mean of their data; here it is the image's mean.
    """
    scorer = _Scorer(model, image, batch)
    return _delete(scorer, relevance, target, steps, fill, seed, progress or _silent)


def insertion(
    model: Explainable,
    image: Any,
    relevance: np.ndarray,
    target: str,
    *,
    steps: int = STEPS,
    fill: str = "blur",
    seed: int = 0,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> Curve:
    """Put single pixels back into a blurred image, most relevant first; a large :attr:`Curve.area` is good.

    Shares are of pixels put back. Errors as region_perturbation's.
    """
    scorer = _Scorer(model, image, batch)
    return _insert(scorer, relevance, target, steps, fill, seed, progress or _silent)


def _one_image(image: Any) -> Any:
    """Return one image as a batch of one."""
    try:
        return as_batch([image])
    except ImageError as error:
        raise ExplainError(str(error)) from None


class _Scorer:
    """One image at a network's input and a private, still copy of the network that says what it thinks of changes."""

    def __init__(self, model: Explainable, image: Any, batch: int) -> None:
        self.classes = tuple(model.classes)
        self.task = str(getattr(getattr(model, "card", None), "task", SINGLE_LABEL))
        self.batch = max(1, batch)
        self.network = prepared(model.network, _in_fast_layout, "forward in the fast layout")
        parameter = next(self.network.parameters(), torch.zeros(0))
        self.dtype = parameter.dtype
        working = torch.float64 if self.dtype == torch.float64 else torch.float32
        with torch.no_grad():
            self.input = model.preprocess(_one_image(image))[0].to(parameter.device, working)  # (C, H, W)

    @property
    def size(self) -> tuple[int, int]:
        return self.input.shape[-2], self.input.shape[-1]

    def column(self, target: str) -> int:
        if target not in self.classes:
            raise ExplainError(unknown("target", target, self.classes))
        return self.classes.index(target)

    def highest(self, target: str, n: int) -> tuple[str, ...]:
        """Return the n classes of the highest logits on the whole image, without the target."""
        self.column(target)
        with torch.inference_mode():
            logits = self._forward(self.input[None])[0]
        return tuple(name for name in (self.classes[k] for k in np.argsort(-logits)) if name != target)[:n]

    def logits(self, holes: np.ndarray, fill: str, seed: int, progress: Progress) -> np.ndarray:
        """Return logits (N, K), float64, of the image with holes (N, H, W) filled."""
        apply, parts = fill_named(fill).apply, []
        with torch.inference_mode():
            for start in range(0, len(holes), self.batch):
                some = torch.from_numpy(holes[start : start + self.batch]).to(self.input.device)
                parts.append(self._forward(apply(self.input, some, seed)))
                progress(min(1.0, (start + self.batch) / len(holes)), f"{start + len(some)} of {len(holes)} pictures")
        return np.concatenate(parts)

    def _forward(self, inputs: torch.Tensor) -> np.ndarray:
        with torch.autocast(self.input.device.type, enabled=False):
            return self.network(inputs.to(self.dtype)).double().cpu().numpy()

    def curve(self, share: np.ndarray, logits: np.ndarray, column: int) -> Curve:
        """Return the curve of one class of logits (S, K)."""
        return Curve(share, logits[:, column], probabilities(logits, self.task)[:, column])

    def flat(self, relevance: np.ndarray) -> np.ndarray:
        """Return relevance (H, W) of this input, checked."""
        flat = relevance_2d(relevance)
        if flat.shape != self.size:
            raise ExplainError(f"relevance of shape {flat.shape} does not fit the network's input {self.size}")
        if not np.isfinite(flat).all():
            raise ExplainError("relevance holds values that are not finite: their order is not defined")
        return flat


def _in_fast_layout(frozen: nn.Module) -> nn.Module:
    """Return a copy in the memory layout in which convolutions are fastest: on processors, by half."""
    twin = copy.deepcopy(frozen)
    on_processor = all(p.device.type == "cpu" for p in twin.parameters())
    return twin.to(memory_format=torch.channels_last) if on_processor else twin  # type: ignore[call-overload]


def _perturb(
    scorer: _Scorer,
    relevance: np.ndarray,
    target: str,
    removal: Removal,
    baseline: Baseline | None,
    least: bool,
    progress: Progress,
) -> Perturbation:
    flat, column = scorer.flat(relevance), scorer.column(target)
    regions = _Regions.of(scorer.size, removal)
    density = regions.means(flat)
    orders = [_descending(density, removal.seed)] + ([_descending(-density, removal.seed)] if least else [])
    n_random = 0 if baseline is not None else removal.draws
    steps = _Parts(progress, (len(orders), n_random))
    logits = _follow(scorer, regions, orders, removal, steps.next("by relevance"))
    if baseline is None:
        baseline = _baseline(scorer, removal, steps.next("random orders"))
    shares = removal_shares(removal.steps)
    curves = [scorer.curve(shares, values, column) for values in logits]
    last = curves[1] if least else None
    return Perturbation(target, removal, regions.patch, curves[0], tuple(baseline.curves(target)), last)


def _baseline(scorer: _Scorer, removal: Removal, progress: Progress) -> Baseline:
    regions = _Regions.of(scorer.size, removal)
    rng = np.random.default_rng(removal.seed)
    orders = [rng.permutation(regions.n) for _ in range(removal.draws)]
    logits = _follow(scorer, regions, orders, removal, progress)
    chances = probabilities(logits, scorer.task)
    return Baseline(removal, scorer.classes, removal_shares(removal.steps), logits, chances)


def _follow(
    scorer: _Scorer, regions: _Regions, orders: Sequence[np.ndarray], removal: Removal, progress: Progress
) -> np.ndarray:
    """Return logits (orders, S, K) along orders of regions. All orders share their two ends, which are passed once."""
    shares = removal_shares(removal.steps)
    between = [regions.holes(order, shares[1:-1]) for order in orders]
    ends = np.stack([np.full(scorer.size, gone) for gone in (False, True)])
    logits = scorer.logits(np.concatenate([ends, *between]), removal.fill, removal.seed, progress)
    first, last, rest = logits[0], logits[1], logits[2:].reshape(len(orders), len(shares) - 2, -1)
    return np.stack([np.concatenate([first[None], values, last[None]]) for values in rest])


def removal_shares(steps: int) -> np.ndarray:
    """Return the even shares from 0 to 1, (steps + 1,)."""
    return np.linspace(0.0, 1.0, steps + 1)


@dataclass(frozen=True)
class _Regions:
    """An input cut into squares, those at the right and lower edge may be cut off; ``labels`` is (H, W)."""

    labels: np.ndarray
    patch: int
    sizes: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, size: tuple[int, int], removal: Removal) -> _Regions:
        patch = removal.patch_of(min(size))
        rows, columns = (np.arange(side) // patch for side in size)
        labels = rows[:, None] * (columns[-1] + 1) + columns
        return cls(labels, patch, np.bincount(labels.ravel()))

    @property
    def n(self) -> int:
        return len(self.sizes)

    def means(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.labels.ravel(), weights=values.ravel()) / self.sizes

    def holes(self, order: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Return (S, H, W) bool: the first regions of ``order`` that cover about each share of the pixels."""
        covered = np.cumsum(self.sizes[order]) / self.labels.size
        counts = np.array([1 + np.abs(covered - share).argmin() for share in shares], dtype=int)
        place = np.empty(self.n, dtype=int)
        place[order] = np.arange(self.n)
        return place[self.labels] < counts[:, None, None]


def _descending(values: np.ndarray, seed: int) -> np.ndarray:
    """Return the order of falling values; equal ones in random order."""
    shuffled = np.random.default_rng((seed, 1)).permutation(len(values))
    return shuffled[np.argsort(-values[shuffled], kind="stable")]


def _delete(
    scorer: _Scorer, relevance: np.ndarray, target: str, steps: int, fill: str, seed: int, progress: Progress
) -> Curve:
    removal = Removal(patch=1, steps=steps, fill=fill, seed=seed)
    flat, column = scorer.flat(relevance), scorer.column(target)
    order = _descending(flat.ravel(), seed)
    logits = _follow(scorer, _Regions.of(scorer.size, removal), [order], removal, progress)[0]
    return scorer.curve(removal_shares(steps), logits, column)


def _insert(
    scorer: _Scorer, relevance: np.ndarray, target: str, steps: int, fill: str, seed: int, progress: Progress
) -> Curve:
    # Putting back the most relevant pixels first is taking out the least relevant ones first, read from its end.
    taken = _delete(scorer, -scorer.flat(relevance), target, steps, fill, seed, progress)
    return Curve(taken.share, taken.logit[::-1].copy(), taken.probability[::-1].copy())


def _area(share: np.ndarray, values: np.ndarray) -> float:
    return float(np.trapezoid(values, share))


class _Parts:
    """Shares one progress among parts of known lengths, each with a progress of its own from 0 to 1."""

    def __init__(self, progress: Progress, lengths: Sequence[float]) -> None:
        self._ends = iter(np.cumsum(lengths) / sum(lengths))
        self._progress, self._done = progress, 0.0

    def next(self, message: str) -> Progress:
        start, self._done = self._done, float(next(self._ends))
        return partial(self._tell, start, self._done - start, message)

    def _tell(self, start: float, length: float, message: str, fraction: float, detail: str) -> None:
        self._progress(start + length * fraction, f"{message}: {detail}")


def _silent(fraction: float, message: str) -> None:
    return
