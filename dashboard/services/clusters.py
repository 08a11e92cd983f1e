"""Pictures of clusters of heatmaps: X-rays as the network sees them, under their maps, each cached by its run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import streamlit as st

from cxr.data import Manifest
from cxr.data.images.resize import fit_square
from cxr.errors import CxrError
from cxr.experiments.clusters.job import MAPS, TABLE, heatmaps_of
from cxr.experiments.clusters.region.places import mask_of
from cxr.experiments.clusters.results import ClusterEntry, params_of
from cxr.explain import render
from cxr.explain.run_files import STORE
from cxr.runs import Run

from services import load

SIDE = 200
_OF_MEAN = 24  # X-rays that the mean picture is of
_OUTLINE = (90, 214, 140)


@dataclass(frozen=True)
class Clustered:
    """A finished run of clusters with its table and its pooled maps, row by row."""

    run: Run
    table: pd.DataFrame
    maps: np.ndarray
    relevance: np.ndarray | None
    """The whole heatmaps, by the table's ``row``; None where their run has been deleted."""


def opened(run: Run) -> Clustered:
    """Return what a finished run of clusters holds."""
    return Clustered(run, load.table(run.folder.path / TABLE), _array(str(run.folder.path / MAPS)), _heatmaps(run))


def _heatmaps(run: Run) -> np.ndarray | None:
    try:
        return _array(str(heatmaps_of(run.folder, params_of(run)).path / STORE))
    except (CxrError, OSError):
        return None


@st.cache_resource(max_entries=8, show_spinner=False)
def _array(path: str) -> np.ndarray:
    return np.asarray(np.load(Path(path), mmap_mode="r"))


def thumbnail(of: Clustered, data: Manifest, place: int) -> np.ndarray:
    """Return the X-ray of a row of the table under its heatmap, uint8 RGB (SIDE, SIDE)."""
    row = of.table.iloc[place]
    return _thumbnail(of.run.id, place, of, data, str(row["image_id"]))


@st.cache_data(max_entries=1000, show_spinner=False)
def _thumbnail(run_id: str, place: int, _of: Clustered, _data: Manifest, _image_id: str) -> np.ndarray:
    relevance = _of.maps[place] if _of.relevance is None else _of.relevance[int(_of.table["row"].iloc[place])]
    return render.overlay(_square(_data, _image_id), relevance.astype(np.float32), 0.8, percentile=99.5)


def _square(data: Manifest, image_id: str) -> np.ndarray:
    try:
        return fit_square(load.xray(data, image_id), SIDE)
    except (CxrError, OSError):
        return np.zeros((SIDE, SIDE), np.uint8)


def mean_picture(of: Clustered, data: Manifest, entry: ClusterEntry) -> np.ndarray:
    """Return a cluster's mean heatmap over the mean of its most typical X-rays, with the outline of its region."""
    return _mean_picture(of.run.id, entry["number"], of, data, entry["examples"][:_OF_MEAN], entry["boxes"])


@st.cache_data(max_entries=64, show_spinner=False)
def _mean_picture(
    run_id: str,
    number: int,
    _of: Clustered,
    _data: Manifest,
    _examples: Sequence[str],
    _boxes: Sequence[Sequence[float]],
) -> np.ndarray:
    mean = np.mean([_square(_data, image_id) for image_id in _examples], axis=0)
    relevance = _of.maps[(_of.table["cluster"] == number).to_numpy()].mean(0)
    picture = render.overlay(np.rint(mean).astype(np.uint8), relevance, 0.8)
    outlines, _ = cv2.findContours(mask_of(_boxes, SIDE), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(picture, outlines, -1, _OUTLINE, 2, cv2.LINE_AA))
