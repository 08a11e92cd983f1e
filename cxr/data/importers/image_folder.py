"""Any images sorted into folders: one folder per class, perhaps below train, val and test, perhaps with patients below.

A class is the innermost folder with a known name (or an alias). Where no folder of a file has one, it is the folder on
the level of the known ones, else the outermost one below the folders that all files share. Folders below the class
whose names look like ids are patients.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cxr.data.images.base import IMAGE_SUFFIXES
from cxr.data.importers.import_options import LabelOptions, Options
from cxr.data.importers.listing import Listing, Source, existing_folder, join_labels, walk
from cxr.data.importers.rows import Row
from cxr.data.tables.normalise import known_class, normalise_split
from cxr.data.tables.values import listed, pairs

_SPLITS = frozenset({"train", "val", "test"})
_IMAGE_FOLDERS = frozenset({"images", "image", "img", "imgs"})
_MASK_FOLDERS = ("masks", "mask", "lung_masks", "lung masks")
# "infection masks", "leftMask": never X-rays, whatever they are masks of.
_MASK_FOLDER = re.compile(r"(.*[ _-])?masks?|(left|right|lung|manual)masks?", re.IGNORECASE)
# Names of ChestX-ray14 files: patient, then number of the follow-up.
_NIH_NAME = re.compile(r"(\d{8})_\d{3}")
_PATIENT_NAME = re.compile(r"(patient|pat|subject|sub|case|pid)[ _-]?\d+", re.IGNORECASE)
_PATIENT_IN_FILE = re.compile(r"patient[ _-]?\d+(?!\d)", re.IGNORECASE)
_FEWEST_PATIENTS, _FILES_PER_CLASS = 3, 4
# Folders that are an id ("patient0", "p-12", "0001", "s50414267"), not a view, a year or a kind of disease.
_ID_FOLDER = re.compile(r"[A-Za-z]{0,10}[ _-]?\d+([ _-]?[A-Za-z0-9]+)*")
_YEAR = re.compile(r"(19|20)\d\d")
_NO_PATIENT = re.compile(
    r"(study|series|view|session|visit|scan|img|image|part|batch|fold|size)[ _-]?\d*", re.IGNORECASE
)


@dataclass(frozen=True)
class _Place:
    """A file, the names of the folders above it that may be a class or a patient, outermost first, and its split.

    ``below_split`` is the position of the first folder below the split's folder, 0 if there is none.
    """

    file: Path
    folders: tuple[str, ...]
    below_split: int
    split: str
    split_folder: str


def read(path: Path, options: LabelOptions) -> Listing:
    """Read every image below a class folder; ``images/`` and ``masks/`` inside a class folder are a pair."""
    listing = Listing(existing_folder(path))
    places = []
    for file in walk(listing.root, listing):
        place = _place(file, listing.root)
        reason = _reason_against(place, listing.root)
        if reason:
            listing.leave_out(file, reason)
        else:
            places.append(place)
    levels = _class_levels(places, options)
    above = _patients_above(places, levels)
    listing.rows += [_row(place, level, above) for place, level in zip(places, levels, strict=True)]
    listing.notes += _notes(places, levels, above, options)
    join_labels(listing, options)
    return listing


def split_of(folder: str) -> str:
    """Return the split that a folder's name stands for, "" for another folder."""
    split = normalise_split(folder)
    return split if split in _SPLITS else ""


def _place(file: Path, root: Path) -> _Place:
    names: list[str] = []
    below_split, split, split_folder = 0, "", ""
    for folder in file.relative_to(root).parts[:-1]:
        if name := split_of(folder):
            below_split, split, split_folder = len(names), name, folder
        elif folder.casefold() not in _IMAGE_FOLDERS:
            names.append(folder)
    below = names[below_split:]
    return _Place(file, tuple(names), below_split if below and not _is_id(below[0]) else 0, split, split_folder)


def _reason_against(place: _Place, root: Path) -> str:
    if any(map(_MASK_FOLDER.fullmatch, place.file.relative_to(root).parts[:-1])):
        return "lies in a folder of masks"
    if not place.folders:
        return "is not in a class folder (one folder per class is needed)"
    # Files without an ending are tried: some sets have none.
    if place.file.suffix.lower() not in IMAGE_SUFFIXES and place.file.suffix:
        return f"is not an image by its ending {place.file.suffix!r}"
    return ""


def _class_levels(places: Sequence[_Place], options: Options) -> list[int]:
    """Return for each file which of its folders is the class."""
    levels = [_known_level(place, options) for place in places]
    depths = Counter(level for level in levels if level is not None)
    usual = depths.most_common(1)[0][0] if depths else _shared_levels(places)
    return [
        level if level is not None else min(max(usual, place.below_split), len(place.folders) - 1)
        for place, level in zip(places, levels, strict=True)
    ]


def _known_level(place: _Place, options: Options) -> int | None:
    alias_names = {name.casefold() for name in options.aliases}
    levels = [n for n, name in enumerate(place.folders) if name.casefold() in alias_names or known_class(name)]
    return levels[-1] if levels else None


def _shared_levels(places: Sequence[_Place]) -> int:
    """Return how many folders at the top are no class: all files share them, or each holds one patient of them."""
    level = 0
    while places and all(len(place.folders) > level + 1 for place in places):
        folders, below = (Counter(place.folders[n] for place in places) for n in (level, level + 1))
        patients_above = _are_patients(folders) and not any(
            _is_id(name) or _NO_PATIENT.fullmatch(name) for name in below
        )
        if not patients_above and (len(folders) > 1 or _are_patients(below)):
            break
        level += 1
    return level


def _patients_above(places: Sequence[_Place], levels: Sequence[int]) -> bool:
    """Return whether the folders directly above the class folders hold a patient each."""
    above = Counter(place.folders[level - 1] for place, level in zip(places, levels, strict=True) if level)
    return _are_patients(above)


def _are_patients(folders: Counter[str]) -> bool:
    """Return whether folders hold a patient each: by their names, or many ids with few files each."""
    if any(_PATIENT_NAME.match(name) for name in folders):
        return True
    few_files = folders.total() < _FILES_PER_CLASS * len(folders)
    return all(map(_is_id, folders)) and len(folders) > _FEWEST_PATIENTS and few_files


def _is_id(folder: str) -> bool:
    return (
        _ID_FOLDER.fullmatch(folder) is not None
        and _YEAR.fullmatch(folder) is None
        and _NO_PATIENT.fullmatch(folder) is None
    )


def _patient_folder(place: _Place, level: int, above: bool) -> str:
    """Return the folder that names the patient: the first below the class, or else that above it; "" if none does."""
    below = place.folders[level + 1 :]
    if below and _is_id(below[0]):
        return below[0]
    return place.folders[level - 1] if above and level and _is_id(place.folders[level - 1]) else ""


def _patient(place: _Place, level: int, above: bool) -> str:
    """Return the patient from a folder below or above the class, or from a file's name that says it."""
    if folder := _patient_folder(place, level, above):
        return folder
    nih = _NIH_NAME.match(place.file.stem)
    if nih:
        return f"nih_{nih[1]}"
    match = _PATIENT_IN_FILE.match(place.file.stem)
    return match[0] if match else ""


def _row(place: _Place, level: int, above: bool) -> Row:
    return Row(
        image=str(place.file),
        lung_mask=_mask(place.file),
        label=place.folders[level],
        findings=place.folders[level],
        patient_id=_patient(place, level, above),
        split=place.split,
    )


def _notes(places: Sequence[_Place], levels: Sequence[int], above: bool, options: Options) -> list[str]:
    notes = []
    splits = Counter((place.split_folder, place.split) for place in places if place.split)
    if renamed := {key: n for key, n in splits.items() if key[0] != key[1]}:
        notes.append(f"split: folders {pairs(renamed)}")
    notes += _class_notes(places, levels, options)
    from_folders: dict[str, set[str]] = {}
    n = 0
    for place, level in zip(places, levels, strict=True):
        if folder := _patient_folder(place, level, above):
            n += 1
            from_folders.setdefault(folder, set()).add(place.folders[level])
    if n:
        side = "above" if above else "below"
        patients = listed(map(repr, sorted(from_folders)), 3)
        notes.append(f"patient_id: from the folder {side} the class for {n:,} X-rays ({patients})")
    several = sorted(name for name, classes in from_folders.items() if len(classes) > 1)
    if several:
        notes.append(
            f"patient_id: {len(several):,} folders of one name are in several classes "
            f"({listed(map(repr, several), 3)}); taken as the same patients"
        )
    return notes


def _class_notes(places: Sequence[_Place], levels: Sequence[int], options: Options) -> list[str]:
    """Say which folders became the class where files lie deeper than in one folder, and what else could be meant."""
    if all(len(place.folders) == 1 for place in places):
        return []
    classes = sorted({place.folders[level] for place, level in zip(places, levels, strict=True)})
    notes = [f"classes: the folders {listed(classes)}"]
    unknown = [
        (place, level)
        for place, level in zip(places, levels, strict=True)
        if _known_level(place, options) is None and len(place.folders) > level + 1
    ]
    below = sorted({name for place, level in unknown for name in place.folders[level + 1 :] if not _is_id(name)})
    below = [name for name in below if not _NO_PATIENT.fullmatch(name)]
    if below:
        notes.append(
            f"classes: not the folders below them ({listed(below, 4)}); if those are the classes, name each one: "
            f"--alias '{below[0]}={below[0]}'"
        )
    return notes


def _mask(file: Path) -> str:
    if file.parent.name.casefold() not in _IMAGE_FOLDERS:
        return ""
    masks = (file.parent.parent / folder / file.name for folder in _MASK_FOLDERS)
    return next((str(mask) for mask in masks if mask.is_file()), "")


SOURCE = Source(
    "image-folder",
    "One folder per class",
    "images in one folder per class; folders train/, val/ and test/ and folders of patients are recognised",
    read,
    LabelOptions,
)
