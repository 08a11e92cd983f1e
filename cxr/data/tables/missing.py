"""Words that stand for no value."""

from __future__ import annotations

_MISSING = frozenset(
    (
        *("", "na", "n/a", "n.a.", "n.a", "#n/a", "#na", "<na>", "nan", "none", "null", "nil", "nat"),
        *("-", "--", "---", "–", "—", "?", "??", ".", "..", "unknown", "unk", "unspecified", "undefined", "missing"),
        *("not available", "not applicable", "not known", "not specified", "not recorded", "not reported", "no data"),
        *("(none)", "(null)", "(unknown)", "[null]", r"\n", "anonymous", "anonymized", "anonymised"),
    )
)


def is_missing(text: str) -> bool:
    """Return whether a text means an unknown value: empty, NA, N/A, None, null, nan, -, ?, unknown and the like."""
    return text.strip().casefold() in _MISSING
