"""Deleting a data set, and what would be lost with it: runs that point at it, files that are nowhere else."""

from __future__ import annotations

import secrets
import shutil
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from cxr import permission
from cxr.data.library import EXCLUDED_FILE, DataSet, check_name, is_taken, list_data_sets, resolve_manifest
from cxr.data.manifest import Manifest
from cxr.errors import CxrError, ManifestError
from cxr.formatting import counted
from cxr.json_types import JsonObject
from cxr.paths import data_root
from cxr.runs import Run, list_runs

_OWN_FILES = frozenset({"manifest.csv", "data.json", EXCLUDED_FILE})


@dataclass(frozen=True)
class Loss:
    """What goes with a data set.

    Attributes
    ----------
    name, folder, n
        Of the data set, and how many X-rays it has.
    images
        X-rays whose image lies in its folder, and so is deleted with it.
    files
        Other files in its folder, such as text boxes that were corrected by hand, and its folders of masks, each with
        the number of its files.
    needed_by
        Other data sets whose images lie in its folder: while there are any it is not deleted.
    runs
        Runs that work on it, ``id`` and ``kind``: what they have found stays, but they cannot be repeated or resumed.
    active
        Those of them that have not ended: while there are any it is not deleted.
    """

    name: str
    folder: Path
    n: int
    images: int
    files: tuple[str, ...]
    needed_by: tuple[str, ...]
    runs: tuple[tuple[str, str], ...]
    active: tuple[str, ...]

    def as_dict(self) -> JsonObject:
        """Return the same in plain values."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "images": self.n,
            "images_deleted": self.images,
            "files": list(self.files),
            "needed_by": list(self.needed_by),
            "runs": [{"id": run_id, "kind": kind} for run_id, kind in self.runs],
            "active": list(self.active),
        }

    def needed(self) -> str:
        """Return in words why it is not deleted although no run works on it, "" if it is."""
        if not self.needed_by:
            return ""
        sets, first = ", ".join(map(repr, self.needed_by)), "that data set" if len(self.needed_by) == 1 else "those"
        return f"images of {sets} lie in its folder. Delete {first} first."

    def in_words(self) -> list[str]:
        """Return it in sentences, the gravest first."""
        sentences = []
        if self.needed_by:
            sentences.append(f"It cannot be deleted: {self.needed()}")
        if self.images:
            sentences.append(f"{counted(self.images, 'image')} in its folder will be deleted: they are nowhere else.")
        if self.runs:
            kinds = ", ".join(sorted({kind for _, kind in self.runs}))
            sentences.append(
                f"{counted(len(self.runs), 'run')} ({kinds}) point{'s' * (len(self.runs) == 1)} at it: what they found "
                "stays, but pages cannot show their X-rays, and they cannot be resumed or repeated."
            )
        if self.files:
            sentences.append(f"Also deleted: {', '.join(self.files)}.")
        if self.images < self.n:
            sentences.append(f"{counted(self.n - self.images, 'image')} elsewhere {_stay(self.n - self.images)}.")
        return sentences


def what_would_be_lost(name: str) -> Loss:
    """Return what deleting a data set would take with it.

    Raises
    ------
    ManifestError
        If there is no data set of this name.
    """
    if not is_taken(check_name(name)):
        resolve_manifest(name)  # a path may lead to a manifest, but only what is in the library is deleted
        raise ManifestError(f"{name!r} is a manifest's file, not a data set: delete the file itself")
    folder = data_root() / name
    try:
        images = list(Manifest.load(folder / "manifest.csv").image_paths().values())
    except CxrError:  # a manifest that cannot be read any more is deleted all the same
        images = []
    inside = {path for path in images if path.is_relative_to(folder)}
    needed_by = [other.name for other in list_data_sets() if other.name != name and _has_images_in(other, folder)]
    runs = [run for run in list_runs() if _points_at(run, folder)]
    return Loss(
        name,
        folder,
        len(images),
        len(inside),
        tuple(_others(folder, inside)),
        tuple(needed_by),
        tuple((run.id, run.kind) for run in runs if run.kind not in ("import", "demo")),
        tuple(run.id for run in runs if run.active),
    )


def delete_data_set(name: str) -> Loss:
    """Delete a data set from the library and return what went with it; images elsewhere stay.

    Raises
    ------
    ManifestError
        If there is no such data set, a run that has not ended works on it, or the images of another data set lie in
        its folder.
    """
    permission.ask("delete a data set")
    loss = what_would_be_lost(name)
    if loss.active:
        raise ManifestError(
            f"the run {loss.active[0]} works on {name!r} just now: wait for it, or stop it with "
            f"`cxr runs stop {loss.active[0]}`"
        )
    if loss.needed_by:
        raise ManifestError(f"{name!r} cannot be deleted: {loss.needed()}")
    # Under another name first: half of a data set is never in sight.
    trash = data_root() / f".deleted-{name}-{secrets.token_hex(4)}"
    shutil.move(loss.folder, trash)
    shutil.rmtree(trash, ignore_errors=True)
    return loss


def _has_images_in(data_set: DataSet, folder: Path) -> bool:
    try:
        paths = Manifest.load(data_set.manifest_path).image_paths().values()
    except CxrError:  # it shows nothing any more, whatever becomes of the folder
        return False
    return any(path.is_relative_to(folder) for path in paths)


def _others(folder: Path, images: Collection[Path]) -> Iterator[str]:
    """Yield the files of a folder that are no images of its data set, those of each folder in it as a number."""
    in_folders: Counter[str] = Counter()
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_file() or path in images or inside.as_posix() in _OWN_FILES or inside.name.startswith("."):
            continue
        if len(inside.parts) == 1:
            yield inside.name
        else:
            in_folders[inside.parts[0]] += 1
    for name, n in in_folders.items():
        yield f"{name}/ ({counted(n, 'file')})"


def _points_at(run: Run, folder: Path) -> bool:
    """Return whether a run reads, or is making, the data set in a folder."""
    params = run.spec["params"]
    if run.kind in ("import", "demo"):
        return params.get("name") == folder.name
    return any(Path(text).is_relative_to(folder) for text in _texts(params) if text.startswith("/"))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _stay(count: int) -> str:
    return "stays where it is" if count == 1 else "stay where they are"
