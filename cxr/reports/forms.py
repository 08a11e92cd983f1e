"""The form of a report, by the ending of its file's name, and what reports of data have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cxr.errors import CxrError, RunError, wrong_use
from cxr.files import replacing
from cxr.reports.figures import Drawing, endings, form_of

if TYPE_CHECKING:
    import pandas as pd

    from cxr.runs import Run

Form = TypeVar("Form")


def form_for(path: Path, forms: Mapping[str, Form], error: type[CxrError]) -> Form:
    """Return the one of ``forms``, by ending such as ``.html``, that a file's name asks for.

    Raises
    ------
    CxrError
        Of the class ``error``: for another ending, or a folder that is not there.
    """
    form = forms.get(path.suffix.lower())
    if form is None:
        raise wrong_use(
            error(f"{path.name} has no known report format. Accepted: a name that ends in {', '.join(forms)}")
        )
    if not path.parent.is_dir():
        raise error(f"the folder {path.parent} does not exist: make it, or choose another")
    return form


def check_report(path: Path) -> None:
    """Raise the RunError that :func:`write_report` would end with for this name, before anything is done."""
    form_for(path, dict.fromkeys((".html", ".csv", *endings()), True), RunError)


def write_report(
    path: Path, html: Callable[[], str], table: Callable[[], pd.DataFrame], figure: Callable[[], Drawing]
) -> Path:
    """Write a report in the form that the name asks for and return the file: .html, .csv, .svg, .png or .pdf.

    Only what is asked for is made.

    Raises
    ------
    RunError
        For another ending, or a folder that is not there.
    """
    forms: dict[str, Callable[[], bytes]] = {
        ".html": lambda: html().encode(),
        ".csv": lambda: table().to_csv(index=False).encode(),
    }
    forms |= dict.fromkeys(endings(), lambda: _drawn(figure(), path))
    form = form_for(path, forms, RunError)
    with replacing(path) as draft:
        draft.write_bytes(form())
    return path


def _drawn(drawing: Drawing, path: Path) -> bytes:
    form = form_of(path)
    assert form is not None  # its ending is one of those of figures
    return drawing.to_bytes(form)


def data_set_of(run: Run) -> str:
    """Return how the data set of a run is called: by the folder of its manifest."""
    manifest = Path(run.spec["params"]["manifest"])
    return manifest.parent.name or manifest.name


def columns_and_rows(rows: Sequence[Mapping[str, str]]) -> tuple[list[str], list[list[str]]]:
    """Return rows of named cells as templates take a table; nothing of no rows."""
    return (list(rows[0]), [list(row.values()) for row in rows]) if rows else ([], [])
