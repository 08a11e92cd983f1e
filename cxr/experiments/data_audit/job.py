"""The audit of a data set as a run: every X-ray is measured and searched for text, then each property is compared.

Files in the run folder: ``measured.jsonl`` (one line for each X-ray that was measured, kept while the run works and
read again when it is resumed; each shard has its own, and what it found of text, see :mod:`cxr.text.searched`),
``measured.parquet`` (image_id and what :func:`cxr.data.audit.properties.measure` gives), ``properties.csv`` (one row
for each property) and ``results.json``.
Text that is detected is kept in its store at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pandas as pd

from cxr.data.audit.journal import read_journal
from cxr.data.audit.properties import Properties, measure
from cxr.data.images.pool import WorkerDied, map_in_order
from cxr.errors import ManifestError
from cxr.evaluation.metrics import patients_of
from cxr.evaluation.provenance import provenance
from cxr.experiments.data_audit.classes import Classes, classes_of
from cxr.experiments.data_audit.property_values import (
    Property,
    manifest_properties,
    measured_properties,
    missing_by_class,
    text_properties,
)
from cxr.experiments.data_audit.results import NOTES, AuditResults, ClassSize, LeftOut, associations, finding, flat
from cxr.experiments.vocabulary.count import tokens_in
from cxr.files import replacing
from cxr.runs.shards.folders import finished_shards, own_slice
from cxr.text.search import images_of, search
from cxr.text.searched import read_searched, search_part

if TYPE_CHECKING:
    from cxr.data import Manifest
    from cxr.experiments.data_audit.settings import AuditParams
    from cxr.runs.folder import RunFolder
    from cxr.runs.shards.folders import ShardFolder
    from cxr.text.corrections import FileTokens

KIND = "audit-data"
MEASURED, TABLE = "measured.parquet", "properties.csv"

_JOURNAL = "measured.jsonl"

Progress = Callable[[float, str], None]


def run(folder: RunFolder, params: AuditParams, progress: Progress) -> None:
    """Measure, search and compare, and write it down as the module says."""
    progress(0.0, "loading")
    manifest = images_of(str(params.manifest), params.split)
    shards = [shard.path for shard in finished_shards(folder)]
    end_of_measuring = 0.3 if params.text else 0.9
    measured, left_out = measure_all(
        folder, manifest, params.workers, lambda done, text: progress(end_of_measuring * done, text), shards
    )
    if folder.stop_requested():
        return
    if not measured:
        raise ManifestError(f"none of the {len(manifest):,} X-rays can be read; the first: {left_out[0]['reason']}")
    readable = manifest.select(ids=list(measured))
    tokens: dict[str, FileTokens] = {}
    if params.text:
        span = 0.9 - end_of_measuring
        tokens, _ = search(
            readable,
            lambda done, text: progress(end_of_measuring + span * done, text),
            folder.stop_requested,
            params.workers,
            read_searched(shards, readable),
        )
    if folder.stop_requested():
        return
    classes = classes_of(readable.table, params.by)
    properties = properties_of(readable, measured, tokens if params.text else None)
    images = readable.table[["image_id", "patient_id"]]
    entries = associations(
        properties,
        images,
        classes,
        params.seed,
        lambda done: progress(0.9 + 0.09 * done, "comparing properties with the class"),
    )
    sentences = finding(entries, images, classes)
    results: AuditResults = {
        "n_images": len(readable),
        "n_patients": len(set(patients_of(images))),
        "task": classes.task,
        "classes": list(classes.names),
        "by_class": _class_sizes(images, classes),
        "split": params.split,
        "text": params.text,
        "finding": sentences,
        "properties": entries,
        "missing": missing_by_class(readable.table, classes.targets, classes.names),
        "left_out": left_out,
        "correction": "Holm",
        "notes": list(NOTES),
        "provenance": provenance(params.data),
    }
    _write_tables(folder.path, measured, flat(entries))
    folder.write_json("results.json", results)
    progress(1.0, sentences)


def audit_shard(folder: ShardFolder, params: AuditParams, progress: Progress) -> None:
    """Measure a shard's images and search them for text; the run's job takes that over without opening their files."""
    progress(0.0, "loading")
    whole = images_of(str(params.manifest), params.split)
    ids = own_slice(folder, whole.ids)
    if not ids:
        return
    end_of_measuring = 0.3 if params.text else 1.0
    measured, _ = measure_all(
        folder,
        whole.select(ids=ids),
        params.workers,
        lambda done, text: progress(end_of_measuring * done, text),
    )
    if not params.text or not measured or folder.stop_requested():
        return
    search_part(
        folder.path,
        whole.select(ids=list(measured)),
        lambda done, text: progress(end_of_measuring + (1 - end_of_measuring) * done, text),
        folder.stop_requested,
        params.workers,
    )


def measure_all(
    folder: RunFolder, manifest: Manifest, workers: int | None, progress: Progress, shards: Iterable[Path] = ()
) -> tuple[dict[str, Properties], list[LeftOut]]:
    """Return the properties by image id, and the images left out with their reason.

    What an earlier turn did, or a shard whose folder is given, is kept; failures are tried again. Ends early where a
    stop was requested.
    """
    journal = folder.path / _JOURNAL
    done: dict[str, Properties | str] = read_journal(journal)
    for shard in shards:
        done |= read_journal(shard / _JOURNAL)
    todo = [image_id for image_id in manifest.ids if image_id not in done]
    answers = cast(
        "Generator[Properties | str | WorkerDied]",
        map_in_order(measure, [manifest.image_path(image_id) for image_id in todo], workers),
    )
    with journal.open("a", encoding="utf-8") as lines:
        for image_id, answer in zip(todo, answers, strict=True):
            done[image_id] = "the decoder ended without an answer" if isinstance(answer, WorkerDied) else answer
            lines.write(json.dumps([image_id, done[image_id]]) + "\n")
            progress(len(done) / len(manifest), f"{len(done):,} of {len(manifest):,} X-rays measured")
            if folder.stop_requested():
                answers.close()
                break
    answered = [(image_id, done[image_id]) for image_id in manifest.ids if image_id in done]
    measured = {image_id: value for image_id, value in answered if not isinstance(value, str)}
    return measured, [{"image_id": i, "reason": reason} for i, reason in answered if isinstance(reason, str)]


def properties_of(
    manifest: Manifest, measured: dict[str, Properties], tokens: dict[str, FileTokens] | None
) -> list[Property]:
    """Return every property of a manifest's X-rays, in the order of its rows; ``tokens`` None leaves out the text."""
    table = pd.DataFrame([measured[image_id] for image_id in manifest.ids])
    properties = [*manifest_properties(manifest.table), *measured_properties(table)]
    if tokens is not None:
        properties += text_properties(words_of(tokens), manifest.ids)
    return properties


def words_of(tokens: dict[str, FileTokens]) -> dict[str, list[list[str]]]:
    """Return by image id the words of each of its boxes: ``[["PORTABLE", "<date>"], ["L"]]``."""
    return {image_id: [tokens_in(box.text) for box in of.boxes] for image_id, of in tokens.items()}


def _class_sizes(images: pd.DataFrame, classes: Classes) -> dict[str, ClassSize]:
    patients = pd.Series(patients_of(images))
    chosen = {name: classes.targets[:, k] == 1 for k, name in enumerate(classes.names)}
    return {name: {"images": int(own.sum()), "patients": patients[own].nunique()} for name, own in chosen.items()}


def _write_tables(folder: Path, measured: dict[str, Properties], entries: pd.DataFrame) -> None:
    rows = [{"image_id": image_id, **values} for image_id, values in measured.items()]
    with replacing(folder / MEASURED) as draft:
        pd.DataFrame(rows).to_parquet(draft, index=False)
    with replacing(folder / TABLE) as draft:
        entries.to_csv(draft, index=False)
    (folder / _JOURNAL).unlink(missing_ok=True)
