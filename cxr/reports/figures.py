"""Figures for reports and papers: SVG, PNG or PDF, by matplotlib, the same bytes for the same numbers.

Series are told apart by their colour and by their line or marker, so that a figure can be read without colours.
"""

from __future__ import annotations

import base64
import io
import math
import textwrap
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from cxr.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Form = Literal["svg", "png", "pdf"]
FORMS: tuple[Form, ...] = get_args(Form)

COLOURS = ("#1f77b4", "#d9731a", "#7b4fb5", "#2f8f3f", "#c23b3b", "#3c6fa8", "#8a6d3b", "#c05a9a")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":")
GREY, INK = "#8b949e", "#24292f"
WIDTH = 760
"""Width of a figure in a report, in pixels of 1/96 inch."""

_PER_INCH, _POINT = 96, 72 / 96  # pixels of a page; points in such a pixel
_PNG_DPI = 200
_CAPTION_LETTERS, _CAPTION_LINE, _LEGEND_ROW = 125, 15, 18
# Names of classes and recipes may be in any script. Families that are not installed are left out.
OTHER_SCRIPTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Microsoft YaHei", "PingFang SC")
_STYLE = {
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],  # the first comes with matplotlib
    "font.size": 12 * _POINT,
    "axes.titlesize": 12 * _POINT,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "grid.linewidth": 1 * _POINT,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$x$"
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "cxr",
    "pdf.fonttype": 42,  # TrueType, which other programs can edit
    "savefig.facecolor": "white",
}
# matplotlib's settings are the process's own: one figure at a time has ours.
_DRAWING = threading.Lock()


@dataclass(frozen=True)
class Drawing:
    """A figure that is drawn when it is written.

    Attributes
    ----------
    title
        What it shows, for those who cannot see it.
    paint
        Draws into empty axes.
    height
        In pixels of 1/96 inch, as ``width``; without the caption.
    caption
        What it rests on, in small letters below it.
    """

    title: str
    paint: Callable[[Axes], None]
    height: int
    width: int = WIDTH
    caption: str = ""

    def to_bytes(self, form: Form) -> bytes:
        """Return the figure as the contents of a file."""
        file = io.BytesIO()
        with _style():
            self._figure().savefig(file, format=form, dpi=_PNG_DPI, metadata=self._metadata(form))
        return file.getvalue()

    def write(self, path: Path) -> Path:
        """Write the figure in the form of the file's ending, .svg, .png or .pdf, and return the file."""
        form = form_of(path)
        if form is None:
            raise ValueError(
                f"{path.name} has no known figure format. Accepted: a name that ends in {', '.join(endings())}"
            )
        with replacing(path) as draft:
            draft.write_bytes(self.to_bytes(form))
        return path

    def data_url(self) -> str:
        """Return the figure as an address that holds it (SVG)."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.to_bytes("svg")).decode()

    def _figure(self) -> Figure:
        from matplotlib.figure import Figure

        lines = textwrap.wrap(self.caption, _CAPTION_LETTERS)
        height = self.height + _CAPTION_LINE * len(lines) + (8 if lines else 0)
        figure = Figure(figsize=(self.width / _PER_INCH, height / _PER_INCH), layout="constrained")
        self.paint(figure.add_subplot())
        if lines:
            figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=11 * _POINT)
        return figure

    def _metadata(self, form: Form) -> dict[str, str | None]:
        """Return what stands in the file: no date and no version, so that the same numbers give the same bytes."""
        nothing = {
            "svg": ("Date", "Creator"),
            "png": ("Software",),
            "pdf": ("CreationDate", "Creator", "Producer"),
        }[form]
        entries = {"Title": self.title, "Subject" if form == "pdf" else "Description": self.caption or None}
        return dict.fromkeys(nothing) | entries


def form_of(path: Path) -> Form | None:
    """Return the form of a figure by the file's ending, None for another ending."""
    return next((form for form in FORMS if path.suffix.lower() == f".{form}"), None)


def endings() -> list[str]:
    """Return the endings of figures' files: ``.svg``, ``.png``, ``.pdf``."""
    return [f".{form}" for form in FORMS]


@contextmanager
def _style() -> Iterator[None]:
    """Draw with the settings of this module, whatever the user's are, and leave those as they were.

    A letter that no installed font has is a box in PNG and PDF. In SVG text stays text, and whoever shows it has fonts.
    """
    from matplotlib import font_manager, style

    with _DRAWING:
        installed = set(font_manager.get_font_names())
        fonts = {"font.family": ["sans-serif", *(name for name in OTHER_SCRIPTS if name in installed)]}
        with style.context(["default", _STYLE | fonts]), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")  # the figure shows it, and SVG has the letter
            yield


@dataclass(frozen=True)
class Series:
    """How the series ``k`` of a figure is drawn. Up to 32 of them differ, up to eight in colour."""

    k: int

    @property
    def colour(self) -> str:
        """The colour, safe for the colour-blind only together with line and marker."""
        return COLOURS[self.k % len(COLOURS)]

    @property
    def line(self) -> str:
        """The line's style, another one where a colour comes again."""
        return LINES[(self.k + self.k // len(COLOURS)) % len(LINES)]

    @property
    def marker(self) -> str:
        """The marker of points."""
        return MARKERS[self.k % len(MARKERS)]


def legend_above(axes: Axes, series: Mapping[str, Any]) -> None:
    """Put a legend above the axes, artists by their names, in as many columns as there is room for."""
    if series:
        names = list(series)
        axes.figure.legend(list(series.values()), names, loc="outside upper right", ncols=_legend_columns(names))


def legend_height(names: Sequence[str]) -> int:
    """Return how much higher a figure must be for the rows of its legend after the first, in pixels."""
    return _LEGEND_ROW * (math.ceil(len(names) / _legend_columns(names)) - 1) if names else 0


def _legend_columns(names: Sequence[str]) -> int:
    column = 40 + 7 * max(map(len, names))  # pixels: the sign, and letters at their usual width
    return max(1, min(len(names), WIDTH // column))


def padded(values: Sequence[float], share: float, *, least: float = 0.0) -> tuple[float, float]:
    """Return the ends of an axis that holds all values with room of a share of their range at both ends.

    Where all lie within ``least`` the axis reaches 0.1 to both sides: its own scale would show nothing but rounding.
    """
    low, high = min(values), max(values)
    if high - low <= least:
        return low - 0.1, high + 0.1
    room = share * (high - low)
    return low - room, high + room


def unit_ticks(axis: Any) -> None:
    """Set ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=8, integer=True))
