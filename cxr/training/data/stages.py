"""The images and targets of each stage, and the order in which an epoch takes them.

The last stage trains on split ``train`` and is chosen on split ``val``. A stage before it takes what shares no patient
and no duplicate with any held-out image of the last one, and sets a tenth of its own patients aside to be chosen on.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from cxr.data import ImageCache, Manifest
from cxr.evaluation.selection import OWN, listed, select
from cxr.evaluation.truth import UNCERTAIN, finding_names
from cxr.models import build
from cxr.training.data.masked_text import TextSummary, without_text
from cxr.training.data.stage_rows import Chosen, check_enough, choose, choose_rows, final_manifest
from cxr.training.recipe import Recipe, Stage

log = logging.getLogger(__name__)

ReadProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class StageData:
    """What a stage learns from.

    Attributes
    ----------
    cache
        Pixels of the whole manifest, or, with the text masked, of the images that are learnt from and measured.
    train_rows, val_rows
        Rows of ``cache.images``.
    train_targets, val_targets
        Class indices (n,) int64, or (n, K) float32 of 0 and 1 for findings, NaN where a finding is unknown.
    val_patients
        (n,) the patient of each validation image, or the image itself where there is none.
    text
        What was masked and how, see :func:`cxr.training.data.masked_text.without_text`; None where nothing was.
    left_out
        ``{split: {label: images}}`` of labels that are none of the classes: images with such a label are not among
        the rows (nor measured in the end), such findings not among the targets.
    """

    manifest: Manifest
    cache: ImageCache
    classes: tuple[str, ...]
    train_rows: np.ndarray
    val_rows: np.ndarray
    train_targets: np.ndarray
    val_targets: np.ndarray
    val_patients: tuple[str, ...]
    text: TextSummary | None = None
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)

    def steps(self, batch: int) -> int:
        """Number of batches in an epoch."""
        return -(-len(self.train_rows) // batch)

    @property
    def missing(self) -> tuple[str, ...]:
        """Files of the manifest's images that cannot be read."""
        return tuple(self.cache.missing["file"])

    def fingerprint(self) -> str:
        """Return what changes when an image, a target or the order of any of them does."""
        digest = hashlib.blake2b(f"{self.cache.key} {self.classes}".encode(), digest_size=16)
        for array in (self.train_rows, self.val_rows, self.train_targets, self.val_targets):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def check(recipe: Recipe, manifest: Manifest) -> list[str]:
    """Raise what :func:`prepare` would, as far as it can be known without reading an image.

    Returns a sentence for each split of a stage of which images are left out, for their label is none of the classes,
    and for each class without an image to train on.
    """
    pairs = zip(recipe.stages, choose(recipe, manifest), strict=True)
    return [line for stage, rows in pairs for line in _warnings(rows, stage)]


def check_labels(recipe: Recipe, manifest: Manifest) -> list[str]:
    """Do as :func:`check` for the last stage alone, which needs no look at the files of other stages."""
    final = final_manifest(recipe, manifest)
    rows = choose_rows(recipe, len(recipe.stages) - 1, manifest, final)
    return _warnings(rows, recipe.stages[-1])


def _warnings(rows: Chosen, stage: Stage) -> list[str]:
    targets = _targets(rows.train, rows.classes, stage)
    return left_out_in_words(rows.left_out, rows.classes, stage) + without_images(targets, rows.classes, stage)


def without_images(targets: np.ndarray, classes: Sequence[str], stage: Stage) -> list[str]:
    """Return in words which classes have no image among the targets that a stage is trained on."""
    if stage.task == "multi-label":
        has_images, problem = (targets == 1).any(axis=0), "no training image that is known to show"
    else:
        has_images, problem = np.bincount(targets, minlength=len(classes)) > 0, "no training image of"
    weight = "its weight in the loss is 0" if stage.class_weights == "balanced" else "its weight is as in the recipe"
    return [
        f"stage {stage.name}: {problem} {name!r}, so the network cannot learn it; {weight}"
        for name, has_image in zip(classes, has_images, strict=True)
        if not has_image
    ]


def left_out_in_words(left_out: Mapping[str, Mapping[str, int]], classes: Sequence[str], stage: Stage) -> list[str]:
    """Return in words which labels of a stage's splits are none of its classes: their images, or findings, go."""
    problem = "X-rays are left out, their label is" if stage.label == "label" else "findings are left out, they are"
    names = ", ".join(classes)
    return [
        f"stage {stage.name}, split {split}: {sum(labels.values())} {problem} none of the classes {names}: "
        f"{listed(labels)}"
        for split, labels in left_out.items()
    ]


def check_weights(recipe: Recipe) -> None:
    """Build a recipe's network once with the weights it starts from, which may fetch them.

    Raises
    ------
    WeightsError
        If they are not there, cannot be fetched, or do not fit the network.
    """
    if recipe.weights is None:
        return
    names = ("weights", "size", "channels", "backbone_args")
    build(recipe.backbone, ("a", "b"), **{name: getattr(recipe, name) for name in names})


def prepare(recipe: Recipe, manifest: Manifest, progress: ReadProgress) -> list[StageData]:
    """Return the data of every stage; all that can be wrong with them is found before anything trains.

    Raises
    ------
    ManifestError
        Without splits, with a patient in two of them, or without images in ``train`` or ``val``.
    RecipeError
        If a stage finds nothing to learn from, or names what its data do not have.
    """
    chosen = choose(recipe, manifest)
    return [_read(recipe, index, rows, progress) for index, rows in enumerate(chosen)]


def epoch_batches(n: int, batch: int, seed: int, stage: int, epoch: int) -> list[np.ndarray]:
    """Return the positions of each batch of an epoch: a permutation that seed, stage and epoch decide.

    Batches differ by one image at most, so none is left with a single image, which batch norm could not take.
    """
    order = np.random.default_rng([seed, stage, epoch]).permutation(n)
    return np.array_split(order, -(-n // batch))


def derived_seed(*numbers: int) -> int:
    """Return a seed that the numbers decide, for what is random at one place of a training and nowhere else."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _read(recipe: Recipe, index: int, chosen: Chosen, progress: ReadProgress) -> StageData:
    """Decode the images of a stage, or open the cache that holds them."""
    stage, classes = recipe.stages[index], chosen.classes
    cache, text = _pixels(recipe, index, chosen, progress)
    train, val = (_readable(rows, cache) for rows in (chosen.train, chosen.val))
    check_enough(train, val, index, recipe.devices * stage.accumulate)
    log.info("stage %s: %d images to train, %d to validate, classes %s", stage.name, len(train), len(val), classes)
    train_targets = _targets(train, classes, stage)
    for line in left_out_in_words(chosen.left_out, classes, stage) + without_images(train_targets, classes, stage):
        log.warning("%s", line)
    train_rows, val_rows = (np.array([cache.index(i) for i in rows["image_id"]], np.int64) for rows in (train, val))
    return StageData(
        manifest=chosen.manifest,
        cache=cache,
        classes=classes,
        train_rows=train_rows,
        val_rows=val_rows,
        train_targets=train_targets,
        val_targets=_targets(val, classes, stage),
        val_patients=tuple(val["patient_id"].where(val["patient_id"] != "", val["image_id"])),
        text=text,
        left_out=chosen.left_out,
    )


def _pixels(
    recipe: Recipe, index: int, chosen: Chosen, progress: ReadProgress
) -> tuple[ImageCache, TextSummary | None]:
    """Return the cache of a stage's images, and what was masked on them."""
    manifest, treatment = chosen.manifest, None
    text: TextSummary | None = None
    if recipe.text.is_masked:
        # A search takes a second per image: only what the stage learns from, and at the end what is measured.
        ids = {*chosen.train["image_id"], *chosen.val["image_id"]}
        if index == len(recipe.stages) - 1:
            ids |= set(select(manifest, chosen.classes, recipe.stages[index].task, relation=OWN).ids)
        manifest = manifest.select(ids=sorted(ids))
        treatment, text = without_text(manifest, recipe.text, progress)

    def step(done: int, n: int) -> None:
        progress(done / n, f"reading images {done:,}/{n:,}")

    return ImageCache.build(manifest, recipe.size, progress=step, treatment=treatment), text


def _readable(rows: pd.DataFrame, cache: ImageCache) -> pd.DataFrame:
    is_cached = np.array([image_id in cache for image_id in rows["image_id"]], dtype=bool)
    if not is_cached.all():
        log.warning("%d images cannot be read and are left out", (~is_cached).sum())
    return rows[is_cached]


def _targets(rows: pd.DataFrame, classes: Sequence[str], stage: Stage) -> np.ndarray:
    position = {name: k for k, name in enumerate(classes)}
    if stage.label == "label":
        return np.array([position[name] for name in rows["label"]], np.int64)
    targets = np.zeros((len(rows), len(classes)), np.float32)
    for row, (text, source) in enumerate(zip(rows["findings"], rows["source"], strict=True)):
        names = finding_names(text)
        for name, k in position.items():
            if f"{UNCERTAIN}{name}" in names or name not in stage.annotated.get(source, classes):
                targets[row, k] = np.nan
            elif name in names:
                targets[row, k] = 1
    return targets
