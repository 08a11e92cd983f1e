"""X-rays on which two runs disagree, as pictures with links to the explorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from cxr import formatting
from cxr.data import Manifest
from cxr.evaluation.comparison.disagreement import BOTH, FIRST, SECOND, disagreements
from cxr.evaluation.comparison.pairing import Paired
from cxr.formatting import xrays
from cxr.models.card import MULTI_LABEL

from sections.results import xrays as pictures
from widgets import pick, viewer

_LIST = "compare:list"


def show(
    paired: Paired,
    pair: tuple[int, int],
    names: Sequence[str],
    thresholds: Sequence[Mapping[str, float]],
    data: Manifest | None,
    link: dict[str, str],
) -> None:
    """Show the X-rays of which two runs say different things, by who is right."""
    first, second = (names[k] for k in pair)
    st.header("X-rays on which they disagree", anchor=False)
    finding = ""
    if paired.task == MULTI_LABEL:
        finding = pick.from_url("Finding", paired.classes, {}, "finding", width=320)
    rows = disagreements(paired, *pair, finding, thresholds)
    n = {who: int((rows["right"] == who).sum()) for who in (FIRST, SECOND, BOTH)}
    titles = {
        FIRST: f"Only {first} is right ({n[FIRST]:,})",
        SECOND: f"Only {second} is right ({n[SECOND]:,})",
        BOTH: f"Both are wrong ({n[BOTH]:,})",
    }
    offered = [FIRST, SECOND] if paired.task == MULTI_LABEL else list(titles)
    default = next((who for who in offered if n[who]), FIRST)  # an empty list shows nothing
    pick.arrive(_LIST, "list", default, allowed=offered)
    who = st.segmented_control(
        "List",
        offered,
        format_func=titles.__getitem__,
        required=True,
        key=_LIST,
        label_visibility="collapsed",
        wrap=True,
    )
    pick.leave("list", who, default)
    shown = rows[rows["right"] == who]
    n_patients = len(set(rows["patient"]))
    st.caption(
        f"They say different things of {xrays(len(rows), n_patients)} of {len(paired.patients):,}. Those are first on "
        f"which their probabilities are furthest apart. Below each: what {viewer.plain(first)} says, then "
        f"{viewer.plain(second)}."
    )
    by_id = shown.set_index("image_id")
    pictures.show(
        data,
        shown.drop(columns=["apart", "right"]),
        lambda i: _caption(by_id.loc[i]),
        key=f"compare:{pair}:{finding}:{who}",
        link=link,
    )


def _caption(row: pd.Series) -> str:
    label, one, other = (viewer.plain(str(row[name])) for name in ("label", "first", "second"))
    first, second = (formatting.share(row[name]) for name in ("prob_first", "prob_second"))
    return f"true: {label}  \n{one} {first}  \n{other} {second}"
