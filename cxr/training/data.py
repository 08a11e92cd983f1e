"""The images and targets of each stage, and the order in which an epoch takes them.

The last stage trains on split ``train`` and is chosen on split ``val``. A stage before it takes what shares no patient
and no duplicate with any held-out image of the last one, and sets a tenth of its own patients aside to be chosen on.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr.data import ImageCache, Manifest
from cxr.data.digests import file_digests
from cxr.data.notes import validation_command
from cxr.data.splits import connected_groups
from cxr.errors import ManifestError, RecipeError
from cxr.evaluation.selection import OWN, listed, select
from cxr.evaluation.truth import UNCERTAIN, finding_names
from cxr.models import build
from cxr.paths import cache_root
from cxr.training.masked_text import without_text
from cxr.training.recipe import Recipe, Stage

log = logging.getLogger(__name__)

TRAINABLE_SPLITS = ("", "train")
VALIDATION_SHARE = 0.1
NO_FINDING = "No Finding"
Tell = Callable[[float, str], None]


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
        What was masked and how, see :func:`cxr.training.masked_text.without_text`; empty where nothing was.
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
    text: dict[str, Any] = field(default_factory=dict)
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


@dataclass(frozen=True)
class _Chosen:
    """The rows of a manifest that a stage learns from and is chosen on, before any image is read."""

    manifest: Manifest
    classes: tuple[str, ...]
    train: pd.DataFrame
    val: pd.DataFrame
    left_out: dict[str, dict[str, int]]


def check(recipe: Recipe, manifest: Manifest) -> list[str]:
    """Raise what :func:`prepare` would, as far as it can be known without reading an image.

    Returns a sentence for each split of a stage of which images are left out, for their label is none of the classes,
    and for each class without an image to train on.
    """
    pairs = zip(recipe.stages, _choose(recipe, manifest), strict=True)
    return [line for stage, rows in pairs for line in _warnings(rows, stage)]


def check_labels(recipe: Recipe, manifest: Manifest) -> list[str]:
    """Do as :func:`check` for the last stage alone, which needs no look at the files of other stages."""
    final = _final_manifest(recipe, manifest)
    rows = _choose_rows(recipe, len(recipe.stages) - 1, manifest, final)
    return _warnings(rows, recipe.stages[-1])


def _warnings(rows: _Chosen, stage: Stage) -> list[str]:
    targets = _targets(rows.train, rows.classes, stage)
    return left_out_in_words(rows.left_out, rows.classes, stage) + without_images(targets, rows.classes, stage)


def without_images(targets: np.ndarray, classes: Sequence[str], stage: Stage) -> list[str]:
    """Return in words which classes have no image among the targets that a stage is trained on."""
    if stage.task == "multi-label":
        shown, what = (targets == 1).any(axis=0), "no training image that is known to show"
    else:
        shown, what = np.bincount(targets, minlength=len(classes)) > 0, "no training image of"
    weight = "its weight in the loss is 0" if stage.class_weights == "balanced" else "its weight is as in the recipe"
    return [
        f"stage {stage.name}: {what} {name!r}, so the network cannot learn it; {weight}"
        for name, is_shown in zip(classes, shown, strict=True)
        if not is_shown
    ]


def left_out_in_words(left_out: Mapping[str, Mapping[str, int]], classes: Sequence[str], stage: Stage) -> list[str]:
    """Return in words which labels of a stage's splits are none of its classes: their images, or findings, go."""
    what = "X-rays are left out, their label is" if stage.label == "label" else "findings are left out, they are"
    return [
        f"stage {stage.name}, split {split}: {sum(labels.values())} {what} none of the classes {', '.join(classes)}: "
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


def prepare(recipe: Recipe, manifest: Manifest, tell: Tell) -> list[StageData]:
    """Return the data of every stage; all that can be wrong with them is found before anything trains.

    Raises
    ------
    ManifestError
        Without splits, with a patient in two of them, or without images in ``train`` or ``val``.
    RecipeError
        If a stage finds nothing to learn from, or names what its data do not have.
    """
    chosen = _choose(recipe, manifest)
    return [_read(recipe, index, rows, tell) for index, rows in enumerate(chosen)]


def epoch_batches(n: int, batch: int, seed: int, stage: int, epoch: int) -> list[np.ndarray]:
    """Return the positions of each batch of an epoch: a permutation that seed, stage and epoch decide.

    Batches differ by one image at most, so none is left with a single image, which batch norm could not take.
    """
    order = np.random.default_rng([seed, stage, epoch]).permutation(n)
    return np.array_split(order, -(-n // batch))


def derived_seed(*numbers: int) -> int:
    """Return a seed that the numbers decide, for what is random at one place of a training and nowhere else."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


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
            what = "labelled images" if label == "label" else f"images with {label}"
            untouched = ", test stays as it is" if "test" in manifest.splits else ""
            raise ManifestError(
                f"the manifest has {len(rows)} {what} in split {split!r}, 2 or more are needed. "
                f"`{validation_command(manifest)}` makes it by patient{untouched}"
            )


def _choose(recipe: Recipe, given: Manifest) -> list[_Chosen]:
    final = _final_manifest(recipe, given)
    return [_choose_rows(recipe, index, given, final) for index in range(len(recipe.stages))]


def _final_manifest(recipe: Recipe, given: Manifest) -> Manifest:
    last = recipe.stages[-1]
    final = given if last.data is None else Manifest.load(Path(last.data).expanduser())
    _check_splits(final, last.label)
    return final


def _choose_rows(recipe: Recipe, index: int, given: Manifest, final: Manifest) -> _Chosen:
    stage = recipe.stages[index]
    if index == len(recipe.stages) - 1:
        manifest = final
        train, val = _rows_of_splits(manifest.table, stage)
    else:
        manifest = given if stage.data is None else Manifest.load(Path(stage.data).expanduser())
        train, val = _intermediate(manifest, final, stage, index, recipe.seed)
    classes = tuple(stage.classes or _classes_found(train, stage))
    _check_classes(classes, train, stage, index)
    left_out = {name: _label_counts(rows, classes, stage) for name, rows in (("train", train), ("val", val))}
    train, val = (_labelled(rows, classes, stage) for rows in (train, val))
    _check_enough(train, val, index, recipe.devices * stage.accumulate)
    if stage is recipe.stages[-1]:
        left_out |= select(manifest, classes, stage.task, relation=OWN).unknown_labels
    return _Chosen(manifest, classes, train, val, {name: counts for name, counts in left_out.items() if counts})


def _read(recipe: Recipe, index: int, chosen: _Chosen, tell: Tell) -> StageData:
    """Decode the images of a stage, or open the cache that holds them."""
    stage, classes = recipe.stages[index], chosen.classes
    cache, text = _pixels(recipe, index, chosen, tell)
    train, val = (_readable(rows, cache) for rows in (chosen.train, chosen.val))
    _check_enough(train, val, index, recipe.devices * stage.accumulate)
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


def _pixels(recipe: Recipe, index: int, chosen: _Chosen, tell: Tell) -> tuple[ImageCache, dict[str, Any]]:
    """Return the cache of a stage's images, and what was masked on them."""
    manifest, treatment = chosen.manifest, None
    text: dict[str, Any] = {}
    if recipe.text.is_masked:
        # A search takes a second per image: only what the stage learns from, and at the end what is measured.
        wanted = {*chosen.train["image_id"], *chosen.val["image_id"]}
        if index == len(recipe.stages) - 1:
            wanted |= set(select(manifest, chosen.classes, recipe.stages[index].task, relation=OWN).ids)
        manifest = manifest.select(ids=sorted(wanted))
        treatment, text = without_text(manifest, recipe.text, tell)

    def step(done: int, n: int) -> None:
        tell(done / n, f"reading images {done}/{n}")

    return ImageCache.build(manifest, recipe.size, progress=step, treatment=treatment), text


def _intermediate(
    manifest: Manifest, final: Manifest, stage: Stage, index: int, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return training and validation rows of a stage before the last one, free of all that the last one holds out."""
    table = manifest.table[manifest.table[stage.label] != ""]
    table = table[table["source"].isin(_sources(table, stage))]
    if table.empty:
        of = f" (sources {', '.join(stage.sources)})" if stage.sources else ""
        raise RecipeError(
            f"stages.{index}.label: {stage.label!r} finds nothing to learn from in "
            f"{manifest.path or 'the manifest'}{of}. Allowed: a manifest whose column `{stage.label}` is filled "
            "(`data` of the stage), or a recipe without it"
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
    taken = rows[shared[rows.index]]
    if len(taken):
        patients = sorted(set(taken["patient_id"].where(taken["patient_id"] != "", taken["image_id"])))
        more = f" and {len(patients) - 10} more" if len(patients) > 10 else ""
        raise RecipeError(
            f"stages.{index}.use_splits: {len(taken)} images of these splits are of patients (or duplicates of images) "
            f"that the last stage holds out: {', '.join(patients[:10])}{more}. Allowed: false, which leaves them out, "
            "or splits without them"
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
    where = manifest.image_paths()
    paths = [where[image_id] for image_id in ids]
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
    most = max(2, round(VALIDATION_SHARE * len(pool)))
    taken = np.cumsum(in_order) <= most
    if not taken.any():  # the first is a patient too large: the first one small enough, or the smallest, does
        fitting = np.flatnonzero(in_order <= most)
        taken[fitting[0] if len(fitting) else np.argmin(in_order)] = True
    validates = np.isin(groups, order[taken])
    return pool[~validates], pool[validates]


def _classes_found(rows: pd.DataFrame, stage: Stage) -> list[str]:
    if stage.label == "label":
        return sorted(set(rows["label"]) - {""})
    named = {name.removeprefix(UNCERTAIN) for text in rows["findings"] for name in finding_names(text)}
    return sorted(named if stage.no_finding else named - {NO_FINDING})


def _check_classes(classes: Sequence[str], train: pd.DataFrame, stage: Stage, index: int) -> None:
    found = _classes_found(train, stage)
    absent = [name for name in classes if name not in {*found, *([NO_FINDING] if stage.label == "findings" else [])}]
    if absent:
        raise RecipeError(f"stages.{index}.classes: no image to train is {absent[0]!r}. Found: {', '.join(found)}")
    if len(classes) < 2:
        raise RecipeError(f"stages.{index}.classes: {list(classes)} is too few. Allowed: 2 or more")
    weights = stage.class_weights if isinstance(stage.class_weights, dict) else {}
    for key, names in (("class_weights", weights), *((f"annotated.{s}", n) for s, n in stage.annotated.items())):
        for name in names:
            if name not in classes:
                raise RecipeError(f"stages.{index}.{key}: {name!r} is no class. Allowed: {', '.join(classes)}")


def _check_enough(train: pd.DataFrame, val: pd.DataFrame, index: int, parts: int) -> None:
    if len(train) < max(2, parts) or len(val) < 1:
        raise RecipeError(
            f"stages.{index}: {len(train)} images to train and {len(val)} to validate are left. "
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


def _readable(rows: pd.DataFrame, cache: ImageCache) -> pd.DataFrame:
    there = np.array([image_id in cache for image_id in rows["image_id"]], dtype=bool)
    if not there.all():
        log.warning("%d images cannot be read and are left out", (~there).sum())
    return rows[there]


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
