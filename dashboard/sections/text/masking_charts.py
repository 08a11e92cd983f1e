"""Charts of text experiments."""

from __future__ import annotations

import plotly.graph_objects as go

from cxr.experiments.masking.shapes import MaskingResults
from cxr.reports.masking_tables import COLOURS, UNDER, changed_in_percent, changed_title
from cxr.text.mask import MASK_MODES


def changed(results: MaskingResults) -> go.Figure:
    """The share of predictions that change, tokens and controls of each mode, with 95 % intervals.

    Of several findings it is the share of images on which at least one crosses its threshold.
    """
    figure = go.Figure()
    for key, title in UNDER.items():
        share, below, above = changed_in_percent(results, key)
        figure.add_scatter(
            x=[MASK_MODES[mode].title for mode in results["modes"]],
            y=share,
            error_y={"type": "data", "symmetric": False, "array": above, "arrayminus": below},
            name=title,
            mode="markers",
            marker={"size": 11, "color": COLOURS[key]},
        )
    figure.update_layout(
        scattermode="group",
        height=330,
        margin={"l": 50, "r": 10, "t": 40, "b": 40},
        yaxis={"title": changed_title(results), "rangemode": "tozero"},
        legend={"orientation": "h", "y": 1.0, "x": 1, "xanchor": "right", "yanchor": "bottom"},
    )
    return figure
