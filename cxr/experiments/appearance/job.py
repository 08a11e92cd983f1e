"""The check of a data set as a run: every X-ray is opened once and looked at, then flags are raised.

Files in the run folder: ``looks.jsonl`` (one line for each X-ray that was looked at, kept while the run works and read
again when it is resumed; each shard has its own), ``flags.csv`` (one row for each flag, with label, source, split and
patient) and ``results.json``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from cxr.data.audit.appearance.children import children, is_child
from cxr.data.audit.appearance.flags import FlaggedImage, Look, child_flag, counts_of, flags_of, look_of, ranked
from cxr.data.audit.appearance.model import Model, shipped_model
from cxr.data.audit.appearance.picture import Picture, look
from cxr.data.audit.journal import read_journal
from cxr.data.images.pool import WorkerDied, map_in_order
from cxr.errors import ManifestError
from cxr.evaluation.metrics import patients_of
from cxr.evaluation.provenance import provenance
from cxr.experiments.appearance.results import (
    NOTES,
    CheckResults,
    LeftOut,
    finding,
    measured_false_alarms,
    table_of,
)
from cxr.files import replacing
from cxr.runs.shards.folders import finished_shards, own_slice
from cxr.text.search import images_of

if TYPE_CHECKING:
    from cxr.data import Manifest
    from cxr.experiments.appearance.settings import CheckParams
    from cxr.runs.folder import RunFolder
    from cxr.runs.shards.folders import ShardFolder

KIND = "check-data"
TABLE = "flags.csv"

_JOURNAL = "looks.jsonl"
_BATCH = 32  # pictures that the model looks at together

Progress = Callable[[float, str], None]


def run(folder: RunFolder, params: CheckParams, progress: Progress) -> None:
    """Look at every X-ray, raise flags, and write it down as the module says."""
    progress(0.0, "loading")
    manifest = images_of(str(params.manifest), params.split)
    looks, left_out = look_at_all(
        folder, manifest, params.workers, progress, [shard.path for shard in finished_shards(folder)]
    )
    if folder.stop_requested():
        return
    if not looks:
        raise ManifestError(f"none of the {len(manifest):,} X-rays can be read; the first: {left_out[0]['reason']}")
    readable = manifest.select(ids=list(looks))
    ages = children(readable.table)
    flags = _flags(readable, looks, flag_children=ages["flagged"])
    images = readable.table[["image_id", "patient_id"]]
    results: CheckResults = {
        "n_images": len(readable),
        "n_patients": len(set(patients_of(images))),
        "split": params.split,
        "flags": flags,
        "counts": dict(counts_of(flags)),
        "n_flagged": len({flag["image_id"] for flag in flags}),
        "children": ages,
        "false_alarms": measured_false_alarms(),
        "left_out": left_out,
        "finding": finding(flags, images, ages),
        "notes": list(NOTES),
        "provenance": provenance(params.data),
    }
    with replacing(folder.path / TABLE) as draft:
        table_of(flags, readable).to_csv(draft, index=False)
    folder.write_json("results.json", results)
    (folder.path / _JOURNAL).unlink(missing_ok=True)
    progress(1.0, results["finding"])


def check_shard(folder: ShardFolder, params: CheckParams, progress: Progress) -> None:
    """Look at a shard's X-rays; the run's job takes that over without opening their files."""
    progress(0.0, "loading")
    whole = images_of(str(params.manifest), params.split)
    ids = own_slice(folder, whole.ids)
    if ids:
        look_at_all(folder, whole.select(ids=ids), params.workers, progress)


def look_at_all(
    folder: RunFolder, manifest: Manifest, workers: int | None, progress: Progress, shards: Iterable[Path] = ()
) -> tuple[dict[str, Look], list[LeftOut]]:
    """Return what is kept of each X-ray by its id, and the images left out with their reason.

    What an earlier turn did, or a shard whose folder is given, is kept; failures are tried again. Ends early where a
    stop was requested.
    """
    journal = folder.path / _JOURNAL
    done: dict[str, Look | str] = read_journal(journal)
    for shard in shards:
        done |= read_journal(shard / _JOURNAL)
    todo = [image_id for image_id in manifest.ids if image_id not in done]
    answers = cast(
        "Generator[Picture | str | WorkerDied]",
        map_in_order(look, [manifest.image_path(image_id) for image_id in todo], workers),
    )
    with closing(answers), journal.open("a", encoding="utf-8") as lines:
        for image_id, answer in _appearing(todo, answers):
            done[image_id] = answer
            lines.write(json.dumps([image_id, answer]) + "\n")
            progress(0.98 * len(done) / len(manifest), f"{len(done):,} of {len(manifest):,} X-rays looked at")
            if folder.stop_requested():
                break
    answered = [(image_id, done[image_id]) for image_id in manifest.ids if image_id in done]
    looks = {image_id: value for image_id, value in answered if not isinstance(value, str)}
    return looks, [{"image_id": i, "reason": reason} for i, reason in answered if isinstance(reason, str)]


def _appearing(
    ids: Iterable[str], answers: Iterator[Picture | str | WorkerDied], model: Model | None = None
) -> Iterator[tuple[str, Look | str]]:
    """Yield what is kept of each X-ray, or why it cannot be read; the model looks at several together."""
    pairs = zip(ids, answers, strict=True)
    while batch := list(islice(pairs, _BATCH)):
        model = model or shipped_model()
        pictures = [(image_id, answer) for image_id, answer in batch if isinstance(answer, dict)]
        seen = model.look(np.stack([picture["small"] for _, picture in pictures])) if pictures else []
        looks = {i: look_of(picture, own) for (i, picture), own in zip(pictures, seen, strict=True)}
        for image_id, answer in batch:
            died = "the decoder ended without an answer"
            yield image_id, looks[image_id] if image_id in looks else answer if isinstance(answer, str) else died


def _flags(manifest: Manifest, looks: dict[str, Look], *, flag_children: bool) -> list[FlaggedImage]:
    limits = shipped_model().thresholds
    flags = [flag for image_id in manifest.ids for flag in flags_of(image_id, looks[image_id], limits)]
    if flag_children:
        young = manifest.table[is_child(manifest.table)]
        flags += [child_flag(str(i), float(age)) for i, age in zip(young["image_id"], young["age"], strict=True)]
    return ranked(flags)
