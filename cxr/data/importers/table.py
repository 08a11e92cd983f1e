"""Any table of X-rays: a CSV or Parquet file, its columns, labels and values read as ours.

Several rows of one X-ray (equal rows, boxes, readers) become one where they agree; where they do not, the X-ray is left
out by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from cxr.data.importers.import_options import FindingOptions
from cxr.data.importers.listing import Listing, Source, find_table, with_folder_splits
from cxr.data.importers.rows import row_of
from cxr.data.manifest import COLUMNS, MASK_COLUMNS, PATH_COLUMNS, SIZE_COLUMNS, is_our_own, rename_columns
from cxr.data.tables.columns import columns_note, guess_columns
from cxr.data.tables.findings import is_yes_or_no, known_finding_columns, state, sure_label, write_findings, yes_or_no
from cxr.data.tables.image_paths import Files
from cxr.data.tables.known_sets import recognise
from cxr.data.tables.normalise import (
    is_frontal,
    label_of_findings,
    map_labels,
    normalise_finding,
    normalise_findings,
    split_findings,
)
from cxr.data.tables.text_table import TextTable, read_text_table
from cxr.data.tables.values import listed, normalise_values
from cxr.errors import ManifestError

TableRow = dict[str, Any]
"""A row of a user's table: text, and numbers or NaN where a Parquet file has them, by whatever columns it has."""
TABLES = ("csv", "tsv", "txt", "csv.gz", "tsv.gz", "csv.zip", "csv.bz2", "csv.xz", "parquet", "pq")
# Where rows of one X-ray must agree: a row that says nothing agrees with any.
_MUST_AGREE = ("label", "patient_id", "split", "role", "source")


def source(public_sets: Sequence[Source[Any]]) -> Source[FindingOptions]:
    """Return the importer of any table, which hands a table of one of the public sets to that set's importer."""
    return Source(
        "manifest",
        "CSV or Parquet table",
        "one row or more per X-ray; usual columns, labels, splits and ages are known, others can be mapped",
        partial(read, public_sets=tuple(public_sets)),
        FindingOptions,
    )


def read(path: Path, options: FindingOptions, public_sets: Sequence[Source[Any]] = ()) -> Listing:
    """Read a table of X-rays, or the one in a folder; public sets are recognised by their columns."""
    file = path
    if path.is_dir():
        tables = _tables_in(path)
        if len(tables) > 1 and (public_set := _known_set(tables, options, public_sets)):
            return _read_known(public_set, path, options)
        file = _single(tables, path)
    read_table = read_text_table(find_table(file, [], "a table"))
    public_set = recognise(read_table.table.columns, options, public_sets)
    if public_set is not None:
        return _read_known(public_set, file, options)
    return _read_any(file, read_table, options)


def _tables_in(folder: Path) -> list[Path]:
    """Return ``manifest.csv`` of a folder if it is there, else every table."""
    manifests = [folder / f"manifest.{ending}" for ending in TABLES]
    if present := [file for file in manifests if file.is_file()]:
        return present
    return sorted({file for ending in TABLES if ending != "txt" for file in folder.glob(f"*.{ending}")})


def _single(tables: Sequence[Path], folder: Path) -> Path:
    if len(tables) == 1:
        return tables[0]
    names = ", ".join(file.name for file in tables) or "no manifest.csv and no other"
    raise ManifestError(f"{folder} is not a folder with a manifest: it has {names}; give the path of the table itself")


def _known_set(
    tables: Sequence[Path], options: FindingOptions, public_sets: Sequence[Source[Any]]
) -> Source[Any] | None:
    """Return the public data set that one of the tables is of."""
    columns = (read_text_table(file).table.columns for file in tables)
    return next((public_set for names in columns if (public_set := recognise(names, options, public_sets))), None)


def _read_known(public_set: Source[Any], path: Path, options: FindingOptions) -> Listing:
    listing = public_set.read(path, options)
    listing.notes.insert(0, f"columns of {public_set.title}: read as kind `{public_set.name}`")
    return listing


def _read_any(file: Path, read_table: TextTable, options: FindingOptions) -> Listing:
    listing = Listing(file.parent, notes=list(read_table.notes), own=is_our_own(read_table.table))
    table = _our_columns(file, read_table.table, options, listing)
    if not listing.own:
        table, notes = normalise_values(table)
        listing.notes += notes
    files = Files(listing.root, table["image"])
    table = _located(table, files, listing)
    table = _without_equal_rows(table, listing)
    labels = map_labels(table["label"].tolist(), options.aliases, options.keep_labels or listing.own)
    listing.notes += labels.notes
    table = table.assign(label=[labels.classes[label] for label in table["label"]])
    for row in _joined(table, listing):
        if not listing.own and not is_frontal(row.get("view", "")):
            listing.leave_out(row["image"], f"view {row['view']} is not frontal")
            continue
        masks = {column: _mask(row[column], files, listing) for column in MASK_COLUMNS if column in row}
        listing.rows.append(row_of(row | masks, left_aside=SIZE_COLUMNS))  # sizes are those of the decoded images
    if not listing.own:
        with_folder_splits(listing)
    return listing


def _our_columns(file: Path, table: pd.DataFrame, options: FindingOptions, listing: Listing) -> pd.DataFrame:
    """Return the table with our names for its columns, those mapped by the caller first; labels stay as written."""
    guessed = guess_columns(table, options.columns)
    listing.notes += columns_note(guessed)
    source_columns = {**guessed, **options.columns}
    table = rename_columns(table, source_columns, file)
    if "image" not in table:
        columns = ", ".join(map(str, table.columns))
        raise ManifestError(f"no column 'image'. Found: {columns} (map one with --column image='name of yours')")
    if source_columns.get("image") == "image_id":
        table = table.drop(columns="image_id", errors="ignore")
    text = [c for c in table.columns if c in COLUMNS and c not in PATH_COLUMNS]
    table = table.assign(**{c: table[c].str.strip() for c in text})
    if "label" not in table and "findings" not in table and (classes := _one_column_per_class(table)):
        listing.notes.append(f"labels: from the columns {listed(classes)}, of which each row has exactly one")
        chosen = [[state(text) == "yes" for text in table[name]] for name in classes]
        return table.assign(label=[classes[flags.index(True)] for flags in zip(*chosen, strict=True)])
    if "label" not in table and "findings" not in table and (names := known_finding_columns(table)):
        return _from_finding_columns(table, names, options, listing)
    if "label" not in table:
        all_columns = listed(map(str, table.columns))
        listing.notes.append(f"labels: no column holds them; columns: {all_columns} (map one with --column label=NAME)")
        return table.assign(label="")
    return _labels(table, source_columns.get("label", "label"), options, listing)


def _one_column_per_class(table: pd.DataFrame) -> list[str]:
    """Return the columns of 1 and 0 (or yes and no) of which every row has exactly one; none if there are no such.

    One of them must be a known class or finding, or columns such as male and female would be classes.
    """
    names = [
        str(name)
        for name in table.columns
        if name not in COLUMNS and is_yes_or_no(values := table[name].tolist()) and all(text.strip() for text in values)
    ]
    if len(names) < 2 or not {*known_finding_columns(table)} & {*names}:
        return []
    positive = sum((table[name].map(state) == "yes").astype(int) for name in names)
    return names if (positive == 1).all() else []


def _from_finding_columns(
    table: pd.DataFrame, columns: list[str], options: FindingOptions, listing: Listing
) -> pd.DataFrame:
    """Return the table with label and findings from columns of 1 and 0; one column alone is the label."""
    if len(columns) == 1:
        yes, no = yes_or_no("1", columns[0]), yes_or_no("0", columns[0])
        listing.notes.append(f"labels: from the column {columns[0]!r}: {yes} (1), {no} (0)")
        return table.assign(label=[yes_or_no(text, columns[0], options.uncertain) for text in table[columns[0]]])
    listing.notes.append(
        f"findings: from the columns {listed(columns)} of 1 and 0; one of them as label: --column label={columns[0]}"
    )
    findings, labels = [], []
    for row in table[columns].to_dict("records"):
        states = {normalise_finding(str(name)): state(str(value)) for name, value in row.items()}
        findings.append(write_findings(states, options.uncertain))
        labels.append(sure_label(states, findings[-1]))
    return table.assign(findings=findings, label=labels)


def _labels(table: pd.DataFrame, column: str, options: FindingOptions, listing: Listing) -> pd.DataFrame:
    """Return the table with a label for each row: of a yes-or-no column by its name, of several findings by rule."""
    labels = table["label"]
    if "label" in options.columns and is_yes_or_no(labels.tolist()) and not _is_general(column):
        yes, no = yes_or_no("1", column), yes_or_no("0", column)
        listing.notes.append(f"labels: column {column!r} read as {yes} (1), {no} (0), unknown (-1 or empty)")
        return table.assign(label=[yes_or_no(text, column, options.uncertain) for text in labels])
    if any("|" in text or text.startswith("[") for text in labels):
        findings = [normalise_findings(text) for text in labels]
        aliases = {key.casefold(): value for key, value in options.aliases.items()}
        listing.notes.append("labels: several findings in one label; all are kept in `findings`")
        all_findings = findings if "findings" not in table else table["findings"].tolist()
        classes = [
            aliases.get(text.casefold()) or label_of_findings(names) or (names[0] if len(names) == 1 else "")
            for text, names in zip(labels, map(split_findings, labels), strict=True)
        ]
        return table.assign(label=classes, findings=all_findings)
    return table


def _is_general(column: str) -> bool:
    """Return whether a column's name says nothing of what its numbers mean."""
    return column.casefold() in {"label", "labels", "class", "target", "y", "category", "diagnosis", "classid", "gt"}


def _located(table: pd.DataFrame, files: Files, listing: Listing) -> pd.DataFrame:
    """Return the rows whose image is there, by its path; the others are left out, and notes say how it was found."""
    names = table["image"].tolist()
    matches = {name: files.find(name) for name in dict.fromkeys(names)}
    owners: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for name, match in sorted(matches.items(), key=lambda item: item[1].how != ""):
        if match.file is None:
            reasons[name] = match.how
        elif owners.setdefault(str(match.file), name) != name and match.loose:
            reasons[name] = f"does not exist ({match.file.name} is what {owners[str(match.file)]!r} names)"
    for name, reason in reasons.items():
        listing.leave_out(name or "row without a name", reason)
    ways = Counter(matches[name].how for name in names if name not in reasons and matches[name].how)
    listing.notes += [f"paths: {n:,} found {how}" for how, n in ways.items()]
    is_located = [name not in reasons for name in names]
    return table[is_located].assign(image=[str(matches[name].file) for name in names if name not in reasons])


def _without_equal_rows(table: pd.DataFrame, listing: Listing) -> pd.DataFrame:
    equal = table.duplicated()
    if equal.any():
        listing.notes.append(f"rows: {equal.sum()} equal to an earlier row, joined with it")
    return table[~equal]


def _joined(table: pd.DataFrame, listing: Listing) -> list[TableRow]:
    """Return one row per image; rows of one image that disagree are left out by name."""
    groups: dict[str, list[TableRow]] = {}
    for row in table.to_dict("records"):
        groups.setdefault(row["image"], []).append({str(key): value for key, value in row.items()})
    joined, several, n_rows = [], 0, 0
    for image, rows in groups.items():
        if conflict := _conflict(rows):
            listing.leave_out(image, conflict)
            continue
        if len(rows) > 1:
            several, n_rows = several + 1, n_rows + len(rows)
        joined.append(_joined_row(rows))
    if several:
        listing.notes.append(f"rows: {n_rows:,} rows of {several:,} images that have several, joined to one each")
    return joined


def _conflict(rows: Sequence[TableRow]) -> str:
    for column in _MUST_AGREE:
        values = sorted({row[column] for row in rows if row.get(column)})
        if len(values) > 1:
            return f"has {len(rows):,} rows that disagree: {column} {' and '.join(map(repr, values))}"
    return ""


def _joined_row(rows: Sequence[TableRow]) -> TableRow:
    """Return the row of several: the first known value, all findings, and of other columns every different value."""
    if len(rows) == 1:
        return rows[0]
    row = dict(rows[0])
    for column in row:
        values = list(dict.fromkeys(r[column] for r in rows if r[column] == r[column] and r[column] != ""))
        if column == "findings":
            row[column] = "|".join(dict.fromkeys(name for text in values for name in split_findings(text)))
        elif column in COLUMNS:
            row[column] = values[0] if values else rows[0][column]
        else:
            row[column] = "|".join(map(str, values))
    return row


def _mask(path: str, files: Files, listing: Listing) -> str:
    if not path:
        return ""
    mask = files.find(path)
    # A mask often has the name of its image: what is only called so may be the image itself.
    if mask.file is not None and not mask.loose:
        return str(mask.file)
    listing.leave_out(listing.root / path, "is named as a mask, but does not exist; its X-ray is kept without it")
    return ""
