"""Write the table of composites in docs/lrp.md from their registrations.

python docs/composites.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cxr.explain.composites import COMPOSITES, summary

PAGE = Path(__file__).with_name("lrp.md")
BEGIN, END = "<!-- made by docs/composites.py -->\n", "<!-- end -->\n"


def table() -> str:
    """Return the table in Markdown."""
    lines = ["| composite | what it does | options (defaults) | biases | runs on |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(_row(summary(name)) for name in COMPOSITES)]) + "\n"


def _row(known: dict[str, Any]) -> str:
    options = (f"`{name}`" + _default(option["default"]) for name, option in known["options"].items())
    biases = " or ".join(known["bias_modes"]) or known["bias"]
    cells = (f"`{known['name']}`", known["description"], ", ".join(options), biases, "; ".join(known["runs_on"]))
    return f"| {' | '.join(cells)} |"


def _default(value: object) -> str:
    return "" if value is None else f" ({value})"


def with_table(page: str) -> str:
    """Return a page with the table between its two marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
