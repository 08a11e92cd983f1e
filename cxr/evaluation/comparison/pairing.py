"""Pairing: which X-rays several runs have predicted, and which of them their comparison is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cxr.data.digests import file_digests
from cxr.data.settings import OnManifest
from cxr.errors import CxrError, RunError, unknown, wrong_use
from cxr.evaluation.metrics import patients_of
from cxr.evaluation.provenance import provenance_of
from cxr.evaluation.results import evaluation_results
from cxr.evaluation.summary import TARGET
from cxr.formatting import xrays
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL
from cxr.paths import cache_root
from cxr.runs import Run, told_apart

PROBABILITY = "prob_"
BY_ID, BY_FILE = "image_id", "file"

NOT_SHARED = "not predicted by all runs"
NO_LABEL = "label is none of the classes"
OTHER_LABEL = "the runs' data state different labels"
SEEN = "seen in training by one of the networks"
TWICE = "the same file twice"


@dataclass(frozen=True)
class Predictions:
    """What a run has predicted.

    Attributes
    ----------
    table
        As :func:`cxr.evaluation.predict.predictions_table` makes it, with ``target_<class>`` where the task is
        multi-label; the column ``seen`` may be absent.
    classes
        Names in the order of the network's outputs.
    data_hash
        The hash of the manifest, "" where it is not known.
    seen_known
        Whether the column ``seen`` rests on a list of all that the network was trained on.
    files
        The digest of each X-ray's file by image id; None where they are not read, or not all can be.
    """

    run: str
    name: str
    task: str
    classes: tuple[str, ...]
    table: pd.DataFrame
    data_hash: str = ""
    seen_known: bool = True
    files: dict[str, str] | None = None


@dataclass(frozen=True)
class Paired:
    """The X-rays (N) that R runs share.

    Attributes
    ----------
    truth
        (N,) class indices, or (N, K) findings of 0 and 1, NaN where unknown.
    scores
        (R, N, K) probabilities, in the order of ``classes``.
    predicted
        (R, N) class indices; empty for findings.
    patients
        (N,) names of patients; an X-ray without one is a patient of its own.
    ids
        (N,) image ids in the first run's data.
    splits
        How many X-rays of each split.
    left_out
        For each run how many of its X-rays are left out, by reason.
    all_seen
        Whether a network has seen each of them: then they are compared, since there are no others.
    contradicted
        How many findings the runs' data state differently; they count as unknown.
    """

    task: str
    classes: tuple[str, ...]
    truth: np.ndarray
    scores: np.ndarray
    predicted: np.ndarray
    patients: list[str]
    ids: list[str]
    splits: dict[str, int]
    left_out: tuple[dict[str, int], ...]
    paired_by: str = BY_ID
    all_seen: bool = False
    contradicted: int = 0


def names_of(runs: Sequence[Predictions] | Sequence[Run]) -> list[str]:
    """Return the names of different runs, with a part of their ids where two are called alike."""
    names = {run.run if isinstance(run, Predictions) else run.id: run.name for run in runs}
    return list(told_apart(names).values())


def predictions_of(run: Run, split: str | None = None) -> Predictions:
    """Return what a finished training or evaluation has predicted, of one split or of all.

    Raises
    ------
    RunError
        If the run has no predictions of classes, or none of the split.
    """
    table, results = run.predictions(), evaluation_results(run)
    columns = [] if table is None else [name for name in table.columns if name.startswith(PROBABILITY)]
    if table is None or not columns or "splits" not in results:
        raise RunError(
            f"run {run.id!r} ({run.kind}, {run.status()['state']}) has no predictions to compare. "
            "Needed: a finished training or evaluation"
        )
    if split is not None:
        splits = sorted(set(table["split"]))
        if split not in splits:
            raise wrong_use(RunError(unknown(f"split of run {run.id!r}", split, splits)))
        table = table[table["split"] == split]
    classes = results.get("classes") or [name.removeprefix(PROBABILITY) for name in columns]
    task = results.get("task") or (SINGLE_LABEL if "predicted" in table else MULTI_LABEL)
    data_hash = provenance_of(run).get("manifest_hash") or ""
    seen = results.get("seen")
    seen_known = "seen" in table and seen is not None and not seen["unknown"]
    return Predictions(run.id, run.name, task, tuple(classes), table.reset_index(drop=True), data_hash, seen_known)


def with_files(run: Run, predictions: Predictions) -> Predictions:
    """Return predictions with the digests of their X-rays' files, without them if one cannot be read."""
    if not isinstance(run.params, OnManifest):
        return predictions
    try:
        paths = run.params.data.image_paths()
        by_path = file_digests([paths[i] for i in predictions.table["image_id"]], cache_root() / "digests.sqlite")
        files = {i: by_path[paths[i]] for i in predictions.table["image_id"]}
    except (CxrError, OSError, KeyError):
        return predictions
    known = {image_id: digest for image_id, digest in files.items() if digest is not None}
    return replace(predictions, files=known) if len(known) == len(files) else predictions


def pair(runs: Sequence[Predictions]) -> Paired:
    """Return the X-rays that all runs have predicted, without those that a network has seen if there are others.

    X-rays are the same by their files' bytes where all runs know them, else by their ids.

    Raises
    ------
    RunError
        If there are fewer than two runs, one stands twice, tasks or classes differ, or no X-ray is shared.
    """
    _check(runs)
    classes, task = runs[0].classes, runs[0].task
    paired_by = BY_FILE if all(run.files is not None for run in runs) else BY_ID
    tables = [_keyed(run, paired_by) for run in runs]
    unique = [table[~table.index.duplicated()] for table in tables]
    keys = set.intersection(*(set(table.index) for table in unique))
    if not keys:
        raise wrong_use(RunError(_nothing_shared(runs, paired_by)))
    shared = [table.loc[[key for key in unique[0].index if key in keys]] for table in unique]
    excluded, all_seen = _excluded(shared, classes, task)
    measured = ~np.any(list(excluded.values()), axis=0)
    of_all = {reason: int(rows.sum()) for reason, rows in excluded.items()}
    left_out = tuple(
        {TWICE: len(table) - len(once), NOT_SHARED: len(once) - len(keys), **of_all}
        for table, once in zip(tables, unique, strict=True)
    )
    if not measured.any():
        reasons = "; ".join(f"{n} {reason}" for reason, n in of_all.items() if n)
        raise RunError(f"none of the {len(keys):,} X-rays that the runs share can be compared: {reasons}")
    rows = [table[measured] for table in shared]
    truth, contradicted = (_targets if task == MULTI_LABEL else _labels)(rows, classes)
    return Paired(
        task,
        classes,
        truth,
        np.stack([table[[PROBABILITY + name for name in classes]].to_numpy(np.float64) for table in rows]),
        _predicted(rows, classes) if task != MULTI_LABEL else np.zeros((len(rows), 0), np.int64),
        patients_of(rows[0]),
        rows[0]["image_id"].astype(str).tolist(),
        {str(name): int(n) for name, n in rows[0]["split"].value_counts().sort_index().items()},
        tuple({reason: n for reason, n in reasons.items() if n} for reasons in left_out),
        paired_by,
        all_seen,
        contradicted,
    )


def _check(runs: Sequence[Predictions]) -> None:
    ids = [run.run for run in runs]
    if len(ids) < 2:
        raise wrong_use(RunError(f"{len(ids)} run given: a comparison needs two or more"))
    twice = sorted({run for run in ids if ids.count(run) > 1})
    if twice:
        raise wrong_use(RunError(f"run {twice[0]!r} is given twice: a comparison needs different runs"))
    first, names = runs[0], names_of(runs)
    for name, other in zip(names[1:], runs[1:], strict=True):
        if other.task != first.task:
            raise wrong_use(
                RunError(f"run {names[0]!r} is {first.task}, run {name!r} is {other.task}: they cannot be compared")
            )
        only = [sorted(set(a.classes) - set(b.classes)) for a, b in ((first, other), (other, first))]
        if any(only):
            parts = [
                f"only {run!r} has {', '.join(classes)}"
                for run, classes in zip((names[0], name), only, strict=True)
                if classes
            ]
            raise wrong_use(RunError(f"the runs' classes differ: {'; '.join(parts)}. Needed: the same class names"))


def _keyed(run: Predictions, paired_by: str) -> pd.DataFrame:
    """Return the predictions with what tells X-rays apart as their index."""
    ids = run.table["image_id"].astype(str)
    keys = [run.files[i] for i in ids] if paired_by == BY_FILE and run.files is not None else list(ids)
    return run.table.set_axis(pd.Index(keys, dtype=object), axis=0)


def _nothing_shared(runs: Sequence[Predictions], paired_by: str) -> str:
    each = ", ".join(f"{name!r} ({xrays(len(run.table))})" for name, run in zip(names_of(runs), runs, strict=True))
    by = "their files" if paired_by == BY_FILE else "their ids"
    return f"no X-ray is shared by all runs, compared by {by}: {each}. Needed: runs measured on the same X-rays"


def _excluded(rows: Sequence[pd.DataFrame], classes: Sequence[str], task: str) -> tuple[dict[str, np.ndarray], bool]:
    """Return by reason which of the shared X-rays are not compared, each for one reason, and whether all were seen."""
    if task == MULTI_LABEL:
        unusable = {NO_LABEL: ~np.isfinite(_targets(rows, classes)[0]).any(1)}
    else:
        labels = np.stack([table["label"].to_numpy(object) for table in rows])
        known = np.isin(labels.astype(str), list(classes)).all(0)
        unusable = {NO_LABEL: ~known, OTHER_LABEL: known & (labels != labels[0]).any(0)}
    usable = ~np.any(list(unusable.values()), axis=0)
    seen = np.any([table["seen"].to_numpy(object) != "" for table in rows if "seen" in table], axis=0) & usable
    all_seen = bool(usable.any() and (seen == usable).all())
    return unusable | {SEEN: np.zeros_like(usable) if all_seen else seen}, all_seen


def _labels(rows: Sequence[pd.DataFrame], classes: Sequence[str]) -> tuple[np.ndarray, int]:
    return _codes(rows[0]["label"], classes), 0


def _predicted(rows: Sequence[pd.DataFrame], classes: Sequence[str]) -> np.ndarray:
    return np.stack([_codes(table["predicted"], classes) for table in rows])


def _codes(names: pd.Series, classes: Sequence[str]) -> np.ndarray:
    return np.array([classes.index(name) for name in names], np.int64)


def _targets(rows: Sequence[pd.DataFrame], classes: Sequence[str]) -> tuple[np.ndarray, int]:
    """Return findings (N, K) that all runs' data state alike, NaN elsewhere, and how many they contradict."""
    each = np.stack([table[[TARGET + name for name in classes]].to_numpy(np.float64) for table in rows])
    alike = (each == each[0]).all(0)
    contradicted = np.isfinite(each).all(0) & ~alike
    return np.where(alike, each[0], np.nan), int(contradicted.sum())
