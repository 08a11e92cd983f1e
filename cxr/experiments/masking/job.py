"""The text experiment: does a trained network lean on burned-in tokens?

Tokens are found on the original files (boxes corrected by hand go first), masked there, and the masked X-rays go
through the same resizing and the same network as before. A masked token also leaves a patch behind, so every image is
masked again with the controls of :mod:`cxr.experiments.masking.conditions`: only what goes beyond them can be blamed on
the text.

Files in the run folder

- ``predictions.parquet``: one row per image, with the predictions ``before``, ``after`` (tokens masked in the first
  mode) and ``control`` (random boxes, first draw) and how far they moved
- ``conditions.parquet``: one row per image and condition: condition, mode, draw, kept, predicted, logits, probabilities
  (a network of several findings predicts no class: there is no such column then), and ``picture_change``, the mean
  absolute change of grey of the network's picture
- ``boxes.parquet`` and ``control_boxes.parquet`` (every mode and draw, and the borrowed ones): pixels of the file
- ``results.json``: the numbers (:mod:`cxr.experiments.masking.results`)
- ``predicted.jsonl``, while the run works: what was predicted so far, for a run that is resumed
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cxr.data import Manifest
from cxr.evaluation.predict import predictions_table
from cxr.evaluation.provenance import provenance, with_opening
from cxr.evaluation.relation import is_own, refuse_new_splits
from cxr.evaluation.seen import marked_in_words, new_to
from cxr.evaluation.summary import with_targets
from cxr.evaluation.truth import annotated_in_training
from cxr.experiments.masking import example
from cxr.experiments.masking.conditions import BEFORE, Condition, Masking
from cxr.experiments.masking.effects import decisions_differ, limits_of, moved
from cxr.experiments.masking.one_image import CONDITIONS, masked_share
from cxr.experiments.masking.predictions import ConditionPredictions, predict_conditions
from cxr.experiments.masking.relevance import relevance_in_tokens
from cxr.experiments.masking.results import results_of
from cxr.experiments.masking.sentences import finding, selection_in_words
from cxr.experiments.masking.settings import Setting
from cxr.experiments.masking.shapes import MaskingNumbers, MaskingResults, Selection, Settings
from cxr.explain.store import weights_digest
from cxr.files import replacing
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL
from cxr.text.corrections import FileTokens
from cxr.text.search import in_split, search

if TYPE_CHECKING:
    from cxr.models import XrayClassifier
    from cxr.runs.folder import RunFolder

Progress = Callable[[float, str], None]

BOXES, CONTROL_BOXES, ALL_CONDITIONS = "boxes.parquet", "control_boxes.parquet", "conditions.parquet"
_JOURNAL = "predicted.jsonl"
_SEARCHED, _PREDICTED = 0.6, 0.9  # of the whole time, when nothing is cached


def run(folder: RunFolder, setting: Setting, progress: Progress) -> None:
    """Do the experiment, and write it down as the module says."""
    from cxr.networks import load_network, resolve_device, seen_by

    progress(0.0, "loading")
    digest = weights_digest(setting.model)  # before the weights: should they change meanwhile, nothing is taken over
    model, description = load_network(setting.model)
    model.to(resolve_device(setting.device))
    manifest, whole_manifest = _images_of(setting, model)
    rests_on = provenance(whole_manifest, setting.model)
    own = is_own(setting.model, model.card, whole_manifest)
    manifest, seen = new_to(seen_by(setting.model), manifest, model.card.size, own=own, include=setting.include_seen)
    file_tokens, left_out = search(
        manifest, lambda done, text: progress(_SEARCHED * done, text), folder.stop_requested, setting.workers
    )
    if folder.stop_requested():
        return
    rests_on = with_opening(rests_on, whole_manifest, list(file_tokens), folder.id, "text-experiment")
    predictions = predict_conditions(
        model,
        manifest,
        file_tokens,
        setting.masking,
        _between(progress, _SEARCHED, _PREDICTED),
        folder.stop_requested,
        folder.path / _JOURNAL,
        digest,
    )
    if predictions is None:
        return
    table = _table(whole_manifest, predictions, file_tokens, setting.masking, model)
    folder.write_predictions(table)
    _write_boxes(folder.path, predictions, file_tokens)
    with replacing(folder.path / ALL_CONDITIONS) as draft:
        predictions.long_table(model.classes).to_parquet(draft, index=False)
    answers = predictions.answers(table, setting.masking, model.classes)
    match = predictions.match(file_tokens, setting.masking)
    numbers = results_of(
        table, answers, predictions.left_in, model.classes, file_tokens, thresholds=model.card.thresholds, match=match
    )
    explain_progress = _between(progress, _PREDICTED, 0.99)
    relevance = relevance_in_tokens(
        model,
        manifest,
        file_tokens,
        predictions.controls,
        setting.masking,
        setting.explained,
        explain_progress,
        folder.stop_requested,
    )
    if folder.stop_requested():
        return
    example.explain_example(
        model, manifest, table, file_tokens, setting.masking.modes[0], setting.masking.margin, folder.path
    )
    measured: MaskingNumbers = {**numbers, "relevance": relevance}
    selection = _selection(setting)
    in_words = (selection_in_words(selection, measured, setting.split), finding(measured), marked_in_words(seen))
    results: MaskingResults = {
        **_settings_in_words(setting, description, left_out),
        **measured,
        "finding": " ".join(filter(None, in_words)),
        "seen": seen,
        "provenance": rests_on,
    }
    if selection is not None:
        results["selection"] = selection
    folder.write_json("results.json", results)
    (folder.path / _JOURNAL).unlink(missing_ok=True)
    progress(1.0, results["finding"])


def _between(progress: Progress, low: float, high: float) -> Progress:
    return lambda fraction, text: progress(low + (high - low) * fraction, text)


def _images_of(setting: Setting, model: XrayClassifier) -> tuple[Manifest, Manifest]:
    """Return the images to mask, and all of the data set: what its sources label tells which findings are absent."""
    manifest = setting.data
    refuse_new_splits(setting.model, model, manifest)
    chosen = in_split(manifest, setting.split)
    if setting.ids is not None:
        picked = set(setting.ids)
        chosen = chosen.select(ids=[image_id for image_id in chosen.ids if image_id in picked])
    return chosen.select(ids=chosen.ids[: setting.n]) if setting.n else chosen, manifest


def _selection(setting: Setting) -> Selection | None:
    """Return which X-rays of the split were chosen; None for all of it."""
    whole = len(in_split(setting.data, setting.split))
    if setting.ids is not None:
        return {"how": "picked", "n": min(len(setting.ids), setting.n or whole), "of": whole}
    return {"how": "first", "n": min(setting.n, whole), "of": whole} if setting.n else None


# --- one image, for pages ------------------------------------------------------------------------------------------


# --- files ---------------------------------------------------------------------------------------------------------

_OWN = ("predicted", "correct", "confidence")


def _table(
    manifest: Manifest,
    predictions: ConditionPredictions,
    file_tokens: Mapping[str, FileTokens],
    masking: Masking,
    model: XrayClassifier,
) -> pd.DataFrame:
    """Return one row per image: what it is, then every prediction with its condition as suffix, then what changed."""
    classes, task = model.classes, model.card.task
    leading = masking.modes[0]
    randoms = [predictions.logits[Condition("random", leading, draw)] for draw in range(masking.draws)]
    shown = (predictions.logits[BEFORE], predictions.logits[Condition("tokens", leading)], randoms[0])
    parts = {
        name: predictions_table(manifest, predictions.ids, logits, classes, task)
        for name, logits in zip(CONDITIONS, shown, strict=True)
    }
    per_condition = [
        *(_OWN if task == SINGLE_LABEL else ()),
        *(f"{kind}_{name}" for kind in ("logit", "prob") for name in classes),
    ]
    first = parts["before"].drop(columns=per_condition)
    if task == MULTI_LABEL:
        first = with_targets(first, manifest.table, classes, annotated_in_training(model.card))
    suffixed = [parts[name][per_condition].add_suffix(f"_{name}") for name in CONDITIONS]
    table = pd.concat([first, *suffixed], axis=1)
    limits = limits_of(model.card)
    table["changed"] = decisions_differ(shown[0], shown[1], task, limits)
    table["changed_control"] = decisions_differ(shown[0], shown[2], task, limits)
    table["moved"] = moved(shown[0], shown[1][None], task)
    table["moved_control"] = moved(shown[0], np.stack(randoms), task)
    table["n_boxes"] = [len(file_tokens[i].boxes) for i in predictions.ids]
    table["masked_share"] = [masked_share(file_tokens[i].boxes, masking, file_tokens[i].shape) for i in predictions.ids]
    table["reviewed"] = [file_tokens[i].reviewed for i in predictions.ids]
    return table


def _write_boxes(folder: Path, predictions: ConditionPredictions, file_tokens: Mapping[str, FileTokens]) -> None:
    columns = ["image_id", "x0", "y0", "x1", "y1", "text", "score", "kind"]
    tokens = [{"image_id": i} | box.to_dict() for i in predictions.ids for box in file_tokens[i].boxes]
    controls = [
        {"image_id": image_id, "mode": mode, "control": name, "draw": draw} | box.to_dict()
        for image_id, by_mode in predictions.controls.items()
        for mode, of in by_mode.items()
        for name, draws in (("random", of.random), ("other", (of.other,)))
        for draw, boxes in enumerate(draws)
        for box in boxes
    ]
    for name, rows, column_names in (
        (BOXES, tokens, columns),
        (CONTROL_BOXES, controls, ["image_id", "mode", "control", "draw", *columns[1:5]]),
    ):
        with replacing(folder / name) as draft:
            pd.DataFrame(rows, columns=column_names).to_parquet(draft, index=False)


def _settings_in_words(setting: Setting, description: str, left_out: list[dict[str, str]]) -> Settings:
    masking = setting.masking
    return {
        "model": description,
        "split": setting.split,
        "mode": masking.modes[0],
        "mask_modes": list(masking.modes),
        "margin": masking.margin,
        "draws": masking.draws,
        "seed": masking.seed,
        "left_out": [{"image_id": row["image_id"], "reason": row["reason"]} for row in left_out],
    }
