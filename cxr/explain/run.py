"""Explain many X-rays as a background run, into a compact store that pages read without computing.

Files in the run folder:

- ``relevance.npy`` float16 (n, H, W), memory-mapped: relevance summed over channels, each map divided by its largest
  absolute value (float16 cannot hold the small numbers themselves)
- ``index.parquet``: image_id, label, predicted, target, composite, logit, absorbed, scale, row. A map is
  ``relevance[row] * scale``. Rows are written as batches finish; a stopped run holds what it had done
- ``previews/<image_id>.png``: the first pictures with their legend
- ``results.json``: counts, images left out and why, the notes of the maps
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxr.data import ImageCache, Manifest
from cxr.errors import ExplainError, unknown
from cxr.explain.attribution import BATCH, Explanation, explain
from cxr.explain.lrp import COMPOSITES, DEFAULT_COMPOSITE
from cxr.explain.render import figure, relevance_2d, to_png

if TYPE_CHECKING:
    from cxr.models import XrayClassifier
    from cxr.runs.folder import RunFolder

Progress = Callable[[float, str], None]
STORE, INDEX, PREVIEWS = "relevance.npy", "index.parquet", "previews"
DEFAULT_PREVIEWS = 24


@dataclass(frozen=True)
class _Job:
    """What a run works with, loaded and checked."""

    folder: RunFolder
    model: XrayClassifier
    cache: ImageCache
    labels: pd.Series
    ids: list[str]
    composite: str
    choose: Callable[[str, str], str]
    options: dict[str, float]
    batch: int
    previews: int


def explain_run(folder: RunFolder, spec: dict[str, Any], progress: Progress) -> None:
    """Do the run. Parameters in ``spec["params"]``:

    ``model`` (run id, weights file or shipped name), ``manifest`` (path or data set's name), the images as ``ids`` or
    as ``split`` with optional ``n`` (the first n), ``composite``, ``targets`` ("predicted", "label" or a class),
    optional ``batch``, ``previews`` (how many) and ``options`` of the composite.
    """
    progress(0.0, "loading")
    params = spec["params"]
    job, description = _loaded(folder, params)
    table, notes = _stream(job, progress)
    summary = {
        "model": description,
        "composite": job.composite,
        "targets": params.get("targets") or "predicted",
        "n": len(table),
        "left_out": job.cache.missing[["image_id", "reason"]].to_dict("records"),
        "notes": list(notes),
    }
    folder.write_json("results.json", summary)
    if len(table) == len(job.ids):
        progress(1.0, f"{len(table)} images explained")


def _loaded(folder: RunFolder, params: dict[str, Any]) -> tuple[_Job, str]:
    from cxr.data.library import resolve_manifest
    from cxr.evaluation.source import load_trained

    composite = params.get("composite") or DEFAULT_COMPOSITE
    if composite not in COMPOSITES:
        raise ExplainError(unknown("composite", composite, COMPOSITES))
    model, description = load_trained(params["model"])
    choose = _chooser(params.get("targets") or "predicted", model.classes)
    manifest = _selected(Manifest.load(resolve_manifest(params["manifest"])), params)
    cache = ImageCache.build(manifest, model.card.size)
    job = _Job(
        folder=folder,
        model=model,
        cache=cache,
        labels=manifest.table.set_index("image_id")["label"],
        ids=[image_id for image_id in manifest.ids if image_id in cache],
        composite=composite,
        choose=choose,
        options=params.get("options") or {},
        batch=int(params.get("batch") or BATCH),
        previews=int(params.get("previews", DEFAULT_PREVIEWS)),
    )
    return job, description


def _selected(manifest: Manifest, params: dict[str, Any]) -> Manifest:
    if params.get("ids"):
        return manifest.select(ids=list(params["ids"]))
    chosen = manifest.select(split=params["split"]) if params.get("split") else manifest
    if params.get("n"):
        chosen = chosen.select(ids=chosen.ids[: int(params["n"])])
    if not len(chosen):
        raise ExplainError(f"split {params.get('split')!r} has no images. Available: {', '.join(manifest.splits)}")
    return chosen


def _chooser(targets: str, classes: tuple[str, ...]) -> Callable[[str, str], str]:
    """Return a function (label, predicted) -> target of one image."""
    if targets in ("predicted", "label"):
        # A label the model does not know (an external set's) has no logit: the prediction is explained instead.
        return lambda label, predicted: label if targets == "label" and label in classes else predicted
    if targets not in classes:
        raise ExplainError(unknown("target", targets, ("predicted", "label", *classes)))
    return lambda label, predicted: targets


def _stream(job: _Job, progress: Progress) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Explain batch by batch until done or told to stop; return the index and the notes of the maps."""
    shape = (len(job.ids), job.cache.size, job.cache.size)
    store = np.lib.format.open_memmap(job.folder.path / STORE, mode="w+", dtype=np.float16, shape=shape)
    rows: list[dict[str, Any]] = []
    notes: tuple[str, ...] = ()
    for start in range(0, len(job.ids), job.batch):
        if job.folder.stop_requested():
            break
        new, notes = _one_batch(job, store, start)
        rows += new
        store.flush()
        _write_index(job.folder, rows)
        progress(0.99 * len(rows) / len(job.ids), f"{len(rows)} of {len(job.ids)} images explained")
    return _write_index(job.folder, rows), notes


def _one_batch(job: _Job, store: np.memmap, start: int) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    ids = job.ids[start : start + job.batch]
    images = job.cache.rows(ids)
    predicted = _predictions(job.model, images)
    targets = [job.choose(job.labels[i], name) for i, name in zip(ids, predicted, strict=True)]
    result = explain(job.model, images, targets, job.composite, batch=job.batch, **job.options)
    rows = []
    for i, image_id in enumerate(ids):
        row = {"image_id": image_id, "label": job.labels[image_id], "predicted": predicted[i], "row": start + i}
        rows.append(row | _write_map(store, start + i, result, i))
        if start + i < job.previews:
            _write_preview(job.folder, image_id, images[i], result, i)
    return rows, result.notes


def _predictions(model: XrayClassifier, images: np.ndarray) -> list[str]:
    import torch

    with torch.inference_mode():
        return [model.classes[k] for k in model(images).argmax(dim=1).tolist()]


def _write_map(store: np.memmap, row: int, result: Explanation, i: int) -> dict[str, Any]:
    flat = relevance_2d(result.relevance[i])
    scale = float(np.abs(flat).max())
    store[row] = flat / scale if scale > 0 else 0
    return {
        "target": result.targets[i][0],
        "composite": result.composite,
        "logit": float(result.target_logits[i]),
        "absorbed": float(result.absorbed[i]),
        "scale": scale,
    }


def _write_preview(folder: RunFolder, image_id: str, image: np.ndarray, result: Explanation, i: int) -> None:
    picture = figure(
        image,
        result.relevance[i],
        composite=result.composite,
        target=result.targets[i][0],
        logit=float(result.target_logits[i]),
        absorbed=float(result.absorbed[i]),
        notes=result.notes,
    )
    path = folder.path / PREVIEWS / f"{image_id}.png"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(to_png(picture))


_COLUMNS = ("image_id", "label", "predicted", "target", "composite", "logit", "absorbed", "scale", "row")


def _write_index(folder: RunFolder, rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    temporary = folder.path / f"{INDEX}.tmp"
    table.to_parquet(temporary, index=False)
    temporary.replace(folder.path / INDEX)
    return table


def read_map(folder: RunFolder, image_id: str) -> tuple[np.ndarray, pd.Series]:
    """Return one stored map, float32 (H, W) in relevance, and its row of the index.

    Raises ExplainError where the run holds no map of that image.
    """
    path = folder.path / INDEX
    table = pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=list(_COLUMNS))
    found = table.loc[table["image_id"] == image_id]
    if found.empty:
        raise ExplainError(f"run {folder.id} holds no heatmap of image {image_id!r} (it holds {len(table)})")
    entry = found.iloc[0]
    store = np.load(folder.path / STORE, mmap_mode="r")
    return store[int(entry["row"])].astype(np.float32) * np.float32(entry["scale"]), entry
