"""What makes a heatmap unreliable, each in one sentence with its figure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cxr.explain.heatmap import Heatmap

LOST_SHARE = 0.1
"""Of the logit: more than this lost at zero denominators is told."""
ABSORBED_TIMES = 3.0
"""More than this many times the logit absorbed by biases is told."""
ROUNDING = {"float64": 1e-9, "float32": 1e-3, "bfloat16": 0.05}
"""Of the relevance that flows: a residual beyond it is no rounding."""
CANCELLED = 0.02
"""Of the relevance for and against together: a logit below it is what is left of large numbers that cancel."""
SATURATED = 0.02
"""Share of the pixels: more of them at full colour hide where the map is strongest."""


def concerns(heatmap: Heatmap, scale: float | None = None) -> list[str]:
    """Return what a reader should doubt about a map, worst first; empty where nothing was found.

    Parameters
    ----------
    scale
        Relevance that gets full colour in the picture; None leaves the colours out.
    """
    if not np.any(heatmap.relevance):
        return [*_not_finite(heatmap), "This map is zero everywhere: it names no pixel for or against the class."]
    checks: list[Callable[[Heatmap], list[str]]] = [_not_finite]
    if heatmap.has_ledger:
        checks += [_residual, _lost, _absorbed, _cancelled]
    sentences = [sentence for check in checks for sentence in check(heatmap)]
    return sentences + (_saturated(heatmap, scale) if scale else [])


def _not_finite(heatmap: Heatmap) -> list[str]:
    n = heatmap.not_finite
    if not n:
        return []
    return [f"{n} value{'s' * (n != 1)} of this map came out as NaN or infinite and were set to 0: do not rely on it."]


def _residual(heatmap: Heatmap) -> list[str]:
    flow = _flow(heatmap) + abs(heatmap.logit) + _size(heatmap.layer_absorbed) + _size(heatmap.layer_lost)
    if abs(heatmap.residual) <= ROUNDING.get(heatmap.precision, ROUNDING["float32"]) * flow:
        return []
    return [f"The ledger does not close: {heatmap.residual:+.3g} of the logit {heatmap.logit:+.3g} is unaccounted for."]


def _lost(heatmap: Heatmap) -> list[str]:
    lost = max(abs(heatmap.lost), _size(heatmap.layer_lost))
    if lost <= LOST_SHARE * abs(heatmap.logit):
        return []
    return [
        f"{_share(lost, heatmap.logit)} of the logit was lost where a rule could not distribute it (zero "
        "denominators): those parts of the network do not show on the map."
    ]


def _absorbed(heatmap: Heatmap) -> list[str]:
    if abs(heatmap.absorbed) <= ABSORBED_TIMES * abs(heatmap.logit):
        return []
    return [
        f"Biases absorbed {heatmap.absorbed:+.3g}, {_times(heatmap.absorbed, heatmap.logit)} the logit of "
        f"{heatmap.logit:+.3g}: the pixels' relevance does not add up to the logit. Compare places, not sums."
    ]


def _cancelled(heatmap: Heatmap) -> list[str]:
    if abs(heatmap.logit) >= CANCELLED * _flow(heatmap):
        return []
    return [
        f"The logit {heatmap.logit:+.3g} is small beside {heatmap.positive:+.3g} for and {heatmap.negative:+.3g} "
        "against: red and blue cancel, and a small change of the image may reverse the map."
    ]


def _saturated(heatmap: Heatmap, scale: float) -> list[str]:
    share = float((np.abs(heatmap.relevance) >= scale).mean())
    if share <= SATURATED:
        return []
    return [f"{100 * share:.1f} % of the pixels are at full colour: raise the colour percentile to tell them apart."]


def _flow(heatmap: Heatmap) -> float:
    return heatmap.positive - heatmap.negative


def _size(values: np.ndarray) -> float:
    return float(np.abs(values).sum())


def _share(part: float, whole: float) -> str:
    return f"{100 * abs(part / whole):.0f} %" if whole else f"{abs(part):.3g}, more than all,"


def _times(part: float, whole: float) -> str:
    return f"{abs(part / whole):.1f} times" if whole else "infinitely many times"
