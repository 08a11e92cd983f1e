"""Results of a network of several findings: a table of all, and the X-rays of one by what came of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from cxr.data import Manifest
from cxr.evaluation.multilabel import outcomes
from cxr.evaluation.results import Summary
from cxr.evaluation.summary import TARGET

from sections.results import xrays
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
}

DEFAULT = "false negative"


def headline(result: Summary) -> None:
    """Show how many X-rays were measured and the mean figures of a summary of findings."""
    cells = st.columns(4)
    cells[0].metric("Images", result["n"], help="X-rays with at least one known finding")
    cells[0].caption(f"of {page.counted(result['n_patients'], 'patient')}")
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


def images(data: Manifest | None, rows: pd.DataFrame, result: Summary, *, key: str, link: dict[str, str]) -> None:
    """Let the user choose a finding and what came of it, and show these X-rays, the clearest case first.

    ``data`` is None where nothing tells where the X-rays lie; ``link`` is empty without a network to explain them.
    """
    per_class = result["per_class"]
    names = sorted(per_class, key=lambda name: -per_class[name]["positive"])
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    with left:
        labels = {name: f"{name} ({per_class[name]['positive']} positive)" for name in names}
        name = pick.from_url("Finding", names, labels, "finding")
    targets, chances = (rows[prefix + name].to_numpy(float) for prefix in (TARGET, "prob_"))
    came_of_it = outcomes(targets, chances, per_class[name]["threshold"]).to_numpy()
    with right:
        outcome = _outcome(came_of_it, per_class[name]["threshold"], f"{key}:outcome")
    shown = rows[came_of_it == outcome].sort_values(f"prob_{name}", ascending=outcome == "false negative")
    if shown.empty:
        st.caption("None.")
    by_id = shown.set_index("image_id")
    stated = by_id["findings"].where(by_id["findings"] != "", by_id["label"]).str.replace("|", ", ")
    xrays.show(
        data,
        shown,
        lambda i: f"{by_id.at[i, f'prob_{name}']:.0%}  \n{viewer.plain(stated[i])}",
        key=f"{key}:{name}:{outcome}",
        link=link,
    )


def _outcome(came_of_it: np.ndarray, threshold: float, key: str) -> str:
    """Let the user choose one of :data:`OUTCOMES`, each with its number of X-rays."""
    pick.arrive(key, "outcome", DEFAULT, allowed=list(OUTCOMES))
    outcome = st.segmented_control(
        f"At the threshold {threshold:.3g}",
        list(OUTCOMES),
        format_func=lambda o: f"{OUTCOMES[o]} ({(came_of_it == o).sum()})",
        key=key,
        required=True,
    )
    pick.leave("outcome", outcome or DEFAULT, DEFAULT)
    return outcome or DEFAULT
