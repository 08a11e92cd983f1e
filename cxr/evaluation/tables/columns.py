"""Which column of a table of predictions holds what: images, labels, patients, splits, and each class."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd

from cxr.data.tables.normalise import fold_name
from cxr.errors import CxrError, ManifestError, wrong_use

if TYPE_CHECKING:
    from cxr.evaluation.tables.settings import Role

USUAL: Mapping[str, tuple[str, ...]] = {
    "image": ("image id", "image", "image path", "path", "file path", "filename", "file name", "file", "image index"),
    "label": ("label", "true label", "labels", "truth", "ground truth", "y true", "target", "class", "diagnosis"),
    "patient": ("patient id", "patient", "patientid", "subject id", "subject"),
    "split": ("split", "subset"),
    "findings": ("findings", "finding labels"),
    "source": ("source",),
}
"""How columns are usually called, without regard to case, spaces, hyphens and underscores; the first one counts."""
ONLY_SCORE = (
    *("probability", "prob", "score", "p", "y score", "y prob", "y pred", "prediction", "pred", "output"),
    *("logit", "probability positive", "prob positive"),
)
"""Names of a column that is the only one of predictions."""
_SCORE = re.compile(r"(?P<kind>logits?|prob|probability|probabilities|score|pred|output|p)[_ :.-](?P<name>.+)", re.I)
_TRUTH = re.compile(r"(?:(?:target|true|truth|label|gt|y_true)[_ :.-](?P<after>.+))", re.I)
_FEW = 12


@dataclass(frozen=True)
class Columns:
    """The columns of a table; "" or empty for what it has none of.

    ``classes`` and ``truth`` are ``{class: column}``: predictions, and 0, 1 or uncertain for each finding.
    """

    image: str
    label: str = ""
    patient: str = ""
    split: str = ""
    findings: str = ""
    source: str = ""
    classes: Mapping[str, str] = field(default_factory=dict)
    truth: Mapping[str, str] = field(default_factory=dict)

    @property
    def used(self) -> set[str]:
        """The columns that are not kept as they are."""
        roles = {self.image, self.label, self.patient, self.split, self.findings, self.source} - {""}
        return roles | set(self.classes.values()) | set(self.truth.values())


def wrong(text: str) -> CxrError:
    """Return an error about a table, as wrong use: it names the value and what is accepted."""
    return wrong_use(ManifestError(text))


def shown(names: Iterable[object]) -> str:
    """Return names for an error, the first of many."""
    every = [str(name) for name in names]
    return ", ".join(every[:_FEW]) + (f" and {len(every) - _FEW} more" if len(every) > _FEW else "") or "none"


def find_roles(table: pd.DataFrame, chosen: Mapping[Role, str]) -> Columns:
    """Return the columns of a table that are not those of classes.

    Raises
    ------
    ManifestError
        If a chosen column is not there, or none is the image's.
    """
    column_of: dict[str, str] = {role: column for role, column in chosen.items()}  # noqa: C416 - their type is narrower
    roles = {role: _role(table, role, column_of.get(role, "")) for role in USUAL}
    if not roles["image"]:
        raise wrong(
            f"no column names the image. Columns: {shown(table.columns)}. Accepted: {shown(USUAL['image'])}, or "
            "`--image-column NAME`"
        )
    return Columns(
        image=roles["image"],
        label=roles["label"],
        patient=roles["patient"],
        split=roles["split"],
        findings=roles["findings"],
        source=roles["source"],
    )


def _role(table: pd.DataFrame, role: str, chosen: str) -> str:
    if chosen:
        return existing(table, chosen, f"as the {role}")
    by_name = {fold_name(str(name)): str(name) for name in reversed(list(table.columns))}
    return next((by_name[name] for name in USUAL[role] if name in by_name), "")


def existing(table: pd.DataFrame, column: str, what: str) -> str:
    """Return a column that was named; a ManifestError lists those there are."""
    if column not in table.columns:
        raise wrong(f"there is no column {column!r} ({what}). Columns: {shown(table.columns)}")
    return column


def truth_columns(table: pd.DataFrame, roles: Columns) -> dict[str, str]:
    """Return ``{finding: column}`` of columns such as ``target_Mass`` that state each finding by itself."""
    found: dict[str, str] = {}
    for column in map(str, table.columns):
        match = _TRUTH.fullmatch(column)
        if match and column not in roles.used:
            found.setdefault(match["after"], column)
    return found


def class_columns(
    table: pd.DataFrame, roles: Columns, names: Sequence[str], chosen: Mapping[str, str], scale: str
) -> dict[str, str]:
    """Return ``{class: column}`` of predictions.

    Those that were chosen; else those named ``prob_<class>``, ``logit_<class>`` and the like; else those named after
    one of ``names``, the labels or findings there are. Of logits and probabilities the logits are taken, unless
    ``scale`` asks for the others.

    Raises
    ------
    ManifestError
        If a chosen column is not there, or two columns are of one class.
    """
    if chosen:
        return {name: existing(table, column, f"of class {name!r}") for name, column in chosen.items()}
    free = [str(name) for name in table.columns if str(name) not in roles.used]
    logits, others = _prefixed(free, names)
    groups = [others, logits] if scale == "probabilities" else [logits, others]
    # The columns that are of most labels; of equals the first.
    return max([*groups, _bare(free, names)], key=lambda columns: (len(columns.keys() & set(names)), len(columns)))


def _prefixed(free: Sequence[str], names: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    logits: dict[str, str] = {}
    others: dict[str, str] = {}
    for column in free:
        match = _SCORE.fullmatch(column)
        if match is None:
            continue
        kind, name = match["kind"].lower(), match["name"].strip()
        named = same_name(name, names)
        # `prob_x` and `logit_x` are predictions whatever x is, `p_value` and `score_total` only of a label.
        if named or kind[:4] in ("prob", "logi"):
            (logits if kind.startswith("logit") else others).setdefault(named or name, column)
    return logits, others


def _bare(free: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for column in free:
        name = same_name(column, names)
        if not name:
            continue
        if name in columns:
            raise wrong(
                f"the columns {columns[name]!r} and {column!r} are both of {name!r}: name one with `--column "
                f"{name}=COLUMN`"
            )
        columns[name] = column
    return columns


def same_name(name: str, names: Sequence[str]) -> str:
    """Return the one of ``names`` that is this name, or the only one spelled as it but for case and spaces; else ""."""
    if name in names:
        return name
    spelled = [other for other in names if fold_name(other) == fold_name(name)]
    return spelled[0] if len(spelled) == 1 else ""


def only_score(table: pd.DataFrame, roles: Columns) -> str:
    """Return the column that is the only one of predictions, "" where none is called so."""
    by_name = {fold_name(str(name)): str(name) for name in table.columns if str(name) not in roles.used}
    return next((by_name[name] for name in ONLY_SCORE if name in by_name), "")


def other_numbers(table: pd.DataFrame, used: set[str]) -> list[str]:
    """Return the columns of numbers that are not used: some may be classes."""
    free = [str(name) for name in table.columns if str(name) not in used]
    return [name for name in free if pd.to_numeric(table[name], errors="coerce").notna().all()]
