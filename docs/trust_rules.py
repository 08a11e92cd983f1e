"""Write the table of rules in docs/trust.md from the code.

python docs/trust_rules.py
"""

from __future__ import annotations

from pathlib import Path

from cxr.experiments.audit.part_names import PARTS
from cxr.experiments.audit.rules import RULES, Rule

PAGE = Path(__file__).with_name("trust.md")
BEGIN, END = "<!-- made by docs/trust_rules.py -->\n", "<!-- end -->\n"


def table() -> str:
    """Return the rules by part, in Markdown."""
    lines = ["| rule | figure | serious | warning | note | why |", "|---|---|---|---|---|---|"]
    for name, title in PARTS.items():
        own = [rule for rule in RULES if rule.part == name]
        if own:
            lines.append(f"| **{title}** | | | | | |")
        lines += [_row(rule) for rule in own]
    return "\n".join(lines) + "\n"


def _row(rule: Rule) -> str:
    if rule.fixed is not None:
        limits = ["always" if rule.fixed == weight else "" for weight in ("serious", "warning", "note")]
    else:
        sign = ">" if rule.worst > rule.none else "<"
        numbers = (rule.serious, rule.warning, rule.note)
        limits = ["" if limit is None else f"{sign} {limit:g}" for limit in numbers]
    return f"| `{rule.name}` | {rule.figure} | {' | '.join(limits)} | {rule.reason} |"


def with_table(page: str) -> str:
    """Return a page with the table between its two marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
