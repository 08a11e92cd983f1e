"""The text experiment: does a trained network lean on burned-in tokens?

Tokens are found on the original files (boxes corrected by hand go first), masked there, and the masked X-rays go
through the same resizing and the same network as before. A masked token also leaves a patch behind, so every image is
masked again with the controls of :mod:`cxr.text.conditions`: only what goes beyond them can be blamed on the text.

Files in the run folder

- ``predictions.parquet``: one row per image, with the predictions ``before``, ``after`` (tokens masked in the first
  mode) and ``control`` (random boxes, first draw) and how far they moved
- ``conditions.parquet``: one row per image and condition: condition, mode, draw, kept, predicted, logits, probabilities
  (a network of several findings predicts no class: there is no such column then), and ``picture_change``, the mean
  absolute change of grey of the network's picture
- ``boxes.parquet`` and ``control_boxes.parquet`` (every mode and draw, and the borrowed ones): pixels of the file
- ``results.json``: the numbers (:mod:`cxr.text.results`)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxr.data import Manifest, read_xray
from cxr.data.square import fit_square
from cxr.errors import TextError
from cxr.evaluation.predict import predictions_table
from cxr.evaluation.provenance import provenance
from cxr.evaluation.run import annotated_in_training
from cxr.evaluation.seen import marked, marked_in_words
from cxr.evaluation.summary import with_targets
from cxr.files import replacing
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL
from cxr.text import story
from cxr.text.asking import Asked, ask
from cxr.text.boxes import TextBox, coverage
from cxr.text.conditions import BEFORE, DEFAULT_DRAWS, Condition, Masking, controls_of, versions
from cxr.text.effects import decisions_differ, limits_of, moved
from cxr.text.mask import DEFAULT_MARGIN, DEFAULT_MODE, grown_boxes
from cxr.text.relevance import relevance_in_tokens
from cxr.text.results import results_of
from cxr.text.review import FileTokens
from cxr.text.search import in_split, search

if TYPE_CHECKING:
    from cxr.models import XrayClassifier
    from cxr.runs.folder import RunFolder

Progress = Callable[[float, str], None]

CONDITIONS = ("before", "after", "control")
"""What ``predictions.parquet`` holds of each image: nothing, tokens, random boxes (the first draw) masked."""
BOXES, CONTROL_BOXES, ALL_CONDITIONS = "boxes.parquet", "control_boxes.parquet", "conditions.parquet"
DEFAULT_EXPLAINED = 50
_SEARCHED, _PREDICTED = 0.6, 0.9  # of the whole time, when nothing is cached


@dataclass(frozen=True)
class Setting:
    """What a run was asked for, checked."""

    model: str
    manifest: str
    split: str = "test"
    masking: Masking = field(default_factory=Masking)
    workers: int | None = None
    limit: int | None = None
    explained: int = DEFAULT_EXPLAINED
    device: str = "auto"

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Setting:
        """Read ``spec["params"]``; raises TextError for what :class:`Masking` or the counts do not allow."""
        modes = params.get("modes") or params.get("mode") or DEFAULT_MODE
        masking = Masking(
            tuple(dict.fromkeys([modes] if isinstance(modes, str) else modes)),
            float(params.get("margin", DEFAULT_MARGIN)),
            int(params.get("draws", DEFAULT_DRAWS)),
            int(params.get("seed", 0)),
        )
        explained = int(params.get("explained", DEFAULT_EXPLAINED))
        if explained < 0:
            raise TextError(f"{explained} explained images are not possible. Accepted: 0 and above")
        return cls(
            model=str(params["model"]),
            manifest=str(params["manifest"]),
            split=str(params.get("split", "test")),
            masking=masking,
            workers=params.get("workers"),
            limit=params.get("n"),
            explained=explained,
            device=str(params.get("device") or "auto"),
        )


def run(folder: RunFolder, spec: dict[str, Any], progress: Progress) -> None:
    """Do the experiment. Parameters in ``spec["params"]``:

    ``model`` (run id, weights file or shipped name), ``manifest`` (path or data set's name), ``split`` ("test"; ""
    takes every image), ``modes`` (names of mask modes, the first of which leads; or ``mode`` for one), ``margin`` and
    ``draws`` as :class:`Masking` has them; optional ``seed`` of the controls, ``workers`` of the search, ``n`` (the
    first n images) and ``explained`` (how many X-rays with text get a heatmap; 0 for none).
    """
    from cxr.evaluation.source import load_trained, seen_by
    from cxr.networks import resolve_device

    setting = Setting.of(spec["params"])
    progress(0.0, "loading")
    model, description = load_trained(setting.model)
    model.to(resolve_device(setting.device))
    manifest, every = _images_of(setting, model)
    rests_on = provenance(every, setting.model)
    found, left_out = search(
        manifest, lambda done, text: progress(_SEARCHED * done, text), folder.stop_requested, setting.workers
    )
    if folder.stop_requested():
        return
    seen = marked(seen_by(setting.model), manifest.select(ids=found), model.card.size)
    asked = ask(
        model, manifest, found, setting.masking, _between(progress, _SEARCHED, _PREDICTED), folder.stop_requested
    )
    if asked is None:
        return
    table = _table(every, asked, found, setting.masking, model)
    folder.write_predictions(table)
    _write_boxes(folder.path, asked, found)
    with replacing(folder.path / ALL_CONDITIONS) as draft:
        asked.long_table(model.classes).to_parquet(draft, index=False)
    results = _settings_in_words(setting, str(description), left_out)
    answers = asked.answers(table, setting.masking, model.classes)
    match = asked.match(found, setting.masking)
    told = results_of(table, answers, asked.kept, model.classes, found, thresholds=model.card.thresholds, match=match)
    explain_progress = _between(progress, _PREDICTED, 0.99)
    relevance = relevance_in_tokens(
        model,
        manifest,
        found,
        asked.controls,
        setting.masking,
        setting.explained,
        explain_progress,
        folder.stop_requested,
    )
    if folder.stop_requested():
        return
    story.tell(model, manifest, table, found, setting.masking.modes[0], setting.masking.margin, folder.path)
    results |= told.with_relevance(relevance) | {"seen": seen, "provenance": rests_on}
    results["finding"] = " ".join(filter(None, (results["finding"], marked_in_words(seen))))
    folder.write_json("results.json", results)
    progress(1.0, results["finding"])


def _between(progress: Progress, low: float, high: float) -> Progress:
    return lambda fraction, text: progress(low + (high - low) * fraction, text)


def _images_of(setting: Setting, model: XrayClassifier) -> tuple[Manifest, Manifest]:
    """Return the images to mask, and all of the data set: what its sources label tells which findings are absent."""
    from cxr.data.library import resolve_manifest
    from cxr.evaluation.source import refuse_new_splits

    manifest = Manifest.load(resolve_manifest(setting.manifest))
    refuse_new_splits(setting.model, model, manifest)
    chosen = in_split(manifest, setting.split)
    return chosen.select(ids=chosen.ids[: int(setting.limit)]) if setting.limit else chosen, manifest


# --- one image, for pages ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Versions:
    """One image at the network's size, uint8 (size, size), by condition of :data:`CONDITIONS`."""

    images: dict[str, np.ndarray]
    masked_share: float
    control_boxes: list[TextBox]


def masked_versions(
    manifest: Manifest, image_id: str, boxes: Sequence[TextBox], setting: Setting, size: int
) -> Versions:
    """Decode one image, mask it at its own size, and bring every version to the network's size as the cache does."""
    image = read_xray(manifest.image_path(image_id))
    masking = Masking(setting.masking.modes[:1], setting.masking.margin, 1, setting.masking.seed)
    controls = controls_of(image_id, image, boxes, masking, size)
    names = {"tokens": "after", "random": "control"}
    pictures = dict.fromkeys(CONDITIONS, fit_square(image, size))
    for condition, picture in versions(image, boxes, controls, masking, size):
        pictures[names[condition.name]] = fit_square(picture, size)
    random = controls[masking.modes[0]].random[0]
    return Versions(pictures, masked_share(boxes, masking, image.shape), list(random))


def masked_share(boxes: Sequence[TextBox], masking: Masking, shape: Sequence[int]) -> float:
    """Return the share of the pixels of an image of ``shape`` that masking changes."""
    return float(coverage(grown_boxes(boxes, masking.margin, shape), shape).mean()) if boxes else 0.0


# --- files ---------------------------------------------------------------------------------------------------------

_OWN = ("predicted", "correct", "confidence")


def _table(
    manifest: Manifest, asked: Asked, found: Mapping[str, FileTokens], masking: Masking, model: XrayClassifier
) -> pd.DataFrame:
    """Return one row per image: what it is, then every prediction with its condition as suffix, then what changed."""
    classes, task = model.classes, model.card.task
    leading = masking.modes[0]
    randoms = [asked.logits[Condition("random", leading, draw)] for draw in range(masking.draws)]
    shown = (asked.logits[BEFORE], asked.logits[Condition("tokens", leading)], randoms[0])
    parts = {
        name: predictions_table(manifest, asked.ids, logits, classes, task)
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
    table["n_boxes"] = [len(found[i].boxes) for i in asked.ids]
    table["masked_share"] = [masked_share(found[i].boxes, masking, found[i].shape) for i in asked.ids]
    table["reviewed"] = [found[i].reviewed for i in asked.ids]
    return table


def _write_boxes(folder: Path, asked: Asked, found: Mapping[str, FileTokens]) -> None:
    columns = ["image_id", "x0", "y0", "x1", "y1", "text", "score", "kind"]
    tokens = [{"image_id": i} | box.to_dict() for i in asked.ids for box in found[i].boxes]
    controls = [
        {"image_id": image_id, "mode": mode, "control": name, "draw": draw} | box.to_dict()
        for image_id, by_mode in asked.controls.items()
        for mode, of in by_mode.items()
        for name, draws in (("random", of.random), ("other", (of.other,)))
        for draw, some in enumerate(draws)
        for box in some
    ]
    for name, rows, wanted in (
        (BOXES, tokens, columns),
        (CONTROL_BOXES, controls, ["image_id", "mode", "control", "draw", *columns[1:5]]),
    ):
        with replacing(folder / name) as draft:
            pd.DataFrame(rows, columns=wanted).to_parquet(draft, index=False)


def _settings_in_words(setting: Setting, description: str, left_out: list[dict[str, str]]) -> dict[str, Any]:
    masking = setting.masking
    return {
        "model": description,
        "split": setting.split,
        "mode": masking.modes[0],
        "mask_modes": list(masking.modes),
        "margin": masking.margin,
        "draws": masking.draws,
        "seed": masking.seed,
        "left_out": left_out,
    }
