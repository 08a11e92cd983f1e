"""What a user should know of a data set after import and after splitting: one plain sentence each."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pandas as pd

from cxr.data.importers.importing import ImportResult
from cxr.data.manifest import Manifest
from cxr.data.splits import connected_groups, in_order

_SHOWN = 5
_WITH_MASKS = ("montgomery", "shenzhen")


def import_notes(result: ImportResult) -> list[str]:
    """Return what an import should report besides what it left out and its own notes: equal pictures, masks."""
    notes = list(_double_notes(result.doubles))
    if result.kind in _WITH_MASKS and not (result.manifest.table["lung_mask"] != "").any():
        notes.append("No lung mask lies beside the X-rays. Whatever needs lung masks is left out for this data set.")
    return notes


def two_labels(doubles: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the rows of each picture that stands under two labels or more (see ``ImportResult.doubles``)."""
    labelled = doubles[doubles["label"] != ""]
    return [rows for _, rows in labelled.groupby("picture") if rows["label"].nunique() > 1]


def split_notes(manifest: Manifest, set_aside: pd.DataFrame, source_splits: Collection[str] = ()) -> list[str]:
    """Return what is to be known of a data set's splits.

    Parameters
    ----------
    manifest
        With its splits.
    set_aside
        Rows that were set aside: ``image_id, image, reason``.
    source_splits
        Splits that stayed as they were.
    """
    table = manifest.table
    groups = pd.Series(connected_groups(table, ("patient_id", "dup_group")), index=table.index)
    sizes = table.assign(group=groups).groupby("split")["group"].agg(["size", "nunique"])
    words = [f"{s} {sizes.at[s, 'size']:,} ({sizes.at[s, 'nunique']:,})" for s in in_order(manifest.splits)]
    notes = [f"X-rays (groups): {', '.join(words)}. A group is a patient, or one picture in several files."]
    if source_splits:
        notes.append(
            f"Kept as {'it was' if len(source_splits) == 1 else 'they were'}: {', '.join(in_order(source_splits))}."
        )
    return [
        *notes,
        *_set_aside_notes(set_aside),
        *_unsplit_notes(table, set_aside),
        *_missing_classes(manifest),
        *_missing(manifest),
    ]


def straddling_notes(manifest: Manifest) -> list[str]:
    """Return one sentence for patients, and one for duplicates, that stand in several splits.

    Their ids stand in quotes, by which reports without ids find them.
    """
    notes = []
    for group, names in manifest.straddling().items():
        if names:
            examples = ", ".join(f"{name!r} ({' and '.join(splits)})" for name, splits in list(names.items())[:_SHOWN])
            notes.append(
                f"{len(names)} {group}{'s' * (len(names) > 1)} in more than one split: "
                f"{_and_more(examples, len(names))}. Training refuses such splits. "
                f"`{manifest.split_command(*in_order(manifest.splits))}` takes them out of all but one, last out of "
                "test."
            )
    return notes


def _double_notes(doubles: pd.DataFrame) -> Iterator[str]:
    pairs = two_labels(doubles)
    if pairs:
        examples = "; ".join(
            " and ".join(f"{row.image} ({row.label})" for row in rows.itertuples()) for rows in pairs[:_SHOWN]
        )
        yield (
            f"The same picture under two labels, {_times(len(pairs))}: {_and_more(examples, len(pairs), '; ')}. "
            "At most one label is right: correct them or leave these X-rays out. Until then each stays in one split."
        )
    n = doubles["picture"].nunique() - len(pairs)
    if n:
        files = len(doubles) - sum(len(doubles[doubles["picture"] == rows["picture"].iloc[0]]) for rows in pairs)
        subject = "1 picture is" if n == 1 else f"{n:,} pictures are"
        yield f"{subject} there more than once under the same label ({files:,} files). Each stays in one split."


def _set_aside_notes(set_aside: pd.DataFrame) -> Iterator[str]:
    if len(set_aside):
        examples = "; ".join(f"{row.image}: {row.reason}" for row in set_aside.head(_SHOWN).itertuples())
        rows = "1 row is" if len(set_aside) == 1 else f"{len(set_aside):,} rows are"
        reasons = _and_more(examples, len(set_aside), "; ")
        yield f"{rows} in no split, because the patient or the picture is in another: {reasons}."


def _unsplit_notes(table: pd.DataFrame, set_aside: pd.DataFrame) -> Iterator[str]:
    unsplit = table[(table["split"] == "") & ~table["image_id"].isin(set_aside["image_id"])]
    if len(unsplit) and len(unsplit) < len(table):
        reasons = unsplit["role"].where(unsplit["role"] != "", "no role").where(unsplit["label"] != "", "no label")
        counts = ", ".join(f"{reason} {n:,}" for reason, n in reasons.value_counts().sort_index().items())
        yield f"{len(unsplit):,} of {len(table):,} X-rays have no split ({counts})."


def _missing_classes(manifest: Manifest) -> Iterator[str]:
    """Name the classes that train, val or test lacks, or the findings where there is no label."""
    table = manifest.table[manifest.table["split"].isin(["train", "val", "test"])]
    if not len(table):
        return
    column = "label" if (table["label"] != "").any() else "findings"
    names = table[column].str.split("|").explode().str.strip().str.removeprefix("?")
    present = names.groupby(table["split"].reindex(names.index)).agg(set)
    all_classes = set(names) - {""}
    for split in in_order(present.index):
        lacking = sorted(all_classes - present[split])
        if lacking:
            classes = _and_more(", ".join(lacking[:_SHOWN]), len(lacking))
            yield f"Split {split} has no X-ray of {classes}: nothing can be measured for them there."


def _missing(manifest: Manifest) -> Iterator[str]:
    """Say what training lacks, and the command that makes it."""
    if "train" in manifest.splits and "val" not in manifest.splits:
        advice = validation_command(manifest)
        yield f"There is no validation split, which training needs. `{advice}` takes it from train, by patient."


def validation_command(manifest: Manifest) -> str:
    """Return the command that makes the train and validation splits a training needs, and leaves a test split alone."""
    if "test" in manifest.splits:
        return manifest.split_command("test", train=0.9, val=0.1)
    return manifest.split_command()


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"


def _and_more(examples: str, n: int, separator: str = ", ") -> str:
    return f"{examples}{separator}and {n - _SHOWN} more" if n > _SHOWN else examples
