"""Agreement of two heatmaps, and how much the maps of several classes are alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr.errors import ExplainError
from cxr.explain.render import relevance_2d


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Return the cosine of two arrays of one size, -1 to 1; NaN if one of them is zero everywhere."""
    a, b = np.ravel(first).astype(np.float64), np.ravel(second).astype(np.float64)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(a @ b / lengths, -1, 1)) if lengths > 0 else float("nan")


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's rank correlation, -1 to 1 (equal values share their mean rank); NaN if one is constant."""
    a, b = (pd.Series(np.ravel(values)).rank().to_numpy() for values in (first, second))
    return cosine(a - a.mean(), b - b.mean())


@dataclass(frozen=True)
class ClassSensitivity:
    """How much the target's map is like those of other classes.

    ``cosine`` (of the signed values) and ``spearman`` (of their ranks) are (C,), for the classes in ``others``; 1 is
    the same map, NaN where a map is zero or constant.
    """

    target: str
    others: tuple[str, ...]
    cosine: np.ndarray
    spearman: np.ndarray

    def table(self) -> pd.DataFrame:
        """Return one row per other class: class, cosine, spearman."""
        return pd.DataFrame({"class": self.others, "cosine": self.cosine, "spearman": self.spearman})


def class_sensitivity(maps: Mapping[str, np.ndarray], target: str) -> ClassSensitivity:
    """Compare the target's map with those of the other classes: alike maps do not speak of the class.

    Parameters
    ----------
    maps
        Relevance (H, W) or (C, H, W) by class name; the target's and at least one other's, of one size.

    Raises
    ------
    ExplainError
        If the target's map is missing or is the only one.
    """
    if target not in maps or len(maps) < 2:
        names = ", ".join(maps) or "no class"
        raise ExplainError(f"maps of {names} given for target {target!r}. Accepted: its own and another class's")
    flat = {name: relevance_2d(values) for name, values in maps.items()}
    others = tuple(name for name in flat if name != target)
    return ClassSensitivity(
        target,
        others,
        np.array([cosine(flat[target], flat[name]) for name in others]),
        np.array([spearman(flat[target], flat[name]) for name in others]),
    )
