"""What a search for duplicates gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, cast

import pandas as pd

from cxr.data.audit.duplicates.data_set import PAIRS_FILE
from cxr.data.library import DuplicateFacts
from cxr.errors import RunError
from cxr.json_types import JsonObject

if TYPE_CHECKING:
    from cxr.runs import Run

KIND = "find-duplicates"


class SearchResults(TypedDict):
    """The results of a search, as ``results.json`` holds them; the pairs are in ``duplicates.csv``.

    ``conflicts`` holds the rows of :class:`cxr.data.audit.duplicates.Conflicts`, ``file`` the list beside the manifest
    of a data set.
    """

    n_images: int
    n_patients: int
    counts: DuplicateFacts
    conflicts: dict[str, list[JsonObject]]
    left_out: list[JsonObject]
    finding: str
    notes: list[str]
    file: str | None
    provenance: dict[str, str]


def search_results(run: Run) -> SearchResults:
    """Return the results of a finished search.

    Raises
    ------
    RunError
        If the run is no search for duplicates, or is not finished.
    """
    results = run.results()
    if results is None or run.kind != KIND:
        raise RunError(f"run {run.id} has no results of a search for duplicates")
    return cast("SearchResults", results)


def pairs_of(run: Run) -> pd.DataFrame:
    """Return the pairs that a finished search has found, with file, label, split, patient and source of both."""
    table = pd.read_csv(run.folder.path / PAIRS_FILE, dtype=str, keep_default_na=False)
    return table.astype({"score": float})
