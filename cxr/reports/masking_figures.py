"""The figure of a text experiment: how much masking changes, by way of masking, beside its controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxr.experiments.masking.shapes import MaskingResults
from cxr.reports.figures import MARKERS, Drawing, legend_above
from cxr.reports.masking_tables import COLOURS, UNDER, changed_in_percent, changed_title
from cxr.text.mask import MASK_MODES

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def changed(results: MaskingResults, caption: str = "") -> Drawing:
    """Return the share of predictions that change, tokens and controls of each mode, with 95 % intervals.

    Of several findings it is the share of images on which at least one crosses its threshold.
    """
    title = changed_title(results)
    modes = list(results["modes"])

    def paint(axes: Axes) -> None:
        series = {}
        for k, (key, name) in enumerate(UNDER.items()):
            share, below, above = changed_in_percent(results, key)
            points, *_ = axes.errorbar(
                [place + 0.25 * (k - 1) for place in range(len(modes))],
                share,
                yerr=[below, above],
                fmt=MARKERS[k],
                color=COLOURS[key],
                markersize=8,
                elinewidth=1.5,
                capsize=3,
            )
            series[name] = points
        axes.set_xticks(range(len(modes)), [MASK_MODES[mode].title for mode in modes])
        axes.set_xlim(-0.5, len(modes) - 0.5)
        axes.set_ylim(bottom=0)
        axes.grid(True, axis="y")
        axes.set_ylabel(title)
        legend_above(axes, series)

    return Drawing(
        f"{title} by way of masking, under masked text and under controls", paint, height=330, caption=caption
    )
