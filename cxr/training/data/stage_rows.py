"""Which X-rays each stage trains on, and which it is chosen on: no patient and no duplicate on both sides."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cxr.data import Manifest
from cxr.data.digests import file_digests
from cxr.data.notes import validation_command
from cxr.data.splits import connected_groups
from cxr.errors import ManifestError, RecipeError, wrong_use
from cxr.evaluation.selection import OWN, select
from cxr.evaluation.truth import UNCERTAIN, finding_names
from cxr.paths import cache_root
from cxr.training.recipe import Recipe, Stage

log = logging.getLogger(__name__)

TRAINABLE_SPLITS = ("", "train")
VALIDATION_SHARE = 0.1
NO_FINDING = "No Finding"


@dataclass(frozen=True)
class Chosen:
    """The rows of a manifest that a stage learns from and is chosen on, before any image is read."""

    manifest: Manifest
    classes: tuple[str, ...]
    train: pd.DataFrame
    val: pd.DataFrame
    left_out: dict[str, dict[str, int]]


def _check_splits(manifest: Manifest, label: str) -> None:
    """Demand a train and a val split with labels (or findings); the advice never touches a test split that is there."""
    manifest.check_splits()
    if not ((manifest.table[label] != "") & manifest.table["role"].isin(["", "train", "intermediate"])).any():
        roles = ", ".join(sorted(set(manifest.table["role"]) - {""})) or "none"
        raise ManifestError(
            f"no X-ray to train on: none has a {label} and the role train (roles found: {roles}). "
            "Such a data set can be measured with `cxr evaluate`"
        )
    for split in ("train", "val"):
        rows = manifest.table[(manifest.table["split"] == split) & (manifest.table[label] != "")]
        if len(rows) < 2:
            images = "labelled images" if label == "label" else f"images with {label}"
            untouched = ", test stays as it is" if "test" in manifest.splits else ""
            raise ManifestError(
                f"the manifest has {len(rows)} {images} in split {split!r}, 2 or more are needed. "
                f"`{validation_command(manifest)}` makes it by patient{untouched}"
            )


def choose(recipe: Recipe, manifest: Manifest) -> list[Chosen]:
    """Return the rows of each stage.

    Raises
    ------
    ManifestError, RecipeError
        If a stage has too few images, or other classes than it names.
    """
    final = final_manifest(recipe, manifest)
    return [choose_rows(recipe, index, manifest, final) for index in range(len(recipe.stages))]


def final_manifest(recipe: Recipe, manifest: Manifest) -> Manifest:
    """Return the manifest of the last stage: its own, else the one that is given."""
    last = recipe.stages[-1]
    final = manifest if last.data is None else Manifest.load(Path(last.data).expanduser())
    _check_splits(final, last.label)
    return final


def choose_rows(recipe: Recipe, index: int, run_manifest: Manifest, final: Manifest) -> Chosen:
    """Return the rows of one stage; ``final`` is the manifest of the last, whose held-out patients are left out."""
    stage = recipe.stages[index]
    if index == len(recipe.stages) - 1:
        manifest = final
        _check_sources(final.table, stage, index)
        train, val = _rows_of_splits(manifest.table, stage)
    else:
        manifest = run_manifest if stage.data is None else Manifest.load(Path(stage.data).expanduser())
        _check_sources(manifest.table, stage, index)
        train, val = _intermediate(manifest, final, stage, index, recipe.seed)
    classes = tuple(stage.classes or _classes_found(train, stage))
    _check_classes(classes, train, stage, index)
    left_out = {name: _label_counts(rows, classes, stage) for name, rows in (("train", train), ("val", val))}
    train, val = (_labelled(rows, classes, stage) for rows in (train, val))
    check_enough(train, val, index, recipe.devices * stage.accumulate)
    if stage is recipe.stages[-1]:
        left_out |= select(manifest, classes, stage.task, relation=OWN).unknown_labels
    return Chosen(manifest, classes, train, val, {name: counts for name, counts in left_out.items() if counts})


def _check_sources(table: pd.DataFrame, stage: Stage, index: int) -> None:
    known = sorted(set(table["source"]) - {""})
    for name in stage.sources or ():
        if name not in known:
            found = ", ".join(known) or "no X-ray has a source"
            raise wrong_use(RecipeError(f"stages.{index}.sources: no X-ray is from {name!r}. Found: {found}"))


def _intermediate(
    manifest: Manifest, final: Manifest, stage: Stage, index: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and validation rows of a stage before the last one, free of all that the last one holds out."""
    table = manifest.table[manifest.table[stage.label] != ""]
    table = table[table["source"].isin(_sources(table, stage))]
    if table.empty:
        of_data = "" if stage.data is None else f" of {stage.data}"
        of_sources = f" of {', '.join(stage.sources)}" if stage.sources else ""
        reason = (
            f"stage {index + 1} ({stage.name}) has nothing to learn from, since no X-ray{of_sources}{of_data} has a "
            f"value in the column {stage.label!r}"
        )
        raise RecipeError(
            f"stages.{index}.label: {reason}. Allowed: data where that column is filled, for the training or for this "
            "stage alone (`data` of the stage), or a recipe without the stage",
            reason=reason,
        )
    shared = _shares_a_group(table, manifest, final)
    if stage.use_splits:
        train, val = (table[table["split"] == split] for split in ("train", "val"))
        _refuse_shared(pd.concat([train, val]), shared, index)
        return train, val
    free = ~shared & table["split"].isin([*TRAINABLE_SPLITS, "val"])
    log.info("stage %s: %d of %d images left out (their patients are held out)", stage.name, (~free).sum(), len(free))
    return _carve(table[free], seed)


def _refuse_shared(rows: pd.DataFrame, shared: pd.Series, index: int) -> None:
    shared_rows = rows[shared[rows.index]]
    if len(shared_rows):
        patients = sorted(
            set(shared_rows["patient_id"].where(shared_rows["patient_id"] != "", shared_rows["image_id"]))
        )
        more = f" and {len(patients) - 10} more" if len(patients) > 10 else ""
        raise RecipeError(
            f"stages.{index}.use_splits: {len(shared_rows):,} images of these splits are of patients (or duplicates of "
            f"images) that the last stage holds out: {', '.join(patients[:10])}{more}. Allowed: false, which leaves "
            "them out, or splits without them"
        )


def _rows_of_splits(table: pd.DataFrame, stage: Stage) -> tuple[pd.DataFrame, pd.DataFrame]:
    if stage.sources is not None:
        table = table[table["source"].isin(stage.sources)]
    return table[table["split"] == "train"], table[table["split"] == "val"]


def _sources(table: pd.DataFrame, stage: Stage) -> list[str]:
    """Return the sources to learn from: those named, else those with rows of role ``intermediate``, else all."""
    if stage.sources is not None:
        return stage.sources
    marked = table.loc[table["role"] == "intermediate", "source"]
    return sorted(set(marked if stage.label == "findings" and len(marked) else table["source"]))


def _shares_a_group(table: pd.DataFrame, manifest: Manifest, final: Manifest) -> pd.Series:
    """Tell of each row whether it, a duplicate, or its patient is held out by the last stage.

    Images of two manifests are the same where their files are, whatever their ids.
    """
    held_out = final.table[~final.table["split"].isin(TRAINABLE_SPLITS)]
    columns = ["image_id", "patient_id", "dup_group"]
    both = pd.concat([table[columns], held_out[columns]], ignore_index=True)
    if manifest is not final:
        columns.append("content")
        both["content"] = [*_contents(manifest, table["image_id"]), *_contents(final, held_out["image_id"])]
    groups = connected_groups(both, columns)
    return pd.Series(np.isin(groups[: len(table)], groups[len(table) :]), index=table.index)


def _contents(manifest: Manifest, ids: Iterable[str]) -> list[str]:
    """Return the digest of each image's file, empty where it cannot be read."""
    path_of = manifest.image_paths()
    paths = [path_of[image_id] for image_id in ids]
    digests = file_digests(paths, cache_root() / "digests.sqlite")
    return [digests[path] or "" for path in paths]


def _carve(pool: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and validation rows; patients and duplicates stay together."""
    if pool.empty:
        return pool, pool
    pool = pool.sort_values("image_id")
    groups = connected_groups(pool, ["patient_id", "dup_group"])
    order = np.random.default_rng([seed, 7919]).permutation(np.unique(groups))
    sizes = pd.Series(groups).value_counts()
    in_order = sizes[order].to_numpy()
    n_held_out = max(2, round(VALIDATION_SHARE * len(pool)))
    held_out = np.cumsum(in_order) <= n_held_out
    if not held_out.any():  # the first is a patient too large: the first one small enough, or the smallest, does
        fitting = np.flatnonzero(in_order <= n_held_out)
        held_out[fitting[0] if len(fitting) else np.argmin(in_order)] = True
    validates = np.isin(groups, order[held_out])
    return pool[~validates], pool[validates]


def _classes_found(rows: pd.DataFrame, stage: Stage) -> list[str]:
    if stage.label == "label":
        return sorted(set(rows["label"]) - {""})
    names = {name.removeprefix(UNCERTAIN) for text in rows["findings"] for name in finding_names(text)}
    return sorted(names if stage.no_finding else names - {NO_FINDING})


def _check_classes(classes: Sequence[str], train: pd.DataFrame, stage: Stage, index: int) -> None:
    class_names = _classes_found(train, stage)
    absent = [
        name for name in classes if name not in {*class_names, *([NO_FINDING] if stage.label == "findings" else [])}
    ]
    if absent:
        raise wrong_use(
            RecipeError(f"stages.{index}.classes: no image to train is {absent[0]!r}. Found: {', '.join(class_names)}")
        )
    if len(classes) < 2:
        raise RecipeError(f"stages.{index}.classes: {list(classes)} is too few. Allowed: 2 or more")
    weights = stage.class_weights if isinstance(stage.class_weights, dict) else {}
    for key, names in (("class_weights", weights), *((f"annotated.{s}", n) for s, n in stage.annotated.items())):
        for name in names:
            if name not in classes:
                raise wrong_use(
                    RecipeError(f"stages.{index}.{key}: {name!r} is not a class. Allowed: {', '.join(classes)}")
                )


def check_enough(train: pd.DataFrame, val: pd.DataFrame, index: int, parts: int) -> None:
    """Raise RecipeError if there are too few images to train in ``parts`` pieces a batch, or none to validate."""
    if len(train) < max(2, parts) or len(val) < 1:
        raise RecipeError(
            f"stages.{index}: {len(train):,} images to train and {len(val):,} to validate are left. "
            f"Allowed: {max(2, parts)} or more, and 1 or more"
        )


def _labelled(rows: pd.DataFrame, classes: Sequence[str], stage: Stage) -> pd.DataFrame:
    return rows[rows["label"].isin(list(classes))] if stage.label == "label" else rows[rows["findings"] != ""]


def _label_counts(rows: pd.DataFrame, classes: Sequence[str], stage: Stage) -> dict[str, int]:
    """Count labels, or findings, of the rows that are none of the classes."""
    if stage.label == "label":
        labels = rows["label"].tolist()
    else:
        labels = [name.removeprefix(UNCERTAIN) for text in rows["findings"] for name in finding_names(text)]
    return dict(Counter(name for name in labels if name not in {*classes, "", NO_FINDING}).most_common())
