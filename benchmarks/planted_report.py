"""The page and the figure of the benchmark of planted shortcuts, from its rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import numpy as np

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
        "found by the detector" if setting["detect"] else "those of the drawing, so that no detector is judged here"
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
        f"- the experiment's sentence says that the network answers to the text {counts}\n"
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

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 400, 60, 16, 40, 46
_SERIES = {
    "tokens": ("tokens masked", "#c23b3b"),
    "random": ("random boxes", "#1f77b4"),
    "other": ("another X-ray's boxes", "#2f8f3f"),
}
_INK, _GRID = "#24292f", "#8b949e"


def draw(rows: Sequence[Row], mode: str) -> str:
    """Return an SVG: each network's share of changed predictions with its interval, against the correlation."""
    most = max(row["effects"][mode]["changed"][name]["high"] or 0 for row in rows for name in _SERIES)
    top = max(0.1, np.ceil(10 * most) / 10)

    def x(value: float) -> float:
        return _LEFT + (0.08 + 0.84 * value) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _BOTTOM - _TOP)

    parts = [_axes(rows, x, y, top)]
    for place, (name, (title, colour)) in enumerate(_SERIES.items()):
        parts.append(f'<circle cx="{_LEFT + 10 + 190 * place}" cy="16" r="5" fill="{colour}"/>')
        parts.append(_text(_LEFT + 20 + 190 * place, 20, title, "start"))
        for correlation in correlations(rows):
            some = of(rows, correlation)
            for k, row in enumerate(some):
                spread = (k - (len(some) - 1) / 2) * 14 / max(len(some) - 1, 1)
                parts.append(_point(x(correlation) + 24 * (place - 1) + spread, y, row, mode, name, colour))
    label = escape(f"{TITLE}: share of changed predictions against the correlation of text and class", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'aria-label="{label}" font-family="sans-serif" font-size="12">'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>{"".join(parts)}</svg>\n'
    )


def _axes(rows: Sequence[Row], x: Callable[[float], float], y: Callable[[float], float], top: float) -> str:
    parts = []
    for value in np.arange(0, top + 1e-9, 0.1 if top <= 0.6 else 0.2):
        parts.append(f'<path d="M{_LEFT} {y(value):.1f}H{_WIDTH - _RIGHT}" stroke="{_GRID}" opacity="0.3"/>')
        parts.append(_text(_LEFT - 8, y(value) + 4, f"{100 * value:.0f} %", "end"))
    for value in correlations(rows):
        parts.append(_text(x(value), _HEIGHT - _BOTTOM + 18, f"{value:g}", "middle"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(_text(middle, _HEIGHT - 8, "correlation of text and class; one point for each network", "middle"))
    parts.append(_text(_WIDTH - _RIGHT, 20, "predictions changed", "end"))
    return "".join(parts)


def _point(at: float, y: Callable[[float], float], row: Row, mode: str, name: str, colour: str) -> str:
    it = row["effects"][mode]["changed"][name]
    low, high = (it["value"] if it[end] is None else it[end] for end in ("low", "high"))
    line = f'<path d="M{at:.1f} {y(low):.1f}V{y(high):.1f}" stroke="{colour}" opacity="0.55"/>'
    return line + f'<circle cx="{at:.1f}" cy="{y(it["value"]):.1f}" r="2.4" fill="{colour}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_INK}">{escape(text)}</text>'
