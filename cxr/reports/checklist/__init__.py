"""Reporting checklists (CLAIM 2024, TRIPOD+AI, model cards), filled in from what a run and its data know."""

from cxr.reports.checklist.filling import Checklist, Entry, fill, measured_run
from cxr.reports.checklist.write import write

__all__ = ["Checklist", "Entry", "fill", "measured_run", "write"]
