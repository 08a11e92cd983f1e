"""A Jupyter notebook as a file: version 4.5 of its format, which is plain JSON."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cxr.json_types import JsonObject


@dataclass(frozen=True)
class Cell:
    """A cell: ``markdown`` for words, ``code`` for Python."""

    kind: Literal["markdown", "code"]
    source: str


def words(*paragraphs: str) -> Cell:
    """Return a cell of paragraphs in Markdown."""
    return Cell("markdown", "\n\n".join(paragraphs))


def code(*lines: str) -> Cell:
    """Return a cell of lines of Python."""
    return Cell("code", "\n".join(lines))


def literal(text: str) -> str:
    """Return a text that Markdown shows as it is, in the letters of code."""
    fence = "`" * (max((len(run) for run in _runs_of(text, "`")), default=0) + 1)
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def _runs_of(text: str, mark: str) -> list[str]:
    return [run for run in "".join(letter if letter == mark else " " for letter in text).split() if run]


def notebook_bytes(cells: Sequence[Cell]) -> bytes:
    """Return the contents of an ``.ipynb`` file, the same for the same cells."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python", "version": platform.python_version()}}
    value = {
        "cells": [_cell(number, cell) for number, cell in enumerate(cells)],
        "metadata": metadata,
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _cell(number: int, cell: Cell) -> JsonObject:
    digest = hashlib.blake2b(f"{number} {cell.source}".encode(), digest_size=6).hexdigest()
    value: JsonObject = {"cell_type": cell.kind, "id": digest, "metadata": {}, "source": cell.source}
    return value | ({"execution_count": None, "outputs": []} if cell.kind == "code" else {})
