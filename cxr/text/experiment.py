"""The text experiment: does a trained network lean on burned-in tokens?

Tokens are found on the original files, masked there, and the masked X-rays go through the same resizing and the same
network as before. A masked token also leaves a patch behind, so every image is masked a second time in random places
with boxes of the same sizes, off the tokens: only what goes beyond this **control** can be blamed on the text.

Files in the run folder: ``predictions.parquet`` (one row per image: predictions before, after and under the control),
``boxes.parquet`` and ``control_boxes.parquet`` (image_id, x0, y0, x1, y1, text, score, kind; pixels of the file) and
``results.json``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from cxr.data import Manifest, read_xray
from cxr.data.pool import WorkerDied, default_workers, map_in_order
from cxr.data.square import fit_square
from cxr.errors import ImageError, TextError, unknown
from cxr.evaluation.intervals import bootstrap
from cxr.evaluation.metrics import proportion, summarise
from cxr.evaluation.predict import predict, predictions_table
from cxr.text.boxes import TextBox, coverage
from cxr.text.controls import control_boxes
from cxr.text.detect import shared_detector
from cxr.text.mask import DEFAULT_MARGIN, MASK_MODES, grown_boxes, mask_text
from cxr.text.store import DetectionStore

if TYPE_CHECKING:
    from cxr.models import XrayClassifier
    from cxr.runs.folder import RunFolder

Progress = Callable[[float, str], None]

CONDITIONS = ("before", "after", "control")
BOXES, CONTROL_BOXES = "boxes.parquet", "control_boxes.parquet"
_DETECTING = 0.85  # of the whole time, when nothing is cached
_BATCH = 32
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Setting:
    """What a run was asked for, checked."""

    model: str
    manifest: str
    split: str
    mode: str
    margin: float
    seed: int
    workers: int | None
    limit: int | None

    @classmethod
    def of(cls, params: dict[str, Any]) -> Setting:
        """Read ``spec["params"]``; raises TextError for an unknown mask mode or a negative margin."""
        mode = params.get("mode") or "mean"
        if mode not in MASK_MODES:
            raise TextError(unknown("mask mode", mode, MASK_MODES))
        margin = float(params.get("margin", DEFAULT_MARGIN))
        grown_boxes([], margin, (1, 1))
        return cls(
            model=str(params["model"]),
            manifest=str(params["manifest"]),
            split=str(params.get("split", "test")),
            mode=mode,
            margin=margin,
            seed=int(params.get("seed", 0)),
            workers=params.get("workers"),
            limit=params.get("n"),
        )


def run(folder: RunFolder, spec: dict[str, Any], progress: Progress) -> None:
    """Do the experiment. Parameters in ``spec["params"]``:

    ``model`` (run id, weights file or shipped name), ``manifest`` (path or data set's name), ``split`` ("test"; ""
    takes every image), ``mode`` and ``margin`` of masking, optional ``seed`` of the control, ``workers`` of the
    detection and ``n`` (the first n images).
    """
    from cxr.evaluation.source import load_trained

    setting = Setting.of(spec["params"])
    progress(0.0, "loading")
    model, description = load_trained(setting.model)
    _check_task(model)
    manifest = _images_of(setting, model)
    boxes, left_out = _detect_all(folder, manifest, setting, progress)
    if folder.stop_requested():
        return
    conditions = _predict_all(folder, model, manifest, boxes, setting, progress)
    if conditions is None:
        return
    table = _table(manifest, conditions, boxes, model.classes)
    folder.write_predictions(table)
    _write_boxes(folder.path / BOXES, {i: boxes[i] for i in conditions.ids})
    _write_boxes(folder.path / CONTROL_BOXES, conditions.control_boxes)
    results = _settings_in_words(setting, str(description), left_out)
    results |= results_of(table, model.classes, {i: boxes[i] for i in conditions.ids}, setting.seed)
    folder.write_json("results.json", results)
    progress(1.0, results["finding"])


def _check_task(model: XrayClassifier) -> None:
    if model.card.task != "single-label":
        raise TextError(f"the text experiment compares single predictions, this network's task is {model.card.task!r}")


def _images_of(setting: Setting, model: XrayClassifier) -> Manifest:
    from cxr.data.library import resolve_manifest
    from cxr.evaluation.source import refuse_new_splits

    manifest = Manifest.load(resolve_manifest(setting.manifest))
    refuse_new_splits(setting.model, model, manifest)
    chosen = manifest.select(split=setting.split) if setting.split else manifest
    if setting.limit:
        chosen = chosen.select(ids=chosen.ids[: int(setting.limit)])
    if not len(chosen):
        raise TextError(f"split {setting.split!r} has no images. Available: {', '.join(manifest.splits) or 'none'}")
    return chosen


# --- detection -----------------------------------------------------------------------------------------------------


def detect_file(path: Path, threads: int | None = 1) -> list[TextBox] | str:
    """Return the tokens of an image file, from the store or found now, or the reason why it cannot be read."""
    try:
        image = read_xray(path)
    except ImageError as error:
        return str(error)
    return DetectionStore().detect(image, shared_detector(threads))


def _detect_all(
    folder: RunFolder, manifest: Manifest, setting: Setting, progress: Progress
) -> tuple[dict[str, list[TextBox]], list[dict[str, str]]]:
    """Return the tokens by image id and the images left out with their reason; stops when asked to."""
    ids = manifest.ids
    paths = [manifest.image_path(image_id) for image_id in ids]
    workers = default_workers() if setting.workers is None and len(ids) > 8 else setting.workers or 0
    # Side by side, one core each; alone, all of them.
    detect = partial(detect_file, threads=1 if workers else None)
    boxes: dict[str, list[TextBox]] = {}
    left_out = []
    results = cast("Generator[list[TextBox] | str | WorkerDied]", map_in_order(detect, paths, workers))
    for done, (image_id, result) in enumerate(zip(ids, results, strict=True), 1):
        if isinstance(result, str | WorkerDied):
            reason = result if isinstance(result, str) else "the search for text ended without an answer"
            left_out.append({"image_id": image_id, "reason": reason})
        else:
            boxes[image_id] = result
        progress(_DETECTING * done / len(ids), f"text searched on {done} of {len(ids)} images")
        if folder.stop_requested():
            results.close()
            break
    if not boxes and not folder.stop_requested():
        raise TextError(f"none of the {len(ids)} images can be read; the first: {left_out[0]['reason']}")
    return boxes, left_out


# --- predictions ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Conditions:
    """Logits (N, K) of the images ``ids`` by condition, masked shares (N,), and where the control boxes lay."""

    ids: list[str]
    logits: dict[str, np.ndarray]
    masked_share: np.ndarray
    control_boxes: dict[str, list[TextBox]]


def _predict_all(
    folder: RunFolder,
    model: XrayClassifier,
    manifest: Manifest,
    boxes: dict[str, list[TextBox]],
    setting: Setting,
    progress: Progress,
) -> Conditions | None:
    """Return the logits of all conditions, or None when a stop was asked for."""
    ids = list(boxes)
    logits: dict[str, list[np.ndarray]] = {condition: [] for condition in CONDITIONS}
    shares: list[float] = []
    controls: dict[str, list[TextBox]] = {}
    for start in range(0, len(ids), _BATCH):
        if folder.stop_requested():
            return None
        part = [masked_versions(manifest, i, boxes[i], setting, model.card.size) for i in ids[start : start + _BATCH]]
        for condition in CONDITIONS:
            logits[condition].append(predict(model, np.stack([p.images[condition] for p in part])))
        shares += [p.masked_share for p in part]
        controls |= dict(zip(ids[start : start + _BATCH], (p.control_boxes for p in part), strict=True))
        done = min(start + _BATCH, len(ids))
        progress(_DETECTING + (0.99 - _DETECTING) * done / len(ids), f"{done} of {len(ids)} images predicted")
    joined = {condition: np.concatenate(parts) for condition, parts in logits.items()}
    return Conditions(ids, joined, np.array(shares), controls)


@dataclass(frozen=True)
class Versions:
    """One image at the network's size, uint8 (size, size), by condition."""

    images: dict[str, np.ndarray]
    masked_share: float
    control_boxes: list[TextBox]


def masked_versions(
    manifest: Manifest, image_id: str, boxes: Sequence[TextBox], setting: Setting, size: int
) -> Versions:
    """Decode one image, mask it at its own size, and bring every version to the network's size as the cache does."""
    image = read_xray(manifest.image_path(image_id))
    before = fit_square(image, size)
    if not boxes:
        return Versions(dict.fromkeys(CONDITIONS, before), 0.0, [])
    grown = grown_boxes(boxes, setting.margin, image.shape)
    rng = np.random.default_rng([setting.seed, zlib.crc32(image_id.encode())])
    elsewhere = control_boxes(boxes, image.shape, rng, margin=setting.margin)
    masked = {
        "after": mask_text(image, boxes, setting.mode, setting.margin),
        "control": mask_text(image, elsewhere, setting.mode, setting.margin),
    }
    versions = {"before": before} | {name: fit_square(picture, size) for name, picture in masked.items()}
    return Versions(versions, float(coverage(grown, image.shape).mean()), elsewhere)


_OWN = ("predicted", "correct", "confidence")


def _table(
    manifest: Manifest, conditions: Conditions, boxes: dict[str, list[TextBox]], classes: Sequence[str]
) -> pd.DataFrame:
    """Return one row per image: what it is, then every prediction with its condition as suffix, then what changed."""
    parts = {name: predictions_table(manifest, conditions.ids, conditions.logits[name], classes) for name in CONDITIONS}
    per_condition = [*_OWN, *(f"{kind}_{name}" for kind in ("logit", "prob") for name in classes)]
    first = parts["before"].drop(columns=per_condition)
    suffixed = [parts[name][per_condition].add_suffix(f"_{name}") for name in CONDITIONS]
    table = pd.concat([first, *suffixed], axis=1)
    table["changed"] = table["predicted_before"] != table["predicted_after"]
    table["changed_control"] = table["predicted_before"] != table["predicted_control"]
    table["n_boxes"] = [len(boxes[i]) for i in conditions.ids]
    table["masked_share"] = conditions.masked_share
    return table


def _write_boxes(path: Path, boxes: dict[str, list[TextBox]]) -> None:
    rows = [{"image_id": image_id} | box.to_dict() for image_id, found in boxes.items() for box in found]
    columns = ["image_id", "x0", "y0", "x1", "y1", "text", "score", "kind"]
    temporary = path.with_suffix(".tmp")
    pd.DataFrame(rows, columns=columns).to_parquet(temporary, index=False)
    temporary.replace(path)


def _settings_in_words(setting: Setting, description: str, left_out: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "model": description,
        "split": setting.split,
        "mode": setting.mode,
        "margin": setting.margin,
        "seed": setting.seed,
        "left_out": left_out,
    }


# --- results -------------------------------------------------------------------------------------------------------


def results_of(
    table: pd.DataFrame, classes: Sequence[str], boxes: dict[str, list[TextBox]], seed: int = 0
) -> dict[str, Any]:
    """Return the numbers of ``results.json`` from the table of predictions.

    ``before``, ``after``, ``control`` are :func:`cxr.evaluation.metrics.summarise`; shares of changed predictions
    come with Wilson's interval, differences of accuracy (after minus before) with a bootstrap over patients and
    McNemar's exact p. ``mean_logit_change`` is over images with text only.
    """
    with_text = table[table["n_boxes"] > 0]
    kinds = pd.Series([box.kind for found in boxes.values() for box in found], dtype=str).value_counts()
    results: dict[str, Any] = {
        "classes": list(classes),
        "n_images": len(table),
        "n_with_text": len(with_text),
        "n_tokens": int(table["n_boxes"].sum()),
        "tokens_by_kind": {kind: int(n) for kind, n in kinds.items()},
        "masked_share_mean": float(with_text["masked_share"].mean()) if len(with_text) else 0.0,
    }
    results |= {name: summarise(condition_table(table, name), classes, seed=seed) for name in CONDITIONS}
    for name, suffix in (("after", ""), ("control", "_control")):
        changed = table[f"changed{suffix}"]
        results[f"n_changed{suffix}"] = int(changed.sum())
        results[f"changed_share{suffix}"] = proportion(int(changed.sum()), len(table))
        results[f"mean_logit_change{suffix}"] = _mean_logit_change(with_text, classes, name)
        results[f"accuracy_difference{suffix}"] = accuracy_difference(table, classes, name, seed)
    results["more_than_control_p"] = paired_p(table["changed"], table["changed_control"])
    results["changed"] = _changed(table)
    results["finding"] = finding(results)
    return results


def condition_table(table: pd.DataFrame, condition: str) -> pd.DataFrame:
    """Return the table of one condition in the form of plain predictions (``predicted``, ``logit_<class>``, ...)."""
    ending = f"_{condition}"
    mine = {c: c.removesuffix(ending) for c in table.columns if c.endswith(ending) and not c.startswith("changed")}
    return table[["image_id", "split", "label", "patient_id", "source", *mine]].rename(columns=mine)


def _mean_logit_change(with_text: pd.DataFrame, classes: Sequence[str], condition: str) -> dict[str, float | None]:
    if with_text.empty:
        return dict.fromkeys(classes)
    change = {c: with_text[f"logit_{c}_{condition}"] - with_text[f"logit_{c}_before"] for c in classes}
    return {c: float(values.mean()) for c, values in change.items()}


def accuracy_difference(table: pd.DataFrame, classes: Sequence[str], condition: str, seed: int = 0) -> dict[str, Any]:
    """Return accuracy under ``condition`` minus before: value, low, high, McNemar's exact p, and both flip counts."""
    table = table[table["label"].isin(classes)]
    if table.empty:
        return dict.fromkeys(("value", "low", "high", "p", "became_wrong", "became_right"))
    before, after = (table[f"correct_{name}"].to_numpy(bool) for name in ("before", condition))
    difference = after.astype(float) - before
    groups = [patient or f"image {i}" for patient, i in zip(table["patient_id"], table["image_id"], strict=True)]
    (limits,) = bootstrap(lambda weights: (weights @ difference / weights.sum(1))[:, None], groups, seed=seed)
    low, high = limits or (None, None)
    return {
        "value": float(difference.mean()),
        "low": low,
        "high": high,
        "p": paired_p(before, after),
        "became_wrong": int((before & ~after).sum()),
        "became_right": int((~before & after).sum()),
    }


def paired_p(first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray) -> float:
    """Return McNemar's exact two-sided p for two yes/no answers about the same images; 1 where they never differ."""
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    discordant = only_first + only_second
    return float(binomtest(only_first, discordant, 0.5).pvalue) if discordant else 1.0


def _changed(table: pd.DataFrame) -> list[dict[str, Any]]:
    columns = ["image_id", "label", "predicted_before", "predicted_after", "predicted_control", "n_boxes"]
    changed = table.loc[table["changed"], [*columns, "confidence_before"]]
    return changed.sort_values("confidence_before", ascending=False)[columns].to_dict("records")


def finding(results: dict[str, Any]) -> str:
    """Return the result in plain sentences with its uncertainty."""
    if not results["n_tokens"]:
        return f"No text was found on the {results['n_images']} images, so there is nothing to mask."
    return " ".join(_sentences(results))


def _sentences(results: dict[str, Any]) -> Iterator[str]:
    yield (
        f"Masking {results['n_tokens']} tokens on {results['n_with_text']} of {results['n_images']} images changes "
        f"{_percent(results['changed_share'])} of the predictions, random boxes of the same sizes "
        f"{_percent(results['changed_share_control'])}."
    )
    yield _verdict(results)
    difference = results["accuracy_difference"]
    if difference["value"] is not None:
        before, after = (100 * results[name]["accuracy"]["value"] for name in ("before", "after"))
        yield (
            f"Accuracy goes from {before:.1f} % to {after:.1f} % (difference {_points(difference)}, "
            f"McNemar p = {difference['p']:.2g})."
        )


def _verdict(results: dict[str, Any]) -> str:
    p, token, control = (results[k] for k in ("more_than_control_p", "n_changed", "n_changed_control"))
    if p >= _SIGNIFICANT:
        return f"The two cannot be told apart (p = {p:.2g}), so this does not show that the text matters."
    if token > control:
        return f"The tokens matter more than patches of their size (p = {p:.2g})."
    return f"Random boxes change more than the tokens do (p = {p:.2g}): the text matters less than what lies elsewhere."


def _percent(share: dict[str, float | None]) -> str:
    if share["value"] is None:
        return "0 %"
    value, low, high = (100 * (share[key] or 0.0) for key in ("value", "low", "high"))
    return f"{value:.1f} % [{low:.1f}, {high:.1f}]"


def _points(difference: dict[str, Any]) -> str:
    value = f"{100 * difference['value']:+.1f} points"
    if difference["low"] is None:
        return value
    return f"{value} [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"
