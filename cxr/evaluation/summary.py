"""The summary of predictions that fits a network's task: classes that exclude each other, or several findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cxr.evaluation.metrics import patients_of, probabilities, summarise
from cxr.evaluation.multilabel import summarise_findings
from cxr.evaluation.results import Summary
from cxr.evaluation.truth import finding_targets
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL

TARGET = "target_"


def with_targets(
    table: pd.DataFrame,
    rows: pd.DataFrame,
    classes: Sequence[str],
    annotated: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Return predictions of findings with a column ``target_<class>`` each: 1 there, 0 absent, NaN unknown.

    ``rows`` is the table of the whole manifest, which tells what each of its sources labels (see
    :func:`cxr.evaluation.truth.finding_targets`).
    """
    targets = finding_targets(rows, classes, annotated)
    own = pd.DataFrame(targets, columns=[TARGET + name for name in classes], index=rows["image_id"])
    return pd.concat([table, own.loc[table["image_id"]].reset_index(drop=True)], axis=1)


def summarise_predictions(
    table: pd.DataFrame,
    classes: Sequence[str],
    task: str = SINGLE_LABEL,
    thresholds: Mapping[str, float] | None = None,
) -> Summary:
    """Return the summary of a table of predictions: :func:`summarise`, or of findings :func:`summarise_findings`.

    A table of findings holds ``prob_<class>`` and ``target_<class>``; ``thresholds`` are probabilities by class.
    """
    if task != MULTI_LABEL:
        return summarise(table, classes)
    targets, chances = (table[[prefix + name for name in classes]].to_numpy(np.float64) for prefix in (TARGET, "prob_"))
    return summarise_findings(targets, chances, classes, patients_of(table), thresholds)


def validation_summary(
    task: str, targets: np.ndarray, logits: np.ndarray, classes: Sequence[str], patients: Sequence[str]
) -> Summary:
    """Return the metrics with intervals of either task; targets are class indices (N,) or findings (N, K)."""
    chances = probabilities(logits, task)
    if task == MULTI_LABEL:
        return summarise_findings(targets, chances, classes, patients)
    table = pd.DataFrame({"label": [classes[k] for k in targets], "patient_id": list(patients)})
    table["image_id"] = [str(k) for k in range(len(table))]
    table["predicted"] = [classes[k] for k in logits.argmax(1)]
    own = pd.DataFrame(chances, columns=[f"prob_{name}" for name in classes])
    return summarise(pd.concat([table, own], axis=1), classes)
