"""The job ``evaluate``: a trained network on splits of a manifest, in a run folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from cxr.data import ImageCache, Manifest
from cxr.errors import ManifestError
from cxr.evaluation.metrics import headline, summarise
from cxr.evaluation.predict import predict, predictions_table
from cxr.evaluation.source import load_trained, refuse_new_splits
from cxr.models.backbone import XrayClassifier
from cxr.networks import resolve_device
from cxr.runs.folder import RunFolder, Stopped

log = logging.getLogger(__name__)

EVERYTHING = "all"
NOT_FOR_MEASURING = ("train", "")


def evaluate(folder: RunFolder, spec: dict[str, Any], *, progress: Callable[[float, str], None] | None = None) -> None:
    """Measure a trained network; writes predictions.parquet and results.json.

    ``spec["params"]``: ``run`` or ``weights`` (see :func:`cxr.evaluation.source.load_trained`), ``manifest`` (a file),
    ``splits`` (names; by default all but train, or the whole manifest as ``all`` if it has no splits).

    Raises
    ------
    CxrError
        If the network or the manifest cannot be used.
    """
    params, tell = spec["params"], progress or (lambda fraction, message: None)
    network = params.get("run") or params.get("weights") or params["model"]
    model, description = load_trained(network)
    manifest = Manifest.load(params["manifest"])
    refuse_new_splits(network, model, manifest)
    by_split = images_to_measure(manifest, model.classes, params.get("splits"))
    log.info("%s on %s", description, {name: len(ids) for name, ids in by_split.items()})
    chosen = manifest.select(ids=[i for ids in by_split.values() for i in ids])
    cache = ImageCache.build(
        chosen, model.card.size, progress=lambda done, n: tell(0.5 * done / n, f"reading images {done}/{n}")
    )
    gone = set(cache.missing["image_id"])
    ids = [image_id for image_id in chosen.ids if image_id not in gone]

    def step(done: int, n: int) -> None:
        if folder.stop_requested():
            raise Stopped
        tell(0.5 + 0.45 * done / n, f"predicting {done}/{n}")

    logits = predict(model, cache, ids, device=resolve_device(params.get("device", "auto")), progress=step)
    table = predictions_table(manifest, ids, logits, model.classes)
    if EVERYTHING in by_split:
        table["split"] = EVERYTHING
    folder.write_predictions(table)
    folder.write_json("results.json", results(table, model, left_out=len(gone)) | {"network": description})
    tell(1.0, "finished")


def images_to_measure(
    manifest: Manifest, classes: Sequence[str], splits: Sequence[str] | None = None
) -> dict[str, list[str]]:
    """Return ``{split: ids}`` of the images whose label is among ``classes``.

    Raises
    ------
    ManifestError
        If a split is not there, or nothing is labelled with one of the classes.
    """
    labelled = manifest.table[manifest.table["label"].isin(list(classes))]
    present = sorted(set(manifest.table["split"]) - {""})
    if isinstance(splits, str):
        splits = [splits]
    for name in splits or ():
        if name not in present:
            raise ManifestError(f"split {name!r} is not in the manifest. Found: {', '.join(present) or 'none'}")
    if not present:
        found = {EVERYTHING: labelled["image_id"].tolist()}
    else:
        wanted = splits or [name for name in present if name not in NOT_FOR_MEASURING]
        found = {name: labelled.loc[labelled["split"] == name, "image_id"].tolist() for name in wanted}
    if not any(found.values()):
        labels = ", ".join(manifest.classes) or "none"
        raise ManifestError(f"no image is labelled with one of {', '.join(classes)}. Labels found: {labels}")
    return {name: ids for name, ids in found.items() if ids}


def results(table: Any, model: XrayClassifier, left_out: int = 0) -> dict[str, Any]:
    """Return what results.json holds: classes, ``splits`` (a summary each), images that could not be read."""
    splits = {
        str(name): summarise(rows, model.classes) for name, rows in table.groupby("split", sort=True) if len(rows)
    }
    for name, summary in splits.items():
        log.info("%s: accuracy %s", name, headline(summary))
    return {"classes": list(model.classes), "splits": splits, "unreadable": left_out}
