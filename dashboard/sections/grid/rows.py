"""The rows of the grid: one per X-ray, with what a network said of it, its stored heatmap, and its burned-in text."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import streamlit as st

from cxr.data import Manifest
from cxr.data.images.resize import fit_square
from cxr.data.manifest import PATH_COLUMNS
from cxr.explain.quality.region_shares import region_shares
from cxr.explain.run_files import INDEX, STORE
from cxr.models import XrayClassifier
from cxr.runs import Run
from cxr.text.boxes import coverage
from cxr.text.corrections import FileTokens

from services import explaining, load
from widgets import browse

RIGHT, WRONG = "right", "wrong"
TEXT, SHARE = "has text", "relevance in text"
MEASURED = ("confidence", "logit", SHARE)
"""Numbers that the grid adds to those of the manifest."""
_NOT_TO_FILTER = {*PATH_COLUMNS, "image_id", "width", "height", "label", "findings", "file_notes"}
_FEWEST_VALUES, _MOST_VALUES = 2, 60


def build(
    data: Manifest, split: str, network: XrayClassifier, predictions: pd.DataFrame | None, run: Run | None
) -> pd.DataFrame:
    """Return the rows of a split.

    Columns: ``image_id, label, names, source`` and those of the manifest; where there are predictions ``predicted,
    said, outcome, confidence``; where a run holds heatmaps ``target, logit, row, scale, concerns``, and then only the
    X-rays that it holds.
    """
    of_findings = explaining.is_of_findings(network)
    read = browse.rows_of_findings if of_findings else None
    rows = read(data, split, predictions, network) if read else browse.rows_of(data, split, predictions)
    if "correct" in rows:
        known = rows["label"] != ""
        outcome = np.where(rows["correct"], RIGHT, WRONG)
        rows = rows.assign(outcome=np.where(known, outcome, "")).drop(columns="correct")
    others = data.table.drop(columns=[name for name in rows.columns if name != "image_id" and name in data.table])
    rows = rows.merge(others, on="image_id")
    if run is None:
        return rows.reset_index(drop=True)
    maps = one_map_each(index_of(run))
    return rows.merge(maps, on="image_id").reset_index(drop=True)


def index_of(run: Run) -> pd.DataFrame:
    """Return the index of a run's heatmaps; empty where it has none yet."""
    path = run.folder.path / INDEX
    if not path.exists():
        return pd.DataFrame(columns=["image_id", "target", "predicted", "logit", "row", "scale", "concerns"])
    return _index(str(path), path.stat().st_mtime_ns)


@st.cache_data(max_entries=8, show_spinner=False)
def _index(path: str, stamp: int) -> pd.DataFrame:
    return pd.read_parquet(path)


def one_map_each(index: pd.DataFrame) -> pd.DataFrame:
    """Return one map per X-ray: that of the predicted class, else the first that there is."""
    order = index.assign(other=index["target"] != index["predicted"]).sort_values(["other", "row"], kind="stable")
    chosen = order.drop_duplicates("image_id")
    return chosen[["image_id", "target", "logit", "row", "scale", "concerns"]]


def read_map(run: Run, row: int, scale: float) -> np.ndarray:
    """Return a stored map, float32 (H, W)."""
    maps = np.load(run.folder.path / STORE, mmap_mode="r")
    return np.asarray(maps[row], np.float32) * np.float32(scale)


def with_text(rows: pd.DataFrame, tokens: Mapping[str, FileTokens | str] | None, run: Run | None) -> pd.DataFrame:
    """Return the rows with ``has text`` ("yes", "no", "" where it is not known) and the share of relevance in it."""
    if tokens is None:
        return rows
    found = [tokens.get(image_id) for image_id in rows["image_id"]]
    known = ["yes" if isinstance(of, FileTokens) and of.boxes else "no" if of else "" for of in found]
    rows = rows.assign(**{TEXT: known})
    if run is None:
        return rows
    shares = _shares(run.id, load.model_stamp(run.spec["params"]["model"]), rows, tokens, run)
    return rows.assign(**{SHARE: shares})


@st.cache_data(max_entries=8, show_spinner="Measuring relevance in text …")
def _shares(
    run_id: str, stamp: int, rows: pd.DataFrame, _tokens: Mapping[str, FileTokens | str], _run: Run
) -> list[float]:
    """Return the share of absolute relevance inside the text of each X-ray; 0 without text."""
    shares = []
    for image_id, row, scale in zip(rows["image_id"], rows["row"], rows["scale"], strict=True):
        of = _tokens.get(image_id)
        if not isinstance(of, FileTokens):
            shares.append(float("nan"))
            continue
        flat = read_map(_run, int(row), float(scale))
        inside = fit_square(coverage(of.boxes, of.shape).astype(np.uint8) * 255, flat.shape[0]) > 127
        shares.append(region_shares(flat, {"text": inside})["text"][1])
    return shares


def filterable(rows: pd.DataFrame) -> list[str]:
    """Return the columns by which rows can be filtered: those of the manifest with some, but not too many values."""
    own = {"names", "said", "predicted", "outcome", "source", "target", "row", "scale", TEXT, *MEASURED}
    columns = [name for name in rows.columns if name not in own | _NOT_TO_FILTER]
    return [name for name in columns if rows[name].astype(str).nunique() >= _FEWEST_VALUES]


def is_number(values: pd.Series) -> bool:
    """Return whether a column holds numbers of which there are too many to choose some."""
    return pd.api.types.is_numeric_dtype(values) and values.nunique() > 8


def sortable(rows: pd.DataFrame) -> list[str]:
    """Return the columns by which rows can be sorted, the most useful first."""
    first = [name for name in ("confidence", SHARE, "logit", "label", "predicted", "outcome", "source", TEXT)
             if name in rows]  # fmt: skip
    return ["order of the data set", *first, *(name for name in filterable(rows) if name not in first), "image_id"]


def caption(row: Mapping[str, object]) -> str:
    """Return what stands below a picture: truth, what the network said, and how sure it is."""
    return " ".join(filter(None, caption_parts(row)))


def caption_parts(row: Mapping[str, object]) -> tuple[str, str]:
    """Return a caption's classes, which may be cut where there is no room, and how sure the network was of its own."""
    label = str(row.get("label") or "") or "unlabelled"
    if not row.get("predicted"):
        return label, ""
    confidence = row.get("confidence")
    sure = f"{confidence:.2f}" if isinstance(confidence, float) and confidence == confidence else ""
    wrong = "✗" if row.get("outcome") == WRONG else ""
    return f"{label} → {row['predicted']}", " ".join(filter(None, [sure, wrong]))
