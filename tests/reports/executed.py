"""Runs the cells of a notebook in their order, as Jupyter does, without a kernel."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

from cxr.reports.notebooks import NotebookFinding, notebook_bytes


def executed(finding: NotebookFinding) -> tuple[dict[str, Any], str]:
    """Return the names that the notebook's file defines, and what it prints."""
    notebook = json.loads(notebook_bytes(finding.cells()))
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for number, cell in enumerate(notebook["cells"]):
            if cell["cell_type"] == "code":
                exec(compile(cell["source"], f"cell {number}", "exec"), names)
    return names, printed.getvalue()
