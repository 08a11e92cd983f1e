"""The pages of the dashboard, in the order of a researcher's work. Nothing here loads Streamlit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

HOME = "views/home.py"
DATA = "views/data.py"
TRAIN = "views/train.py"
LIVE = "views/live.py"
STUDY = "views/study.py"
RESULTS = "views/results.py"
TRUST = "views/trust.py"
COMPARE = "views/compare.py"
EXPLORER = "views/explorer.py"
TEXT = "views/text.py"
WEIGHTS = "views/weights.py"
GLOSSARY = "views/glossary.py"
UNKNOWN = "views/unknown.py"
"""What stands where an address names none of them."""

SECTIONS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "": ((HOME, "Home", "home"),),
    "Experiment": (
        (DATA, "Data", "photo_library"),
        (TRAIN, "Train", "model_training"),
        (LIVE, "Live", "show_chart"),
        (STUDY, "Studies", "science"),
    ),
    "Findings": (
        (RESULTS, "Results", "grid_on"),
        (TRUST, "Can this be trusted?", "policy"),
        (COMPARE, "Compare", "compare_arrows"),
        (EXPLORER, "LRP explorer", "radiology"),
        (TEXT, "Text tokens", "text_fields"),
    ),
    "Networks": ((WEIGHTS, "Weights", "deployed_code"),),
    "Help": ((GLOSSARY, "Glossary", "menu_book"),),
}
"""(file, title, icon of Material Symbols) by the heading in the sidebar."""


def name_in_address(page: str) -> str:
    """Return what the address calls a page: nothing for the first."""
    return "" if page == HOME else PurePosixPath(page).stem


TITLES: Mapping[str, str] = {
    name_in_address(page): title for entries in SECTIONS.values() for page, title, _ in entries
}
"""Title of each page by its name in the address."""
