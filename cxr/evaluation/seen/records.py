"""What results.json holds of X-rays that a network has seen, and which of them are left out of its figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from cxr.data import ImageCache, Manifest
from cxr.errors import ImageError
from cxr.evaluation.results import EvaluationResults, SeenImagesRow, SeenRecord, SeenSplit
from cxr.evaluation.seen.comparing import NOTHING_KNOWN, SAME_PATIENT, SeenAmong, seen_among
from cxr.models.seen_images import CHOSEN, TRAINED, Seen

ALL_SEEN, OWN_SPLIT, INCLUDED = WHOLE = ("all-seen", "own-split", "included")
"""Why a split is measured with the X-rays that were seen: it holds no others; it is what the network was trained or
chosen on by its name; somebody asked for it."""
_OWN_SPLITS = ("train", "val")


def whole_because(split: str, uses: Sequence[str], *, own: bool, include: bool) -> str:
    """Return why a split is measured with what was seen (one of :data:`WHOLE`), "" where that is left out.

    ``uses`` are those of all its images, "" for the ones that were not seen; ``own`` says that the data are those that
    the network was trained on.
    """
    if not any(uses):
        return ""
    if all(uses):
        return ALL_SEEN
    if own and split in _OWN_SPLITS:
        return OWN_SPLIT
    return INCLUDED if include else ""


def facts(among: SeenAmong, by_split: Mapping[str, Sequence[str]], whole: Mapping[str, str]) -> SeenRecord:
    """Return the entry ``seen`` of results.json.

    Returns
    -------
    ``compared_with``, ``unknown``, ``blank`` (how many), ``no_near`` and ``no_patient`` where something was not
    compared, ``splits`` (of each ``of``, ``trained``, ``chosen``, ``near``, ``confirmed`` and ``patients`` where there
    are any, ``left_out`` and, where nothing is left out, ``why``) and ``images``: rows of ``split``, ``use``,
    ``stages`` and ``ids``, so that every X-ray that was seen is named.
    """
    splits: dict[str, SeenSplit] = {}
    images: list[SeenImagesRow] = []
    for split, ids in by_split.items():
        uses = among.column(ids)
        splits[split] = {
            "of": len(ids),
            "trained": uses.count(TRAINED),
            "chosen": uses.count(CHOSEN),
            "left_out": any(uses) and not whole.get(split),
        }
        if near := sum(image_id in among.near for image_id in ids):
            splits[split]["near"] = near
            splits[split]["confirmed"] = sum(image_id in among.confirmed for image_id in ids)
        if patients := uses.count(SAME_PATIENT):
            splits[split]["patients"] = patients
        if whole.get(split):
            splits[split]["why"] = whole[split]
        images += _entries_of(among, split, ids)
    record: SeenRecord = {
        "compared_with": among.compared_with,
        "unknown": list(among.unknown),
        "blank": sum(image_id in among.blank for ids in by_split.values() for image_id in ids),
        "splits": splits,
        "images": images,
    }
    if among.no_near:
        record["no_near"] = list(among.no_near)
    if n := sum(image_id in among.no_patient for ids in by_split.values() for image_id in ids):
        record["no_patient"] = n
    return record


def marked(seen: Seen | None, manifest: Manifest, size: int) -> SeenRecord:
    """Return the entry ``seen`` for results that are of all images of ``manifest``, whether they were seen or not.

    ``size`` is that of the network's pictures.
    """
    among, by_split = _compared(seen, manifest, size)
    return facts(among, by_split, {name: INCLUDED for name, ids in by_split.items() if any(among.column(ids))})


def new_to(
    seen: Seen | None, manifest: Manifest, size: int, *, own: bool = False, include: bool = False
) -> tuple[Manifest, SeenRecord]:
    """Return the images of ``manifest`` that an experiment is to be made with, and the entry ``seen`` of its results.

    By the rule of an evaluation those that were seen are left out (:func:`whole_because`).
    """
    among, by_split = _compared(seen, manifest, size)
    whole = {name: whole_because(name, among.column(ids), own=own, include=include) for name, ids in by_split.items()}
    left_out = {i for name, ids in by_split.items() if not whole[name] for i in ids if i in among.use}
    rest = manifest.select(ids=[i for i in manifest.ids if i not in left_out]) if left_out else manifest
    return rest, facts(among, by_split, whole)


def _compared(seen: Seen | None, manifest: Manifest, size: int) -> tuple[SeenAmong, dict[str, list[str]]]:
    among = NOTHING_KNOWN
    if seen is not None and len(manifest):
        try:
            among = seen_among(seen, manifest, ImageCache.build(manifest, size))
        except ImageError as error:
            among = SeenAmong(unknown=(f"whether these X-rays were seen in training ({error})",))
    return among, {str(name): rows["image_id"].tolist() for name, rows in manifest.table.groupby("split", sort=True)}


def _entries_of(among: SeenAmong, split: str, ids: Sequence[str]) -> Iterator[SeenImagesRow]:
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for image_id in ids:
        if image_id in among.use:
            groups.setdefault((among.use[image_id], among.stages[image_id]), []).append(image_id)
    for (use, stages), named in groups.items():
        yield {"split": split, "use": use, "stages": list(stages), "ids": named}


def measured_rows(table: pd.DataFrame, results: EvaluationResults) -> pd.DataFrame:
    """Return the rows of predictions that the figures of results.json are of: without what was left out as seen."""
    seen = results.get("seen")
    left_out = [name for name, counts in seen["splits"].items() if counts["left_out"]] if seen else []
    if "seen" not in table or not left_out:
        return table
    return table[(table["seen"] == "") | ~table["split"].isin(left_out)]


def n_seen(seen: SeenRecord, *, left_out: bool = False) -> int:
    """Return how many X-rays the entry ``seen`` of results.json counts as seen, or only those that are left out.

    X-rays of patients that were seen are among them.
    """
    return sum(n_seen_of(counts) for counts in seen["splits"].values() if counts["left_out"] or not left_out)


def n_patients_seen(seen: SeenRecord, *, left_out: bool = False) -> int:
    """Return how many X-rays count as seen for their patient alone, or only those that are left out."""
    return sum(counts.get("patients", 0) for counts in seen["splits"].values() if counts["left_out"] or not left_out)


def n_seen_of(counts: SeenSplit) -> int:
    """Return how many X-rays of a split count as seen."""
    return counts["trained"] + counts["chosen"] + counts.get("patients", 0)
