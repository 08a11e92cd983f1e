"""Pooled maps: the positive relevance of many heatmaps at a common small size, each with the sum 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd

from cxr.errors import ExplainError
from cxr.evaluation.metrics import patients_of
from cxr.experiments.clusters.limits import FEWEST_PATIENTS, HEATMAPS
from cxr.explain.run_files import INDEX, STORE
from cxr.formatting import patients as n_patients
from cxr.runs import get_run
from cxr.runs.folder import RunFolder

if TYPE_CHECKING:
    from cxr.data import Manifest

_ABOUT = ("image_id", "patient_id", "label", "source", "view")


@dataclass(frozen=True)
class PooledMaps:
    """Heatmaps of a run, pooled.

    Attributes
    ----------
    table
        (N,) rows: image_id, target (the class that is explained), patient (as intervals count them), label, source,
        view, and row, the number of the map in its run.
    maps
        (N, grid, grid) positive relevance, each with the sum 1.
    left_out
        Number of maps without positive relevance.
    """

    table: pd.DataFrame
    maps: np.ndarray
    left_out: int = 0

    @property
    def targets(self) -> list[str]:
        """The classes that are explained, those with most maps first."""
        return [str(name) for name in self.table["target"].value_counts(sort=True).index]

    def rows_of(self, target: str) -> np.ndarray:
        """Return the numbers of the maps of a class."""
        return np.flatnonzero((self.table["target"] == target).to_numpy())


def finished_heatmaps(run_id: str) -> RunFolder:
    """Return the folder of a finished run of heatmaps.

    Raises
    ------
    RunError, ExplainError
        If there is no such run, or it is not finished.
    """
    run = get_run(run_id)
    state = run.status()["state"]
    if run.kind != HEATMAPS or state != "finished":
        raise ExplainError(f"run {run.id} ({run.kind}) is {state}: clusters are made of finished heatmaps")
    return run.folder


def most_patients(folder: Path, manifest: Manifest) -> int:
    """Return of how many patients' X-rays the class is explained that has most of them."""
    table = _with_patients(pd.read_parquet(folder / INDEX, columns=["image_id", "target"]), manifest)
    return int(table.groupby("target")["patient"].nunique().max()) if len(table) else 0


def check_enough(most: int) -> None:
    """Raise an ExplainError unless some class is explained on X-rays of enough patients."""
    if most < FEWEST_PATIENTS:
        raise ExplainError(
            f"too few heatmaps to cluster: no class is explained on X-rays of more than {n_patients(most)}. "
            f"Accepted: {FEWEST_PATIENTS} patients or more"
        )


def pooled_maps(
    folder: Path, manifest: Manifest, grid: int, smooth: float, step: Callable[[float], object] = lambda done: None
) -> PooledMaps:
    """Return the pooled maps of a run of heatmaps that lies in ``folder``."""
    index = pd.read_parquet(folder / INDEX, columns=["image_id", "target", "row"])
    table = _with_patients(index, manifest)
    store = np.load(folder / STORE, mmap_mode="r")
    maps = np.zeros((len(table), grid, grid), np.float32)
    for k, row in enumerate(table["row"]):
        maps[k] = pooled(store[row], grid, smooth)
        step((k + 1) / len(table))
    having = maps.sum((1, 2)) > 0
    return PooledMaps(table[having].reset_index(drop=True), maps[having], int((~having).sum()))


def pooled(relevance: np.ndarray, grid: int, smooth: float = 0.0) -> np.ndarray:
    """Return the positive relevance (H, W) pooled to (grid, grid) with the sum 1; zeros where there is none."""
    positive = np.nan_to_num(relevance.astype(np.float32), posinf=0.0).clip(min=0)
    # Means over areas: a pixel that lies in two cells counts in both by its share. Up to a factor they are sums.
    small = cv2.resize(positive, (grid, grid), interpolation=cv2.INTER_AREA)
    if smooth:
        small = cv2.GaussianBlur(small, (0, 0), smooth, borderType=cv2.BORDER_REFLECT)
    total = float(small.sum())
    return small / total if total > 0 else np.zeros_like(small)


def features(maps: np.ndarray) -> np.ndarray:
    """Return maps (N, grid, grid) as points (N, grid * grid) whose distances are those of Hellinger.

    The square root keeps a few strong cells from deciding everything.
    """
    return np.sqrt(maps.reshape(len(maps), -1).astype(np.float64))


def one_of_each_patient(patients: Sequence[str], seed: int, most: int) -> np.ndarray:
    """Return the numbers of one X-ray of each patient, drawn by lot, in rising order; at most ``most`` of them."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(patients))
    _, first = np.unique(np.asarray(patients, dtype=object).astype(str)[order], return_index=True)
    return np.sort(order[rng.permutation(first)[:most]])


def _with_patients(table: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    about = manifest.table[list(_ABOUT)].assign(patient=patients_of(manifest.table))
    return table.merge(about, on="image_id", how="inner", sort=False).drop(columns="patient_id")
