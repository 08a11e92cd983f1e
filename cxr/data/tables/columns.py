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


def guess_columns(table: pd.DataFrame, given: Mapping[str, str]) -> dict[str, str]:
    """Return ``{our column: theirs}`` for the columns whose names say what they hold, beside those ``given``.

    A column that has our name already is not in it. A column for splits is taken only where its values are names of
    splits, and no column is taken twice but findings for a label.
    """
    taken = {*given.values(), *(column for column in table.columns if column in COLUMNS)}
    by_name: dict[str, str] = {}
    for column in table.columns:
        by_name.setdefault(_folded(column), column)
    guessed: dict[str, str] = {}
    for ours, names in _NAMES.items():
        if ours in given or ours in table:
            continue
        there = [by_name[name] for name in names if name in by_name and by_name[name] not in taken]
        theirs = next((column for column in there if ours != "split" or _holds_splits(table[column])), None)
        # The name of an image is no id of ours; a table without another name for its images means it.
        if theirs is None and ours == "image" and "image_id" in table:
            theirs = "image_id"
        if theirs is not None:
            guessed[ours] = theirs
            taken.add(theirs)
    return guessed


def columns_note(guessed: Mapping[str, str]) -> list[str]:
    """Return a sentence on what was guessed, none for nothing."""
    if not guessed:
        return []
    named = ", ".join(f"{ours} from {theirs!r}" for ours, theirs in guessed.items())
    return [f"columns: {named} (choose others with --column ours=theirs)"]


def pick(columns: Collection[str], *names: str) -> str | None:
    """Return the first of our ``names`` that a table has, whatever the case."""
    by_name = {_folded(column): column for column in columns}
    return next((by_name[_folded(name)] for name in names if _folded(name) in by_name), None)


def _folded(name: str) -> str:
    return re.sub(r"[\W_]+", "", str(name).casefold())


def _holds_splits(values: pd.Series) -> bool:
    names = {normalise_split(value) for value in values.unique() if not is_missing(value)}
    return bool(names) and names <= set(OUR_SPLITS)
