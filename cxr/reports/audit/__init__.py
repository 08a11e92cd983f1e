"""The audit of a network as one HTML file that needs no other, as Markdown, or its findings as CSV."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cxr.errors import RunError
from cxr.experiments.audit.results import network_audit_results
from cxr.files import replacing
from cxr.reports.audit.contents import contents_of, findings_table
from cxr.reports.audit.markdown import to_markdown
from cxr.reports.audit.pictures import pictures_of
from cxr.reports.forms import form_for
from cxr.reports.html_page import page
from cxr.runs import Run

__all__ = ["check_form", "findings_table", "to_html", "to_markdown", "write"]

_FORMS: dict[str, Callable[[Run], str]] = {
    ".html": lambda run: to_html(run),
    ".md": lambda run: to_markdown(run),
    ".csv": lambda run: findings_table(network_audit_results(run)["findings"]).to_csv(index=False),
}


def check_form(path: Path) -> None:
    """Raise the RunError that :func:`write` would end with for this name, before anything is done."""
    form_for(path, _FORMS, RunError)


def write(run: Run, path: Path) -> Path:
    """Write the report in the form that the name asks for and return the file: .html, .md or .csv.

    Raises
    ------
    RunError
        For another ending, a folder that is not there, or an audit without results.
    """
    form = form_for(path, _FORMS, RunError)
    content = form(run)
    with replacing(path) as draft:
        draft.write_text(content, encoding="utf-8")
    return path


def to_html(run: Run) -> str:
    """Return the report of a finished audit as a page; it holds small copies of the X-rays behind its findings."""
    contents = contents_of(run)
    return page("audit.html", title=contents.title, contents=contents, pictures=pictures_of(network_audit_results(run)))
