"""Licences of weights: found beside a file, carried along to whatever is made from it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

UNKNOWN = "unknown"
_MAX_BYTES = 200_000
_TEXTS = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md", "COPYING", "COPYING.txt")
# The short name of a licence and words of its text, the more special one first.
_WORDS: tuple[tuple[str, str], ...] = (
    ("AGPL-3.0", r"gnu affero general public license\s+version 3"),
    ("LGPL-3.0", r"gnu lesser general public license\s+version 3"),
    ("GPL-3.0", r"gnu general public license\s+version 3"),
    ("GPL-2.0", r"gnu general public license\s+version 2"),
    ("Apache-2.0", r"apache license\s+version 2\.0"),
    ("MPL-2.0", r"mozilla public license,? version 2\.0"),
    ("CC-BY-NC-SA-4.0", r"attribution-noncommercial-sharealike 4\.0"),
    ("CC-BY-NC-ND-4.0", r"attribution-noncommercial-noderivatives 4\.0"),
    ("CC-BY-NC-4.0", r"attribution-noncommercial 4\.0"),
    ("CC-BY-SA-4.0", r"attribution-sharealike 4\.0"),
    ("CC-BY-4.0", r"attribution 4\.0 international"),
    ("CC0-1.0", r"cc0 1\.0 universal"),
    ("BSD-3-Clause", r"redistribution and use in source and binary forms.*neither the name"),
    ("BSD-2-Clause", r"redistribution and use in source and binary forms"),
    ("MIT", r"permission is hereby granted, free of charge"),
)

_USUAL = {name.lower(): name for name, _ in _WORDS}


@dataclass(frozen=True)
class FoundLicence:
    """A licence and the file beside the weights that states it."""

    licence: str
    file: str


def licence_beside(path: Path) -> FoundLicence | None:
    """Return the licence that a card, a model card or a licence's text in the folder of ``path`` states, or None.

    Read are, in this order: ``<stem>.json``, the head of ``README.md`` (as the hub has it), ``LICENSE`` and the like.
    """
    candidates = (_of_card(path.with_suffix(".json")), _of_readme(path.with_name("README.md")), _of_text(path.parent))
    return next((licence for licence in candidates if licence is not None), None)


def joined_licences(licences: Iterable[str]) -> str:
    """Return several licences as one text, each once, in their order; empty where none is given.

    A licence may be such a text itself: a network that was trained from one that was trained from another carries all.
    """
    parts = (part.strip() for licence in licences for part in licence.split(";"))
    return "; ".join(dict.fromkeys(filter(None, parts)))


def sharing_note(licence: str) -> str:
    """Return what a reader must know who passes on a network under this licence; empty where nothing is known."""
    if re.search(r"\b(A|L)?GPL-", licence):
        return (
            "A network under the GPL, or one that was trained from it, may be passed on only under the same licence, "
            "with its origin named."
        )
    return ""


def _of_card(path: Path) -> FoundLicence | None:
    try:
        card = json.loads(_read(path))
    except (ValueError, RecursionError):
        return None
    stated = card.get("licence") or card.get("license") if isinstance(card, dict) else None
    return FoundLicence(usual_spelling(stated), path.name) if isinstance(stated, str) and stated.strip() else None


def _of_readme(path: Path) -> FoundLicence | None:
    match = re.match(r"---\s*\n(.*?)\n---", _read(path), re.DOTALL)
    try:
        head = yaml.safe_load(match[1]) if match else None
    except (yaml.YAMLError, RecursionError):
        return None
    stated = head.get("license_name") or head.get("license") if isinstance(head, dict) else None
    return FoundLicence(usual_spelling(stated), path.name) if isinstance(stated, str) and stated.strip() else None


def _of_text(folder: Path) -> FoundLicence | None:
    for name in _TEXTS:
        text = " ".join(_read(folder / name).lower().split())
        for licence, words in _WORDS:
            if re.search(words, text):
                return FoundLicence(licence, name)
    return None


def usual_spelling(licence: str) -> str:
    """Return a licence in its usual spelling (``gpl-3.0`` is GPL-3.0), in one line."""
    plain = " ".join(licence.split())[:80]
    return _USUAL.get(plain.lower(), plain)


def _read(path: Path) -> str:
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
