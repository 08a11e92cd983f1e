"""A row that an importer yields: the fields of the manifest that it may fill, and all others in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

FILE_NOTES = "file_notes"  # column of what was not followed in a file, several notes with "; " between them
SOURCE_SPLIT = "source_split"  # column of the split that a source gives an X-ray, whatever split it has here


@dataclass(frozen=True)
class Row:
    """An X-ray that an importer found, with text as its source writes it and "" for unknown.

    This is the one list of fields that an importer may fill. What a table brings besides goes through ``extra``.

    Attributes
    ----------
    image, lung_mask, lesion_mask, token_mask
        Absolute paths.
    label, findings, patient_id, dup_group, view, sex, age, licence, role, split, image_id
        Columns of the manifest; ``split`` is what the source says, used or declined later by the user's choice.
    source
        Where the X-ray comes from.
    file_notes
        What was not followed in the file.
    extra
        Other columns ``{name: value}``; a name of a field is refused.
    """

    image: str
    label: str = ""
    findings: str = ""
    patient_id: str = ""
    source: str = ""
    view: str = ""
    sex: str = ""
    age: str = ""
    licence: str = ""
    role: str = ""
    split: str = ""
    dup_group: str = ""
    image_id: str = ""
    lung_mask: str = ""
    lesion_mask: str = ""
    token_mask: str = ""
    file_notes: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an extra column that is called like a field."""
        for name in self.extra:
            if name in ROW_FIELDS:
                raise ValueError(f"column {name!r} is a field of its own, not an extra column")

    def as_columns(self) -> dict[str, object]:
        """Return ``{column: value}``, the extra columns last."""
        return {name: getattr(self, name) for name in ROW_FIELDS} | dict(self.extra)


ROW_FIELDS = tuple(entry.name for entry in fields(Row) if entry.name != "extra")


def row_of(columns: Mapping[str, Any], left_aside: tuple[str, ...] = ()) -> Row:
    """Return the row of a table's columns: those called like a field fill it, all others are extra columns."""
    field_values = {name: value for name, value in columns.items() if name in ROW_FIELDS}
    extra = {name: value for name, value in columns.items() if name not in ROW_FIELDS and name not in left_aside}
    return Row(**field_values, extra=extra)
