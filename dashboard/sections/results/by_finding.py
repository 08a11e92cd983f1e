"""Results of a network of several findings: a table of all, and the X-rays of one by what came of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from cxr import formatting
from cxr.evaluation.curves import confusion_matrix
from cxr.evaluation.curves.confusion import UNITS
from cxr.evaluation.metrics import patients_of
from cxr.evaluation.multilabel import outcomes
from cxr.evaluation.results import Summary
from cxr.evaluation.summary import TARGET

from sections.results import matrix, xrays
from sections.results.evaluated import Evaluated
from widgets import charts, measured, page, pick, viewer

NOT_SHOWN = (
    "No accuracy is shown: most findings are absent in most X-rays, so a network that never reports any is often "
    "right. An X-ray counts for a finding only where the data state whether it is present. Labels extracted from "
    "reports by a program are often wrong."
)
OUTCOMES = {
    "false negative": "False negatives",
    "false positive": "False positives",
    "true positive": "True positives",
    "true negative": "True negatives",
}
NAMES = ("absent", "present")
CELLS = {
    "false negative": ("present", "absent"),
    "false positive": ("absent", "present"),
    "true positive": ("present", "present"),
    "true negative": ("absent", "absent"),
}
"""The cell of each outcome in the matrix: true, predicted."""
MISSED = ("false negative", "true negative")
_PRESENT, _CALLED = ("false negative", "true positive"), ("false positive", "true positive")
_OUTCOME = "results:outcome"

DEFAULT = "false negative"


def headline(result: Summary) -> None:
    """Show how many X-rays were measured and the mean figures of a summary of findings."""
    cells = st.columns(4)
    of_patients = f"of {page.counted(result['n_patients'], 'patient')}"
    page.figure(cells[0], "X-rays", f"{result['n']:,}", of_patients, help="At least one of their findings is known")
    page.estimate(cells[1], "Mean AUC", result["auc"], percent=False, help="Mean over findings; interval over patients")
    help_ = "Mean over findings; interval over patients. Guessing reaches the share of positives."
    page.estimate(cells[2], "Mean average precision", result["average_precision"], percent=False, help=help_)
    measured = [name for name, scores in result["per_class"].items() if scores["auc"]["value"] is not None]
    help_ = "Findings with both positive and negative X-rays"
    cells[3].metric("Findings measured", f"{len(measured)} of {len(result['classes'])}", help=help_)


def table(result: Summary) -> None:
    """Show the figures of every finding, and below what they rest on and what is not shown."""
    columns = {"_index": st.column_config.Column("finding", width="medium")}  # names longer than Pneumothorax
    st.dataframe(table_of(result), height="content", column_config=columns)
    st.caption(f"{measured.REACH} {NOT_SHOWN}")


def table_of(result: Summary) -> pd.DataFrame:
    """Return one row per finding of a summary: its figures with their intervals, and of how many X-rays."""
    published = any(scores["published"] for scores in result["per_class"].values())
    rows = {
        name: {
            "positive / known": f"{scores['positive']} / {scores['known']}",
            "AUC": charts.interval(scores["auc"], percent=False),
            "average precision": charts.interval(scores["average_precision"], percent=False),
            "sensitivity": charts.interval(scores["sensitivity"]),
            "specificity": charts.interval(scores["specificity"]),
            **({"threshold": f"{scores['threshold']:.3g}"} if published else {}),
        }
        for name, scores in result["per_class"].items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def images(evaluated: Evaluated) -> str:
    """Let the user choose a finding and what came of it, and show these X-rays, the clearest case first.

    Returns the finding.
    """
    rows, per_class = evaluated.rows, evaluated.result["per_class"]
    left, right = st.columns([5, 6])
    names = sorted(per_class, key=lambda name: -per_class[name]["positive"])
    with left:
        labels = {name: f"{name} ({per_class[name]['positive']:,} positive)" for name in names}
        name = pick.from_url("Finding", names, labels, "finding", resets=("threshold", "prevalence", "range"))
        limit = per_class[name]["threshold"]
        targets, chances = (rows[prefix + name].to_numpy(float) for prefix in (TARGET, "prob_"))
        came_of_it = outcomes(targets, chances, limit).to_numpy()
        outcome = _matrix(evaluated, name, came_of_it)
    with right:
        shown = rows[came_of_it == outcome].sort_values(f"prob_{name}", ascending=outcome in MISSED)
        st.header(viewer.plain(f"{OUTCOMES[outcome]} of {name} ({len(shown):,})"), anchor=False)
        by_id = shown.set_index("image_id")
        stated = xrays.stated(shown)
        xrays.show(
            evaluated.data,
            shown,
            lambda i: f"{formatting.share(by_id.at[i, f'prob_{name}'])}  \n{viewer.plain(stated[i])}",
            key=f"{evaluated.key}:{name}:{outcome}",
            link=evaluated.gallery_link,
            columns=4,
            rows_of_pictures=2,
        )
        own = evaluated.every[evaluated.every["split"] == evaluated.split]
        page.csv_button("Predictions as CSV", own, f"{evaluated.run.id}-{evaluated.split}")
    return name


def _matrix(evaluated: Evaluated, name: str, came_of_it: np.ndarray) -> str:
    """Show the matrix of a finding at its threshold; returns what its chosen cell is called in :data:`OUTCOMES`."""
    unit = matrix.unit_of()
    pick.arrive(_OUTCOME, "outcome", DEFAULT, allowed=list(OUTCOMES))
    outcome: str = st.session_state[_OUTCOME]
    pick.leave("outcome", outcome, DEFAULT)
    counts = np.asarray(evaluated.result["per_class"][name]["confusion"])
    cells = counts
    if unit == UNITS[2]:
        known = came_of_it != ""
        truth, said = (np.isin(came_of_it[known], names).astype(int) for names in (_PRESENT, _CALLED))
        cells = confusion_matrix(truth, said, 2, patients_of(evaluated.rows[known]))
    matrix.chart(counts, cells, NAMES, unit, CELLS[outcome], evaluated, take=_take)
    st.caption(
        f"A finding counts as present above {evaluated.result['per_class'][name]['threshold']:.3g}. "
        + (matrix.BY_PATIENT if unit == UNITS[2] else "Click a cell to see its X-rays.")
    )
    return outcome


def _take(cell: tuple[str, str]) -> None:
    st.session_state[_OUTCOME] = next(name for name, of_outcome in CELLS.items() if of_outcome == cell)
