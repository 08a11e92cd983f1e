"""Boxes corrected by hand: a person's word on one image goes before the detector's.

One JSON file per manifest, ``<manifest's name>.boxes.json`` beside it, so that it travels with the data set::

    {"format": 1, "images": {"<image_id>": {"content_hash": "...", "shape": [H, W], "saved": "...", "boxes": [...]}}}

Boxes are in pixels of the decoded file. Each entry carries the hash of the pixels that a person looked at: boxes of a
file that has changed since are kept but not used. Where the manifest's folder cannot be written to, the file is
``<data root>/.reviews/<manifest's name>-<hash of its path>.boxes.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cxr import permission
from cxr.data import read_xray
from cxr.errors import ImageError, TextError, unknown
from cxr.files import replacing
from cxr.locks import FileLock
from cxr.paths import data_root
from cxr.text.boxes import KINDS, TextBox
from cxr.text.detection.shared import shared_detector
from cxr.text.detection_store import DetectionStore, content_hash

ENDING = ".boxes.json"
_FORMAT = 1
_WAIT_S = 10.0  # for another process that saves at the same time


@dataclass(frozen=True)
class Review:
    """What a person decided about one image.

    Attributes
    ----------
    boxes
        The tokens in pixels of the file; none: a person saw that there is no text.
    shape
        (H, W) of the image.
    content_hash
        :func:`cxr.text.detection_store.content_hash` of the pixels that were looked at, "" if it is not known.
    saved
        When, ISO 8601 in UTC.
    """

    boxes: list[TextBox]
    shape: tuple[int, int]
    content_hash: str
    saved: str = ""

    def fits(self, image: np.ndarray) -> bool:
        """Return whether ``image`` (H, W) is still what was looked at; without a hash its shape decides."""
        return self.shape == image.shape[:2] and (not self.content_hash or self.content_hash == content_hash(image))

    def fits_content(self, shape: tuple[int, int], content_hash: str) -> bool:
        """Return the same of an image by its shape (H, W) and the hash of its pixels."""
        return self.shape == shape and self.content_hash in ("", content_hash)


class Reviews:
    """The reviewed images of one manifest.

    Parameters
    ----------
    path
        The file to read and write; it need not exist.
    shipped
        A file to begin with as long as ``path`` is not there: what lies beside a manifest that cannot be written to.
    """

    def __init__(self, path: Path, shipped: Path | None = None) -> None:
        self.path = path
        self.shipped = shipped
        self._seen: tuple[tuple[Any, ...], dict[str, Review]] | None = None

    @classmethod
    def beside(cls, manifest_path: str | Path) -> Reviews:
        """Return the reviews that belong to a manifest's file."""
        manifest = Path(os.path.abspath(manifest_path))  # noqa: PTH100 - resolve() would follow links
        beside = manifest.with_name(manifest.name + ENDING)
        tag = hashlib.blake2b(str(manifest).encode(), digest_size=6).hexdigest()
        fallback = data_root() / ".reviews" / f"{manifest.name}-{tag}{ENDING}"
        if fallback.is_file() or not os.access(manifest.parent, os.W_OK):
            return cls(fallback, shipped=beside)
        return cls(beside)

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def reviewed(self) -> frozenset[str]:
        """Ids of the images that a person looked at."""
        return frozenset(self._entries())

    def get(self, image_id: str) -> list[TextBox] | None:
        """Return the boxes saved for an image: None if it was not reviewed, [] if a person saw no text.

        Raises
        ------
        TextError
            If the file is there and cannot be read: somebody's work is not passed over in silence.
        """
        entry = self._entries().get(image_id)
        return None if entry is None else list(entry.boxes)

    def entry(self, image_id: str) -> Review | None:
        """Return all that is kept about an image, None if it was not reviewed."""
        return self._entries().get(image_id)

    def _entries(self) -> dict[str, Review]:
        file = self.path if self.shipped is None or self.path.is_file() else self.shipped
        try:
            info = file.stat()
        except OSError:
            return {}
        stamp = (file, info.st_ino, info.st_size, info.st_mtime_ns)
        if self._seen is None or self._seen[0] != stamp:
            self._seen = (stamp, _read(file))
        return self._seen[1]

    # --- writing -----------------------------------------------------------------------------------------------------

    def save(self, image_id: str, boxes: Sequence[TextBox], *, shape: Sequence[int], content_hash: str) -> Path:
        """Keep the boxes of an image, [] for "no text", and return the file in which they now are.

        Parameters
        ----------
        shape
            (H, W) of the image; every box must lie in it.
        content_hash
            :func:`cxr.text.detection_store.content_hash` of its pixels.

        Raises
        ------
        TextError
            For a box that is empty or not within the image, an unknown kind, or a file that cannot be written.
        """
        return self.save_many({image_id: FileTokens(list(boxes), (int(shape[0]), int(shape[1])), True, content_hash)})

    def save_many(self, tokens: Mapping[str, FileTokens]) -> Path:
        """Keep the boxes of many images, by id, at once; what they hold and errors are as for :meth:`save`."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for of in tokens.values():
            for number, box in enumerate(of.boxes, 1):
                check_box(box, number, of.shape)
        reviews = {i: Review(list(of.boxes), of.shape, of.content_hash, now) for i, of in tokens.items()}
        with self._changing() as entries:
            entries.update(reviews)
        return self.path

    def remove(self, image_id: str) -> bool:
        """Forget a review, so that what is detected counts again; return whether there was one."""
        if self.entry(image_id) is None:
            return False
        with self._changing() as entries:
            return entries.pop(image_id, None) is not None

    @contextmanager
    def _changing(self) -> Iterator[dict[str, Review]]:
        """Give the entries as they are now to be changed; another writer waits until they are written."""
        permission.ask("change text boxes")
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            if not lock.acquire(timeout=_WAIT_S):
                raise TextError(f"{self.path} is being written by another process; save again in a moment")
            entries = dict(self._entries())
            yield entries
            with replacing(self.path) as draft:
                draft.write_text(_as_json(entries), encoding="utf-8")
        except OSError as error:
            raise TextError(f"the boxes cannot be saved in {self.path}: {error.strerror or error}") from None
        finally:
            lock.release()


def check_box(box: TextBox, number: int, shape: Sequence[int]) -> None:
    """Raise a TextError that names box ``number`` if it is not a box of a known kind within an image (H, W)."""
    height, width = shape[:2]
    if box.kind not in KINDS:
        raise TextError(f"box {number}: {unknown('kind', box.kind, KINDS)}")
    sides = (box.x0, box.y0, box.x1, box.y1)
    if not (0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height):
        raise TextError(
            f"box {number}: x0, y0, x1, y1 = {', '.join(map(str, sides))} is not a box within the {width} x {height} "
            f"pixels of the image (0 <= x0 < x1 <= {width}, 0 <= y0 < y1 <= {height})"
        )


def _as_json(entries: dict[str, Review]) -> str:
    images = {
        image_id: {
            "content_hash": entry.content_hash,
            "shape": list(entry.shape),
            "saved": entry.saved,
            "boxes": [box.to_dict() for box in entry.boxes],
        }
        for image_id, entry in sorted(entries.items())
    }
    return json.dumps({"format": _FORMAT, "images": images}, ensure_ascii=False, indent=1)


def _read(file: Path) -> dict[str, Review]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise TextError(f"{file} has format {content['format']!r}; this version reads {_FORMAT}")
        return {
            image_id: Review(
                [TextBox(**box) for box in entry["boxes"]],
                (int(entry["shape"][0]), int(entry["shape"][1])),
                str(entry["content_hash"]),
                str(entry["saved"]),
            )
            for image_id, entry in content["images"].items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        if isinstance(error, TextError):
            raise
        raise TextError(f"{file} does not hold corrected boxes ({error}); repair it or move it away") from None


# --- tokens, whoever found them ------------------------------------------------------------------------------------


def tokens_of(
    image: np.ndarray, image_id: str, reviews: Reviews | None, detect: Callable[[np.ndarray], list[TextBox]]
) -> tuple[list[TextBox], bool]:
    """Return the tokens of an image (uint8 (H, W)) and whether a person set them.

    A review of other pixels than these does not count: then, as without one, ``detect`` is used.
    """
    return _by_hand_or(image, reviews.entry(image_id) if reviews else None, detect)


def _by_hand_or(
    image: np.ndarray, review: Review | None, detect: Callable[[np.ndarray], list[TextBox]]
) -> tuple[list[TextBox], bool]:
    if review is not None and review.fits(image):
        return list(review.boxes), True
    return detect(image), False


@dataclass(frozen=True)
class FileTokens:
    """The tokens of an image file in its pixels, its shape (H, W), and whether a person set them.

    ``content_hash`` is that of its pixels (:func:`cxr.text.detection_store.content_hash`).
    """

    boxes: list[TextBox]
    shape: tuple[int, int]
    reviewed: bool
    content_hash: str = field(default="", compare=False)


def tokens_of_file(item: tuple[Path, Review | None], threads: int | None = 1) -> FileTokens | str:
    """Return the tokens of an image file with its review, if any, or the reason why it cannot be read.

    Of a form that :func:`cxr.data.images.pool.map_in_order` takes; what is detected goes through the store.
    """
    path, review = item
    try:
        image = read_xray(path)
    except ImageError as error:
        return str(error)
    boxes, by_hand = _by_hand_or(
        image, review, lambda pixels: DetectionStore().detect(pixels, shared_detector(threads))
    )
    return FileTokens(boxes, (image.shape[0], image.shape[1]), by_hand, content_hash(image))
