"""The vocabulary of a data set as a run: every image is searched for text, corrected boxes first, then counted.

Files in the run folder: ``images.parquet`` (one row per image searched: image_id, label, source, patient_id, split,
n_tokens, reviewed), ``tokens.parquet`` (image_id, x0, y0, x1, y1, text, score, kind, place; pixels of the file) and
``results.json``. What is detected is kept in the store at once, so a run that was stopped costs nothing twice. A shard
(:mod:`cxr.runs.shards`) writes what it found to ``searched.parquet`` (:mod:`cxr.text.searched`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from cxr.data import Manifest
from cxr.evaluation.provenance import provenance
from cxr.experiments.vocabulary.count import finding, place_of, vocabulary
from cxr.experiments.vocabulary.entries import VocabularyResults
from cxr.files import replacing
from cxr.runs.shards.folders import finished_shards, own_slice
from cxr.text.corrections import FileTokens
from cxr.text.search import images_of, search
from cxr.text.searched import read_searched, search_part

if TYPE_CHECKING:
    from cxr.experiments.vocabulary.settings import VocabularyParams
    from cxr.runs.folder import RunFolder
    from cxr.runs.shards.folders import ShardFolder

KIND = "text-vocabulary"
IMAGES, TOKENS = "images.parquet", "tokens.parquet"
FACTS = ("image_id", "label", "source", "patient_id", "split")
TOKEN_COLUMNS = ("image_id", "x0", "y0", "x1", "y1", "text", "score", "kind", "place")

Progress = Callable[[float, str], None]


def run(folder: RunFolder, params: VocabularyParams, progress: Progress) -> None:
    """Search and count, and write it down as the module says."""
    progress(0.0, "loading")
    manifest = images_of(str(params.manifest), params.split)
    known = read_searched((shard.path for shard in finished_shards(folder)), manifest)
    file_tokens, left_out = search(
        manifest, lambda done, text: progress(0.98 * done, text), folder.stop_requested, params.workers, known
    )
    if folder.stop_requested():
        return
    images, tokens = tables(manifest, file_tokens)
    for name, table in ((IMAGES, images), (TOKENS, tokens)):
        with replacing(folder.path / name) as draft:
            table.to_parquet(draft, index=False)
    progress(0.99, "counting")
    entries = vocabulary(images, tokens, min_images=params.min_images, join=params.join)
    sentences = finding(images, tokens, entries)
    results: VocabularyResults = {
        "n_images": len(images),
        "n_with_text": int((images["n_tokens"] > 0).sum()),
        "n_reviewed": int(images["reviewed"].sum()),
        "left_out": left_out,
        "finding": sentences,
        "vocabulary": entries,
        "provenance": provenance(params.data),
    }
    folder.write_json("results.json", results)
    progress(1.0, sentences)


def search_shard(folder: ShardFolder, params: VocabularyParams, progress: Progress) -> None:
    """Search a shard's images and write what was found; the run's job takes it over without opening their files."""
    progress(0.0, "loading")
    whole = images_of(str(params.manifest), params.split)
    ids = own_slice(folder, whole.ids)
    if not ids:
        return
    search_part(folder.path, whole.select(ids=ids), progress, folder.stop_requested, params.workers)


def tables(manifest: Manifest, file_tokens: dict[str, FileTokens]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return ``images`` and ``tokens`` as :func:`cxr.experiments.vocabulary.count.vocabulary` takes them."""
    images = manifest.select(ids=file_tokens).table[list(FACTS)].copy()
    images["n_tokens"] = [len(file_tokens[i].boxes) for i in images["image_id"]]
    images["reviewed"] = [file_tokens[i].reviewed for i in images["image_id"]]
    rows = [
        {"image_id": image_id, **box.to_dict(), "place": place_of(box, of.shape)}
        for image_id, of in file_tokens.items()
        for box in of.boxes
    ]
    return images, pd.DataFrame(rows, columns=list(TOKEN_COLUMNS))


def read_tables(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Return ``images`` and ``tokens`` of a run's folder, None before it has them."""
    files = [folder / name for name in (IMAGES, TOKENS)]
    if not all(file.is_file() for file in files):
        return None
    return pd.read_parquet(files[0]), pd.read_parquet(files[1])
