"""The page and the figure of the benchmark of planted shortcuts, from its rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr.reports.figures import MARKERS, Drawing, legend_above

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

Row = dict[str, Any]
Interval = dict[str, float | None]
CONTROLS = {"random": "random boxes", "other": "another X-ray's boxes"}
MEASURES = {"": "predictions changed", "moved_": "probabilities moved"}
TITLE = "Planted shortcuts, and what the text experiment says of them"


def page(rows: Sequence[Row], command: str) -> str:
    """Return the tables as Markdown."""
    setting = rows[0]["setting"]
    parts = [f"# {TITLE}", command, intro(setting)]
    for mode in setting["modes"]:
        parts += [f"## Masking: {mode}", table(rows, mode), verdicts(rows, mode), said(rows, mode)]
    parts += [covered(rows), "## Every network", *(each(rows, mode) for mode in setting["modes"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def intro(setting: dict[str, Any]) -> str:
    source = (
        "found by the detector" if setting["detect"] else "those of the drawing, so that no detector is measured here"
    )
    return f"""\
Synthetic X-rays of three classes whose text tells the class as often as the correlation says. Each network (a DenseNet
with blocks of {", ".join(map(str, setting["blocks"]))} layers at {setting["side"]} px) is trained for \
{setting["epochs"]} epochs on {setting["train"]} X-rays of its own and asked about {setting["test"]} others that were
drawn in the same way, with the code that users run (`cxr.experiments.masking.conditions`,
`cxr.experiments.masking.effects`). Boxes of tokens are {source}. The controls are boxes off the tokens: random ones
({setting["draws"]} draws), chosen as `cxr.experiments.masking.matched_controls` chooses them for users, by how much
masking them changes the picture, and those of another X-ray at the places where they lie there.

- changed: share of predictions that masking changes, mean over networks
- beyond: by how much tokens change more than a control does; *found* counts the networks whose 95 % interval
  (over patients) lies above zero, *below* those whose interval lies below it
- accuracy: of the X-rays as they are, mean and range; its change by masked tokens minus that by random boxes
- true class: change of its probability by masked tokens minus that by the control"""


def table(rows: Sequence[Row], mode: str) -> str:
    head = ["correlation", "networks", "accuracy", "changed: tokens", "random", "other"]
    for control in CONTROLS:
        head += [f"beyond {control}", "found", "below"]
    head += ["accuracy, tokens - random", "true class, tokens - random", "true class, tokens - other"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for correlation in correlations(rows):
        lines.append("| " + " | ".join(cells(of(rows, correlation), mode)) + " |")
    return "\n".join(lines)


def cells(rows: Sequence[Row], mode: str) -> list[str]:
    n, told = len(rows), [row["effects"][mode] for row in rows]
    right = [row["accuracy"] for row in rows]
    out = [f"{rows[0]['correlation']:g}", str(n), f"{np.mean(right):.1%} ({min(right):.1%} to {max(right):.1%})"]
    out += [f"{np.mean([t['changed'][name]['value'] for t in told]):.1%}" for name in ("tokens", "random", "other")]
    for control in CONTROLS:
        beyond = [t[f"beyond_{control}"] for t in told]
        values = [b["value"] for b in beyond]
        out.append(f"{100 * np.mean(values):+.1f} ({100 * min(values):+.1f} to {100 * max(values):+.1f}) points")
        out += [f"{sum(map(is_above, beyond))} of {n}", f"{sum(map(is_below, beyond))} of {n}"]
    moved = [t["accuracy"]["tokens"]["value"] - t["accuracy"]["random"]["value"] for t in told]
    out.append(f"{100 * np.mean(moved):+.1f} points")
    return out + [f"{np.mean([t['true_class'][control]['value'] for t in told]):+.3f}" for control in CONTROLS]


def verdicts(rows: Sequence[Row], mode: str) -> str:
    """Return what the table was made to say, each with its count."""
    lines = []
    for (control, name), (measure, what) in itertools.product(CONTROLS.items(), MEASURES.items()):
        key = f"{measure}beyond_{control}"
        beyond = {c: [row["effects"][mode][key] for row in of(rows, c)] for c in correlations(rows)}
        none, strong = beyond.get(0.0, []), [b for c, some in beyond.items() if c >= 0.75 for b in some]
        cover = sum(not is_above(b) and not is_below(b) for b in none)
        means = [np.mean([b["value"] for b in some]) for some in beyond.values()]
        grows = all(later > earlier for earlier, later in itertools.pairwise(means))
        lines.append(
            f"- {what} against {name}: at correlation 0 the interval covers zero in {cover} of {len(none)} networks "
            f"and lies above it in {sum(map(is_above, none))}; at 0.75 and above it lies above zero in "
            f"{sum(map(is_above, strong))} of {len(strong)}; the mean effect "
            + ("grows with every step of the correlation" if grows else "does **not** grow with every step")
        )
    return "\n".join(lines)


def said(rows: Sequence[Row], mode: str) -> str:
    """Return how well the controls match the tokens, and how often the experiment's sentence claims an effect."""
    told = [row["effects"][mode] for row in rows]
    if not all("match" in t for t in told):
        return ""
    change = {name: np.mean([t["match"]["change"][name] for t in told]) for name in ("tokens", *CONTROLS)}
    claims = {
        title: [row["effects"][mode]["conclusion"] in ("predictions", "probabilities") for row in some]
        for title, some in (
            ("correlation 0", of(rows, 0.0)),
            ("0.75 and above", [row for row in rows if row["correlation"] >= 0.75]),
        )
    }
    counts = ", ".join(f"at {title} in {sum(some)} of {len(some)} networks" for title, some in claims.items())
    return (
        f"- the experiment's sentence says that the network responds to the text {counts}\n"
        f"- masking changes the network's picture by {change['tokens']:.2f} grey levels (of 255) for tokens, "
        f"{change['random']:.2f} for random boxes and {change['other']:.2f} for another X-ray's boxes"
    )


def covered(rows: Sequence[Row]) -> str:
    shares = {name: np.mean([row["covered"][name] for row in rows]) for name in ("tokens", "random", "other")}
    return (
        f"Boxes cover {shares['tokens']:.1%} of an X-ray for tokens, {shares['random']:.1%} for random boxes and "
        f"{shares['other']:.1%} for another X-ray's boxes, from which those that meet a token are taken out."
    )


def each(rows: Sequence[Row], mode: str) -> str:
    lines = [
        f"| correlation | seed | accuracy | beyond random ({mode}) | beyond other ({mode}) |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda r: (r["correlation"], r["seed"])):
        told = row["effects"][mode]
        intervals = [in_points(told[f"beyond_{control}"]) for control in CONTROLS]
        lines.append(f"| {row['correlation']:g} | {row['seed']} | {row['accuracy']:.1%} | {' | '.join(intervals)} |")
    return "\n".join(lines)


def in_points(interval: Interval) -> str:
    value, low, high = (interval[key] for key in ("value", "low", "high"))
    return f"{100 * (value or 0):+.1f} [{100 * (low or 0):+.1f}, {100 * (high or 0):+.1f}]"


def is_above(interval: Interval) -> bool:
    return interval["low"] is not None and interval["low"] > 0


def is_below(interval: Interval) -> bool:
    return interval["high"] is not None and interval["high"] < 0


def correlations(rows: Sequence[Row]) -> list[float]:
    return sorted({row["correlation"] for row in rows})


def of(rows: Sequence[Row], correlation: float) -> list[Row]:
    return [row for row in rows if row["correlation"] == correlation]


# --- the figure ----------------------------------------------------------------------------------------------------

_SERIES = {
    "tokens": ("tokens masked", "#c23b3b"),
    "random": ("random boxes", "#1f77b4"),
    "other": ("another X-ray's boxes", "#2f8f3f"),
}
_PER_UNIT = 572  # pixels of the figure from correlation 0 to 1


def draw(rows: Sequence[Row], mode: str) -> Drawing:
    """Return a figure: each network's share of changed predictions with its interval, against the correlation."""

    def paint(axes: Axes) -> None:
        series = {
            title: _paint_series(axes, rows, mode, name, colour, MARKERS[place], 24 * (place - 1))
            for place, (name, (title, colour)) in enumerate(_SERIES.items())
        }
        most = max(row["effects"][mode]["changed"][name]["high"] or 0 for row in rows for name in _SERIES)
        top = max(10, 10 * np.ceil(10 * most))
        steps = np.arange(0, top + 1e-6, 10 if top <= 60 else 20)
        axes.set_ylim(0, top)
        axes.set_yticks(steps, [f"{step:.0f} %" for step in steps])
        axes.set_xlim(-0.095, 1.095)
        axes.set_xticks(correlations(rows), [f"{value:g}" for value in correlations(rows)])
        axes.grid(True, axis="y")
        axes.set_xlabel("correlation of text and class; one point for each network")
        axes.set_title("predictions changed", loc="left")
        legend_above(axes, series)

    title = f"{TITLE}: share of changed predictions against the correlation of text and class"
    return Drawing(title, paint, height=400)


def _paint_series(
    axes: Axes, rows: Sequence[Row], mode: str, name: str, colour: str, marker: str, shift: float
) -> Artist:
    """Draw one condition, its networks side by side, ``shift`` pixels beside their correlation; return its points."""
    at, values, ends = [], [], []
    for correlation in correlations(rows):
        networks = of(rows, correlation)
        for k, row in enumerate(networks):
            spread = (k - (len(networks) - 1) / 2) * 14 / max(len(networks) - 1, 1)
            estimate = row["effects"][mode]["changed"][name]
            at.append(correlation + (shift + spread) / _PER_UNIT)
            values.append(100 * estimate["value"])
            ends.append(
                [100 * (estimate["value"] if estimate[end] is None else estimate[end]) for end in ("low", "high")]
            )
    axes.vlines(at, *zip(*ends, strict=True), color=colour, alpha=0.55, linewidth=0.75)
    (points,) = axes.plot(at, values, marker, color=colour, markersize=3.6)
    return points
