"""What a run can say of its data."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from cxr.data.splits import in_order
from cxr.evaluation.metrics import patients_of
from cxr.evaluation.selection import left_out_in_words
from cxr.formatting import xrays
from cxr.reports.checklist.subject import Subject, counts_in_words, listed, sentence

_METADATA = ("patient_id", "source", "view", "sex", "age", "split")


def _patients(table: pd.DataFrame) -> int:
    return int(pd.Series(patients_of(table[["image_id", "patient_id"]])).nunique())


def _table(subject: Subject) -> pd.DataFrame | None:
    return None if subject.manifest is None else subject.manifest.table


def sources(subject: Subject) -> str:
    """Return where the X-rays come from, with numbers and licences."""
    table = _table(subject)
    if table is None:
        return ""
    rows = [f"{name or 'not stated'}: {xrays(len(of), _patients(of))}" for name, of in table.groupby("source")]
    licences = sorted(set(table["licence"]) - {""})
    kind = subject.facts.get("kind")
    read = f" Read by the importer {kind}." if kind else ""
    return f"By source: {'; '.join(rows)}.{read} Licences: {listed(licences) or 'not stated'}."


def exclusions(subject: Subject) -> str:
    """Return what was left out by the import and by the measure, with the reasons."""
    lines = []
    if len(subject.excluded):
        reasons = subject.excluded["reason"].value_counts().head(8)
        lines.append(f"Left out at import: {listed(f'{reason} {n}' for reason, n in reasons.items())}.")
    elif subject.manifest is not None:
        lines.append("Nothing was left out at import.")
    left_out = subject.results.get("left_out")
    return " ".join([*lines, *(left_out_in_words(left_out) if left_out else [])])


def subsets(subject: Subject) -> str:
    """Return which part of the data was measured and why, and which stage used which."""
    measured = subject.results.get("measured")
    stages = subject.trained.get("stages") or []
    used = [
        f"stage {stage['name']}: {stage['n_train']:,} X-rays to train, {stage['n_val']} to validate" for stage in stages
    ]
    parts = [f"Measured: {listed(f'{split} {n}' for split, n in measured['splits'].items())}."] if measured else []
    return " ".join([*parts, sentence("; ".join(used)) if used else ""]).strip()


def missing(subject: Subject) -> str:
    """Return how many values are missing in each column, and what happens to X-rays without a label."""
    table = _table(subject)
    if table is None:
        return ""
    said = [f"{name} {n}" for name in _METADATA if (n := _missing(table[name]))]
    return (
        f"Missing values of {len(table):,} X-rays: {listed(said) or 'none'}. X-rays without a label are not measured; "
        "a finding that is not stated or uncertain counts as unknown, not as absent; an X-ray without a patient counts "
        "as a patient of its own."
    )


def _missing(column: pd.Series) -> int:
    return int(column.isna().sum() if column.dtype.kind == "f" else (column.astype(str) == "").sum())


def acquisition(subject: Subject) -> str:
    """Return the views of the X-rays."""
    table = _table(subject)
    return "" if table is None or not (table["view"] != "").any() else f"Views: {counts_in_words(table, 'view')}."


def labels(subject: Subject) -> str:
    """Return where labels come from and how many X-rays have each."""
    table = _table(subject)
    if table is None:
        return ""
    kind = subject.facts.get("kind")
    came = f"Labels are those of the source, as the importer {kind} read them" if kind else "Labels are the manifest's"
    return f"{came}: {counts_in_words(table, 'label')}. They were not verified."


def partitions(subject: Subject) -> str:
    """Return how X-rays were assigned to splits."""
    table = _table(subject)
    if table is None or not (table["split"] != "").any():
        return ""
    given = subject.facts.get("source_splits") or []
    came = f" Splits that came with the data: {listed(given)}." if given else ""
    notes = " ".join(subject.facts.get("split_notes") or [])
    return f"At random, grouped by patient and duplicate, stratified by class, from a seed.{came} {notes}".strip()


def disjoint(subject: Subject) -> str:
    """Return whether patients and duplicates are on one side of the splits; counted, not taken on trust."""
    table = _table(subject)
    if table is None or not (table["split"] != "").any():
        return ""
    used = table[table["split"] != ""]
    said = []
    for column, noun in (("patient_id", "patients"), ("dup_group", "groups of duplicates")):
        known = used[used[column] != ""]
        if not len(known):
            said.append(f"{noun}: not known")
            continue
        several = int((known.groupby(column)["split"].nunique() > 1).sum())
        said.append(f"{noun} in more than one split: {several} of {known[column].nunique()}")
    return sentence("; ".join(said))


def sizes(subject: Subject) -> str:
    """Return numbers of X-rays and patients by split and class."""
    table = _table(subject)
    if table is None:
        return " ".join(
            f"{split}: {xrays(summary['n'], summary.get('n_patients'))}."
            for split, summary in (subject.results.get("splits") or {}).items()
        )
    return " ".join(_sizes(table))


def _sizes(table: pd.DataFrame) -> Iterator[str]:
    for split in in_order(tuple(dict.fromkeys(table["split"]))):
        own = table[table["split"] == split]
        yield f"{split or 'no split'}: {xrays(len(own), _patients(own))} ({counts_in_words(own, 'label')})."


def demographics(subject: Subject) -> str:
    """Return sex and age by split, as far as they are known."""
    table = _table(subject)
    if table is None or not ((table["sex"] != "").any() or table["age"].notna().any()):
        return ""
    lines = []
    for split in in_order(tuple(dict.fromkeys(table["split"]))):
        own = table[table["split"] == split]
        ages = pd.to_numeric(own["age"], errors="coerce").dropna()
        low, middle, high = (ages.quantile(share) for share in (0.25, 0.5, 0.75))
        age = f"age median {middle:g} (quartiles {low:g} to {high:g}, known of {len(ages)})"
        lines.append(
            f"{split or 'no split'}: sex {counts_in_words(own, 'sex')}; {age if len(ages) else 'age not stated'}."
        )
    return " ".join(lines)


def quality(subject: Subject) -> str:
    """Return what audits of the data have shown."""
    return " ".join(subject.findings_of("audit-data", "check-data", "probe-data")[:4])


def differences(subject: Subject) -> str:
    """Return how the X-rays that were measured differ from those of the training: sources, views, classes."""
    table, trained = _table(subject), subject.training_table
    if table is None or trained is None:
        return ""
    measured = [split for split in subject.results.get("splits") or {} if split not in ("train", "val")]
    whole = not set(measured) & set(table["split"])
    own = table if whole else table[table["split"].isin(measured)]
    learnt = trained[trained["split"] == "train"]
    if not len(own) or not len(learnt):
        return ""
    said = [
        f"{column}: trained on {counts_in_words(learnt, column)}, measured on {counts_in_words(own, column)}"
        for column in ("label", "source", "view")
    ]
    return sentence("; ".join(said))
