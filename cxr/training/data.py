"""The images and targets of each stage, and the order in which an epoch takes them.

The last stage trains on split ``train`` and is chosen on split ``val``. A stage before it takes what shares no patient
and no duplicate with any held-out image of the last one, and sets a tenth of its own patients aside to be chosen on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cxr.data import ImageCache, Manifest
from cxr.data.splits import connected_groups
from cxr.errors import ManifestError, RecipeError
from cxr.training.recipe import Recipe, Stage

log = logging.getLogger(__name__)

TRAINABLE_SPLITS = ("", "train")
VALIDATION_SHARE = 0.1
Tell = Callable[[float, str], None]


@dataclass(frozen=True)
class StageData:
    """What a stage learns from.

    Attributes
    ----------
    cache
        Pixels of the whole manifest.
    train_rows, val_rows
        Rows of ``cache.images``.
    train_targets, val_targets
        Class indices (n,) int64, or (n, K) float32 of 0 and 1 for findings.
    """

    manifest: Manifest
    cache: ImageCache
    classes: tuple[str, ...]
    train_rows: np.ndarray
    val_rows: np.ndarray
    train_targets: np.ndarray
    val_targets: np.ndarray

    def steps(self, batch: int) -> int:
        """Number of batches in an epoch."""
        return -(-len(self.train_rows) // batch)


def prepare(recipe: Recipe, manifest: Manifest, tell: Tell) -> list[StageData]:
    """Return the data of every stage; all that can be wrong with them is found before anything trains.

    Raises
    ------
    ManifestError
        Without splits, with a patient in two of them, or without images in ``train`` or ``val``.
    RecipeError
        If a stage finds nothing to learn from.
    """
    _check_splits(manifest)
    return [_prepare_stage(recipe, index, manifest, tell) for index in range(len(recipe.stages))]


def epoch_batches(n: int, batch: int, seed: int, stage: int, epoch: int) -> list[np.ndarray]:
    """Return the positions of each batch of an epoch: a permutation that seed, stage and epoch decide.

    Batches differ by one image at most, so none is left with a single image, which batch norm could not take.
    """
    order = np.random.default_rng([seed, stage, epoch]).permutation(n)
    return np.array_split(order, -(-n // batch))


def derived_seed(*numbers: int) -> int:
    """Return a seed that the numbers decide, for what is random at one place of a training and nowhere else."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _check_splits(manifest: Manifest) -> None:
    manifest.check_splits()
    for split in ("train", "val"):
        rows = manifest.table[(manifest.table["split"] == split) & (manifest.table["label"] != "")]
        if len(rows) < 2:
            raise ManifestError(
                f"the manifest has {len(rows)} labelled images in split {split!r}, 2 or more are needed: "
                "split it with `cxr data split`"
            )


def _prepare_stage(recipe: Recipe, index: int, final: Manifest, tell: Tell) -> StageData:
    stage = recipe.stages[index]
    manifest = final if stage.data is None else Manifest.load(Path(stage.data).expanduser())
    if index == len(recipe.stages) - 1:
        if stage.data is not None:
            _check_splits(manifest)
        train, val = _rows_of_splits(manifest.table, stage)
    else:
        pool = _pool(manifest, final, stage, index)
        train, val = _carve(pool, recipe.seed)
    classes = tuple(stage.classes or _classes_found(train, stage))
    _check_classes(classes, train, stage, index)
    cache = ImageCache.build(
        manifest, recipe.size, progress=lambda done, n: tell(done / n, f"reading images {done}/{n}")
    )
    train, val = (_readable(_labelled(rows, classes, stage), cache) for rows in (train, val))
    _check_enough(train, val, index)
    log.info("stage %s: %d images to train, %d to validate, classes %s", stage.name, len(train), len(val), classes)
    return StageData(
        manifest,
        cache,
        classes,
        *(np.array([cache.index(i) for i in rows["image_id"]], np.int64) for rows in (train, val)),
        *(_targets(rows, classes, stage) for rows in (train, val)),
    )


def _rows_of_splits(table: pd.DataFrame, stage: Stage) -> tuple[pd.DataFrame, pd.DataFrame]:
    if stage.sources is not None:
        table = table[table["source"].isin(stage.sources)]
    return table[table["split"] == "train"], table[table["split"] == "val"]


def _pool(manifest: Manifest, final: Manifest, stage: Stage, index: int) -> pd.DataFrame:
    """Return the rows that an intermediate stage may see."""
    table = manifest.table[manifest.table[stage.label] != ""]
    table = table[table["source"].isin(_sources(table, stage))]
    if table.empty:
        raise RecipeError(
            f"stages.{index}.label: {stage.label!r} finds nothing to learn from in {manifest.path or 'the manifest'}. "
            f"Allowed: a manifest whose column `{stage.label}` is filled (`data` of the stage), or a recipe without it"
        )
    held_out = final.table[~final.table["split"].isin(TRAINABLE_SPLITS)]
    free = ~_shares_a_group(table, held_out) & table["split"].isin([*TRAINABLE_SPLITS, "val"])
    log.info("stage %s: %d of %d images left out (their patients are held out)", stage.name, (~free).sum(), len(free))
    return table[free]


def _sources(table: pd.DataFrame, stage: Stage) -> list[str]:
    """Return the sources to learn from: those named, else those with rows of role ``intermediate``, else all."""
    if stage.sources is not None:
        return stage.sources
    marked = table.loc[table["role"] == "intermediate", "source"]
    return sorted(set(marked if stage.label == "findings" and len(marked) else table["source"]))


def _shares_a_group(table: pd.DataFrame, held_out: pd.DataFrame) -> pd.Series:
    """Tell of each row whether it, a duplicate, or its patient is among ``held_out``."""
    columns = ["image_id", "patient_id", "dup_group"]
    both = pd.concat([table[columns], held_out[columns]], ignore_index=True)
    groups = connected_groups(both, columns)
    return pd.Series(np.isin(groups[: len(table)], groups[len(table) :]), index=table.index)


def _carve(pool: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and validation rows; patients and duplicates stay together."""
    if pool.empty:
        return pool, pool
    pool = pool.sort_values("image_id")
    groups = connected_groups(pool, ["patient_id", "dup_group"])
    order = np.random.default_rng([seed, 7919]).permutation(np.unique(groups))
    sizes = pd.Series(groups).value_counts()
    taken = np.cumsum([sizes[g] for g in order]) <= max(2, round(VALIDATION_SHARE * len(pool)))
    validates = np.isin(groups, order[taken])
    return pool[~validates], pool[validates]


def _classes_found(rows: pd.DataFrame, stage: Stage) -> list[str]:
    if stage.label == "label":
        return sorted(set(rows["label"]) - {""})
    return sorted({name for text in rows["findings"] for name in _names(text)})


def _check_classes(classes: Sequence[str], train: pd.DataFrame, stage: Stage, index: int) -> None:
    found = _classes_found(train, stage)
    absent = [name for name in classes if name not in found]
    if absent:
        raise RecipeError(f"stages.{index}.classes: no image to train is {absent[0]!r}. Found: {', '.join(found)}")
    if len(classes) < 2:
        raise RecipeError(f"stages.{index}.classes: {list(classes)} is too few. Allowed: 2 or more")


def _check_enough(train: pd.DataFrame, val: pd.DataFrame, index: int) -> None:
    if len(train) < 2 or len(val) < 1:
        raise RecipeError(
            f"stages.{index}: {len(train)} images to train and {len(val)} to validate are left. "
            "Allowed: 2 or more, and 1 or more"
        )


def _labelled(rows: pd.DataFrame, classes: Sequence[str], stage: Stage) -> pd.DataFrame:
    return rows[rows["label"].isin(list(classes))] if stage.label == "label" else rows[rows["findings"] != ""]


def _readable(rows: pd.DataFrame, cache: ImageCache) -> pd.DataFrame:
    there = np.array([image_id in cache for image_id in rows["image_id"]], dtype=bool)
    if not there.all():
        log.warning("%d images cannot be read and are left out", (~there).sum())
    return rows[there]


def _names(findings: str) -> list[str]:
    return [name.strip() for name in findings.split("|") if name.strip()]


def _targets(rows: pd.DataFrame, classes: Sequence[str], stage: Stage) -> np.ndarray:
    position = {name: k for k, name in enumerate(classes)}
    if stage.label == "label":
        return np.array([position[name] for name in rows["label"]], np.int64)
    targets = np.zeros((len(rows), len(classes)), np.float32)
    for row, text in enumerate(rows["findings"]):
        for name in _names(text):
            if name in position:
                targets[row, position[name]] = 1
    return targets
