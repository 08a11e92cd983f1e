"""Images decoded once: a uint8 memory map at training size, keyed by what the files hold.

Layout: ``<root>/images/<key>/images.npy`` (n, size, size), ``index.parquet`` (image_id, row, digest, crc32, reason)
and ``complete.json``, written last. A folder is built under a temporary name and renamed, so what is there is whole
or is recognised as damaged and built anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxr.data.digests import file_digests
from cxr.data.image import DECODER_VERSION, one_line, unreadable_because
from cxr.data.manifest import Manifest
from cxr.data.pool import map_in_order
from cxr.data.square import FITS, decode_square, decode_treated
from cxr.errors import ImageError, ManifestError, unknown
from cxr.paths import cache_root

SIZES = range(16, 4097)
_FULL_CHECK_BYTES = 512 * 2**20
_SAMPLED_ROWS = 1000

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Treatment:
    """What is done to images at the size of their files, before they are resized; part of a cache's key.

    Attributes
    ----------
    about
        Plain values that say what it is.
    apply
        ``apply(image, what)`` returns the image (H, W) treated, or raises :class:`cxr.data.image.Refusal`; a function
        of a module, or a ``partial`` of one: it travels to other processes by name.
    by_image
        ``what`` by image id, as JSON takes it; images that are not there stay as they are.
    """

    about: dict[str, Any]
    apply: Callable[[NDArray[np.uint8], Any], NDArray[np.uint8]]
    by_image: Mapping[str, Any]

    def digests(self, of_files: Mapping[str, str]) -> dict[str, str]:
        """Return what stands for each image's pixels: the digest of its file, and of what is done to it."""
        return {i: d if i not in self.by_image else self._digest(d, self.by_image[i]) for i, d in of_files.items()}

    def _digest(self, of_file: str, what: Any) -> str:
        text = json.dumps([of_file, what], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class ImageCache:
    """Decoded images of a manifest, by id.

    Attributes
    ----------
    images
        uint8 (N, size, size), a read-only memory map; row i is the image of ``ids[i]``.
    ids
        Image ids, sorted; images that could not be read are not among them.
    missing
        DataFrame ``image_id, file, reason`` of the images of the manifest that could not be read.
    folder
        Where the cache lies; safe to delete.
    """

    def __init__(self, folder: Path, ids: list[str], missing: pd.DataFrame) -> None:
        self.folder = folder
        self.ids = ids
        self.missing = missing
        self._open()

    @classmethod
    def build(
        cls,
        manifest: Manifest,
        size: int,
        *,
        root: str | Path | None = None,
        workers: int | None = None,
        progress: Progress | None = None,
        fit: str = "stretch",
        treatment: Treatment | None = None,
    ) -> ImageCache:
        """Open the cache of a manifest's images, decoding first what no cache of this size holds yet.

        Parameters
        ----------
        size
            Side in pixels of the square images, 16 to 4096.
        root
            Folder that holds ``images/``; default :func:`cxr.paths.cache_root`.
        workers
            Decoding processes; None for one per core, 0 for this process.
        progress
            Called with ``(done, total)``.
        fit
            ``stretch`` to the square, ``pad`` with black, or ``crop`` the middle.
        treatment
            Done to the decoded files first; treated and untreated pixels lie in different caches.

        Raises
        ------
        ManifestError
            For an empty manifest, an unknown ``fit`` or a ``size`` out of range.
        ImageError
            If not one image can be read.
        """
        _check_request(manifest, size, fit)
        base = Path(root) if root is not None else cache_root()
        paths = dict(sorted(manifest.image_paths().items()))
        digests = file_digests(paths.values(), base / "digests.sqlite")
        known = {image_id: d for image_id, path in paths.items() if (d := digests[path]) is not None}
        if treatment is not None:
            known = treatment.digests(known)
        recipe = _Recipe(base / "images", size, fit, treatment)
        folder = recipe.folder(known)
        try:
            with _lock(recipe.root / f".{folder.name}.lock"):
                if not _is_sound(folder):
                    _build(folder, recipe, known, paths, workers, progress)
            index = pd.read_parquet(folder / "index.parquet")
        except OSError as error:
            raise ImageError(f"the image cache {recipe.root} cannot be written ({one_line(error)})") from None
        missing = _missing(index, paths, known)
        ids = index.loc[index["row"] >= 0].sort_values("row")["image_id"].tolist()
        if not ids:
            first = missing.iloc[0]
            raise ImageError(f"none of the {len(manifest)} images can be read; the first: {first.file} {first.reason}")
        return cls(folder, ids, missing)

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return int(self.images.shape[1])

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._rows

    def __getitem__(self, image_id: str) -> NDArray[np.uint8]:
        """Return one image, uint8 (size, size), as a view of the memory map."""
        return self.images[self.index(image_id)]

    def index(self, image_id: str) -> int:
        """Return the row of an image in :attr:`images`."""
        if image_id not in self._rows:
            lost = self.missing.set_index("image_id")["reason"]
            why = f"its file {lost[image_id]}" if image_id in lost else "the manifest does not have it"
            raise ImageError(f"image {image_id!r} is not in the cache: {why}")
        return self._rows[image_id]

    def rows(self, ids: Iterable[str]) -> NDArray[np.uint8]:
        """Return the images of ``ids`` in their order, uint8 (n, size, size), as a copy."""
        return self.images[[self.index(image_id) for image_id in ids]]

    def _open(self) -> None:
        self.images: NDArray[np.uint8] = np.load(self.folder / "images.npy", mmap_mode="r", allow_pickle=False)
        self._rows = {image_id: row for row, image_id in enumerate(self.ids)}

    def __getstate__(self) -> dict[str, Any]:
        # A memory map would travel as all of its pixels; the other process opens the file itself.
        return {"folder": self.folder, "ids": self.ids, "missing": self.missing}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()


@dataclass(frozen=True)
class _Recipe:
    """What, besides the files, decides the pixels of a cache, and where caches lie."""

    root: Path
    size: int
    fit: str
    treatment: Treatment | None = None

    def as_dict(self) -> dict[str, Any]:
        plain = {"size": self.size, "fit": self.fit, "decoder": DECODER_VERSION}
        return plain if self.treatment is None else plain | {"treatment": self.treatment.about}

    def decoded(
        self, ids: Sequence[str], paths: Mapping[str, Path], workers: int | None
    ) -> Iterator[NDArray[np.uint8] | str]:
        """Yield each image's pixels or the reason why there are none."""
        done: Iterator[Any]
        if self.treatment is None:
            square = partial(decode_square, size=self.size, fit=self.fit)
            done = map_in_order(square, [paths[image_id] for image_id in ids], workers)
        else:
            treated = partial(decode_treated, apply=self.treatment.apply, size=self.size, fit=self.fit)
            items = [(paths[image_id], self.treatment.by_image.get(image_id)) for image_id in ids]
            done = map_in_order(treated, items, workers)
        return (result if isinstance(result, np.ndarray) else str(result) for result in done)

    def folder(self, digests: Mapping[str, str]) -> Path:
        digest = hashlib.blake2b(json.dumps(self.as_dict(), sort_keys=True).encode(), digest_size=16)
        for image_id, content in digests.items():
            digest.update(json.dumps([image_id, content]).encode())
        return self.root / digest.hexdigest()


def _check_request(manifest: Manifest, size: int, fit: str) -> None:
    if len(manifest) == 0:
        raise ManifestError("the manifest has no rows: there is nothing to decode")
    if fit not in FITS:
        raise ManifestError(unknown("fit", fit, FITS))
    if size not in SIZES:
        raise ManifestError(f"size {size!r} is not a whole number from {SIZES.start} to {SIZES.stop - 1}")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock between processes; the system lets go of it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(
    folder: Path,
    recipe: _Recipe,
    digests: Mapping[str, str],
    paths: Mapping[str, Path],
    workers: int | None,
    progress: Progress | None,
) -> None:
    partial_folder = folder.with_name(f".{folder.name}.partial")
    for left_behind in (partial_folder, folder):
        shutil.rmtree(left_behind, ignore_errors=True)
    partial_folder.mkdir(parents=True)
    try:
        with (partial_folder / "images.npy").open("wb") as file:
            index = _write_images(file, recipe, digests, _pixels(recipe, digests, paths, workers), progress)
            _sync(file)
        index.to_parquet(partial_folder / "index.parquet", index=False)
        _write_complete(partial_folder, recipe, index)
        partial_folder.rename(folder)
    finally:
        shutil.rmtree(partial_folder, ignore_errors=True)


def _pixels(
    recipe: _Recipe, digests: Mapping[str, str], paths: Mapping[str, Path], workers: int | None
) -> Iterator[NDArray[np.uint8] | str]:
    """Yield each image's pixels or the reason why there are none, copied from other caches where they hold them."""
    held = _held_elsewhere(recipe, set(digests.values()))
    new = [image_id for image_id, digest in digests.items() if digest not in held]
    decoded = recipe.decoded(new, paths, workers)
    for digest in digests.values():
        yield held[digest] if digest in held else next(decoded)


def _held_elsewhere(recipe: _Recipe, wanted: set[str]) -> dict[str, NDArray[np.uint8]]:
    """Return the pixels of contents that other caches of the same recipe hold undamaged, as views of their maps."""
    held: dict[str, NDArray[np.uint8]] = {}
    for folder in sorted(recipe.root.glob("[0-9a-f]*")):
        try:
            if json.loads((folder / "complete.json").read_text())["recipe"] != recipe.as_dict():
                continue
            images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
            index = pd.read_parquet(folder / "index.parquet")
        except (OSError, ValueError, KeyError):
            continue  # damaged: nothing to copy from it, and its own opening builds it anew
        useful = index[(index["row"] >= 0) & (index["row"] < len(images)) & index["digest"].isin(wanted - held.keys())]
        for digest, row, crc in zip(useful["digest"], useful["row"], useful["crc32"], strict=True):
            if zlib.crc32(images[row]) == crc:
                held[digest] = images[row]
    return held


def _write_images(
    file: BinaryIO,
    recipe: _Recipe,
    digests: Mapping[str, str],
    pixels: Iterator[NDArray[np.uint8] | str],
    progress: Progress | None,
) -> pd.DataFrame:
    """Write the array row by row and return its index; a file that cannot be read has row -1 and a reason."""
    _write_header(file, (len(digests), recipe.size, recipe.size))
    rows: list[tuple[str, int, str, int, str]] = []
    written = 0
    for done, ((image_id, digest), result) in enumerate(zip(digests.items(), pixels, strict=True), 1):
        if isinstance(result, str):
            rows.append((image_id, -1, digest, 0, result))
        else:
            pixels_as_bytes = result.tobytes()
            file.write(pixels_as_bytes)
            rows.append((image_id, written, digest, zlib.crc32(pixels_as_bytes), ""))
            written += 1
        if progress is not None:
            progress(done, len(digests))
    # The header of a .npy file has room for any number of rows, so it can be written again in place.
    file.seek(0)
    _write_header(file, (written, recipe.size, recipe.size))
    return pd.DataFrame(rows, columns=["image_id", "row", "digest", "crc32", "reason"])


def _write_header(file: BinaryIO, shape: tuple[int, int, int]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _write_complete(folder: Path, recipe: _Recipe, index: pd.DataFrame) -> None:
    facts = {
        "recipe": recipe.as_dict(),
        "n": int((index["row"] >= 0).sum()),
        "bytes": {name: (folder / name).stat().st_size for name in ("images.npy", "index.parquet")},
    }
    with (folder / "complete.json").open("wb") as file:
        file.write(json.dumps(facts).encode())
        _sync(file)


def _is_sound(folder: Path) -> bool:
    """Tell whether a cache is whole: its files have their sizes and its rows their checksums.

    Every row is summed up to 512 MiB; beyond, a thousand rows spread evenly, so that opening stays a matter of seconds.
    """
    try:
        facts = json.loads((folder / "complete.json").read_text())
        if any((folder / name).stat().st_size != n for name, n in facts["bytes"].items()):
            return False
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        index = pd.read_parquet(folder / "index.parquet")
        held = index[index["row"] >= 0]
        step = 1 if images.nbytes <= _FULL_CHECK_BYTES else max(len(held) // _SAMPLED_ROWS, 1)
        checked = held.iloc[::step]
        return len(held) == facts["n"] == len(images) and all(
            zlib.crc32(images[row]) == crc for row, crc in zip(checked["row"], checked["crc32"], strict=True)
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def _missing(index: pd.DataFrame, paths: Mapping[str, Path], known: Mapping[str, str]) -> pd.DataFrame:
    """Name the files that are absent now and those that did not decode when the cache was built."""
    refused = dict(index.loc[index["row"] < 0, ["image_id", "reason"]].itertuples(index=False))
    rows = [
        (image_id, str(path), refused.get(image_id) or unreadable_because(path))
        for image_id, path in paths.items()
        if image_id in refused or image_id not in known
    ]
    return pd.DataFrame(rows, columns=["image_id", "file", "reason"])
