"""Protocol probes as a run: text is searched for, every X-ray is described in all views, then each probe is tested.

Files in the run folder: ``described.f16`` and ``described.jsonl`` (while the run works, see
:mod:`cxr.experiments.probes.described`; each shard has its own, and what it found of text), ``probes.csv`` (one row for
each probe), ``probe_predictions.parquet`` (what each probe says of each X-ray, :func:`predictions_table`) and
``results.json``. Text that is detected is kept in its store at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxr.errors import ManifestError
from cxr.evaluation.provenance import provenance
from cxr.experiments.probes.described import NO_LUNGS, Described, describe_all, forget
from cxr.experiments.probes.probing import predictions_table, probe
from cxr.experiments.probes.questions import FINDING, groups_of, questions_of, sample
from cxr.experiments.probes.results import KIND, NOTES, VIEWS, ProbeResults, finding, flat, ordered
from cxr.files import replacing
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL
from cxr.runs.shards.folders import finished_shards, own_slice
from cxr.text.search import images_of, search
from cxr.text.searched import read_searched, search_part

if TYPE_CHECKING:
    from cxr.data import Manifest
    from cxr.experiments.probes.settings import ProbeParams
    from cxr.runs.folder import RunFolder
    from cxr.text.corrections import FileTokens

__all__ = ["KIND", "probe_shard", "run"]

TABLE, PREDICTIONS = "probes.csv", "probe_predictions.parquet"
_TEXT, _DESCRIBED = 0.45, 0.8  # of the progress, once text is searched and X-rays are described
_BY_LUNGS = ("no-lungs", "border", "lungs")  # a border is shown without the lungs that reach into it

Progress = Callable[[float, str], None]


def run(folder: RunFolder, params: ProbeParams, progress: Progress) -> None:
    """Search, describe and probe, and write it down as the module says."""
    progress(0.0, "loading")
    available = images_of(str(params.manifest), params.split)
    manifest = sample(available, params.n, params.seed)
    shards = [shard.path for shard in finished_shards(folder)]
    described = _described(folder, manifest, params, progress, shards)
    if folder.stop_requested():
        return
    if not described.by_image:
        first = described.left_out[0]["reason"] if described.left_out else "no answer"
        raise ManifestError(f"none of the {len(manifest):,} X-rays can be read; the first: {first}")
    readable = manifest.select(ids=[image_id for image_id in manifest.ids if image_id in described.by_image])
    questions = questions_of(readable.table, params.by, params.seed)
    groups = groups_of(readable.table)
    views = [view for view in VIEWS if params.text or view != "text"]
    has_lungs = np.array([described.lungs_from[image_id] != NO_LUNGS for image_id in readable.ids])
    entries, predictions = probe(
        {view: _of_view(described, readable.ids, view) for view in views},
        questions,
        groups,
        usable=dict.fromkeys(_BY_LUNGS, has_lungs),
        seed=params.seed,
        progress=lambda done, text: progress(_DESCRIBED + (1 - _DESCRIBED) * done, text),
        stopped=folder.stop_requested,
    )
    if folder.stop_requested():
        return
    entries = ordered(entries)
    n_patients = len(np.unique(groups))
    sentences = finding(entries, len(readable), n_patients)
    counts = Counter(described.lungs_from[image_id] for image_id in readable.ids)
    results: ProbeResults = {
        "n_images": len(readable),
        "n_patients": n_patients,
        "n_available": len(available),
        "task": MULTI_LABEL if any(question.kind == FINDING for question in questions) else SINGLE_LABEL,
        "split": params.split,
        "text": params.text,
        "views": views,
        "masks": params.masks,
        "lungs_from": {name: counts[name] for name in (params.masks, NO_LUNGS)},
        "finding": sentences,
        "probes": entries,
        "left_out": described.left_out,
        "correction": "Holm",
        "notes": list(NOTES),
        "provenance": provenance(params.data),
    }
    with replacing(folder.path / TABLE) as draft:
        flat(entries).to_csv(draft, index=False)
    with replacing(folder.path / PREDICTIONS) as draft:
        predictions_table(predictions, readable.ids).to_parquet(draft, index=False)
    folder.write_json("results.json", results)
    forget(folder.path)
    progress(1.0, sentences)


def probe_shard(folder: RunFolder, params: ProbeParams, progress: Progress) -> None:
    """Search a shard's X-rays for text and describe them; the run's job takes that over without opening their files."""
    progress(0.0, "loading")
    whole = sample(images_of(str(params.manifest), params.split), params.n, params.seed)
    ids = own_slice(folder, whole.ids)
    if ids:
        own = whole.select(ids=ids)
        if params.text:
            search_part(
                folder.path,
                own,
                lambda done, text: progress(_TEXT * done, text),
                folder.stop_requested,
                params.workers,
            )
        if not folder.stop_requested():
            _described(folder, own, params, progress, [folder.path])


def _described(
    folder: RunFolder, manifest: Manifest, params: ProbeParams, progress: Progress, shards: Iterable[Path]
) -> Described:
    """Return the descriptors of a manifest's X-rays, with the text that was searched for before."""
    tokens: dict[str, FileTokens] = {}
    start = 0.0
    if params.text:
        start = _TEXT
        tokens, _ = search(
            manifest,
            lambda done, text: progress(_TEXT * done, text),
            folder.stop_requested,
            params.workers,
            read_searched(shards, manifest),
        )
        if folder.stop_requested():
            return Described()
    return describe_all(
        folder,
        manifest,
        params.masks,
        tokens,
        params.workers,
        lambda done, text: progress(start + (_DESCRIBED - start) * done, text),
        shards,
    )


def _of_view(described: Described, ids: list[str], view: str) -> np.ndarray:
    return np.stack([described.by_image[image_id][VIEWS.index(view)] for image_id in ids])
