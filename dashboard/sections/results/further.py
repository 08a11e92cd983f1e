"""Further scores on the Results page: one compact table of all classes together, one of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from cxr.evaluation.scores.further import further_scores, temperature_of
from cxr.evaluation.scores.results import FurtherScores
from cxr.formatting import Estimate, number, percent, xrays

from sections.results.evaluated import Evaluated
from widgets import viewer

TITLES = {
    "balanced_accuracy": "Balanced accuracy",
    "macro_recall": "Macro recall",
    "macro_precision": "Macro precision",
    "macro_f1": "Macro F1",
    "macro_specificity": "Macro specificity",
    "mean_average_precision": "Mean average precision",
    "mean_sensitivity_at_90": "Mean sensitivity at 90 % specificity",
    "mean_sensitivity_at_95": "Mean sensitivity at 95 % specificity",
    "brier": "Brier score",
    "log_loss": "Log loss",
    "ece": "Calibration error (ECE)",
}
OF_CLASS = {
    "specificity": "specificity",
    "average_precision": "average precision",
    "sensitivity_at_90": "sensitivity at 90 % spec.",
    "sensitivity_at_95": "at 95 % spec.",
}
_NUMBERS = ("macro_f1", "mean_average_precision", "average_precision", "brier", "log_loss", "ece")
ABOUT = (
    "Means are over the classes for which a score is defined. Brier score, log loss and calibration error are of the "
    "probabilities: 0 is best. The sensitivities are those of the best threshold in these X-rays, so on others they "
    "are lower."
)


def of_split(evaluated: Evaluated) -> FurtherScores:
    """Return the scores of a split: as they were stored, else (of older runs) computed."""
    stored = evaluated.result.get("further")
    if stored is not None:
        return stored
    return _scores(
        evaluated.run.id,
        evaluated.stamp,
        evaluated.split,
        evaluated.task,
        evaluated.every,
        evaluated.rows,
        evaluated.classes,
        evaluated.thresholds,
    )


@st.cache_data(max_entries=64, show_spinner="Computing further scores …")
def _scores(
    run_id: str,
    stamp: int,
    split: str,
    task: str,
    _every: pd.DataFrame,
    _rows: pd.DataFrame,
    _classes: Sequence[str],
    _thresholds: Mapping[str, float],
) -> FurtherScores:
    """Return the scores of ``_rows``; the temperature is fitted on the validation split of ``_every``."""
    temperature = temperature_of(_every, _classes, task)
    return further_scores(_rows, _classes, task, temperature, _thresholds)


def show(scores: FurtherScores) -> None:
    """Show the scores in an expander, with what is not defined and why."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in scores["undefined"].items():
        by_reason.setdefault(reason, []).append(name)
    lines = [viewer.plain(f"{', '.join(names)}: {reason}.") for reason, names in by_reason.items()]
    if lines:
        st.caption("  \n".join(lines))
    with st.expander(f"More scores · {scores['errors']}", icon=":material/query_stats:"):
        left, right = st.columns([4, 5])
        left.dataframe(overall(scores), hide_index=True, height="content")
        right.caption(after_scaling(scores))
        right.caption(ABOUT)
        st.dataframe(per_class(scores), height="content")


def overall(scores: FurtherScores) -> pd.DataFrame:
    """Return a row for each score of all classes together."""
    return pd.DataFrame(
        [{"score": TITLES.get(name, name), "value [95 %]": _text(name, e)} for name, e in scores["overall"].items()]
    )


def per_class(scores: FurtherScores) -> pd.DataFrame:
    """Return a row for each class."""
    rows = {
        name: {title: _text(score, entries[score]) for score, title in OF_CLASS.items()}
        for name, entries in scores["per_class"].items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def after_scaling(scores: FurtherScores) -> str:
    """Return in words what temperature scaling does to the probabilities."""
    scaled = scores["scaled"]
    if "why" in scaled:
        fitted = f"{scaled['temperature']:.2f}, " if "temperature" in scaled else ""
        return f"Temperature scaling: {fitted}{scaled['why']}."
    return (
        f"After temperature scaling (logits divided by {scaled['temperature']:.2f}, fitted on "
        f"{xrays(scaled['n_fitted'])} of split {scaled['fitted_on']}): calibration error {number(scaled['ece'])}, "
        f"Brier score {number(scaled['brier'])}, log loss {number(scaled['log_loss'])}."
    )


def _text(name: str, estimate: Estimate) -> str:
    return number(estimate) if name in _NUMBERS else percent(estimate)
