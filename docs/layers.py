"""Draw the layers of the package from its imports: docs/images/layers.svg.

python docs/layers.py
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from code_imports import imported  # noqa: E402 - found through the path set above

PICTURE = ROOT / "docs" / "images" / "layers.svg"
# Modules that stand by themselves in cxr/ are in one box, but for those that another box holds.
BASE = "errors, paths, files, locks …"
BOXES = {"__main__": "cli", "worker": "cli", "study": "experiments"}
Edges = frozenset[tuple[str, str]]


def box_of(module: str) -> str:
    """Return the box that a module is drawn in."""
    if not module.startswith("cxr."):
        return "dashboard"
    part = module.split(".")[1]
    folder = (ROOT / "cxr" / part).is_dir()
    return BOXES.get(part, part if folder else BASE)


def imports() -> Edges:
    """Return (box, box that it imports), as the files have it at run time."""
    files = [*(ROOT / "cxr").rglob("*.py"), *(ROOT / "dashboard").rglob("*.py")]
    pairs = {
        (box_of(".".join(file.relative_to(ROOT).with_suffix("").parts)), box_of(name))
        for file in files
        if file != ROOT / "cxr" / "__init__.py"
        for name in imported(file.read_text(encoding="utf-8"))
        if name.startswith("cxr.")
    }
    return frozenset((upper, lower) for upper, lower in pairs if upper != lower)


def direct(edges: Edges) -> Edges:
    """Return the edges that do not follow from others: A imports C is left out where A imports B and B imports C."""
    below: dict[str, set[str]] = {}
    for box, lower in edges:
        below.setdefault(box, set()).add(lower)

    def reached(box: str) -> set[str]:
        return below.get(box, set()).union(*(reached(lower) for lower in below.get(box, ())))

    return frozenset((a, c) for a, c in edges if not any(c in reached(b) for b in below[a] - {c}))


def levels(edges: Edges) -> dict[str, int]:
    """Return how high each box stands: one above the highest that it imports."""
    boxes = {box for edge in edges for box in edge}

    def level(box: str) -> int:
        return 1 + max((level(lower) for upper, lower in edges if upper == box), default=-1)

    return {box: level(box) for box in boxes}


def in_words(edges: Iterable[tuple[str, str]]) -> str:
    """Return the edges as text, which the picture carries to be compared with."""
    return "; ".join(f"{upper} to {lower}" for upper, lower in edges)


def places(heights: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """Return the middle of each box: boxes of a level side by side."""
    rows: dict[int, list[str]] = {}
    for box in sorted(heights):
        rows.setdefault(heights[box], []).append(box)
    return {
        box: ((place - (len(row) - 1) / 2) * 3.4, height * 1.0)
        for height, row in rows.items()
        for place, box in enumerate(row)
    }


def draw() -> None:
    """Write the picture."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    edges = imports()
    middle, drawn = places(levels(edges)), sorted(direct(edges))
    with pyplot.rc_context({"svg.fonttype": "none", "svg.hashsalt": "layers", "font.size": 11}):
        figure, axes = pyplot.subplots(figsize=(7.2, 7.6))
        axes.set_xlim(-5.2, 5.2)
        axes.set_ylim(-0.6, max(y for _, y in middle.values()) + 0.6)
        axes.set_axis_off()
        style = {"boxstyle": "round,pad=0.5", "facecolor": "#e0f2f1", "edgecolor": "#00796b"}
        boxes = {
            box: axes.text(x, y, box, ha="center", va="center", color="#102027", bbox=style).get_bbox_patch()
            for box, (x, y) in middle.items()
        }
        figure.canvas.draw()  # which places the boxes that arrows end at
        for upper, lower in drawn:
            (x0, y0), (x1, y1) = middle[upper], middle[lower]
            arrow = {"arrowstyle": "-|>", "color": "#607d8b", "patchA": boxes[upper], "patchB": boxes[lower]}
            arrow["connectionstyle"] = f"arc3,rad={0.55 if x0 == x1 and y0 - y1 > 1.1 else 0}"
            axes.annotate("", (x1, y1), (x0, y0), arrowprops=arrow | {"shrinkA": 1, "shrinkB": 1})
        figure.savefig(PICTURE, metadata={"Date": None, "Description": in_words(drawn)}, bbox_inches="tight")
        pyplot.close(figure)


if __name__ == "__main__":
    draw()
