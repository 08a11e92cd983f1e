"""The page Glossary shows the words of the documentation, and a link to one of them opens it."""

from __future__ import annotations

import re
from pathlib import Path

from apps import opened, said

from tests.dashboard.conftest import DASHBOARD

from services import glossary  # isort: skip  - found through the path that conftest sets

PAGE = DASHBOARD.parent / "docs" / "glossary.md"
NEEDED = {
    *("relevance", "composite", "rule", "propagator", "canonizer", "token", "control", "probe", "shortcut", "stamping"),
    *("masking", "run", "kind-of-run", "manifest", "split", "duplicate-group-dup_group", "card", "head", "logit"),
    *("output-neuron-keeping", "twice-transfer-learning", "seen-before", "placebo-token", "study", "recipe", "stage"),
}


def test_every_word_of_the_documentation_is_read_with_its_meaning():
    terms = {anchor: term for section in glossary.sections().values() for anchor, term in section.items()}
    headings = re.findall(r"^### (.+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [term.word for term in terms.values()] == headings
    assert terms.keys() >= NEEDED
    assert [term for term in terms.values() if not term.meaning.endswith(".") or "](" in term.meaning] == []


def test_the_page_shows_all_words_and_a_link_shows_one():
    app = opened("glossary")
    assert not app.exception
    assert "**Composite:** Which rule each layer of a network gets." in said(app)
    one = opened("glossary", term="composite")
    assert [box.value for box in one.selectbox] == ["composite"]
    assert "**Composite:**" in said(one)
    assert "**Manifest:**" not in said(one)
    gone = opened("glossary", term="nope")
    assert not gone.exception
    assert [error.value for error in gone.error] == ["The glossary has no 'nope'."]


def test_another_page_of_terms_is_read_the_same_way(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text("# G\n\n## A\n\n### B c (d)\n\nE [f](g.md) h ([i](j.md)).\n", encoding="utf-8")
    assert glossary.sections(page) == {"A": {"b-c-d": ("B c (d)", "E f h.")}}
