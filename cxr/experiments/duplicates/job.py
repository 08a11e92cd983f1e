"""The search for duplicates as a run, which can be watched, stopped and resumed.

Files in the run folder: ``parts/`` (what is done of the search, while the run works), ``duplicates.csv`` (one row for
each pair) and ``results.json``. The pairs of a data set are also written beside its manifest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cxr.data.audit.duplicates.data_set import PAIRS_FILE, Duplicates, duplicate_notes, search_data_set
from cxr.data.notes import straddling_notes
from cxr.evaluation.metrics import patients_of
from cxr.evaluation.provenance import provenance
from cxr.experiments.duplicates.results import KIND, SearchResults
from cxr.files import replacing
from cxr.runs.folder import Stopped

if TYPE_CHECKING:
    from cxr.experiments.duplicates.settings import SearchParams
    from cxr.runs.folder import RunFolder

__all__ = ["KIND", "run"]

_PARTS = "parts"

Progress = Callable[[float, str], None]


def run(folder: RunFolder, params: SearchParams, progress: Progress) -> None:
    """Search, and write it down as the module says.

    Raises
    ------
    Stopped
        If a stop was requested; what is done is kept.
    """

    def report(share: float, text: str) -> None:
        progress(0.99 * share, text)
        if folder.stop_requested():
            raise Stopped

    report(0.0, "loading")
    duplicates, file = search_data_set(
        params.manifest, group=params.group, progress=report, workers=params.workers, folder=folder.path / _PARTS
    )
    with replacing(folder.path / PAIRS_FILE) as draft:
        duplicates.table().to_csv(draft, index=False)
    results = _results(duplicates, params, str(file) if file is not None else None)
    folder.write_json("results.json", results)
    progress(1.0, results["finding"])


def _results(duplicates: Duplicates, params: SearchParams, file: str | None) -> SearchResults:
    notes = [*duplicate_notes(duplicates), *(straddling_notes(duplicates.manifest) if params.group else [])]
    images = duplicates.manifest.table
    conflicts = duplicates.conflicts
    return {
        "n_images": duplicates.n,
        "n_patients": len(set(patients_of(images))),
        "counts": duplicates.facts(params.group),
        "conflicts": {name: getattr(conflicts, name).to_dict("records") for name in conflicts.counts()},
        "left_out": duplicates.missing.astype(str).to_dict("records"),
        "finding": notes[0],
        "notes": notes,
        "file": file,
        "provenance": provenance(duplicates.manifest),
    }
