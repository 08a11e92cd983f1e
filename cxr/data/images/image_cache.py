"""Images decoded once: uint8 squares at training size, kept by what the files hold and shared by all sets of images.

Layout: ``<root>/images/<size>-<treatment>-v<decoder>.<resizer>/``, one store for each size and treatment, see
:mod:`cxr.data.images.image_store`; :mod:`cxr.data.images.cache_limit` says how much they may hold. Both are safe to
delete.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxr.data.digests import file_digests, picture_digest, short_digest
from cxr.data.images.base import one_line
from cxr.data.images.cache_limit import VERSION
from cxr.data.images.decode import DECODER_VERSION, unreadable_because
from cxr.data.images.image_store import Contents, ImageStore, Progress, Result, StoredImages, StoreRecipe
from cxr.data.images.pool import map_in_order
from cxr.data.images.resize import FITS, RESIZER_VERSION, decode_square, decode_treated
from cxr.data.manifest import Manifest
from cxr.errors import ImageError, ManifestError, unknown, wrong_use
from cxr.paths import cache_root

SIZES = range(16, 4097)
_CHECKED_AT_ONCE = 64
_CHECKED_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Treatment:
    """What is done to images at the size of their files, before they are resized; part of a cache's key.

    Attributes
    ----------
    about
        Plain values that say what it is.
    apply
        ``apply(image, what)`` returns the image (H, W) treated, or raises :class:`cxr.data.images.base.Refusal`; a
        function of a module, or a ``partial`` of one: it travels to other processes by name.
    by_image
        ``what`` by image id, as JSON takes it; images that are not there stay as they are.
    """

    about: Mapping[str, str | float]
    apply: Callable[[NDArray[np.uint8], Any], NDArray[np.uint8]]
    by_image: Mapping[str, Any]

    def digests(self, of_files: Mapping[str, str]) -> dict[str, str]:
        """Return what stands for each image's pixels: the digest of its file, and of what is done to it."""
        return {i: d if i not in self.by_image else self._digest(d, self.by_image[i]) for i, d in of_files.items()}

    def _digest(self, of_file: str, parameters: Any) -> str:
        text = json.dumps([of_file, parameters], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class NothingReadableError(ImageError):
    """Not one of the images can be read."""


class ImageCache:
    """Decoded images of a manifest, by id.

    Attributes
    ----------
    images
        uint8 (N, size, size), read through memory maps; row i is the image of ``ids[i]``.
    ids
        Image ids, sorted; images that could not be read are not among them.
    missing
        DataFrame ``image_id, file, reason`` of the images of the manifest that could not be read.
    key
        Hex digest of what decides the pixels: size, treatment, and every image's id and content.
    folder
        The store that holds the images, and those of other sets.
    form
        Size, fit and versions of decoder and resizer: pictures of one form can be compared pixel for pixel.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        ids: list[str],
        images: StoredImages,
        missing: pd.DataFrame,
        files: NDArray[np.uint64],
        form: str,
    ) -> None:
        self.folder = folder
        self.form = form
        self._files = files
        self.key = key
        self.ids = ids
        self.images = images
        self.missing = missing

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
        """Open a manifest's images, decoding first those whose content has not been decoded at this size yet.

        What another process is decoding at the moment is waited for.

        Parameters
        ----------
        size
            Side in pixels of the square images, 16 to 4096.
        root
            Folder that holds ``images/``; default :func:`cxr.paths.cache_root`.
        workers
            Decoding processes; None for one per core, 0 for this process.
        progress
            Called with ``(done, total)``, contents that are there and in all; files of the same bytes are one content.
        fit
            ``stretch`` to the square, ``pad`` with black, or ``crop`` the middle.
        treatment
            Done to the decoded files first; treated and untreated pixels lie in different stores.

        Raises
        ------
        ManifestError
            For an empty manifest, an unknown ``fit`` or a ``size`` out of range.
        NothingReadableError
            If not one image can be read.
        ImageError
            If the images do not fit into the cache.
        """
        _check_request(manifest, size, fit)
        base = Path(root) if root is not None else cache_root()
        recipe = _Recipe(size, fit, treatment)
        files = _Files(manifest, base / "digests.sqlite")
        digest_of = files.known if treatment is None else treatment.digests(files.known)
        first = {digest: image_id for image_id, digest in reversed(digest_of.items())}
        ids = list(first.values())
        store = ImageStore(base / "images", recipe.name, recipe.as_dict())

        def decode(positions: Sequence[int]) -> Iterator[Result]:
            return files.unchanged([ids[k] for k in positions], recipe, workers)

        try:
            contents = store.read([bytes.fromhex(digest) for digest in first], decode, progress)
        except (OSError, sqlite3.Error) as error:
            raise ImageError(
                f"the image cache {store.root} cannot be written ({one_line(error)}): free some disk space "
                "(`cxr cache clear`), or set CXR_DATA to a folder that can be written"
            ) from error
        positions = dict(zip(first, contents.positions.tolist(), strict=True))
        row_of = {image_id: row for image_id, digest in digest_of.items() if (row := positions[digest]) >= 0}
        missing = _missing(files.paths, row_of, digest_of, dict(zip(first, range(len(first)), strict=True)), contents)
        if not row_of:
            gone = missing.iloc[0]
            raise NothingReadableError(
                f"none of the {len(manifest):,} images can be read; the first: {gone.file} {gone.reason}"
            )
        images = contents.images.select(np.fromiter(row_of.values(), np.int64, len(row_of)))
        digests = np.fromiter((short_digest(files.known[image_id]) for image_id in row_of), np.uint64, len(row_of))
        return cls(store.folder, recipe.key(digest_of), list(row_of), images, missing, digests, recipe.form)

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return self.images.shape[1]

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, image_id: object) -> bool:
        return isinstance(image_id, str) and self._row(image_id) is not None

    def __getitem__(self, image_id: str) -> NDArray[np.uint8]:
        """Return one image, uint8 (size, size), as a read-only view of the file that holds it."""
        return self.images[self.index(image_id)]

    def index(self, image_id: str) -> int:
        """Return the row of an image in :attr:`images`."""
        row = self._row(image_id)
        if row is None:
            lost = self.missing.set_index("image_id")["reason"]
            reason = f"its file {lost[image_id]}" if image_id in lost else "the manifest does not have it"
            raise ImageError(f"image {image_id!r} is not in the cache: {reason}")
        return row

    def rows(self, ids: Iterable[str]) -> NDArray[np.uint8]:
        """Return the images of ``ids`` in their order, uint8 (n, size, size), as a copy."""
        return self.images[np.array([self.index(image_id) for image_id in ids], np.int64)]

    def digests(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Return 64-bit digests of the files of ``rows`` and of their pictures, (n,) each; 0 for one single grey."""
        pictures = np.fromiter((picture_digest(self.images[int(row)]) for row in rows), np.uint64, len(rows))
        return np.where(pictures == 0, np.uint64(0), self._files[rows]), pictures

    def _row(self, image_id: str) -> int | None:
        """Return an image's row; ids are sorted, so that no table of them is needed."""
        row = bisect.bisect_left(self.ids, image_id)
        return row if row < len(self.ids) and self.ids[row] == image_id else None


def first_readable(manifest: Manifest, size: int) -> NDArray[np.uint8]:
    """Return the first image of a manifest that can be read, uint8 (1, size, size); decodes no more than it has to.

    Raises
    ------
    NothingReadableError
        If not one can be.
    """
    for image_id in manifest.ids:
        with contextlib.suppress(NothingReadableError):
            return ImageCache.build(manifest.select(ids=[image_id]), size).rows([image_id])
    raise NothingReadableError(f"none of the {len(manifest):,} images can be read")


@dataclass(frozen=True)
class _Recipe:
    """What, besides the files, decides the pixels of a cache."""

    size: int
    fit: str
    treatment: Treatment | None = None

    @property
    def name(self) -> str:
        """The name of the store's folder."""
        about = "" if self.treatment is None else f"-{_digest_of(self.treatment.about)[:12]}"
        return f"{self.size}-{self.fit}{about}-{VERSION}"

    @property
    def form(self) -> str:
        """What two sets of untreated pictures must share to be compared."""
        return f"{self.size}-{self.fit}-{VERSION}"

    def as_dict(self) -> StoreRecipe:
        plain: StoreRecipe = {
            "size": self.size,
            "fit": self.fit,
            "decoder": DECODER_VERSION,
            "resizer": RESIZER_VERSION,
        }
        return plain if self.treatment is None else {**plain, "treatment": self.treatment.about}

    def key(self, digests: Mapping[str, str]) -> str:
        """Return a digest of this recipe and of the images, given in their order as ``{image_id: digest}``."""
        # Lengths keep ids apart from what follows them.
        lines = (f"{len(image_id)}:{image_id}{content}\n" for image_id, content in digests.items())
        return _digest_of(self.as_dict(), "".join(lines))

    def decoded(
        self, ids: Sequence[str], paths: Mapping[str, str], workers: int | None
    ) -> Iterator[NDArray[np.uint8] | str]:
        """Yield each image's pixels or the reason why there are none."""
        results: Iterator[Any]
        if self.treatment is None:
            square = partial(decode_square, size=self.size, fit=self.fit)
            results = map_in_order(square, [Path(paths[image_id]) for image_id in ids], workers)
        else:
            treated = partial(decode_treated, apply=self.treatment.apply, size=self.size, fit=self.fit)
            items = [(Path(paths[image_id]), self.treatment.by_image.get(image_id)) for image_id in ids]
            results = map_in_order(treated, items, workers)
        return (result if isinstance(result, np.ndarray) else str(result) for result in results)


class _Files:
    """The files of a set of images: where each lies, and what those that can be read hold."""

    def __init__(self, manifest: Manifest, memory: Path) -> None:
        # Text, as a hundred thousand paths take seconds to make.
        root, table = str(manifest.root), manifest.table
        files = sorted(zip(table["image_id"].tolist(), table["image"].tolist(), strict=True))
        self.paths = {image_id: os.path.join(root, image) for image_id, image in files}  # noqa: PTH118
        self._memory = memory
        digests = file_digests(self.paths.values(), memory)
        self.known = {image_id: d for image_id, path in self.paths.items() if (d := digests[path]) is not None}

    def unchanged(self, ids: Sequence[str], recipe: _Recipe, workers: int | None) -> Iterator[Result]:
        """Yield what the files decode to, None where a file does not hold any more what it held before."""
        at_once = max(min(_CHECKED_BYTES // recipe.size**2, _CHECKED_AT_ONCE), 1)
        with closing(recipe.decoded(ids, self.paths, workers)) as decoded:  # type: ignore[type-var]
            for start in range(0, len(ids), at_once):
                part = ids[start : start + at_once]
                results = [next(decoded) for _ in part]
                current = file_digests([self.paths[image_id] for image_id in part], self._memory)
                for image_id, result in zip(part, results, strict=True):
                    yield result if current[self.paths[image_id]] == self.known[image_id] else None


def _digest_of(value: Any, more: str = "") -> str:
    return hashlib.blake2b((json.dumps(value, sort_keys=True) + more).encode(), digest_size=16).hexdigest()


def _check_request(manifest: Manifest, size: int, fit: str) -> None:
    if len(manifest) == 0:
        raise ManifestError("the manifest has no rows: there is nothing to decode")
    if fit not in FITS:
        raise wrong_use(ManifestError(unknown("fit", fit, FITS)))
    if size not in SIZES:
        raise ManifestError(f"size {size!r} is not a whole number from {SIZES.start} to {SIZES.stop - 1}")


def _missing(
    paths: Mapping[str, str],
    row_of: Mapping[str, int],
    digest_of: Mapping[str, str],
    positions: Mapping[str, int],
    contents: Contents,
) -> pd.DataFrame:
    """Return the images without pixels: those whose file is absent now and those that did not decode."""
    rows = [
        (image_id, path, contents.reasons[positions[digest_of[image_id]]] if image_id in digest_of else _why_not(path))
        for image_id, path in paths.items()
        if image_id not in row_of
    ]
    return pd.DataFrame(rows, columns=["image_id", "file", "reason"])


def _why_not(path: str) -> str:
    return unreadable_because(Path(path)) or "could not be read a moment ago"
