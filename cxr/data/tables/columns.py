"""Which column of a table holds what: the names that tables of X-rays give to their columns."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import pandas as pd

from cxr.data.manifest import COLUMNS, MASK_COLUMNS
from cxr.data.tables.normalise import is_missing, normalise_split
from cxr.data.tables.values import OUR_SPLITS

# Names without spaces, signs and case, the surest first.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "image": (
        *("image", "imagepath", "imagefile", "imagefilename", "imagename", "imageindex", "path", "filepath", "imgpath"),
        *("filename", "file", "fname", "img", "imgfile", "imgname", "xrayimagename", "xray", "dicompath", "pngpath"),
        *("jpgpath", "picture", "scan", "dicomfile", "imageid", "imgid", "dicomid", "id"),
    ),
    "label": (
        *("label", "labels", "class", "classname", "classlabel", "diagnosis", "dx", "target", "category", "disease"),
        *("findinglabels", "finding", "groundtruth", "gt", "pathology", "imagelabel", "condition", "classification"),
    ),
    "findings": ("findings", "findinglabels", "pathologies"),
    "patient_id": (
        *("patientid", "patient", "subjectid", "subject", "patientnumber", "patientno", "patientname", "pid"),
        *("patientkey", "subjectnumber", "mrn"),
    ),
    # Taken only where the values are names of splits, so that a column `dataset` of hospitals stays a source.
    "split": (
        *("split", "set", "subset", "partition", "datasettype", "datasplit", "phase", "fold", "dataset", "group"),
        *("usage", "mode", "purpose", "trainvaltest"),
    ),
    "age": ("age", "patientage", "ageyears", "ageinyears", "ageatstudy", "patientageyears"),
    "sex": ("sex", "gender", "patientsex", "patientgender"),
    "view": ("view", "viewposition", "projection", "viewpos", "appa"),
    "source": ("source", "dataset", "datasource", "hospital", "institution", "site", "origin"),
    "licence": ("licence", "license"),
    **{name: (name.replace("_", ""), f"{name.replace('_', '')}path") for name in MASK_COLUMNS},
}


def guess_columns(table: pd.DataFrame, chosen: Mapping[str, str]) -> dict[str, str]:
    """Return ``{our column: theirs}`` for the columns whose names say what they hold, beside those ``chosen``.

    A column that has our name already is not in it. A column for splits is taken only where its values are names of
    splits, and no column is taken twice but findings for a label.
    """
    used = {*chosen.values(), *(column for column in table.columns if column in COLUMNS)}
    by_name: dict[str, str] = {}
    for column in table.columns:
        by_name.setdefault(_folded(column), column)
    guessed: dict[str, str] = {}
    for our_column, names in _NAMES.items():
        if our_column in chosen or our_column in table:
            continue
        candidates = [by_name[name] for name in names if name in by_name and by_name[name] not in used]
        source_column = next(
            (column for column in candidates if our_column != "split" or _holds_splits(table[column])), None
        )
        # The name of an image is no id of ours; a table without another name for its images means it.
        if source_column is None and our_column == "image" and "image_id" in table:
            source_column = "image_id"
        if source_column is not None:
            guessed[our_column] = source_column
            used.add(source_column)
    return guessed


def columns_note(guessed: Mapping[str, str]) -> list[str]:
    """Return a sentence on what was guessed, none for nothing."""
    if not guessed:
        return []
    guesses = ", ".join(f"{column} from {source_column!r}" for column, source_column in guessed.items())
    return [f"columns: {guesses} (choose others with --column OURS=THEIRS)"]


def pick(columns: Collection[str], *names: str) -> str | None:
    """Return the first of our ``names`` that a table has, whatever the case."""
    by_name = {_folded(column): column for column in columns}
    return next((by_name[_folded(name)] for name in names if _folded(name) in by_name), None)


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", "", str(name).casefold())


def _holds_splits(values: pd.Series) -> bool:
    names = {normalise_split(value) for value in values.unique() if not is_missing(value)}
    return bool(names) and names <= set(OUR_SPLITS)
