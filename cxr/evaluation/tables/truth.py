"""What is true of the X-rays of a table of predictions: from its own columns, or from the manifest of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxr.data import Manifest
from cxr.data.tables.normalise import normalise_patient, normalise_split
from cxr.errors import ManifestError, unknown, wrong_use
from cxr.evaluation.tables.columns import Columns, shown, wrong
from cxr.evaluation.truth import UNCERTAIN, finding_names
from cxr.models.card import MULTI_LABEL, SINGLE_LABEL

_TRUE = frozenset(("1", "1.0", "true", "yes", "positive"))
_FALSE = frozenset(("0", "0.0", "false", "no", "negative"))
_UNKNOWN = frozenset(("", "-1", "-1.0", "?", "u", "uncertain", "unknown"))


def truth_of(table: pd.DataFrame, roles: Columns, data: Manifest | None) -> pd.DataFrame:
    """Return image_id, label, findings, patient_id, source, split and in_data for each row of a table.

    The table's own columns go first; what it has no column for is taken from the manifest, and is "" without one.
    ``in_data`` is False for an image that is not in the manifest.

    Raises
    ------
    ManifestError
        For an image that is named twice or not at all, or if none of the images is in the manifest.
    """
    images = table[roles.image]
    _check_images(images)
    ids = images if data is None else _ids_in(images, data)
    own = {"label": roles.label, "findings": roles.findings, "patient_id": roles.patient, "source": roles.source}
    rows = pd.DataFrame({"image_id": ids.where(ids != "", images), "in_data": ids != ""}, index=table.index)
    of_data = None if data is None else data.table.set_index("image_id").reindex(ids)
    for name, column in (own | {"split": roles.split}).items():
        if column:
            rows[name] = table[column].to_numpy()
        else:
            rows[name] = "" if of_data is None else of_data[name].fillna("").to_numpy()
    if roles.label and not roles.findings:  # findings of the manifest do not speak of other labels
        rows["findings"] = ""
    rows["patient_id"] = [normalise_patient(text) for text in rows["patient_id"]]
    rows["split"] = [normalise_split(text) if text else "" for text in rows["split"]]
    return rows


def _check_images(images: pd.Series) -> None:
    empty = np.flatnonzero((images == "").to_numpy())
    if len(empty):
        raise wrong(f"row {empty[0] + 1}: {images.name!r} is empty. Accepted: the image's id or file in every row")
    again = np.flatnonzero(images.duplicated().to_numpy())
    if len(again):
        first = int(np.flatnonzero((images == images.iloc[again[0]]).to_numpy())[0])
        raise wrong(
            f"row {again[0] + 1}: image {images.iloc[again[0]]!r} is in row {first + 1} already "
            f"({len(again):,} rows name an image again). Accepted: one row for each image"
        )


def _ids_in(images: pd.Series, data: Manifest) -> pd.Series:
    """Return the manifest's id of each image, "" for those that are not in it.

    An image is known by its id, its path as the manifest has it or on this machine, or the name of its file, with or
    without its ending, where only one X-ray has it.
    """
    known = data.table["image_id"].tolist()
    files = data.table["image"].tolist()
    by_name = _unique((Path(file).name for file in files), known) | _unique((Path(file).stem for file in files), known)
    by_path = dict(zip(map(str, map(data.resolve, files)), known, strict=True)) | dict(zip(files, known, strict=True))
    by_id = dict(zip(known, known, strict=True))
    ids = [
        by_id.get(name) or by_path.get(name) or by_name.get(Path(name).name) or by_name.get(Path(name).stem) or ""
        for name in images
    ]
    if not any(ids):
        raise wrong(
            f"none of the {len(images):,} images is in the data: the table has {images.iloc[0]!r}, the manifest "
            f"{known[0]!r} ({files[0]!r}). Accepted: ids or files of the manifest"
        )
    again = [name for name, n in Counter(filter(None, ids)).items() if n > 1]
    if again:
        rows = [k for k, name in enumerate(ids) if name == again[0]]
        raise wrong(
            f"row {rows[1] + 1}: image {images.iloc[rows[1]]!r} is the X-ray of row {rows[0] + 1} "
            f"({images.iloc[rows[0]]!r}). Accepted: one row for each X-ray"
        )
    return pd.Series(ids, index=images.index, dtype="str")


def _unique(names: Iterable[str], known: Sequence[str]) -> dict[str, str]:
    every = list(names)
    counts = Counter(every)
    return {name: image_id for name, image_id in zip(every, known, strict=True) if counts[name] == 1}


def states_findings(rows: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Return whether what is true of X-rays is stated as findings, and not as one label of each.

    A label that one of the table's ``columns`` is called after is a name of its own, also with a bar in it.
    """
    labels = set(rows["label"])
    several = any("|" in label and not any(column.endswith(label) for column in columns) for label in labels)
    return bool(several or ((rows["findings"] != "").any() and (rows["label"] == "").mean() > 0.5))


def with_aliases(rows: pd.DataFrame, aliases: Mapping[str, str]) -> pd.DataFrame:
    """Return rows with labels and findings called as aliases say.

    Raises
    ------
    ManifestError
        For an alias of a name that no row has.
    """
    if not aliases:
        return rows
    names = dict.fromkeys([*names_in(rows, SINGLE_LABEL), *names_in(rows)])
    for name, meaning in aliases.items():
        if name not in names:
            raise wrong_use(ManifestError(unknown(f"label in alias {name}={meaning}:", name, sorted(names))))

    def renamed(text: str) -> str:
        parts = [(UNCERTAIN * part.startswith(UNCERTAIN), part.removeprefix(UNCERTAIN)) for part in finding_names(text)]
        return "|".join(mark + aliases.get(name, name) for mark, name in parts)

    labels = [aliases.get(text) or (renamed(text) if "|" in text else text) for text in rows["label"]]
    return rows.assign(label=labels, findings=[renamed(text) for text in rows["findings"]])


def names_in(rows: pd.DataFrame, task: str = MULTI_LABEL) -> list[str]:
    """Return the names of labels and findings there are, in the order of their first rows; of one task its labels."""
    labels = list(dict.fromkeys(rows["label"]))
    if task != MULTI_LABEL:
        return [label for label in labels if label]
    texts = [*labels, *dict.fromkeys(rows["findings"])]
    return list(dict.fromkeys(name.removeprefix(UNCERTAIN) for text in texts for name in finding_names(text)))


def stated_targets(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column of 0, 1 and uncertain as (N,) 0, 1 and NaN.

    Raises
    ------
    ManifestError
        For any other value, with its row.
    """
    values = table[column].str.strip().str.lower()
    bad = np.flatnonzero(~values.isin(_TRUE | _FALSE | _UNKNOWN).to_numpy())
    if len(bad):
        raise wrong(
            f"row {table.index[bad[0]] + 1}, column {column!r}: {table[column].iloc[bad[0]]!r} does not say whether "
            f"the finding is there. Accepted: 1, 0, and {shown(('-1', '?', 'nothing'))} for uncertain"
        )
    return np.select([values.isin(_TRUE), values.isin(_FALSE)], [1.0, 0.0], np.nan)


def are_targets(table: pd.DataFrame, column: str) -> bool:
    """Return whether a column holds nothing but 0, 1 and uncertain."""
    return bool(table[column].str.strip().str.lower().isin(_TRUE | _FALSE | _UNKNOWN).all())
