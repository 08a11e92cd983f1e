"""Reading what pages show, cached in one place and keyed by ids and file times, never by the arrays themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd
import streamlit as st
from pyarrow.lib import ArrowException

from cxr.data import Manifest, notes
from cxr.errors import CxrError, RecipeError
from cxr.formatting import Estimate, counted, number, percent
from cxr.formatting import duration as duration
from cxr.models.card import MULTI_LABEL
from cxr.runs import Run, RunFolder
from cxr.runs.folder import RESULTS
from cxr.runs.index import FileContents
from cxr.runs.metrics.metrics_table import Metrics, MetricsTable
from cxr.runs.metrics.usage_file import Usage, UsageTable

from services import field_names, pixels, warm_up

if TYPE_CHECKING:
    from cxr.models import XrayClassifier
    from cxr.training.planning.plan import StagePlan
    from cxr.training.recipe import Recipe


def _stamp(path: Path) -> int:
    return path.stat().st_mtime_ns


@st.cache_resource(max_entries=8, show_spinner=False)
def _manifest(path: str, stamp: int) -> Manifest:
    return Manifest.load(path)


def manifest(path: Path | str) -> Manifest:
    """Return a manifest, read again when its file has changed."""
    file = Path(path)
    if not file.exists():
        raise CxrError(f"the manifest {file} is missing; import the data set again or put the file back")
    return _manifest(str(file), _stamp(file))


@st.cache_data(max_entries=64, show_spinner=False)
def _one_source_each(_data: Manifest, path: str, stamp: int) -> bool:
    table = _data.table
    labelled = table[(table["label"] != "") & (table["source"] != "") & table["split"].isin(["train", ""])]
    sources = labelled[["label", "source"]].drop_duplicates().groupby("label")["source"].agg(set)
    return any(
        not (own & set().union(*(other for name, other in sources.items() if name != label)))
        for label, own in sources.items()
        if len(sources) > 1
    )


def one_source_each(data: Manifest) -> bool:
    """Tell whether some class of a stored data set shares no source with any other class, the worst confounding."""
    assert data.path is not None
    return _one_source_each(data, str(data.path), _stamp(data.path))


@st.cache_data(max_entries=64, show_spinner=False)
def _straddling_notes(_data: Manifest, path: str, stamp: int) -> list[str]:
    return notes.straddling_notes(_data)


def straddling_notes(data: Manifest) -> list[str]:
    """Say which patients and duplicates of a stored data set are in several splits."""
    assert data.path is not None
    return _straddling_notes(data, str(data.path), _stamp(data.path))


@st.cache_data(max_entries=64, show_spinner=False)
def _label_warnings(_recipe: Recipe, _data: Manifest, recipe: str, path: str, stamp: int) -> list[str]:
    from cxr.training import check_labels

    return check_labels(_recipe, _data)


def label_warnings(recipe: Recipe, data: Manifest) -> list[str]:
    """Return what ``check_labels`` says of a recipe's last stage; raises what it raises."""
    from cxr.training import check_labels

    if data.path is None or recipe.stages[-1].data is not None:
        return check_labels(recipe, data)
    return _label_warnings(recipe, data, recipe.to_yaml(), str(data.path), _stamp(data.path))


@st.cache_data(max_entries=64, show_spinner=False)
def _why_untrainable(_recipe: Recipe, _data: Manifest, recipe: str, path: str, stamp: int) -> str:
    from cxr.training import check

    try:
        check(_recipe, _data)
    except RecipeError as error:
        return error.reason
    except CxrError as error:
        return str(error)
    return ""


def why_untrainable(recipe: Recipe, data: Manifest) -> str:
    """Return why some stage of a recipe cannot be trained on the labels and splits of a data set, "" where all can."""
    return _why_untrainable(recipe, data, recipe.to_yaml(), str(data.path), _stamp(data.path) if data.path else 0)


@st.cache_data(max_entries=20, show_spinner=False)
def _plan(_recipe: Recipe, _data: Manifest, recipe_text: str, path: str, stamp: int) -> list[StagePlan]:
    from cxr.training.planning.plan import plan_stages

    return plan_stages(_recipe, _data)


def plan(recipe: Recipe, data: Manifest) -> list[StagePlan]:
    """Return what each stage of a recipe will do; raises where it cannot be trained on the data."""
    from cxr.training.planning.plan import plan_stages

    if data.path is None or any(stage.data is not None for stage in recipe.stages):
        return plan_stages(recipe, data)
    return _plan(recipe, data, recipe.to_yaml(), str(data.path), _stamp(data.path))


def manifest_of(run: Run) -> Manifest:
    """Return the manifest that a run was started on."""
    return manifest(run.spec["params"]["manifest"])


@st.cache_resource(max_entries=2, show_spinner="Loading the network …")
def _model(network_ref: str, stamp: int) -> tuple[XrayClassifier, str]:
    warm_up.hurry()
    from cxr.networks import load_network

    return load_network(network_ref)


def model(network_ref: str) -> tuple[XrayClassifier, str]:
    """Return ``(model, description)`` of a run's best checkpoint or of a weights file by its name."""
    return _model(network_ref, model_stamp(network_ref))


def model_stamp(network_ref: str) -> int:
    """Return what changes whenever the weights behind ``network_ref`` do."""
    from cxr.networks import network_file

    return _stamp(network_file(network_ref))


@st.cache_resource(show_spinner=False)
def _pixels() -> pixels.Pixels:
    return pixels.Pixels()


def _xray(path: str, stamp: int) -> np.ndarray:
    return _pixels().get(path, stamp)


def xray(data: Manifest, image_id: str) -> np.ndarray:
    """Return an X-ray at its own size, uint8 (H, W), read-only: all sessions share it."""
    path = data.image_path(image_id)
    if not path.exists():
        raise CxrError(f"the image {path} is missing")
    return _xray(str(path), _stamp(path))


def mask(path: Path) -> np.ndarray:
    """Return a mask's file, uint8 (H, W), read-only."""
    return _xray(str(path), _stamp(path))


@st.cache_data(max_entries=2000, show_spinner=False)
def _thumbnail(path: str, stamp: int, side: int) -> np.ndarray:
    image = _xray(path, stamp)  # one that is looked at has been decoded
    scale = side / max(image.shape)
    width, height = (max(1, round(n * scale)) for n in image.shape[::-1])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    square = np.zeros((side, side), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = small
    return square


def thumbnail(data: Manifest, image_id: str, side: int = 192) -> np.ndarray:
    """Return an X-ray fitted into a black square of ``side`` pixels; a crossed grey one where it cannot be read."""
    path = data.image_path(image_id)
    try:
        return _thumbnail(str(path), _stamp(path), side)
    except (CxrError, OSError):
        return _crossed(side)


def _crossed(side: int) -> np.ndarray:
    square = np.full((side, side), 110, np.uint8)
    for start, end in (((0, 0), (side, side)), ((0, side), (side, 0))):
        cv2.line(square, start, end, 160, 2, cv2.LINE_AA)
    return square


def missing_files(data: Manifest, image_ids: Sequence[str]) -> list[Path]:
    """Return the files of these X-rays that are not there."""
    return [path for path in map(data.image_path, image_ids) if not path.exists()]


def thumbnail_of(file: Path, side: int = 192) -> np.ndarray:
    """Return the image of a file fitted into a black square; raises what reading it raises."""
    return _thumbnail(str(file), _stamp(file), side)


# Of cache_data every session would get a copy of its own at every run of the script.
@st.cache_resource(max_entries=16, show_spinner=False)
def _table(path: str, stamp: int) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (ArrowException, ValueError) as error:  # cut or overwritten
        reason = str(error).splitlines()[0][:120]
        raise CxrError(f"{path} is damaged: {reason}. Resume the run, or measure again") from error


def table(file: Path) -> pd.DataFrame:
    """Return a Parquet file of a run, read again when it has changed; all sessions share it, so do not write to it."""
    return _table(str(file), _stamp(file))


def predictions_file(run: Run) -> Path:
    """Return where a run's predictions are, or will be."""
    return run.folder.path / "predictions.parquet"


def predictions(run: Run) -> pd.DataFrame | None:
    """Return a run's predictions, one row per X-ray, or ``None`` before there are any."""
    file = predictions_file(run)
    return table(file) if file.exists() else None


@st.cache_resource(max_entries=16, show_spinner=False)
def _of_split(path: str, stamp: int, split: str) -> pd.DataFrame:
    rows = _table(path, stamp)
    return rows[rows["split"] == split]


def predictions_of_split(run: Run, split: str) -> pd.DataFrame | None:
    """Return those of one split, ``None`` where there are none; all sessions share them."""
    file = predictions_file(run)
    rows = _of_split(str(file), _stamp(file), split) if file.exists() else None
    return None if rows is None or rows.empty else rows


@st.cache_resource(max_entries=32, show_spinner=False)
def _metrics(folder: str) -> MetricsTable:
    return MetricsTable(RunFolder(Path(folder)))


def metrics(run: Run) -> Metrics:
    """Return a run's metrics as columns; all sessions share them, and only what was added is read."""
    return _metrics(str(run.folder.path)).refresh()


@st.cache_resource(max_entries=32, show_spinner=False)
def _usage(folder: str) -> UsageTable:
    return UsageTable(Path(folder))


def usage(run: Run) -> Usage:
    """Return what a training took of its machine as columns; all sessions share them."""
    return _usage(str(run.folder.path)).refresh()


def headline(run: Run) -> str:
    """Return in words the most important figure of a run's results.json with its interval, "" where it has none."""
    try:
        text = _HEADLINES.read(str(run.folder.path / RESULTS))
        return field_names.on_page(text, field_names.of_kind(run.kind))
    except OSError:
        return ""


def _headline(path: str, content: bytes) -> str:
    try:
        results = json.loads(content)
        if "n_changed" in results:
            of_findings = results.get("task") == MULTI_LABEL
            what = ("X-ray", "with a crossed threshold") if of_findings else ("prediction", "changed")
            return f"{results['n_changed']:,} of {counted(results['n_images'], what[0])} {what[1]}"
        if "findings" in results and "counts" in results:
            return _weights(results["counts"])
        if isinstance(results.get("finding"), str):  # begins with what counts most; a click on its cell shows all of it
            return results["finding"]
        splits = results["splits"]
        name = "test" if "test" in splits else next(iter(splits))
        multi_label = "accuracy" not in splits[name]
        estimate = splits[name]["auc" if multi_label else "accuracy"]
        return f"{name}: AUC {number(estimate)}" if multi_label else f"{name}: {percent(estimate)} right"
    except (ValueError, TypeError, LookupError, AttributeError, StopIteration):  # of a kind without figures, or damaged
        return ""


def figures(run: Run) -> tuple[str, dict[str, Estimate | None]]:
    """Return the split that a run's results.json is of first, "" where it has none, and accuracy and AUC there."""
    try:
        return _FIGURES.read(str(run.folder.path / RESULTS))
    except OSError:
        return "", {}


def _figures(path: str, content: bytes) -> tuple[str, dict[str, Estimate | None]]:
    try:
        splits = json.loads(content)["splits"]
        name = "test" if "test" in splits else next(iter(splits))
        return name, {title: splits[name].get(key) for title, key in (("accuracy", "accuracy"), ("AUC", "auc"))}
    except (ValueError, TypeError, LookupError, AttributeError, StopIteration):
        return "", {}


def _weights(counts: Mapping[str, int]) -> str:
    """Return how many findings of each weight an audit has: ``1 serious, 2 warnings``."""
    named = [f"{n:,} serious" if weight == "serious" else counted(n, weight) for weight, n in counts.items() if n]
    return ", ".join(named) or "no findings"


_HEADLINES = FileContents(_headline)
_FIGURES = FileContents(_figures)


def local_time(value: object) -> str:
    """Return a time of a spec or status (seconds since 1970 or ISO text) as local ``month-day hour:minute``."""
    if value in (None, ""):
        return ""
    return _local_time(value)


@lru_cache(maxsize=10_000)  # lists name the times of a thousand runs at every look
def _local_time(value: object) -> str:
    moment = datetime.fromtimestamp(value) if isinstance(value, int | float) else datetime.fromisoformat(str(value))
    return moment.astimezone().strftime("%m-%d %H:%M")
