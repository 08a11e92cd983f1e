"""The words of docs/glossary.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from cxr.paths import glossary


class Term(NamedTuple):
    """A word and what it means, in Markdown without links: the pages that they lead to are not here."""

    word: str
    meaning: str


def sections(page: Path | None = None) -> dict[str, dict[str, Term]]:
    """Return ``{section: {anchor: term}}``; the anchors are those of the documentation."""
    chapters = re.split(r"^## ", (page or glossary()).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {title.strip(): _terms(body) for title, _, body in (chapter.partition("\n") for chapter in chapters)}


def _terms(body: str) -> dict[str, Term]:
    entries = (entry.partition("\n") for entry in re.split(r"^### ", body, flags=re.MULTILINE)[1:])
    return {anchor(word): Term(word.strip(), _without_links(text)) for word, _, text in entries}


def anchor(word: str) -> str:
    """Return the anchor of a heading: ``Seen before`` is ``seen-before``."""
    return re.sub(r"[^\w\- ]", "", word).strip().lower().replace(" ", "-")


def _without_links(text: str) -> str:
    text = re.sub(r" \(\[[^\]]*\]\([^)]*\)\)", "", text)
    return " ".join(re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).split())
