"""The relevance budget as a run: heatmaps shared out among regions, and each region removed.

Files in the run folder: ``rows.jsonl`` (one line for each image that is done, kept while the run works and read again
when it is resumed), ``images.parquet`` (one row for each image and explained class, see
:func:`cxr.experiments.relevance.results.images_table`), ``regions.csv`` (one row for each region and group) and
``results.json``. Heatmaps of explaining runs by the same network and method are taken over, and those that are computed
go to the store that pages read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cxr.data import ImageCache, Manifest
from cxr.evaluation.metrics import patients_of
from cxr.evaluation.provenance import provenance, with_opening
from cxr.evaluation.relation import refuse_new_splits
from cxr.evaluation.seen import marked, marked_in_words
from cxr.experiments.relevance.entries import planted_results, region_entries, table_of, with_relevance
from cxr.experiments.relevance.measure import ImageRow, Measure, RegionRow, Subject
from cxr.experiments.relevance.picture_regions import RegionMaker
from cxr.experiments.relevance.planted import MOST_MARKED, PlantedRow
from cxr.experiments.relevance.results import IMAGES, KIND, NOTES, RelevanceResults, flat
from cxr.experiments.relevance.sentences import finding
from cxr.explain.run_files import RunMaps
from cxr.explain.settings import ALL, LABEL, Targets
from cxr.explain.store import HeatmapStore
from cxr.files import replacing
from cxr.models.card import MULTI_LABEL
from cxr.text.corrections import FileTokens
from cxr.text.search import in_split, search

if TYPE_CHECKING:
    from cxr.experiments.relevance.settings import RelevanceParams
    from cxr.models import XrayClassifier
    from cxr.runs.folder import RunFolder

TABLE = "regions.csv"

_JOURNAL = "rows.jsonl"
_BATCH = 4
_SEARCHED = 0.3  # of the whole time, when nothing is stored

Progress = Callable[[float, str], None]


def run(folder: RunFolder, params: RelevanceParams, progress: Progress) -> None:
    """Do the run, or the rest of it, and write it down as the module says."""
    from cxr.networks import load_network, resolve_device, seen_by

    progress(0.0, "loading")
    store = HeatmapStore.of(params.network)
    model, description = load_network(params.network)
    model.to(resolve_device(params.device))
    refuse_new_splits(params.network, model, params.data)
    method, targets = params.method(), Targets.of(params.targets, model)
    whole = in_split(params.data, params.split)
    drawn = drawn_ids(whole.ids, params.limit, params.seed)
    cache = ImageCache.build(whole.select(ids=[i for i in whole.ids if i in drawn]), model.card.size)
    manifest = whole.select(ids=list(cache.ids))
    tokens: dict[str, FileTokens] = {}
    if params.text:
        tokens, _ = search(
            manifest, lambda done, text: progress(_SEARCHED * done, text), folder.stop_requested, params.workers
        )
    if folder.stop_requested():
        return
    measure = Measure(
        model, method, targets, store, RunMaps.of(store.folder.name, method), params.draws, params.border, params.seed
    )
    maker = RegionMaker.of(manifest, params.lungs, params.text, params.border)
    marks = {i for i in sorted(drawn, key=drawn.__getitem__)[:MOST_MARKED] if params.planted}
    start = _SEARCHED if params.text else 0.0
    rows = _measured(
        folder,
        measure,
        maker,
        cache,
        manifest,
        tokens,
        marks,
        lambda done, text: progress(start + (0.98 - start) * done, text),
    )
    if rows is None:
        return
    table = table_of(rows, _patients(manifest), _truth(manifest, model))
    entries, planted = region_entries(table, params.seed), planted_results(table, params.seed)
    n_patients = len(set(table["patient"]))
    seen = marked(seen_by(params.network), manifest, model.card.size)
    record = provenance(params.data, params.network)
    rests_on = with_opening(record, params.data, manifest.ids, folder.id, KIND)
    sentences = finding(
        entries, planted, len(manifest), n_patients, _explained_in_words(targets, model), method.composite
    )
    results: RelevanceResults = {
        "model": description,
        "task": model.card.task,
        "classes": list(model.classes),
        "split": params.split,
        "composite": method.composite,
        "bias": method.bias,
        "options": dict(method.options),
        "targets": str(targets),
        "text": params.text,
        "border": params.border,
        "draws": params.draws,
        "of": len(whole),
        "n_images": len(manifest),
        "n_patients": n_patients,
        "n_maps": len(table),
        "without_relevance": len(table) - len(with_relevance(table)),
        "lungs": maker.lungs,
        "lungs_by_source": dict(Counter(table.drop_duplicates("image_id")["lungs"].tolist())),
        "heatmaps": measure.counts,
        "regions": entries,
        "planted": planted,
        "finding": " ".join(filter(None, (sentences, marked_in_words(seen)))),
        "notes": [*NOTES, _lungs_in_words(maker.lungs)],
        "left_out": [{"image_id": i, "reason": r} for i, r in cache.missing[["image_id", "reason"]].values.tolist()],
        "correction": "Holm",
        "provenance": rests_on,
        "seen": seen,
    }
    with replacing(folder.path / IMAGES) as draft:
        table.to_parquet(draft, index=False)
    with replacing(folder.path / TABLE) as draft:
        flat(entries).to_csv(draft, index=False)
    folder.write_json("results.json", results)
    (folder.path / _JOURNAL).unlink(missing_ok=True)
    progress(1.0, sentences)


def drawn_ids(ids: Sequence[str], limit: int, seed: int) -> dict[str, int]:
    """Return up to ``limit`` ids (0: all) with their places in the draw."""
    order = np.random.default_rng(seed).permutation(len(ids))[: limit or None]
    return {ids[k]: place for place, k in enumerate(order)}


def _measured(
    folder: RunFolder,
    measure: Measure,
    maker: RegionMaker,
    cache: ImageCache,
    manifest: Manifest,
    tokens: Mapping[str, FileTokens],
    marks: set[str],
    progress: Progress,
) -> list[ImageRow] | None:
    """Return the rows of all images, those of an earlier turn as they are; None when stopped."""
    journal = folder.path / _JOURNAL
    done = read_journal(journal)
    todo = [image_id for image_id in manifest.ids if image_id not in done]
    labels = dict(zip(manifest.table["image_id"], manifest.table["label"], strict=True))
    with journal.open("a", encoding="utf-8") as lines:
        for start in range(0, len(todo), _BATCH):
            if folder.stop_requested():
                return None
            subjects = []
            for image_id in todo[start : start + _BATCH]:
                boxes = tokens[image_id].boxes if image_id in tokens else ()
                regions, source = maker.regions(image_id, boxes, cache.size)
                subjects.append(
                    Subject(image_id, cache[image_id], regions, source, labels[image_id], image_id in marks)
                )
            for row in measure.rows(subjects):
                done.setdefault(row.image_id, []).append(row)
            for subject in subjects:
                lines.write(json.dumps([asdict(row) for row in done[subject.image_id]]) + "\n")
            lines.flush()
            progress(len(done) / len(manifest), f"{len(done):,} of {len(manifest):,} X-rays measured")
    return [row for image_id in manifest.ids for row in done[image_id]]


def read_journal(path: Path) -> dict[str, list[ImageRow]]:
    """Return the rows by image id that whole lines of the journal hold; the last one may have been cut off."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return {rows[0].image_id: rows for rows in map(_rows_of, whole.splitlines())}


def _rows_of(line: str) -> list[ImageRow]:
    return list(_each_row(line))


def _each_row(line: str) -> Iterator[ImageRow]:
    for values in json.loads(line):
        regions = {name: RegionRow(**own) for name, own in values.pop("regions").items()}
        planted = values.pop("planted")
        yield ImageRow(**values, regions=regions, planted=PlantedRow(**planted) if planted else None)


def _patients(manifest: Manifest) -> dict[str, str]:
    return dict(zip(manifest.table["image_id"], patients_of(manifest.table), strict=True))


def _truth(manifest: Manifest, model: XrayClassifier) -> dict[str, str]:
    column = "findings" if model.card.task == MULTI_LABEL else "label"
    values: pd.Series = manifest.table[column].fillna("")
    return dict(zip(manifest.table["image_id"], values, strict=True))


def _explained_in_words(targets: Targets, model: XrayClassifier) -> str:
    if targets.name:
        return f"the class {targets.name}"
    if targets.word == ALL:
        return "every class"
    if targets.word == LABEL:
        return "the labelled class"
    return "the most probable class" if model.card.task == MULTI_LABEL else "the predicted class"


def _lungs_in_words(lungs: str) -> str:
    words = {
        "manifest": "Lung masks are those of the data for every X-ray.",
        "segmentation": "The lungs are segmented for every X-ray, also where the data have masks, so that all are "
        "measured alike; where the segmentation is not plausible, a box stands for them.",
        "box": "The lungs are a box where lungs usually are: shares of them are rough.",
    }
    return words[lungs]
