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

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from cxr.evaluation.metrics import probabilities
from cxr.explain.composites import composite_of
from cxr.explain.explainer import Explainable, explain
from cxr.explain.quality.agreement import ClassSensitivity, class_sensitivity
from cxr.explain.quality.perturbation import STEPS, Baseline, Curve, Perturbation, Removal, removal_shares
from cxr.explain.quality.randomisation import Randomisation, explaining, randomise_parameters
from cxr.explain.quality.scoring import ProgressParts, Regions, Scorer, descending, follow, one_image, silent
from cxr.explain.render import relevance_2d

Progress = Callable[[float, str], None]

BATCH = 8
"""Inputs passed forward at once by default."""


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
        Whether absolute values of relevance make the order; None for composites that give a sensitivity. Maps are
        compared as they are.
    others
        Classes besides the target whose maps are compared: those with the highest logits.
    randomise
        Whether to randomise parameters too, which explains again for each part of the network; None for all but slow
        composites.
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
    randomise = not composite_of(composite).slow if randomise is None else randomise
    tell = ProgressParts(progress or silent, (8, 60, 12, 12, 15 if randomise else 0))
    scorer = Scorer(model, image, batch)
    compared = (target, *scorer.highest(target, others))
    tell.next("explaining")(0.0, ", ".join(compared))
    relevance = explain(model, one_image(image), [compared], composite, **options).relevance[0]
    maps = dict(zip(compared, relevance_2d(relevance), strict=True))
    absolute = composite_of(composite).sensitivity if absolute is None else absolute
    ordered = np.abs(maps[target]) if absolute else maps[target]
    perturbation = _perturb(scorer, ordered, target, removal, None, False, tell.next("taking out regions"))
    deleted = _delete(scorer, ordered, target, removal.steps, "mean", removal.seed, tell.next("deleting pixels"))
    inserted = _insert(scorer, ordered, target, removal.steps, "blur", removal.seed, tell.next("inserting pixels"))
    randomised = None
    if randomise:
        maps_of, step = explaining(one_image(image), target, composite, **options), tell.next("randomising parameters")
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
    scorer = Scorer(model, image, batch)
    chosen = baseline.removal if baseline is not None else removal or Removal()
    return _perturb(scorer, relevance, target, chosen, baseline, least, progress or silent)


def random_baseline(
    model: Explainable,
    image: Any,
    removal: Removal | None = None,
    *,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> Baseline:
    """Return random orders of an image for :func:`region_perturbation`; parameters as there."""
    return _baseline(Scorer(model, image, batch), removal or Removal(), progress or silent)


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
    scorer = Scorer(model, image, batch)
    return _delete(scorer, relevance, target, steps, fill, seed, progress or silent)


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
    scorer = Scorer(model, image, batch)
    return _insert(scorer, relevance, target, steps, fill, seed, progress or silent)


def _perturb(
    scorer: Scorer,
    relevance: np.ndarray,
    target: str,
    removal: Removal,
    baseline: Baseline | None,
    least: bool,
    progress: Progress,
) -> Perturbation:
    flat, column = scorer.flat(relevance), scorer.column(target)
    regions = Regions.of(scorer.size, removal)
    density = regions.means(flat)
    orders = [descending(density, removal.seed)] + ([descending(-density, removal.seed)] if least else [])
    n_random = 0 if baseline is not None else removal.draws
    steps = ProgressParts(progress, (len(orders), n_random))
    logits = follow(scorer, regions, orders, removal, steps.next("by relevance"))
    if baseline is None:
        baseline = _baseline(scorer, removal, steps.next("random orders"))
    shares = removal_shares(removal.steps)
    curves = [scorer.curve(shares, values, column) for values in logits]
    last = curves[1] if least else None
    return Perturbation(target, removal, regions.patch, curves[0], tuple(baseline.curves(target)), last)


def _baseline(scorer: Scorer, removal: Removal, progress: Progress) -> Baseline:
    regions = Regions.of(scorer.size, removal)
    rng = np.random.default_rng(removal.seed)
    orders = [rng.permutation(regions.n) for _ in range(removal.draws)]
    logits = follow(scorer, regions, orders, removal, progress)
    chances = probabilities(logits, scorer.task)
    return Baseline(removal, scorer.classes, removal_shares(removal.steps), logits, chances)


def _delete(
    scorer: Scorer, relevance: np.ndarray, target: str, steps: int, fill: str, seed: int, progress: Progress
) -> Curve:
    removal = Removal(patch=1, steps=steps, fill=fill, seed=seed)
    flat, column = scorer.flat(relevance), scorer.column(target)
    order = descending(flat.ravel(), seed)
    logits = follow(scorer, Regions.of(scorer.size, removal), [order], removal, progress)[0]
    return scorer.curve(removal_shares(steps), logits, column)


def _insert(
    scorer: Scorer, relevance: np.ndarray, target: str, steps: int, fill: str, seed: int, progress: Progress
) -> Curve:
    # Putting back the most relevant pixels first is taking out the least relevant ones first, read from its end.
    taken = _delete(scorer, -scorer.flat(relevance), target, steps, fill, seed, progress)
    return Curve(taken.share, taken.logit[::-1].copy(), taken.probability[::-1].copy())
