"""Explain many X-rays as a background run: maps that pages read without computing, and a table beside them.

Files in the run folder:

- ``relevance.npy`` float16 (n x targets, H, W), memory-mapped: relevance summed over channels, each map divided by its
  largest absolute value (float16 cannot hold the small numbers themselves)
- ``index.parquet``: one row per map with its image, class, ledger, ``concerns`` (what makes it unreliable), scale and
  row. A map is ``relevance[row] * scale``. Rows are written after their maps; a stopped run holds what it had done and
  goes on from there
- ``previews/<image_id>.png``: the first pictures with their legend (see :func:`safe_names`)
- ``results.json``: counts, images left out and why, the legend and notes of the maps, and in which precision they were
  made (``precision``, from the start also in ``precision.json``: what was requested and used, and how bfloat16 did on
  the first image; decided once for a run, whichever of its shards comes first)

A shard's folder (:mod:`cxr.runs.shards`) holds the same of its X-rays, without results; its previews are called by
their row. The run's job takes them over.

The maps also go to the heatmaps that pages read (:mod:`cxr.explain.store`), and those that lie there are taken over.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cxr.data import ImageCache, Manifest
from cxr.data.images.image_cache import NothingReadableError, first_readable
from cxr.errors import ExplainError
from cxr.evaluation.metrics import patients_of
from cxr.explain import legend
from cxr.explain.explanation import BATCH
from cxr.explain.heatmap import Heatmap, Method, picture_digest
from cxr.explain.precision import Trial
from cxr.explain.render import figure, to_png
from cxr.explain.run_files import (
    INDEX,
    PREVIEWS,
    STORE,
    decided_precision,
    safe_names,
    valid_rows,
    write_index,
    write_map,
)
from cxr.explain.settings import ALL, LABEL, Targets
from cxr.explain.store import HeatmapStore, stored_or_explained
from cxr.files import replacing
from cxr.formatting import xrays
from cxr.runs.shards.folders import ShardFolder, finished_shards, own_slice

if TYPE_CHECKING:
    from cxr.explain.precision import PrecisionRecord
    from cxr.explain.run_files import IndexRow
    from cxr.explain.settings import ExplainParams
    from cxr.models import XrayClassifier
    from cxr.runs.folder import RunFolder

log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]

_INDEX_EVERY_S = 2.0


@dataclass(frozen=True)
class _Job:
    """What a run works with, loaded and checked."""

    folder: RunFolder
    model: XrayClassifier
    manifest: Manifest
    cache: ImageCache
    labels: pd.Series
    ids: list[str]
    method: Method
    targets: Targets
    batch: int
    previews: dict[str, str]
    store: HeatmapStore
    precision: PrecisionRecord | None = None

    @property
    def n_targets(self) -> int:
        return len(self.model.classes) if self.targets.word == ALL else 1

    def targets_of(self, image_id: str, predicted: str) -> tuple[str, ...]:
        """Return the classes to explain for an image; a label that the network does not know has no logit."""
        if self.targets.word == ALL:
            return self.model.classes
        if self.targets.name:
            return (self.targets.name,)
        label = self.labels[image_id]
        return (label if self.targets.word == LABEL and label in self.model.classes else predicted,)


def explain_shard(folder: ShardFolder, params: ExplainParams, progress: Progress) -> None:
    """Explain a shard's X-rays, or the rest of them; the run's job counts what cannot be read."""
    progress(0.0, "loading")
    if own_slice(folder, _selected(params.data, params).ids, params.batch or BATCH):
        with contextlib.suppress(NothingReadableError):
            _stream(_loaded(folder, params)[0], progress)


def explain_run(folder: RunFolder, params: ExplainParams, progress: Progress) -> None:
    """Do the run, or the rest of it."""
    progress(0.0, "loading")
    from cxr.evaluation.provenance import provenance, with_opening
    from cxr.evaluation.seen import marked, marked_in_words
    from cxr.networks import seen_by

    job, description = _loaded(folder, params)
    rests_on = provenance(params.data, params.network)
    table, first = _stream(job, progress)
    explained = job.manifest.select(ids=list(dict.fromkeys(table["image_id"])))
    seen = marked(seen_by(params.network), explained, job.cache.size)
    rests_on = with_opening(rests_on, params.data, explained.ids, folder.id, "explain")
    about_seen = marked_in_words(seen)
    summary = {
        "model": description,
        "composite": job.method.composite,
        "bias": job.method.bias,
        "options": dict(job.method.options),
        "precision": job.precision or {"used": "float32"},
        "targets": str(job.targets),
        "n": int(table["image_id"].nunique()),
        "maps": len(table),
        "label_unknown": _label_unknown(job, table),
        "with_concerns": int((table["concerns"] != "").sum()),
        "left_out": job.cache.missing[["image_id", "reason"]].to_dict("records"),
        "legend": [legend.title(first), *(f"{k}: {v}" for k, v in legend.rules(first).items())] if first else [],
        "finding": " ".join(filter(None, (_explained_in_words(job, table), about_seen))),
        "notes": [*([about_seen] if about_seen else []), *_run_notes(job, table, first)],
        "provenance": rests_on,
        "seen": seen,
    }
    folder.write_json("results.json", summary)
    if summary["n"] == len(job.ids):
        for line in summary["notes"]:
            log.info("%s", line)
        progress(1.0, _in_words(summary["n"], summary["label_unknown"]))


def _in_words(n: int, label_unknown: Mapping[str, int]) -> str:
    instead = sum(label_unknown.values())
    other = f", {instead} of them for the predicted class: their label is none of the network's" if instead else ""
    return f"{n:,} images explained{other}"


def _explained_in_words(job: _Job, table: pd.DataFrame) -> str:
    """Return how many maps there are, of how many X-rays and patients, and how many are not to be trusted."""
    rows = job.manifest.select(ids=list(dict.fromkeys(table["image_id"]))).table
    doubtful = int((table["concerns"] != "").sum()) or "none"
    maps = f"{len(table):,} map{'' if len(table) == 1 else 's'} ({job.method.composite})"
    of = xrays(len(rows), len(set(patients_of(rows))))
    return f"{maps} of {of}, {doubtful} of them with concerns (see `concerns` in {INDEX})."


def _loaded(folder: RunFolder, params: ExplainParams) -> tuple[_Job, str]:
    from cxr.networks import load_network, resolve_device

    method = params.method()
    store = HeatmapStore.of(params.network)  # before the weights: should they change meanwhile, old keys stay unused
    model, description = load_network(params.network)
    model.to(resolve_device(params.device))
    targets = Targets.of(params.targets, model)
    manifest = _selected(params.data, params)
    batch = params.batch or BATCH
    own = own_slice(folder, manifest.ids, batch)
    cache = ImageCache.build(manifest.select(ids=list(own)), model.card.size)
    ids = [image_id for image_id in own if image_id in cache]
    job = _Job(
        folder=folder,
        model=model,
        manifest=manifest,
        cache=cache,
        labels=manifest.table.set_index("image_id")["label"],
        ids=ids,
        method=method,
        targets=targets,
        batch=batch,
        previews=safe_names(ids[: params.previews] if len(own) == len(manifest) else manifest.ids[: params.previews]),
        store=store,
    )
    return _precise(job), description


def _precise(job: _Job) -> _Job:
    """Return the job with its precision settled: bfloat16 is tried on the run's first image, float32 where it fails."""
    if job.method.precision is None or not job.ids:
        return job

    def trial() -> Trial:
        image = first_readable(job.manifest, job.model.card.size)
        tried = job.method.explain(job.model, image, _predictions(job.model, image)).trial
        assert tried is not None
        return tried

    record = decided_precision(job.folder, trial)
    log.info("%s", record["note"])
    method = job.method if record["used"] == job.method.precision else replace(job.method, precision=None)
    return replace(job, method=method, precision=record)


def _run_notes(job: _Job, table: pd.DataFrame, first: Heatmap | None) -> list[str]:
    notes = list(first.notes) if first else []
    note = job.precision.get("note", "") if job.precision else ""
    notes += [note] if note and note not in notes else []
    unknown_labels = _label_unknown(job, table)
    if unknown_labels:
        n, named = sum(unknown_labels.values()), ", ".join(f"{k or 'no label'}: {v}" for k, v in unknown_labels.items())
        notes.append(
            f"{n:,} X-ray{'s have' if n > 1 else ' has'} a label that the network does not know ({named}): the "
            "predicted class is explained there."
        )
    return notes


def _label_unknown(job: _Job, table: pd.DataFrame) -> dict[str, int]:
    """Count the X-rays by label that were to be explained for a label that is no class of the network."""
    if job.targets.word != LABEL:
        return {}
    labels = table["label"][~table["label"].isin(job.model.classes)]
    return {str(label): int(n) for label, n in labels.value_counts().items()}


def _selected(manifest: Manifest, params: ExplainParams) -> Manifest:
    if params.ids:
        chosen = manifest.select(ids=list(params.ids))
    else:
        chosen = manifest.select(split=params.split) if params.split else manifest
    if params.n:
        chosen = chosen.select(ids=chosen.ids[: params.n])
    if not len(chosen):
        raise ExplainError(f"split {params.split!r} has no images. Available: {', '.join(manifest.splits)}")
    return chosen


def _stream(job: _Job, progress: Progress) -> tuple[pd.DataFrame, Heatmap | None]:
    """Explain batch by batch until done or told to stop; return the index and one of the new maps."""
    maps, rows = _opened(job)
    done = {row["image_id"] for row in rows}
    todo = [(place, image_id) for place, image_id in enumerate(job.ids) if image_id not in done]
    first: Heatmap | None = None
    written = time.monotonic()
    for start in range(0, len(todo), job.batch):
        if job.folder.stop_requested():
            break
        new, heatmap = _one_batch(job, maps, todo[start : start + job.batch])
        rows, first = rows + new, first or heatmap
        if time.monotonic() - written > _INDEX_EVERY_S:
            write_index(job.folder, maps, rows)
            written = time.monotonic()
        n = len(done) + min(start + job.batch, len(todo))
        progress(0.99 * n / len(job.ids), f"{n:,} of {len(job.ids):,} images explained")
    _draw_missing_previews(job, rows)
    table = write_index(job.folder, maps, rows)
    return table, first or _first_of(job, rows)


def _opened(job: _Job) -> tuple[np.memmap, list[IndexRow]]:
    """Return the maps, opened again or made anew, and the rows of those that this run or its shards have done before.

    What a shard has done is taken over with the index written, before its file goes: twice on the disk is one shard.
    """
    maps, rows = _own_maps(job)
    for shard in finished_shards(job.folder):
        taken = _take_over(job, shard.path, maps)
        if taken:
            done = {row["image_id"] for row in taken}
            rows = [row for row in rows if row["image_id"] not in done] + taken
            write_index(job.folder, maps, rows)
        (shard.path / STORE).unlink(missing_ok=True)
    return maps, rows


def _own_maps(job: _Job) -> tuple[np.memmap, list[IndexRow]]:
    shape = (len(job.ids) * job.n_targets, job.cache.size, job.cache.size)
    places = {image_id: place * job.n_targets for place, image_id in enumerate(job.ids)}
    try:
        maps = np.lib.format.open_memmap(job.folder.path / STORE, mode="r+")
        found = _valid_rows(job, job.folder.path)
        if (maps.shape, maps.dtype) == (shape, np.float16):
            return maps, [row for i, of_image in found.items() if of_image[0]["row"] == places[i] for row in of_image]
    except (OSError, ValueError):
        pass  # nothing yet, or written by an older version: begin anew
    return np.lib.format.open_memmap(job.folder.path / STORE, mode="w+", dtype=np.float16, shape=shape), []


def _take_over(job: _Job, shard: Path, maps: np.memmap) -> list[IndexRow]:
    """Copy what a shard has done to its place among the run's maps and previews, and return its rows there."""
    places = {image_id: place * job.n_targets for place, image_id in enumerate(job.ids)}
    rows: list[IndexRow] = []
    try:
        source = np.load(shard / STORE, mmap_mode="r")
        found = _valid_rows(job, shard)
    except (OSError, ValueError):
        return []  # none of its X-rays could be read, or it was taken over before
    for image_id, of_image in found.items():
        first, place = of_image[0]["row"], places[image_id]
        maps[place : place + job.n_targets] = source[first : first + job.n_targets]
        for t, row in enumerate(of_image):
            rows.append({**row, "row": place + t})
            preview = shard / PREVIEWS / f"{row['row']}.png"
            if image_id in job.previews and preview.exists():
                target = _preview_path(job, image_id, row["target"], place + t)
                target.parent.mkdir(exist_ok=True)
                preview.replace(target)
    return rows


def _valid_rows(job: _Job, folder: Path) -> dict[str, list[IndexRow]]:
    known = set(job.ids)
    return valid_rows(folder, job.store.folder.name, job.n_targets, lambda i: job.cache[i] if i in known else None)


def _one_batch(job: _Job, maps: np.memmap, pairs: Sequence[tuple[int, str]]) -> tuple[list[IndexRow], Heatmap]:
    ids = [image_id for _, image_id in pairs]
    images = job.cache.rows(ids)
    predicted = _predictions(job.model, images)
    targets = [job.targets_of(i, name) for i, name in zip(ids, predicted, strict=True)]
    pictures = [picture_digest(image) for image in images]
    explained = _explained(job, images, pictures, targets)
    rows: list[IndexRow] = []
    for i, (place, image_id) in enumerate(pairs):
        for t, heatmap in enumerate(explained[i]):
            row: IndexRow = {
                "image_id": image_id,
                "label": job.labels[image_id],
                "predicted": predicted[i],
                "weights": job.store.folder.name,
                "picture": pictures[i],
                **write_map(maps, place * job.n_targets + t, heatmap),
            }
            rows.append(row)
            if image_id in job.previews:
                _write_preview(job, image_id, images[i], heatmap, row["row"])
    return rows, explained[0][0]


def _explained(
    job: _Job, images: np.ndarray, pictures: list[str], targets: list[tuple[str, ...]]
) -> list[list[Heatmap]]:
    """Return the heatmaps of each image, from the store where it holds all of them."""
    trial = Trial.of(job.precision) if job.precision else True
    return stored_or_explained(job.store, job.method, job.model, images, pictures, targets, job.batch, trial)


def _predictions(model: XrayClassifier, images: np.ndarray) -> list[str]:
    import torch

    with torch.inference_mode():
        return [model.classes[k] for k in model(images).argmax(dim=1).tolist()]


def _write_preview(job: _Job, image_id: str, image: np.ndarray, heatmap: Heatmap, row: int) -> None:
    picture = figure(image, heatmap.relevance, legend=legend.lines(heatmap))
    path = _preview_path(job, image_id, heatmap.target, row)
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as draft:
        draft.write_bytes(to_png(picture))


def _preview_path(job: _Job, image_id: str, target: str, row: int) -> Path:
    name = job.previews[image_id]
    if job.n_targets > 1:
        name = f"{name}-{safe_names(job.model.classes)[target]}"
    return job.folder.path / PREVIEWS / f"{row if isinstance(job.folder, ShardFolder) else name}.png"


def _draw_missing_previews(job: _Job, rows: list[IndexRow]) -> None:
    """Draw what no shard has: its first X-rays are others where some cannot be read."""
    for row in rows:
        image_id = row["image_id"]
        if image_id in job.previews and not _preview_path(job, image_id, row["target"], row["row"]).exists():
            _write_preview(job, image_id, job.cache[image_id], _again(job, row), row["row"])


def _first_of(job: _Job, rows: list[IndexRow]) -> Heatmap | None:
    """Return a map of a run that had nothing left to do, for the legend."""
    return _again(job, min(rows, key=lambda row: row["row"])) if rows else None


def _again(job: _Job, row: IndexRow) -> Heatmap:
    """Return the heatmap of a row with its notes: from the store, or explained again."""
    return _explained(job, job.cache.rows([row["image_id"]]), [row["picture"]], [(row["target"],)])[0][0]
