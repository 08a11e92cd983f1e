"""Two drawings of a report as SVG text, for files that must be read without any other file or network."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from cxr.experiments.study.comparison import Report
from cxr.experiments.study.measures import METRIC_TITLES, Measure
from cxr.experiments.study.statistics import Mean

COLOURS = ("#1f77b4", "#d9731a", "#7b4fb5", "#2f8f3f", "#c23b3b", "#3c6fa8", "#8a6d3b", "#c05a9a")
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 34, 42
_AXIS, _TEXT = "#8b949e", "#24292f"


def curves(report: Report, width: int = 760, height: int = 360) -> str:
    """Return the mean curves with bands (t interval of the mean over seeds) over the epochs of the last stage."""
    shown = {label: curve for label, curve in report.curves.items() if curve}
    epochs = [epoch for curve in shown.values() for epoch in curve] or [0, 1]
    values = [v for curve in shown.values() for mean in curve.values() for v in _ends(mean)] or [0.0, 1.0]
    if report.plan.metric != "val_loss":
        values = [min(1.0, max(0.0, value)) for value in values]
    x = _Scale(min(epochs), max(max(epochs), min(epochs) + 1), _LEFT, width - _RIGHT)
    y = _Scale(min(values), max(values), height - _BOTTOM, _TOP, margin=0.04)
    parts = [_axes(x, y, width, height, "epoch of the last stage", METRIC_TITLES[report.plan.metric])]
    for index, (label, curve) in enumerate(shown.items()):
        parts.append(_curve(curve, x, y, COLOURS[index % len(COLOURS)], label))
    parts.append(_legend(list(shown), width))
    return _svg(width, height, f"Mean {METRIC_TITLES[report.plan.metric]} by recipe", parts)


def forest(measure: Measure, width: int = 760) -> str:
    """Return the paired differences of a measure: a point per pair with both its intervals, and a line at 0.

    The thin interval holds for all comparisons of the study at once; what it shows to differ from 0 is in colour.
    """
    rows = [(pair, difference) for pair, difference in measure.differences.items() if difference.mean.n]
    height, left = _TOP + 26 * max(1, len(rows)) + _BOTTOM, 270
    ends = [v for _, difference in rows for v in (*_ends(difference.mean), *(difference.together or ()))] + [0.0]
    if max(ends) - min(ends) < 1e-6:  # all alike: a scale of its own would show nothing but rounding
        ends += [min(ends) - 0.1, max(ends) + 0.1]
    x = _Scale(min(ends), max(ends), left, width - _RIGHT, margin=0.06)
    bottom = height - _BOTTOM
    parts = [_ticks_below(x, bottom, _TOP), _text(width - _RIGHT, height - 6, measure.title, "end")]
    parts.append(f'<line x1="{x(0):.1f}" x2="{x(0):.1f}" y1="{_TOP}" y2="{bottom}" stroke="{_TEXT}"/>')
    for row, ((a, b), difference) in enumerate(rows):
        middle = _TOP + 26 * row + 13
        mean, colour = difference.mean, COLOURS[0] if difference.shown else _AXIS
        parts.append(_text(left - 12, middle + 4, f"{a} − {b}", "end"))
        single = None if mean.low is None or mean.high is None else (mean.low, mean.high)
        for limits, thickness in ((difference.together, 1.2), (single, 4)):
            if limits is not None:
                ends_x = f'x1="{x(limits[0]):.1f}" x2="{x(limits[1]):.1f}"'
                line = f'y1="{middle}" y2="{middle}" stroke="{colour}" stroke-width="{thickness}"'
                parts.append(f"<line {ends_x} {line}/>")
        parts.append(f'<circle cx="{x(mean.value or 0):.1f}" cy="{middle}" r="5" fill="{colour}"/>')
    return _svg(width, height, f"Differences between recipes: {measure.title}", parts)


class _Scale:
    """Maps values to pixels, with a margin at both ends."""

    def __init__(self, low: float, high: float, start: float, end: float, margin: float = 0.0) -> None:
        room = margin * ((high - low) or 1.0)
        self.low, self.high, self.start, self.end = low - room, high + room, start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * (self.end - self.start)

    def ticks(self, n: int = 6) -> list[float]:
        """Return round values within the range, ``n`` at most."""
        rough = (self.high - self.low) / n or 1.0
        power = 10.0 ** np.floor(np.log10(rough))
        step = next(power * f for f in (1, 2, 5, 10) if power * f >= rough - 1e-12)
        first = np.ceil(self.low / step) * step
        return [float(round(v, 10)) + 0.0 for v in np.arange(first, self.high + step / 1e6, step)]


def _ends(mean: Mean) -> list[float]:
    return [v for v in (mean.value, mean.low, mean.high) if v is not None]


def _curve(curve: Mapping[int, Mean], x: _Scale, y: _Scale, colour: str, label: str) -> str:
    banded = [(e, m.low, m.high) for e, m in curve.items() if m.low is not None and m.high is not None]
    upper = [f"{x(e):.1f},{y(min(high, y.high)):.1f}" for e, _, high in banded]
    lower = [f"{x(e):.1f},{y(max(low, y.low)):.1f}" for e, low, _ in reversed(banded)]
    line = " ".join(f"{x(e):.1f},{y(m.value):.1f}" for e, m in curve.items() if m.value is not None)
    title = f"<title>{escape(label)}</title>"
    band = f'<polygon points="{" ".join(upper + lower)}" fill="{colour}" opacity="0.16"/>' if banded else ""
    return f'{band}<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.2">{title}</polyline>'


def _axes(x: _Scale, y: _Scale, width: int, height: int, x_title: str, y_title: str) -> str:
    bottom = height - _BOTTOM
    lines = [_ticks_below(x, bottom, _TOP, whole=True)]
    for value in y.ticks():
        at = f"{y(value):.1f}"
        lines.append(f'<line x1="{_LEFT}" x2="{width - _RIGHT}" y1="{at}" y2="{at}" stroke="{_AXIS}" opacity="0.25"/>')
        lines.append(_text(_LEFT - 8, y(value) + 4, f"{value:g}", "end"))
    lines.append(_text((_LEFT + width - _RIGHT) / 2, height - 8, x_title, "middle"))
    lines.append(_text(8, 18, y_title, "start"))
    return "".join(lines)


def _ticks_below(x: _Scale, bottom: float, top: float, *, whole: bool = False) -> str:
    lines = []
    for value in x.ticks(8):
        if whole and value != round(value):
            continue
        at = f"{x(value):.1f}"
        lines.append(f'<line x1="{at}" x2="{at}" y1="{top}" y2="{bottom}" stroke="{_AXIS}" opacity="0.25"/>')
        lines.append(_text(x(value), bottom + 16, f"{value:g}", "middle"))
    return "".join(lines)


def _legend(labels: Sequence[str], width: int) -> str:
    parts, right = [], float(width - _RIGHT)
    for index in reversed(range(len(labels))):
        parts.append(_text(right, 18, labels[index], "end"))
        right -= 7.2 * len(labels[index]) + 8
        parts.append(
            f'<rect x="{right - 14:.0f}" y="8" width="14" height="10" fill="{COLOURS[index % len(COLOURS)]}"/>'
        )
        right -= 30
    return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_TEXT}">{escape(text)}</text>'


def _svg(width: int, height: int, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title, quote=True)}" font-family="sans-serif" font-size="12" width="{width}">'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>{"".join(parts)}</svg>'
    )


_LINE, _PER_LINE = 15, 120


def with_caption(drawing: str, caption: str) -> str:
    """Return a drawing of this module with a caption in small letters below it, and as its description."""
    width, height = (int(number) for number in re.findall(r'viewBox="0 0 (\d+) (\d+)"', drawing)[0])
    lines = textwrap.wrap(caption, _PER_LINE)
    taller = height + _LINE * len(lines) + 8
    whole = drawing.replace(f'viewBox="0 0 {width} {height}"', f'viewBox="0 0 {width} {taller}"')
    whole = whole.replace(f'<rect width="{width}" height="{height}"', f'<rect width="{width}" height="{taller}"', 1)
    said = "".join(
        f'<text x="8" y="{height + _LINE * (k + 1)}" font-size="11" fill="{_TEXT}">{escape(line)}</text>'
        for k, line in enumerate(lines)
    )
    return whole.removesuffix("</svg>") + f"<desc>{escape(caption)}</desc>{said}</svg>"
