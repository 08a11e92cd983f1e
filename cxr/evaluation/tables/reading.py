"""A table of somebody else's predictions, read as the predictions of a network are stored."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cxr.data.tables.text_table import read_table, strip
from cxr.evaluation.selection import EVERYTHING, Selection
from cxr.evaluation.summary import TARGET, with_targets
from cxr.evaluation.tables import columns as names
from cxr.evaluation.tables.columns import Columns, shown, wrong
from cxr.evaluation.tables.scale import Scores, numbers_of, scores_of
from cxr.evaluation.tables.truth import (
    are_targets,
    names_in,
    stated_targets,
    states_findings,
    truth_of,
    with_aliases,
)
from cxr.evaluation.truth import likely_classes
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL

if TYPE_CHECKING:
    from cxr.evaluation.tables.settings import PredictionsParams

NO_SPLIT = "no split"
_POSITIVE = frozenset(("1", "positive", "true", "yes", "abnormal"))
_DERIVED = ("predicted", "correct", "confidence", "seen")


@dataclass(frozen=True)
class Predictions:
    """Predictions of a table as a run stores those of a network, and what was measured and left out.

    Attributes
    ----------
    table
        As :func:`cxr.evaluation.predict.predictions_table`, with ``target_<class>`` for findings and the table's
        further columns.
    thresholds
        None: nobody published any.
    notes
        What was decided in reading, a sentence each.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    task: str
    selection: Selection
    n_rows: int
    not_in_data: int = 0
    notes: tuple[str, ...] = ()
    thresholds: dict[str, float] = field(default_factory=dict)


def read_predictions(params: PredictionsParams, table: pd.DataFrame | None = None) -> Predictions:
    """Read a table of predictions.

    Parameters
    ----------
    table
        Taken instead of the file that ``params`` name.

    Raises
    ------
    ManifestError
        In one line, with the row and the value, for whatever cannot be used.
    """
    table = read_table(params.predictions) if table is None else strip(table).reset_index(drop=True)
    roles = names.find_roles(table, params.columns)
    rows = with_aliases(truth_of(table, roles, params.data), params.aliases)
    task, roles = _with_task(table, rows, roles, params)
    rows, roles, positive = _with_classes(table, rows, roles, params, task)
    classes = positive or tuple(roles.classes)
    keep = rows["in_data"] & ~rows["label"].isin(list(params.ignored_labels))
    keep &= _labelled(table, rows, roles, task)
    if not keep.any():
        raise wrong(f"none of the {len(table):,} rows is of an X-ray with a label: {_where_labels(params)}")
    if task == SINGLE_LABEL:
        _refuse_unknown_labels(table, rows[keep], classes, roles)
    used = list(roles.classes.values())
    scores = scores_of(numbers_of(table[keep], used), [k + 1 for k in table.index[keep]], used, task, params.scale)
    predictions = _stored(table[keep], rows[keep], roles, classes, task, scores)
    if task == MULTI_LABEL:
        predictions = _with_findings(predictions, table, rows, keep, roles, classes, params)
    selection = _selection(predictions, rows, keep, classes, task, params)
    notes = _notes(table, rows, roles, params, task, scores, predictions)
    gone = int((~rows["in_data"]).sum())
    return Predictions(predictions, classes, task, selection, len(table), gone, tuple(notes))


def _where_labels(params: PredictionsParams) -> str:
    known = "the manifest and the table state none" if params.manifest else "the table states none"
    return f"{known}. Accepted: a column `label` (or `--label-column NAME`), or `--data` with a manifest that has them"


def _with_task(
    table: pd.DataFrame, rows: pd.DataFrame, roles: Columns, params: PredictionsParams
) -> tuple[str, Columns]:
    """Return the task, and the columns with those that state each finding by itself."""
    truth = {
        name: column
        for name, column in names.truth_columns(table, roles).items()
        if params.task == MULTI_LABEL or are_targets(table, column)
    }
    predicted = names.class_columns(table, replace(roles, truth=truth), list(truth), params.class_columns, params.scale)
    truth = {name: column for name, column in truth.items() if name in predicted}
    task: str = params.task
    if task == "auto":
        task = (
            MULTI_LABEL
            if truth or states_findings(rows, [*map(str, table.columns), *params.class_columns])
            else SINGLE_LABEL
        )
    return task, replace(roles, truth=truth if task == MULTI_LABEL else {})


def _with_classes(
    table: pd.DataFrame, rows: pd.DataFrame, roles: Columns, params: PredictionsParams, task: str
) -> tuple[pd.DataFrame, Columns, tuple[str, str] | None]:
    """Return rows and columns with the classes, and both classes where one column of predictions is of one of them."""
    known = [*names_in(rows, task), *roles.truth]
    labels = [name for name in names_in(rows, task) if name not in params.ignored_labels]
    found = names.class_columns(table, roles, known, params.class_columns, params.scale)
    score = names.only_score(table, roles)
    if params.positive and score and not params.class_columns:
        found = {params.positive: score}
    elif not found and score and task == SINGLE_LABEL:
        found = {_positive(score, labels): score}
    if not found:
        raise wrong(
            f"no column holds predictions of a class. Columns: {shown(table.columns)}; labels: {shown(labels)}. "
            "Accepted: columns named after the labels, `prob_<label>`, `logit_<label>`, `--column CLASS=COLUMN`, or "
            "one column `probability` with `--positive CLASS`"
        )
    if task == SINGLE_LABEL:
        rows = _as_spelled(rows, list(found))
        labels = [name for name in names_in(rows, task) if name not in params.ignored_labels]
    roles = replace(roles, classes=found)
    if task == MULTI_LABEL or len(found) > 1:
        if params.positive:
            raise wrong(
                f"--positive {params.positive} goes with one column of predictions; here are those of {shown(found)}"
            )
        return rows, roles, None
    (positive,) = found
    others = [name for name in labels if name != positive]
    if params.positive and params.positive != positive:
        raise wrong(f"the column {found[positive]!r} is of class {positive!r}, not of {params.positive!r}")
    if len(others) > 1:
        more = names.other_numbers(table, roles.used)
        raise wrong(
            f"the only column of predictions, {found[positive]!r}, is of {positive!r}, and there are further labels: "
            f"{shown(others)}. Accepted: a column for each of them (`--column CLASS=COLUMN`"
            + (f"; further columns of numbers: {shown(more)}" if more else "")
            + "), `--alias LABEL=CLASS` or `--ignore-label LABEL`"
        )
    return rows, roles, (others[0] if others else f"not {positive}", positive)


def _positive(column: str, labels: Sequence[str]) -> str:
    """Return the label that a column called `probability` or the like is of."""
    of = [name for name in labels if name.lower() in _POSITIVE]
    if len(of) == 1 and len(labels) <= 2:
        return of[0]
    raise wrong(
        f"the column {column!r} does not say of which class it is. Accepted: `--positive CLASS` with one of "
        f"{shown(labels)}"
    )


def _as_spelled(rows: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return rows whose labels are spelled as the classes, where only case, spaces or hyphens differ."""
    same = {label: names.same_name(label, classes) or label for label in set(rows["label"])}
    return rows.assign(label=[same.get(label, label) for label in rows["label"]])


def _labelled(table: pd.DataFrame, rows: pd.DataFrame, roles: Columns, task: str) -> pd.Series:
    stated = rows["label"] != ""
    if task == MULTI_LABEL:
        stated |= rows["findings"] != ""
        for column in roles.truth.values():
            stated |= np.isfinite(stated_targets(table, column))
    return stated


def _refuse_unknown_labels(table: pd.DataFrame, rows: pd.DataFrame, classes: Sequence[str], roles: Columns) -> None:
    bad = rows[~rows["label"].isin(list(classes))]
    if bad.empty:
        return
    label = bad["label"].iloc[0]
    likely = likely_classes([label], classes).get(label)
    alias = shlex.quote(f"{label}={likely or 'CLASS'}")
    more = names.other_numbers(table, roles.used) if roles.classes else []
    raise wrong(
        f"row {bad.index[0] + 1}: label {label!r} ({int((bad['label'] == label).sum()):,} X-rays) is none of the "
        f"classes {shown(classes)}. Accepted: `--alias {alias}`, `--ignore-label {shlex.quote(label)}` to leave them "
        f"out, or `--column {shlex.quote(f'{label}=COLUMN')}` for every class"
        + (f" (further columns of numbers: {shown(more)})" if more else "")
    )


def _stored(
    table: pd.DataFrame, rows: pd.DataFrame, roles: Columns, classes: Sequence[str], task: str, scores: Scores
) -> pd.DataFrame:
    """Return the table as ``predictions.parquet`` holds it, with the further columns at its end."""
    split = rows["split"].to_numpy() if (rows["split"] != "").any() else np.full(len(rows), EVERYTHING, object)
    stored: dict[str, object] = {"image_id": rows["image_id"].to_numpy()}
    stored["split"] = [name or NO_SPLIT for name in split]
    stored["label"] = rows["label"].to_numpy()
    if task == MULTI_LABEL:
        stored["findings"] = rows["findings"].to_numpy()
    else:
        best = scores.logits.argmax(1)
        stored["predicted"] = [classes[k] for k in best]
        stored["correct"] = np.array(stored["predicted"], dtype=object) == stored["label"]
        stored["confidence"] = scores.chances.max(1)
    stored |= {name: rows[name].to_numpy() for name in ("patient_id", "source")}
    for prefix, values in (("logit", scores.logits), ("prob", scores.chances)):
        stored |= {f"{prefix}_{name}": values[:, k] for k, name in enumerate(classes)}
    stored["seen"] = ""
    ours = stored.keys() | set(_DERIVED) | {TARGET + name for name in classes}
    further = [str(name) for name in table.columns if str(name) not in roles.used | ours]
    # Whatever begins like a column of ours would be taken for a class.
    titles = {name: f"given_{name}" if name.startswith(("logit_", "prob_", TARGET)) else name for name in further}
    return pd.DataFrame(stored | {titles[name]: table[name].to_numpy() for name in further})


def _with_findings(
    predictions: pd.DataFrame,
    table: pd.DataFrame,
    rows: pd.DataFrame,
    keep: pd.Series,
    roles: Columns,
    classes: Sequence[str],
    params: PredictionsParams,
) -> pd.DataFrame:
    """Return predictions with ``target_<class>``: 1, 0, or NaN where it is not known."""
    own_words = bool(roles.label or roles.findings)
    if params.data is not None and not own_words:
        whole = with_aliases(params.data.table, _of_manifest(params))
        predictions = with_targets(predictions, whole, classes)
    else:
        stated = rows.assign(findings=rows["findings"].where(rows["findings"] != "", rows["label"]))
        every = {source: list(classes) for source in set(stated["source"])}
        predictions = with_targets(predictions, stated, classes, every)
    for name in [name for name in classes if name in roles.truth]:
        predictions[TARGET + name] = stated_targets(table[keep], roles.truth[name])
    known = predictions[[TARGET + name for name in classes]].notna().any(axis=1)
    if not known.any():
        raise wrong(
            f"nothing is known of the findings {shown(classes)}. Findings stated: {shown(names_in(rows))}. Accepted: "
            "`--alias FINDING=CLASS`, or columns such as `target_<class>` of 0 and 1"
        )
    return predictions[known].reset_index(drop=True)


def _of_manifest(params: PredictionsParams) -> Mapping[str, str]:
    assert params.data is not None
    present = set(names_in(params.data.table))
    return {name: meaning for name, meaning in params.aliases.items() if name in present}


def _selection(
    predictions: pd.DataFrame,
    rows: pd.DataFrame,
    keep: pd.Series,
    classes: Sequence[str],
    task: str,
    params: PredictionsParams,
) -> Selection:
    by_split = {str(name): part["image_id"].tolist() for name, part in predictions.groupby("split", sort=True)}
    ignored = rows[rows["label"].isin(list(params.ignored_labels)) & rows["in_data"]]
    inside = int(rows["in_data"].sum())
    counts = Counter(ignored["label"])
    stated = Counter(name for text in rows["findings"][keep] for name in text.split("|")) if task == MULTI_LABEL else {}
    strangers = {name: n for name, n in stated.items() if name and name.removeprefix("?") not in (*classes, "normal")}
    return Selection(
        by_split=by_split,
        why="no-splits" if list(by_split) == [EVERYTHING] else "asked",
        unknown_labels={"": dict(counts)} if counts else {},
        unlabelled=inside - len(ignored) - len(predictions),
        absent={name: _absent(predictions, name, classes, task) for name in by_split},
        unknown_findings={name: n for name, n in strangers.items() if name not in ("No Finding",) and n},
    )


def _absent(predictions: pd.DataFrame, split: str, classes: Sequence[str], task: str) -> dict[str, int]:
    """Return for classes without an X-ray in a split how many the other splits have."""
    inside = predictions["split"] == split
    there = {
        name: (predictions[TARGET + name] == 1) if task == MULTI_LABEL else (predictions["label"] == name)
        for name in classes
    }
    return {name: int(has[~inside].sum()) for name, has in there.items() if not has[inside].any()}


def _notes(
    table: pd.DataFrame,
    rows: pd.DataFrame,
    roles: Columns,
    params: PredictionsParams,
    task: str,
    scores: Scores,
    predictions: pd.DataFrame,
) -> list[str]:
    several = "findings, each by itself" if task == MULTI_LABEL else "classes that exclude each other"
    how = " (decided by the labels; `--task` says otherwise)" if params.task == "auto" else ""
    notes = [f"Task {task}: {several}{how}.", scores.note]
    if scores.scale == "probabilities":
        notes.append("The logits stored are computed from the probabilities.")
    if data := params.data:
        gone = rows[~rows["in_data"]]
        if len(gone):
            notes.append(
                f"Left out: {len(gone):,} of {len(table):,} rows whose image is not in the data, such as "
                f"{gone['image_id'].iloc[0]!r}."
            )
        without = len(data) - int(rows["in_data"].sum())
        if without:
            notes.append(
                f"{without:,} of the {len(data):,} X-rays of the data have no prediction: they are in no figure."
            )
    if task == MULTI_LABEL and not roles.truth and (roles.label or roles.findings):
        notes.append("A finding that the table does not name for an X-ray counts as absent.")
    return notes
