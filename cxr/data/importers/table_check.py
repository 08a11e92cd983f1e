"""Whether a table is one of X-rays: a column that names image files which are here, and a row for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cxr.data.importers.previews import spread
from cxr.data.tables.columns import guess_columns
from cxr.data.tables.findings import known_finding_columns
from cxr.data.tables.image_paths import Files
from cxr.errors import ManifestError
from cxr.formatting import counted, verb

_NAMES = 400  # looked for, evenly spread
_TRIED = 20  # of a column whose name says nothing
_SEVERAL = 1.5  # rows for each image


@dataclass(frozen=True)
class TableCheck:
    """What the column of images holds: the share of its names that are files, as far as they were looked for.

    Attributes
    ----------
    column
        Its name in the table.
    resolved, looked_for
        Names that are image files here, and names that were looked for.
    names, rows
        Different names, and rows.
    labelled
        Whether a column holds labels or findings.
    """

    column: str
    resolved: int
    looked_for: int
    names: int
    rows: int
    labelled: bool

    @property
    def share(self) -> float:
        """The share of the names that are image files here."""
        return self.resolved / self.looked_for if self.looked_for else 0.0

    @property
    def is_a_list_of_parts(self) -> bool:
        """Whether each X-ray has several rows and none says of which class it is: words or boxes on X-rays."""
        return not self.labelled and self.rows > _SEVERAL * self.names

    def in_words(self) -> str:
        """Return what the column holds: ``column 'File Name' names 12 images: 11 are here``."""
        sample = "" if self.looked_for == self.names else f"{self.looked_for:,} were looked for, "
        return (
            f"column {self.column!r} names {counted(self.names, 'image')}: {sample}{self.resolved:,} "
            f"{verb(self.resolved)} here"
        )

    def refusal(self) -> str:
        """Return why the table is none of X-rays; "" if it is one."""
        if not self.resolved:
            return self.in_words()
        if self.is_a_list_of_parts:
            return (
                f"{counted(self.rows, 'row')} on {counted(self.names, 'image')} and no column of labels: a list of "
                "what is on X-rays, such as words or boxes"
            )
        return ""


def check_table(table: pd.DataFrame, folder: Path) -> TableCheck:
    """Return what a table's column of images holds; ``folder`` is where its paths begin.

    Raises
    ------
    ManifestError
        If no column is called as one of images; another that names some is said.
    """
    ours = guess_columns(table, {})
    column = "image" if "image" in table else ours.get("image", "")
    names = [str(name) for name in table[column].unique() if str(name).strip()] if column else []
    if not column:
        raise ManifestError(f"no column 'image'. Found: {', '.join(map(str, table.columns))}{_other(table, folder)}")
    looked_for = spread(names, _NAMES)
    labelled = {"label", "findings"} & ({*table.columns} | {*ours}) or known_finding_columns(table)
    return TableCheck(
        column, _found(looked_for, names, folder), len(looked_for), len(names), len(table), bool(labelled)
    )


def _found(names: Sequence[str], every: Sequence[str], folder: Path) -> int:
    files = Files(folder, every)
    return sum(files.find(name).file is not None for name in names)


def _other(table: pd.DataFrame, folder: Path) -> str:
    """Return which column names images although it is called otherwise; "" for none."""
    for column in table.columns:
        names = [str(name) for name in table[column].unique() if str(name).strip()]
        tried = spread(names, _TRIED)
        if tried and 2 * _found(tried, names, folder) > len(tried):
            return f" (column {str(column)!r} names images: --column image={str(column)!r})"
    return ""
