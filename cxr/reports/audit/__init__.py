"""The audit of a network as one HTML file that needs no other, as Markdown, or its findings as CSV."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cxr.errors import RunError
from cxr.experiments.audit.results import network_audit_results
from cxr.files import replacing
from cxr.reports.audit.contents import contents_of, findings_table, identities_of
from cxr.reports.audit.markdown import in_markdown
from cxr.reports.audit.pictures import pictures_of
from cxr.reports.forms import form_for
from cxr.reports.html_page import page
from cxr.reports.identities import PRIVATE, Privacy, holds
from cxr.runs import Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["check_form", "findings_table", "to_html", "to_markdown", "to_table", "write"]

_FORMS: dict[str, Callable[[Run, Privacy], str]] = {
    ".html": lambda run, privacy: to_html(run, privacy),
    ".md": lambda run, privacy: to_markdown(run, privacy),
    ".csv": lambda run, privacy: to_table(run, privacy).to_csv(index=False),
}


def check_form(path: Path) -> None:
    """Raise the RunError that :func:`write` would end with for this name, before anything is done."""
    form_for(path, _FORMS, RunError)


def write(run: Run, path: Path, privacy: Privacy = PRIVATE) -> Path:
    """Write the report in the form that the name asks for and return the file: .html, .md or .csv.

    Raises
    ------
    RunError
        For another ending, a folder that is not there, or an audit without results.
    """
    form = form_for(path, _FORMS, RunError)
    content = form(run, privacy)
    with replacing(path) as draft:
        draft.write_text(content, encoding="utf-8")
    return path


def to_html(run: Run, privacy: Privacy = PRIVATE) -> str:
    """Return the report of a finished audit as a page; with images, small copies of the X-rays behind its findings."""
    identities = identities_of(run, privacy)
    contents = identities.all_hidden(contents_of(run))
    pictures = pictures_of(network_audit_results(run), identities) if privacy.with_images else {}
    return page("audit.html", title=contents.title, contents=contents, pictures=pictures, holds=holds(privacy))


def to_markdown(run: Run, privacy: Privacy = PRIVATE) -> str:
    """Return the report of a finished audit as Markdown, which holds no pictures."""
    return in_markdown(identities_of(run, privacy).all_hidden(contents_of(run)))


def to_table(run: Run, privacy: Privacy = PRIVATE) -> pd.DataFrame:
    """Return the findings of a finished audit as a table."""
    identities = identities_of(run, privacy)
    return findings_table(network_audit_results(run)["findings"]).map(identities.all_hidden)
