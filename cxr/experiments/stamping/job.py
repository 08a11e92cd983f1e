"""The stamping experiment: does a token move predictions to a class when it is put onto X-rays of other classes?

Every X-ray is asked about as it is, with the token, and with the same patch without letters at the same place (see
:mod:`cxr.text.stamp`), in every dose: each size with each contrast. Tokens are drawn at the file's own resolution and
then take the way of every X-ray to the network. Where a dose does not fit an X-ray, it is left out for that one.

Files in the run folder: ``stamped.parquet`` (a row per image, condition and dose: image_id, label, patient_id, split,
source, condition, size, contrast, x0, y0, x1, y1 in pixels of the file, change (mean grey over the box), predicted,
``logit_<class>``, ``prob_<class>``; of a network of several findings the image's findings instead of predicted) and
``results.json``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cxr.data import Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.errors import ImageError, TextError
from cxr.evaluation.multilabel import THRESHOLD
from cxr.evaluation.predict import predict, predictions_table
from cxr.evaluation.provenance import provenance, with_opening
from cxr.evaluation.relation import is_own, refuse_new_splits
from cxr.evaluation.seen import marked_in_words, new_to
from cxr.experiments.stamping.dose_response import CONDITIONS, results_of
from cxr.experiments.stamping.results import LeftOutSize, StampingResults, VersionRow
from cxr.experiments.stamping.settings import Setting, chosen_images, patch_of
from cxr.files import replacing
from cxr.text.boxes import TextBox
from cxr.text.search import search
from cxr.text.stamp import Patch, box_for, place_of, stamp_patch, without_letters

if TYPE_CHECKING:
    from cxr.models import XrayClassifier
    from cxr.runs.folder import RunFolder

Progress = Callable[[float, str], None]

KIND = "text-stamping"
STAMPED = "stamped.parquet"
_SEARCHING = 0.5  # of the whole time, where tokens are looked for and nothing is cached
_AT_ONCE = 96  # pictures that wait for the network together


def run(folder: RunFolder, setting: Setting, progress: Progress) -> None:
    """Do the experiment, and write it down as the module says."""
    from cxr.networks import load_network, resolve_device, seen_by

    progress(0.0, "loading")
    model, description = load_network(setting.model)
    model.to(resolve_device(setting.device))
    manifest, chosen, setting = _images_of(setting, model)
    patch = patch_of(setting, manifest)
    own = is_own(setting.model, model.card, manifest)
    chosen, seen = new_to(seen_by(setting.model), chosen, model.card.size, own=own, include=setting.include_seen)
    tokens: dict[str, list[TextBox]] = {}
    if setting.avoid:
        file_tokens, _ = search(
            chosen, lambda done, text: progress(_SEARCHING * done, text), folder.stop_requested, setting.workers
        )
        tokens = {image_id: of.boxes for image_id, of in file_tokens.items()}
    if folder.stop_requested():
        return
    predictions = _ask(folder, model, chosen, patch, tokens, setting, progress)
    if predictions is None:
        return
    table, left_out = predictions
    with replacing(folder.path / STAMPED) as draft:
        table.to_parquet(draft, index=False)
    threshold = model.card.thresholds.get(setting.towards, THRESHOLD)
    doses = results_of(
        table, model.classes, setting.towards, setting.title, setting.onto, setting.seed, threshold=threshold
    )
    stamped = chosen.select(ids=[i for i in chosen.ids if i in set(table["image_id"])])
    rests_on = with_opening(provenance(manifest, setting.model), manifest, stamped.ids, folder.id, "text-stamping")
    sentences = " ".join(filter(None, (doses["finding"], marked_in_words(seen))))
    results: StampingResults = {
        **doses,
        "model": description,
        "split": setting.split,
        "place": setting.place,
        "control": setting.control,
        "left_out": left_out,
        "finding": sentences,
        "seen": seen,
        "provenance": rests_on,
    }
    folder.write_json("results.json", results)
    progress(1.0, sentences)


def _images_of(setting: Setting, model: XrayClassifier) -> tuple[Manifest, Manifest, Setting]:
    manifest = setting.data
    refuse_new_splits(setting.model, model, manifest)
    return manifest, *chosen_images(manifest, model.classes, setting, model.card.task)


# --- versions of one X-ray -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Version:
    """One picture of an X-ray, uint8 (H, W) of its file: condition, dose, where, and its mean change of grey there."""

    condition: str
    picture: np.ndarray = field(repr=False)
    size: float = float("nan")
    contrast: float = float("nan")
    box: TextBox | None = None
    change: float = 0.0


@dataclass(frozen=True)
class Refused:
    """Why a size cannot be stamped onto an X-ray."""

    size: float
    reason: str


def versions_of(
    image: np.ndarray, image_id: str, patch: Patch, setting: Setting, tokens: Sequence[TextBox] = ()
) -> Iterator[Version | Refused]:
    """Yield an X-ray as it is, then stamped and under the control in every dose, the same for the same id and seed.

    All contrasts of a size lie at one place; a :class:`Refused` stands for a size that does not fit.
    """
    key = [setting.seed, zlib.crc32(image_id.encode())]
    shift = np.random.default_rng(key).uniform(-setting.jitter, setting.jitter, 2)
    x, y = place_of(setting.place)
    place = (x + float(shift[0]) * image.shape[0] / image.shape[1], y + float(shift[1]))
    yield Version("unstamped", image)
    for size in setting.sizes:
        drawn = patch.scaled(max(2, round(size * image.shape[0])))
        try:
            box = box_for(image.shape, drawn, place, tokens, image_name=image_id)
        except TextError as error:
            yield Refused(size, str(error))
            continue
        blank = without_letters(image, drawn, box, np.random.default_rng([*key, round(1e6 * size)]), setting.control)
        for contrast in setting.contrasts:
            for condition, stamp in (("stamped", drawn), ("control", blank)):
                picture = stamp_patch(image, stamp, box, contrast)
                yield Version(condition, picture, size, contrast, box, _change(image, picture, box))


def _change(before: np.ndarray, after: np.ndarray, box: TextBox) -> float:
    inside = np.s_[box.y0 : box.y1, box.x0 : box.x1]
    return float(after[inside].mean() - before[inside].mean())


# --- the network's answers -----------------------------------------------------------------------------------------


def _ask(
    folder: RunFolder,
    model: XrayClassifier,
    chosen: Manifest,
    patch: Patch,
    tokens: dict[str, list[TextBox]],
    setting: Setting,
    progress: Progress,
) -> tuple[pd.DataFrame, list[LeftOutSize]] | None:
    """Return the long table and what was left out with its reason, or None when a stop was asked for."""
    rows: list[VersionRow] = []
    logits: list[np.ndarray] = []
    waiting: list[np.ndarray] = []
    left_out: list[LeftOutSize] = []
    ids, begun = chosen.ids, _SEARCHING if setting.avoid else 0.0
    for done, image_id in enumerate(ids, 1):
        if folder.stop_requested():
            return None
        for version in _versions_of_file(chosen, image_id, patch, setting, tokens.get(image_id, ())):
            if isinstance(version, Refused):
                left_out.append(
                    {
                        "image_id": image_id,
                        "size": "" if np.isnan(version.size) else f"{version.size:g}",
                        "reason": version.reason,
                    }
                )
                continue
            rows.append(_row(image_id, version))
            waiting.append(fit_square(version.picture, model.card.size))
        if len(waiting) >= _AT_ONCE or (done == len(ids) and waiting):
            logits.append(predict(model, np.stack(waiting)))
            waiting = []
        progress(begun + (0.99 - begun) * done / len(ids), f"{done:,} of {len(ids):,} images stamped")
    if not any(row["condition"] == "stamped" for row in rows):
        raise TextError(f"none of the {len(ids):,} images can be stamped; the first: {left_out[0]['reason']}")
    return _table(chosen, rows, np.concatenate(logits), model), left_out


def _versions_of_file(
    chosen: Manifest, image_id: str, patch: Patch, setting: Setting, tokens: Sequence[TextBox]
) -> Iterator[Version | Refused]:
    try:
        image = read_xray(chosen.image_path(image_id))
    except ImageError as error:
        yield Refused(float("nan"), str(error))
        return
    yield from versions_of(image, image_id, patch, setting, tokens)


def _row(image_id: str, version: Version) -> VersionRow:
    box = version.box
    return {
        "image_id": image_id,
        "condition": version.condition,
        "size": version.size,
        "contrast": version.contrast,
        "x0": box.x0 if box else None,
        "y0": box.y0 if box else None,
        "x1": box.x1 if box else None,
        "y1": box.y1 if box else None,
        "change": version.change,
    }


def _table(chosen: Manifest, rows: list[VersionRow], logits: np.ndarray, model: XrayClassifier) -> pd.DataFrame:
    versions = pd.DataFrame(rows).astype(dict.fromkeys(("x0", "y0", "x1", "y1"), "Int64"))
    versions["condition"] = pd.Categorical(versions["condition"], CONDITIONS)
    answers = predictions_table(chosen, versions["image_id"].tolist(), logits, model.classes, model.card.task)
    return pd.concat([versions, answers.drop(columns=["image_id", "correct"], errors="ignore")], axis=1)
