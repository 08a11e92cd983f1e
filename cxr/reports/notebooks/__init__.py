"""A finding of a page as a Jupyter notebook: the Python calls that made it, and its number to compare with."""

from cxr.reports.notebooks.findings import (
    AuditFinding,
    ExplainedXray,
    MeasuredSplit,
    NotebookFinding,
    TextFinding,
    finding_of,
    write,
)
from cxr.reports.notebooks.notebook import Cell, notebook_bytes

__all__ = [
    "AuditFinding",
    "Cell",
    "ExplainedXray",
    "MeasuredSplit",
    "NotebookFinding",
    "TextFinding",
    "finding_of",
    "notebook_bytes",
    "write",
]
