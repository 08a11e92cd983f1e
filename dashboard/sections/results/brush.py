"""X-rays of a stretch of a class's probability: what bars or points that were selected in a chart stand for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from cxr import formatting
from cxr.evaluation.summary import TARGET
from cxr.formatting import xrays as counted_xrays

from sections.results import xrays
from sections.results.evaluated import Evaluated
from widgets import address, page, pick, viewer
from widgets.charts import GREY

WITH, WITHOUT = "with", "without"
_ACCEPTED = "two probabilities such as 0.9,1, and with or without behind them"


@dataclass(frozen=True)
class Stretch:
    """A stretch of probabilities with its ends; ``side`` is :data:`WITH` or :data:`WITHOUT` the class, "" for both."""

    low: float
    high: float
    side: str = ""

    @classmethod
    def parse(cls, text: str) -> Stretch:
        """Read what an address says; ValueError for anything else."""
        low, high, side = [*address.parted(text), ""][:3] if text.count(",") < 3 else ("", "", "")
        stretch = cls(float(low), float(high), side)
        if not 0 <= stretch.low <= stretch.high <= 1 or stretch.side not in ("", WITH, WITHOUT):
            raise ValueError(text)
        return stretch

    @property
    def text(self) -> str:
        """What the address says."""
        return address.joined([repr(self.low), repr(self.high), *([self.side] if self.side else [])])

    def title(self, name: str) -> str:
        """The stretch in words."""
        whose = {WITH: f" with {name}", WITHOUT: f" without {name}"}.get(self.side, "")
        return f"X-rays{whose} that get {name} a probability of {self.low:.3g} to {self.high:.3g}"


def chosen(name: str) -> Stretch | None:
    """Return what is selected of a class, or what the address names, None for nothing."""
    key = _key(name)
    pick.arrive(key, "range", None, Stretch.parse, accepted=_ACCEPTED)
    stretch: Stretch | None = st.session_state[key]
    pick.leave("range", stretch.text if stretch else "", "")
    return stretch


def chart(figure: go.Figure, name: str, stretch: Stretch | None, *, key: str) -> None:
    """Show a chart whose bars or points can be selected, with the stretch that is.

    The ``customdata`` of what can be selected ends in its lowest and highest probability and its side.
    """
    if stretch is not None:
        figure.add_vrect(stretch.low, stretch.high, fillcolor=GREY, opacity=0.25, line_width=0, layer="below")
    figure.update_layout(dragmode="select", selectdirection="h", clickmode="event+select", hovermode="closest")
    own_key = f"{key}:{name}:{stretch.text if stretch else ''}"  # a new chart after each choice: nothing is faded
    st.plotly_chart(figure, key=own_key, on_select=partial(_take, own_key, name), selection_mode=("points", "box"))


def show(evaluated: Evaluated, name: str, stretch: Stretch | None) -> None:
    """Show the X-rays of a stretch, the highest probability first."""
    if stretch is None:
        return
    shown = rows_of(evaluated, name, stretch)
    words, back = st.columns([8, 3], vertical_alignment="center")
    words.header(viewer.plain(f"{stretch.title(name)}: {counted_xrays(len(shown))}"), anchor=False)
    back.button("Show none", icon=":material/close:", key="results:range:none", on_click=_clear, args=(name,))
    by_id = shown.set_index("image_id")
    truth = xrays.stated(shown) if evaluated.several else by_id["label"]
    xrays.show(
        evaluated.data,
        shown,
        lambda i: f"{formatting.share(by_id.at[i, f'prob_{name}'])}  \n{viewer.plain(truth[i])}",
        key=f"{evaluated.key}:{name}:range",
        link=evaluated.gallery_link,
        rows_of_pictures=2,
        param="range-page",
    )


def rows_of(evaluated: Evaluated, name: str, stretch: Stretch) -> pd.DataFrame:
    """Return the predictions of a stretch: of the X-rays for which it is known whether they have the class."""
    rows = evaluated.rows if evaluated.several else evaluated.labelled()
    target = rows[TARGET + name].to_numpy(float) if evaluated.several else (rows["label"] == name).to_numpy(float)
    score = np.clip(rows[f"prob_{name}"].to_numpy(float), 0, 1)
    inside = np.isfinite(target) & (score >= stretch.low) & (score <= stretch.high)
    if stretch.side:
        inside &= target == (stretch.side == WITH)
    return rows[inside].sort_values(f"prob_{name}", ascending=False)


def of_points(points: Sequence[Mapping[str, Sequence[object]]]) -> Stretch | None:
    """Return the stretch that all selected bars or points lie in, None where none of them can be selected."""
    ends = [list(point.get("customdata") or [])[-3:] for point in points]
    ends = [end for end in ends if len(end) == 3 and end[2] in ("", WITH, WITHOUT)]
    if not ends:
        return None
    sides = {str(side) for *_, side in ends}
    low, high = min(float(str(end[0])) for end in ends), max(float(str(end[1])) for end in ends)
    return Stretch(low, high, sides.pop() if len(sides) == 1 else "")


def bar_ends(edges: np.ndarray) -> list[tuple[float, float]]:
    """Return the lowest and the highest probability of each bar: what lies on an edge is in the bar above it."""
    below = [math.nextafter(float(edge), 0.0) for edge in edges[1:-1]]
    return list(zip(map(float, edges[:-1]), [*below, float(edges[-1])], strict=True))


def _key(name: str) -> str:
    return f"results:range:{name}"


def _take(key: str, name: str) -> None:
    stretch = of_points(page.selected(key, "points") or [])
    if stretch is not None:
        st.session_state[_key(name)] = stretch


def _clear(name: str) -> None:
    st.session_state[_key(name)] = None
