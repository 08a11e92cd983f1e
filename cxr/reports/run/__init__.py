"""The report of a run as one file: HTML that needs no other, or PDF with text to select and drawn figures."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from cxr.errors import RunError
from cxr.files import replacing
from cxr.reports.forms import form_for
from cxr.reports.html_page import page
from cxr.reports.run.choices import Choices
from cxr.reports.run.contents import document_of
from cxr.reports.run.document import Document, with_words
from cxr.runs import Run

__all__ = ["Choices", "check_form", "document_of", "to_html", "to_pdf", "write"]


_CODE = re.compile(r"`([^`\n]+)`")


def to_html(document: Document) -> bytes:
    """Return a report as one HTML page, in UTF-8."""
    return page("run.html", document=document, title=document.title).encode()


def to_pdf(document: Document) -> bytes:
    """Return a report as a PDF of pages of A4, with commands in quotation marks."""
    from cxr.reports.run.pdf import pdf_of

    return pdf_of(with_words(document, lambda text: _CODE.sub(r"“\1”", text)))


FORMS: dict[str, Callable[[Document], bytes]] = {".html": to_html, ".pdf": to_pdf}
"""What writes a report, by the ending of the file's name."""


def check_form(path: Path) -> None:
    """Raise the RunError that :func:`write` would end with for this name, before anything is done."""
    form_for(path, FORMS, RunError)


def write(run: Run, path: Path, choices: Choices | None = None) -> Path:
    """Write the report of a finished run in the form that the name asks for and return the file: .html or .pdf.

    Raises
    ------
    RunError
        For another ending, a folder that is not there, or a run without figures.
    CxrError
        For X-rays or networks that heatmaps were asked of and that are not at hand.
    """
    form = form_for(path, FORMS, RunError)
    content = form(document_of(run, choices or Choices()))
    with replacing(path) as draft:
        draft.write_bytes(content)
    return path
