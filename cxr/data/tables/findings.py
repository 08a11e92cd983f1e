"""Findings of public data sets: columns of 1, 0, -1 or lists become our ``findings`` and, on request, a label.

``findings`` joins by ``|`` what is there; ``?`` stands before a finding that may be there or not; "No Finding" stands
alone where nothing was found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas as pd

from cxr.data.images.dicom_header import DicomHeader, read_header
from cxr.data.images.pool import map_in_order
from cxr.data.importers.import_options import FindingOptions, TableOptions, Uncertain
from cxr.data.importers.listing import Listing
from cxr.data.importers.rows import ROW_FIELDS, SOURCE_SPLIT, Row
from cxr.data.tables.image_paths import Files
from cxr.data.tables.normalise import (
    NO_FINDING,
    is_frontal,
    is_missing,
    known_class,
    label_of_findings,
    map_labels,
    normalise_finding,
)
from cxr.errors import ManifestError, unknown, wrong_use

State = Literal["yes", "no", "uncertain", ""]
Given = TypeVar("Given", bound=TableOptions)
CHEXPERT_FINDINGS = (
    *(NO_FINDING, "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture"),
    "Support Devices",
)
NIH_FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"),
    *("Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia"),
)
_STATES: dict[str, State] = {
    **dict.fromkeys(("1", "yes", "true", "positive", "y", "t", "pos", "present"), "yes"),
    **dict.fromkeys(("0", "no", "false", "negative", "n", "f", "neg", "absent"), "no"),
    **dict.fromkeys(("-1", "uncertain"), "uncertain"),
}
_UNKNOWN = "?"
_DEVICES = "Support Devices"  # no finding of a disease: "No Finding" does not speak of them
_DICOM = {".dcm", ".dicom"}
_SAID_UNCERTAIN = {
    "unknown": "unknown (? before the finding)",
    "positive": "positive",
    "negative": "negative",
}


def state(value: str) -> State:
    """Return what a cell of a yes-or-no column says: 1, 0, -1 with or without a decimal point; "" for nothing."""
    return "" if is_missing(value) else _STATES.get(value.strip().casefold().removesuffix(".0"), "")


def is_yes_or_no(values: Sequence[str]) -> bool:
    """Return whether a column says yes or no of one finding: some 1 or 0, perhaps -1 or nothing, and no other word."""
    states = {value: state(value) for value in set(values)}
    only = all(value_state or is_missing(value) for value, value_state in states.items())
    return only and bool({"yes", "no"} & set(states.values()))


def yes_or_no(value: str, finding: str, uncertain: Uncertain = "unknown") -> str:
    """Return the class of a cell in a finding's column: the finding, "no " and the finding, or "" for unknown."""
    name = known_class(finding) or finding.strip()
    return {"yes": name, "no": f"no {name}"}.get(_settled(state(value), uncertain), "")


def write_findings(states: Mapping[str, State], uncertain: Uncertain = "unknown") -> str:
    """Return the findings of an X-ray from what is known of each; "" if nothing is known of any."""
    settled = {name: _settled(value, uncertain) for name, value in states.items() if value and name != NO_FINDING}
    present = [name for name, value in settled.items() if value == "yes"]
    present += [f"{_UNKNOWN}{name}" for name, value in settled.items() if value == "uncertain"]
    if present:
        return "|".join(present)
    return NO_FINDING if settled or states.get(NO_FINDING) == "yes" else ""


def sure_label(states: Mapping[str, State], findings: str) -> str:
    """Return the class that findings stand for; normal only where it is stated, not where all is 0."""
    label = label_of_findings([name for name in findings.split("|") if not name.startswith(_UNKNOWN)])
    is_said = any(value == "yes" and known_class(name) == "normal" for name, value in states.items())
    return "" if label == "normal" and not is_said else label


def _settled(value: State, uncertain: Uncertain) -> State:
    if value != "uncertain" or uncertain == "unknown":
        return value
    return "yes" if uncertain == "positive" else "no"


@dataclass
class PublicSet:
    """Rows of a public data set on their way into a manifest: one finding's column may be the label, others are mapped.

    Where the set ``knows_views``, an X-ray is left out whose view is unknown or not frontal.
    """

    listing: Listing
    options: TableOptions
    files: Files
    knows_views: bool = True

    @classmethod
    def open(
        cls, root: Path, options: TableOptions, columns: Sequence[str], title: str, knows_views: bool = True
    ) -> PublicSet:
        """Start a data set below ``root``; a ManifestError names a mapped column that is not known."""
        for column, source_column in options.columns.items():
            if column not in ROW_FIELDS:
                raise wrong_use(ManifestError(unknown("column in the mapping", column, ROW_FIELDS)))
            if source_column not in columns:
                raise wrong_use(
                    ManifestError(
                        f"{title} has no column {source_column!r} (mapped to {column!r}). Found: {', '.join(columns)}"
                    )
                )
        return cls(Listing(root), options, Files(root), knows_views)

    @property
    def uncertain(self) -> Uncertain:
        """What uncertain findings become."""
        return self.options.uncertain if isinstance(self.options, FindingOptions) else "unknown"

    def add(
        self, name: str, raw: Mapping[str, str], states: Mapping[str, State], row: Row, label: str | None = None
    ) -> None:
        """Add the X-ray called ``name``, or leave it out: not there, not frontal, or without the chosen label.

        ``row`` has what else is known of it; ``label`` is given by sets with a rule of their own.
        """
        match = self.files.find(name)
        if match.file is None:
            self.listing.leave_out(name or "row without a name", match.how)
            return
        view = row.view if self.knows_views else "frontal"
        if is_missing(view) or not is_frontal(view):
            self.listing.leave_out(match.file, f"view {view or 'unknown'} is not frontal")
            return
        findings = write_findings(states, self.uncertain)
        if label is None:
            label = self._label(states, findings, raw)
        if label is None:
            column = self.options.columns["label"]
            reason = "uncertain" if state(raw[column]) == "uncertain" else "not mentioned"
            self.listing.leave_out(match.file, f"{column} is {reason}")
            return
        fields: dict[str, Any] = {"image": str(match.file), "label": label, "findings": findings}  # of the Row
        fields |= {
            our_column: raw[source_column]
            for our_column, source_column in self.options.columns.items()
            if our_column not in ("image", "label")
        }
        self.listing.rows.append(replace(row, **fields))

    def _label(self, states: Mapping[str, State], findings: str, raw: Mapping[str, str]) -> str | None:
        """Return the label, None where the chosen column does not say."""
        column = self.options.columns.get("label")
        if column is not None and (column in states or is_yes_or_no([raw[column]]) or is_missing(raw[column])):
            value = states.get(column, state(raw[column]))
            if not value and states.get(NO_FINDING) == "yes" and column != _DEVICES:
                value = "no"
            return yes_or_no(_settled(value, self.uncertain), column) or None
        if column is not None:
            return raw[column]
        names = [name for name in findings.split("|") if not name.startswith(_UNKNOWN)]
        aliases = {key.casefold(): value for key, value in self.options.aliases.items()}
        labels = [aliases[name.casefold()] for name in (findings, *names) if name.casefold() in aliases]
        if labels:
            return labels[0]
        return sure_label(states, findings)

    def finish(self, n_uncertain: int, patients: str, labels: str = "") -> Listing:
        """Return what was found, with notes on uncertain findings, where patients come from, labels and splits."""
        listing, options = self.listing, self.options
        if n_uncertain:
            listing.notes.append(
                f"findings: {n_uncertain:,} uncertain, taken as {_SAID_UNCERTAIN[self.uncertain]} (see --uncertain)"
            )
        listing.notes.append(f"patient_id: {patients}")
        if labels:
            listing.notes.append(f"labels: {labels}")
        elif "label" in options.columns:
            column = options.columns["label"]
            if any(row.label == yes_or_no("1", column) for row in listing.rows):
                yes, no = yes_or_no("1", column), yes_or_no("0", column)
                listing.notes.append(f"labels: column {column!r} read as {yes} (1) and {no} (0); others are left out")
        else:
            listing.notes.append(
                "labels: pneumonia and normal (No Finding) from the findings, other X-rays have findings alone; "
                "one finding as label: --column label=NAME"
            )
        _drop_single_split(listing)
        mapped = map_labels([row.label for row in listing.rows], options.aliases, options.keep_labels)
        listing.rows = [replace(row, label=mapped.classes[row.label]) for row in listing.rows]
        # Most X-rays of such a set have no label, as said above: they are not missing.
        listing.notes += [note for note in mapped.notes if "missing" not in note]
        return listing


def add_dicom_facts(listing: Listing) -> None:
    """Add view, sex and age from the headers of DICOM images where the tables have none; lateral views are left out."""
    images = [Path(row.image) for row in listing.rows]
    files = [file for file in images if file.suffix.lower() in _DICOM]
    headers = dict(zip(files, map_in_order(read_header, files), strict=True))
    rows, listing.rows = listing.rows, []
    for row, file in zip(rows, images, strict=True):
        header = headers.get(file)
        if isinstance(header, DicomHeader):
            row = replace(row, view=row.view or header.view, sex=row.sex or header.sex, age=row.age or header.age)
        if is_frontal(row.view):
            listing.rows.append(row)
        else:
            listing.leave_out(file, f"view {row.view} is not frontal")


def without_label(options: Given, source_columns: Sequence[str]) -> Given:
    """Return the options without a mapping of the label to a column that the data set's own rule reads."""
    if options.columns.get("label") not in source_columns:
        return options
    return replace(
        options,
        columns={column: source_column for column, source_column in options.columns.items() if column != "label"},
    )


def count_uncertain(rows: Iterable[Mapping[str, State]]) -> int:
    """Return how many findings are uncertain in all."""
    return sum(value == "uncertain" for states in rows for value in states.values())


def finding_columns(columns: Iterable[str], names: Sequence[str]) -> dict[str, str]:
    """Return ``{column: finding}`` of the columns that are findings, whatever their case."""
    spellings = {name.casefold(): name for name in names}
    return {
        column: spellings[column.strip().casefold()] for column in columns if column.strip().casefold() in spellings
    }


def known_finding_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of 1 and 0 that are called like a finding, or like covid19, normal or pneumonia."""
    names = {_folded(name) for name in (*CHEXPERT_FINDINGS, *NIH_FINDINGS, "tuberculosis")}
    called = [column for column in table.columns if _folded(column) in names or known_class(column)]
    return [column for column in called if is_yes_or_no(table[column].tolist())]


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold())


def list_states(findings: Iterable[str]) -> dict[str, State]:
    """Return the states of findings that are listed as present."""
    return dict.fromkeys((normalise_finding(name) for name in findings), "yes")


def _drop_single_split(listing: Listing) -> None:
    """Decline an official split if all X-rays are in it, for it divides nothing; the manifest remembers it."""
    splits = {row.split for row in listing.rows}
    if len(splits) == 1 and splits != {""}:
        name = splits.pop()
        listing.rows = [replace(row, split="", extra={**row.extra, SOURCE_SPLIT: name}) for row in listing.rows]
        listing.notes.append(f"split: left empty, as every X-ray is in the one official split {name!r}")
