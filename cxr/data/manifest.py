"""The manifest: one table, one row per X-ray, that every later step starts from."""

from __future__ import annotations

import hashlib
import logging
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from cxr.data.manifest_checks import (
    ROLES,
    check_ages,
    check_ids,
    check_images,
    check_labels,
    check_roles,
    values_in_several_splits,
)
from cxr.data.manifest_columns import (
    COLUMNS,
    MASK_COLUMNS,
    MASKS,
    PATH_COLUMNS,
    SIZE_COLUMNS,
    TEXT_COLUMNS,
    ages_in_years,
    column_names,
    is_our_own,
    rename_columns,
    whole_sizes,
)
from cxr.data.tables.normalise import OLDEST, is_missing, map_labels
from cxr.data.tables.text_table import read_table, read_text_table, text_column
from cxr.data.tables.values import normalise_paths, normalise_values
from cxr.errors import ManifestError, unknown, wrong_use
from cxr.files import replacing
from cxr.paths import data_root

__all__ = [
    "CLASSES",
    "COLUMNS",
    "MASKS",
    "MASK_COLUMNS",
    "OLDEST",
    "PATH_COLUMNS",
    "ROLES",
    "SIZE_COLUMNS",
    "TEXT_COLUMNS",
    "Manifest",
    "default_image_id",
    "is_our_own",
    "read_table",
    "rename_columns",
    "write_table",
]

log = logging.getLogger(__name__)

CLASSES: tuple[str, ...] = ("covid19", "normal", "pneumonia")


@dataclass(frozen=True)
class Manifest:
    """A validated table of X-rays.

    Use :meth:`load` or :meth:`from_table`; both check the table, so a manifest in hand is a sound one.

    Parameters
    ----------
    table
        One row per X-ray, index 0..n-1, columns :data:`COLUMNS` and any others. Text columns hold "" for unknown,
        never NaN; ``age`` is in years, NaN for unknown; ``width`` and ``height`` are in pixels, 0 for unknown.
    root
        Folder that relative paths in ``image`` and the mask columns refer to.
    path
        The file that the table was read from, if any.
    """

    table: pd.DataFrame
    root: Path
    path: Path | None = None

    @classmethod
    def load(
        cls,
        path: str | Path,
        columns: Mapping[str, str] | None = None,
        aliases: Mapping[str, str] | None = None,
        classes: Sequence[str] | None = None,
    ) -> Manifest:
        """Read a CSV (comma, semicolon or tab; perhaps packed) or Parquet file.

        A table that has not all of :data:`COLUMNS` was not written by :meth:`save`: its splits, ages, patients, missing
        values and the like are read as an import reads them, and a warning is logged for each. Labels stay as they are
        written, but for missing values and ``aliases``; a warning says which an import would join.

        Parameters
        ----------
        columns
            ``{our column: column of the file}`` for files that name things differently.
        aliases
            ``{label of the file: our class}``; matched exactly, then without regard to case.
        classes
            The labels allowed; None allows any.

        Raises
        ------
        ManifestError
            With the row counted from 1 at the first line below the header.
        """
        file = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - resolve() would follow links
        text_table = read_text_table(file)
        table = rename_columns(text_table.table, columns or {}, file)
        if not is_our_own(text_table.table):
            table, notes = _as_imported(table, file.parent, aliases or {})
            for note in (*text_table.notes, *notes):
                _warn_once(file, note)
        return cls._checked(table, file.parent, file, aliases, classes)

    @classmethod
    def from_table(
        cls,
        table: pd.DataFrame,
        root: str | Path,
        *,
        aliases: Mapping[str, str] | None = None,
        classes: Sequence[str] | None = None,
    ) -> Manifest:
        """Complete and check a table; ``root`` is the folder that its relative paths refer to."""
        return cls._checked(table, Path(os.path.abspath(Path(root).expanduser())), None, aliases, classes)  # noqa: PTH100

    @classmethod
    def _checked(
        cls,
        table: pd.DataFrame,
        root: Path,
        path: Path | None,
        aliases: Mapping[str, str] | None,
        classes: Sequence[str] | None,
    ) -> Manifest:
        manifest = cls(_complete(table, root, aliases or {}), root, path)
        manifest.validate(classes)
        return manifest

    def __len__(self) -> int:
        return len(self.table)

    @property
    def ids(self) -> list[str]:
        """Image ids in the order of the rows."""
        return self.table["image_id"].tolist()

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels present, sorted, without the empty one."""
        return tuple(sorted(set(self.table["label"].unique()) - {""}))

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits present, sorted, without the empty one."""
        return tuple(sorted(set(self.table["split"].unique()) - {""}))

    @cached_property
    def positions(self) -> dict[str, int]:
        """In which row each image id stands."""
        return {image_id: position for position, image_id in enumerate(self.ids)}

    def row(self, image_id: str) -> pd.Series:
        """Return the row of an image; a ManifestError names an id that is not there."""
        if image_id not in self.positions:
            raise wrong_use(ManifestError(f"image_id {image_id!r} is not in the manifest of {len(self):,} images"))
        return self.table.iloc[self.positions[image_id]]

    def resolve(self, path: str) -> Path:
        """Return a path of the table as a path of this machine."""
        return self.root / path

    def image_path(self, image_id: str) -> Path:
        """Return where the image lies; it need not exist."""
        return self.resolve(self.row(image_id)["image"])

    def image_paths(self) -> dict[str, Path]:
        """Return ``{image_id: where the image lies}`` of all rows."""
        pairs = zip(self.ids, self.table["image"].tolist(), strict=True)
        return {image_id: self.resolve(image) for image_id, image in pairs}

    def mask_path(self, image_id: str, kind: str = "lung") -> Path | None:
        """Return where a mask (``lung``, ``lesion`` or ``token``) lies, None where the manifest names none."""
        if kind not in MASKS:
            raise wrong_use(ManifestError(unknown("mask", kind, MASKS)))
        path = self.row(image_id)[f"{kind}_mask"]
        return self.resolve(path) if path else None

    def missing_files(self) -> pd.DataFrame:
        """Return ``image_id, column, file`` of every image or mask that is named but not on disk."""
        gone = [
            (row["image_id"], column, str(row[column]))
            for row in self.table.to_dict("records")
            for column in PATH_COLUMNS
            if row[column] and not self.resolve(row[column]).is_file()
        ]
        return pd.DataFrame(gone, columns=["image_id", "column", "file"])

    def select(
        self,
        split: str | Iterable[str] | None = None,
        label: str | Iterable[str] | None = None,
        ids: Iterable[str] | None = None,
        role: str | Iterable[str] | None = None,
    ) -> Manifest:
        """Return the rows that meet every condition given, in the order of this table; ``ids`` sets its own order."""
        table = self.table
        for column, value in (("split", split), ("label", label), ("role", role)):
            if value is not None:
                table = table[table[column].isin([value] if isinstance(value, str) else list(value))]
        if ids is not None:
            table = self._by_ids(table, list(ids))
        return self.with_table(table)

    def _by_ids(self, table: pd.DataFrame, ids: list[str]) -> pd.DataFrame:
        for image_id in ids:
            self.row(image_id)
        present = set(table["image_id"])
        return self.table.iloc[[self.positions[image_id] for image_id in ids if image_id in present]]

    def with_table(self, table: pd.DataFrame) -> Manifest:
        """Return a manifest of other rows or values with the same root."""
        return Manifest(table.reset_index(drop=True), self.root, self.path)

    def with_splits(self, splits: Mapping[str, str]) -> Manifest:
        """Return a manifest with ``split`` set from ``{image_id: split}``, "" for ids that are not in it."""
        return self.with_table(self.table.assign(split=[splits.get(i, "") for i in self.table["image_id"]]))

    def save(self, path: str | Path) -> Manifest:
        """Write CSV or Parquet (by its ending) and return the manifest as it lies there.

        Paths inside the new folder become relative to it, so that the folder can be moved; others become absolute.
        """
        file = Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100
        file.parent.mkdir(parents=True, exist_ok=True)
        table = self.table_seen_from(file.parent)
        with replacing(file) as draft:
            write_table(table, draft, parquet=file.suffix.lower() in {".parquet", ".pq"})
        return Manifest(table, file.parent, file)

    def table_seen_from(self, folder: Path) -> pd.DataFrame:
        """Return the table with its paths as a manifest in ``folder`` has them: relative inside, absolute outside."""
        paths = {c: [self._path_seen_from(folder, value) for value in self.table[c]] for c in PATH_COLUMNS}
        return self.table.assign(**paths)

    def _path_seen_from(self, folder: Path, value: str) -> str:
        if not value:
            return ""
        absolute = Path(os.path.abspath(self.root / value))  # noqa: PTH100
        return absolute.relative_to(folder).as_posix() if absolute.is_relative_to(folder) else absolute.as_posix()

    def hash(self) -> str:
        """Return a hex digest of ids, labels, splits and groups, whatever the order of the rows."""
        return self._digest("image_id", "label", "findings", "split", "patient_id", "dup_group")

    def split_hash(self) -> str:
        """Return a hex digest of which image is in which split."""
        return self._digest("image_id", "split")

    def _digest(self, *columns: str) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for row in sorted(zip(*(self.table[c] for c in columns), strict=True)):
            # Lengths keep ("ab", "c") apart from ("a", "bc").
            digest.update("".join(f"{len(value)}:{value}" for value in row).encode() + b"\n")
        return digest.hexdigest()

    def validate(self, classes: Sequence[str] | None = None) -> None:
        """Raise a ManifestError for the first fault, naming its row, counted from 1 below the header."""
        for check in (check_images, check_ids, check_ages, check_roles):
            check(self.table)
        if classes is not None:
            check_labels(self.table, classes)

    def check_splits(self) -> None:
        """Raise a ManifestError if a patient or a group of duplicates stands in two splits; "" is no split."""
        for group, straddling in self.straddling().items():
            for name, splits in straddling.items():
                more = f" ({len(straddling)} {group}s are in several splits)" if len(straddling) > 1 else ""
                raise ManifestError(
                    f"{group} {name!r} is in the splits {' and '.join(splits)}{more}: all its images must be in one. "
                    f"`{self.split_command(*self.splits)}` leaves the test split as it is and takes such images out of "
                    "the others"
                )

    def straddling(self) -> dict[str, dict[str, list[str]]]:
        """Return the patients and the duplicate groups that stand in several splits, each with these splits."""
        placed = self.table[self.table["split"] != ""]
        columns = {"patient": "patient_id", "duplicate group": "dup_group"}
        return {group: dict(values_in_several_splits(placed, column)) for group, column in columns.items()}

    def split_command(self, *keep: str, **fractions: float) -> str:
        """Return the command that makes new splits and keeps the splits named as they are."""
        if self.path is None:
            words = ["MANIFEST", "--name", "NEW"]
        elif self.path == data_root() / self.path.parent.name / "manifest.csv":
            words = [self.path.parent.name]
        else:
            words = [str(self.path), "--name", "NEW"]
        options = [("--keep", name) for name in keep] + [("--fraction", f"{k}={v:g}") for k, v in fractions.items()]
        return shlex.join(["cxr", "data", "split", *words, *(word for option in options for word in option)])


def default_image_id(path: str) -> str:
    """Return the id of an image from its path: 12 hex digits of blake2b, with / between folders."""
    return hashlib.blake2b(PurePosixPath(path.replace("\\", "/")).as_posix().encode()).hexdigest()[:12]


def write_table(table: pd.DataFrame, path: Path, parquet: bool = False) -> None:
    """Write a table as CSV or Parquet into a file that does not count yet (see :func:`cxr.files.replacing`)."""
    if parquet:
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False)


@lru_cache(maxsize=1000)
def _warn_once(file: Path, note: str) -> None:
    """Log what was read otherwise than written: once in a process, which may load a manifest many times."""
    log.warning("%s: %s", file, note)


def _as_imported(table: pd.DataFrame, root: Path, aliases: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """Return a table of others with values as ours, and one sentence for each that changed or that an import joins."""
    table, notes = normalise_values(table)
    if "image" in table:
        table["image"], more = normalise_paths(table["image"].tolist(), root)
        notes += more
    if "label" in table:
        labels = table["label"].tolist()
        alias_names = {name.casefold() for name in aliases}
        cleaned = ["" if is_missing(name) and name.strip().casefold() not in alias_names else name for name in labels]
        mapped = map_labels([name for name in labels if name.strip().casefold() not in alias_names])
        notes += [f"{note} by `cxr data import manifest`, not here" for note in mapped.notes if "->" in note]
        notes += [note for note in mapped.notes if "missing (" in note]
        table["label"] = cleaned
    return table, notes


def _complete(table: pd.DataFrame, root: Path, aliases: Mapping[str, str]) -> pd.DataFrame:
    if "image" not in table:
        raise ManifestError(
            f"no column 'image'. Found: {column_names(table)} (map one with columns={{'image': 'name of yours'}}, or "
            "import the table: `cxr data import manifest` knows the usual names)"
        )
    table = table.reset_index(drop=True)
    columns: dict[str, pd.Series] = {
        c: text_column(table[c], keep_space=c in PATH_COLUMNS) if c in table else _blank(table) for c in TEXT_COLUMNS
    }
    columns["image_id"] = _ids(columns["image_id"], columns["image"], root)
    columns["label"] = _apply_aliases(columns["label"], aliases)
    columns["age"] = ages_in_years(table["age"]) if "age" in table else pd.Series(np.nan, index=table.index)
    for column in SIZE_COLUMNS:
        columns[column] = whole_sizes(table[column]) if column in table else pd.Series(0, index=table.index)
    other_columns = {c: table[c] for c in table.columns if c not in COLUMNS}
    return pd.DataFrame({c: columns[c] for c in COLUMNS} | other_columns, index=table.index)


def _blank(table: pd.DataFrame) -> pd.Series:
    return pd.Series("", index=table.index, dtype="str")


def _ids(ids: pd.Series, images: pd.Series, root: Path) -> pd.Series:
    prefix = f"{root.as_posix()}/"
    pairs = zip(ids.tolist(), images.tolist(), strict=True)
    return pd.Series(
        [i or default_image_id(image.removeprefix(prefix)) for i, image in pairs], index=ids.index, dtype="str"
    )


def _apply_aliases(labels: pd.Series, aliases: Mapping[str, str]) -> pd.Series:
    if not aliases:
        return labels
    folded = {key.casefold(): value for key, value in aliases.items()}
    return pd.Series(
        [aliases.get(label, folded.get(label.casefold(), label)) for label in labels], index=labels.index, dtype="str"
    )
