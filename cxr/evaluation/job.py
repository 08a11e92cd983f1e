"""The job ``evaluate``: a trained network on splits of a manifest, in a run folder."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from cxr.data import ImageCache, Manifest
from cxr.data.images.image_cache import NothingReadableError
from cxr.data.openings import locked_splits
from cxr.errors import WeightsError
from cxr.evaluation.metrics import headline
from cxr.evaluation.multilabel import thresholds_in_words
from cxr.evaluation.predict import predict, predictions_table
from cxr.evaluation.provenance import provenance, with_opening
from cxr.evaluation.relation import is_own, refuse_new_splits, relation_to_training
from cxr.evaluation.results import Brief, EvaluationResults, Outputs, SeenRecord, Summary
from cxr.evaluation.scores.further import further_scores, temperature_of
from cxr.evaluation.seen import (
    INCLUDED,
    SeenAmong,
    facts,
    measured_rows,
    n_patients_seen,
    n_seen,
    seen_among,
    seen_in_words,
    whole_because,
)
from cxr.evaluation.selection import EXTERNAL, NOT_KNOWN, Selection, select, sentences
from cxr.evaluation.settings import EvaluationParams
from cxr.evaluation.shards import BATCH, logits_of, write_logits
from cxr.evaluation.summary import summarise_predictions, with_targets
from cxr.evaluation.truth import annotated_in_training, renamed
from cxr.models.card import MULTI_LABEL, ModelCard
from cxr.models.checksums import sha256_of
from cxr.networks import load_network, network_file, resolve_device, seen_by
from cxr.runs.folder import RunFolder, Stopped
from cxr.runs.shards.folders import ShardFolder, own_slice

log = logging.getLogger(__name__)


def evaluate(
    folder: RunFolder, params: EvaluationParams, *, progress: Callable[[float, str], None] | None = None
) -> None:
    """Measure a trained network; writes predictions.parquet and results.json.

    Raises
    ------
    CxrError
        If the network or the manifest cannot be used.
    """
    tell = progress or (lambda fraction, message: None)
    network, aliases = params.network, params.aliases
    weights = sha256_of(network_file(network))
    model, description = load_network(network)
    card = model.card
    _refuse_a_single_class(card)
    refuse_new_splits(network, model, params.data)
    rests_on = provenance(params.data, network)
    tell(0.0, "comparing the data with those of the training")
    manifest, selection, relation = _selected(params, card)
    log.info("%s on %s", description, {name: len(ids) for name, ids in selection.by_split.items()})
    chosen = manifest.select(ids=selection.ids)
    cache = ImageCache.build(
        chosen, card.size, progress=lambda done, n: tell(0.5 * done / n, f"reading images {done:,}/{n:,}")
    )
    among = seen_among(seen_by(network), chosen, cache)
    if among.use and relation == EXTERNAL:  # strangers by name and file, not by picture
        selection = _selection(manifest, params, card, NOT_KNOWN)
    selection = selection.without(cache.missing["image_id"])
    ids = selection.ids

    def step(done: int, n: int) -> None:
        if folder.stop_requested():
            raise Stopped
        tell(0.5 + 0.45 * done / n, f"predicting {done:,}/{n:,}")

    logits = logits_of(folder, model, weights, cache, ids, resolve_device(params.device), step)
    table = table_of(manifest, selection, logits, card, among)
    folder.write_predictions(table)
    own, include = is_own(network, card, manifest), params.include_seen
    summary = results(table, card, selection, among, own=own, include_seen=include)
    summary["network"] = description
    summary["provenance"] = with_opening(rests_on, params.data, ids, folder.id, "evaluate")
    if aliases:
        summary["aliases"] = aliases
    folder.write_json("results.json", summary)
    tell(1.0, "finished")


def evaluate_shard(
    folder: ShardFolder, params: EvaluationParams, *, progress: Callable[[float, str], None] | None = None
) -> None:
    """Predict a shard's X-rays and write their logits; the run's job measures, and counts what cannot be read."""
    tell = progress or (lambda fraction, message: None)
    weights = sha256_of(network_file(params.network))
    model, _ = load_network(params.network)
    tell(0.0, "comparing the data with those of the training")
    manifest, selection, _ = _selected(params, model.card)
    ids = own_slice(folder, selection.ids, BATCH)
    if not ids:
        return

    def step(done: int, n: int) -> None:
        if folder.stop_requested():
            raise Stopped
        tell(0.5 + 0.5 * done / n, f"predicting {done:,}/{n:,}")

    with contextlib.suppress(NothingReadableError):
        cache = ImageCache.build(
            manifest.select(ids=ids),
            model.card.size,
            progress=lambda done, n: tell(0.5 * done / n, f"reading images {done:,}/{n:,}"),
        )
        ids = [image_id for image_id in ids if image_id in cache]
        logits = predict(model, cache, ids, batch=BATCH, device=resolve_device(params.device), progress=step)
        write_logits(folder, weights, cache, ids, logits)


def _selected(params: EvaluationParams, card: ModelCard) -> tuple[Manifest, Selection, str]:
    """Return the manifest in the network's names, which X-rays are measured, and their relation to the training."""
    data = params.data
    whole = params.splits or not data.splits
    relation = NOT_KNOWN if whole else relation_to_training(params.network, card, data)
    manifest = renamed(data, params.aliases, card.classes, card.task)
    return manifest, _selection(manifest, params, card, relation), relation


def _selection(manifest: Manifest, params: EvaluationParams, card: ModelCard, relation: str) -> Selection:
    annotated = annotated_in_training(card)
    locked = () if params.open_locked else locked_splits(params.data)
    return select(
        manifest, card.classes, card.task, params.splits, relation=relation, annotated=annotated, locked=locked
    )


def table_of(
    manifest: Manifest, selection: Selection, logits: np.ndarray, card: ModelCard, among: SeenAmong
) -> pd.DataFrame:
    """Return the predictions (logits (N, K)) of the selected images; of findings with what the data say of each.

    The column ``seen`` says what was done with an image in training: ``trained``, ``chosen``, ``patient`` (with another
    one of its patient), or "".
    """
    table = predictions_table(manifest, selection.ids, logits, card.classes, card.task)
    table["split"] = [name for name, ids in selection.by_split.items() for _ in ids]
    table["seen"] = among.column(selection.ids)
    if card.task != MULTI_LABEL:
        return table
    return with_targets(table, manifest.table, card.classes, annotated_in_training(card))


def results(
    table: pd.DataFrame,
    card: Outputs,
    selection: Selection,
    among: SeenAmong,
    *,
    own: bool = False,
    include_seen: bool = False,
) -> EvaluationResults:
    """Return what results.json holds: task, classes, ``splits`` (a summary each), what was measured and left out.

    ``measured`` and ``left_out`` are those of :meth:`Selection.to_dict`, ``seen`` is that of
    :func:`cxr.evaluation.seen.facts`, ``notes`` the same in words. The summaries are of the X-rays that are new to the
    network, unless there are none in a split, or ``own`` or ``include_seen`` says otherwise
    (:func:`cxr.evaluation.seen.whole_because`).
    """
    uses = {str(name): rows["seen"].tolist() for name, rows in table.groupby("split", sort=True)}
    whole = {name: whole_because(name, of, own=own, include=include_seen) for name, of in uses.items()}
    seen = facts(among, selection.by_split, whole)
    splits: dict[str, Summary] = {}
    temperature = temperature_of(table, card.classes, card.task)
    for name, rows in measured_rows(table, {"seen": seen}).groupby("split", sort=True):
        summary = summarise_predictions(rows, card.classes, card.task, card.thresholds)
        more = further_scores(rows, card.classes, card.task, temperature, card.thresholds)
        splits[str(name)] = {**summary, "absent": selection.absent.get(str(name), {}), "further": more}
    _compare(seen, table, card)
    counts = {name: summary["n"] for name, summary in splits.items()}
    record: EvaluationResults = {
        "task": card.task,
        "classes": list(card.classes),
        "splits": splits,
        "unreadable": selection.unreadable,
        **_without_seen(selection, counts, seen).to_dict(),
        "seen": seen,
    }
    for name, summary in splits.items():
        log.info("%s: %s", name, headline(summary))
    record["seen_notes"] = seen_in_words(seen)
    notes = [*sentences(record), *record["seen_notes"]]
    if card.task == MULTI_LABEL and splits:
        notes.append(thresholds_in_words(next(iter(splits.values()))))
    notes += about_patients(table)
    for line in notes:
        log.info("%s", line)
    record["notes"] = notes
    return record


def _without_seen(selection: Selection, counts: Mapping[str, int], seen: SeenRecord) -> Selection:
    patients = n_patients_seen(seen, left_out=True)
    return selection.without_seen(counts, n_seen(seen, left_out=True) - patients, patients)


def about_patients(table: pd.DataFrame) -> list[str]:
    """Return a sentence on intervals where patients are not known of all X-rays of a table with patient_id."""
    n = int((table["patient_id"] == "").sum())
    if not n:
        return []
    of = "of any X-ray" if n == len(table) else f"of {n:,} of {len(table):,} X-rays"
    return [
        f"No patient is known {of}: each of them counts as a patient of its own. "
        "Where some belong together, the intervals are too narrow."
    ]


def _compare(seen: SeenRecord, table: pd.DataFrame, card: Outputs) -> None:
    """Add to each split of which some X-rays were seen what the figures would be with them, or without them."""
    for name, counts in seen["splits"].items():
        rows = table[table["split"] == name]
        compared = rows if counts["left_out"] else rows[rows["seen"] == ""]
        if not len(compared):
            continue
        if counts["left_out"]:
            counts["with_them"] = _brief(summarise_predictions(compared, card.classes, card.task, card.thresholds))
        elif counts.get("why") == INCLUDED:
            counts["without_them"] = _brief(summarise_predictions(compared, card.classes, card.task, card.thresholds))


def _brief(summary: Summary) -> Brief:
    brief: Brief = {
        "task": summary["task"],
        "n": summary["n"],
        "n_patients": summary["n_patients"],
        "auc": summary["auc"],
    }
    if "accuracy" in summary:
        brief["accuracy"] = summary["accuracy"]
    return brief


def _refuse_a_single_class(card: ModelCard) -> None:
    """Refuse a network whose only class is always predicted: its accuracy would be 100 % whatever it had learnt."""
    if len(card.classes) < 2 and card.task != MULTI_LABEL:
        raise WeightsError(
            f"the network has the single class {card.classes[0]!r} and the task {card.task}: its probability is always "
            "1, so there is nothing to measure. Needed: two classes, or the task multi-label, where a class is "
            "present or absent (`cxr weights import ... --task multi-label`)"
        )
