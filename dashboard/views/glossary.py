"""Glossary: what the words on the pages mean, as the documentation has it."""

from __future__ import annotations

import streamlit as st

from services import glossary
from widgets import page, pick

ALL = "all"

page.header("Glossary", "What the words on these pages mean. A link to this page names the word that is shown.")
with page.told_in_one_line():
    sections = glossary.sections()
    terms = {anchor: term for section in sections.values() for anchor, term in section.items()}
    words = {ALL: "All words"} | {anchor: term.word for anchor, term in sorted(terms.items())}
    chosen = pick.from_url("Word", list(words), words, "term", missing=lambda name: f"The glossary has no {name!r}.")
    if chosen != ALL:
        st.markdown(f"**{terms[chosen].word}:** {terms[chosen].meaning}")
    else:
        for title, section in sections.items():
            st.header(title, anchor=False)
            left, right = st.columns(2, gap="large")
            for place, term in enumerate(section.values()):
                (left if place < (len(section) + 1) // 2 else right).markdown(f"**{term.word}:** {term.meaning}")
