"""Any images sorted into folders: one folder per class, perhaps below train, val and test."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from cxr.data.image import IMAGE_SUFFIXES
from cxr.data.sources.base import Found, Options, class_of, existing_folder, walk

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_IMAGE_FOLDERS = frozenset({"images", "image", "img"})
_MASK_FOLDERS = ("masks", "mask", "lung_masks")
# Names of ChestX-ray14 files: patient, then number of the follow-up.
_NIH_NAME = re.compile(r"(\d{8})_\d{3}")


def read(path: Path, options: Options) -> Found:
    """Read every image below a class folder; ``images/`` and ``masks/`` inside a class folder are a pair."""
    found = Found(existing_folder(path))
    for file in walk(found.root, found):
        reason = _reason_against(file, found.root)
        if reason:
            found.leave_out(file, reason)
        else:
            found.rows.append(_row(file, found.root, options))
    return found


def _reason_against(file: Path, root: Path) -> str:
    folders = [part.casefold() for part in file.relative_to(root).parts[:-1]]
    if any(folder in _MASK_FOLDERS for folder in folders):
        return "lies in a folder of masks"
    if not _class_folder(file, root):
        return "lies in no class folder (a folder per class is needed)"
    # Files without an ending are tried: some sets have none.
    if file.suffix.lower() not in IMAGE_SUFFIXES and file.suffix:
        return f"is not an image by its ending {file.suffix!r}"
    return ""


def _class_folder(file: Path, root: Path) -> str:
    """Return the name of the innermost folder that is neither a split nor ``images``."""
    folders = [part for part in file.relative_to(root).parts[:-1] if part.casefold() not in {*_SPLITS, *_IMAGE_FOLDERS}]
    return folders[-1] if folders else ""


def _row(file: Path, root: Path, options: Options) -> dict[str, Any]:
    folder = _class_folder(file, root)
    splits = [_SPLITS[part.casefold()] for part in file.relative_to(root).parts[:-1] if part.casefold() in _SPLITS]
    patient = _NIH_NAME.match(file.stem)
    return {
        "image": str(file),
        "lung_mask": _mask(file),
        "label": class_of(folder, options.aliases),
        "findings": folder,
        "patient_id": f"nih_{patient[1]}" if patient else "",
        "source": root.name,
        "split": splits[-1] if splits else "",
    }


def _mask(file: Path) -> str:
    if file.parent.name.casefold() not in _IMAGE_FOLDERS:
        return ""
    masks = (file.parent.parent / folder / file.name for folder in _MASK_FOLDERS)
    return next((str(mask) for mask in masks if mask.is_file()), "")
