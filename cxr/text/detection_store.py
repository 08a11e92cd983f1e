"""Detections kept per image content, so that no image is searched twice.

One small JSON file per image under ``<cache>/text/<detector version>/<first two digits>/<hash>.json``, replaced as
a whole: any number of processes and threads may share the folder. The key is a hash of the decoded
pixels, so the same picture uploaded to a page and read from a data set is one entry; a new detector version starts
afresh.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cxr.files import replacing
from cxr.paths import cache_root
from cxr.text.boxes import TextBox
from cxr.text.detection.detector import DETECTOR_VERSION
from cxr.text.detection.shared import shared_detector

Detect = Callable[[np.ndarray], list[TextBox]]


def content_hash(image: np.ndarray) -> str:
    """Return 32 hex digits that stand for the pixels and the shape of a uint8 image."""
    digest = hashlib.blake2b(str(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


class DetectionStore:
    """Boxes by image content; ``hits`` and ``misses`` count what this object answered from disk and what it did not.

    Parameters
    ----------
    folder
        Where the files lie; default ``cache_root()/text``.
    version
        Detector version that the boxes belong to.
    operating_point
        Name in :data:`cxr.text.detection.detector.OPERATING_POINTS`; each keeps its boxes apart.
    """

    def __init__(
        self, folder: Path | None = None, version: str = DETECTOR_VERSION, operating_point: str = "careful"
    ) -> None:
        name = version if operating_point == "careful" else f"{version}-{operating_point}"
        self.folder = (folder or cache_root() / "text") / name
        self._operating_point = operating_point
        self.hits = 0
        self.misses = 0
        self._counting = threading.Lock()

    def path(self, key: str) -> Path:
        """Return the file of an image's hash."""
        return self.folder / key[:2] / f"{key}.json"

    def get(self, image: np.ndarray) -> list[TextBox] | None:
        """Return the boxes kept for ``image``, or None; an unreadable file counts as none."""
        return self._counted(self.stored(content_hash(image)))

    def stored(self, key: str) -> list[TextBox] | None:
        """Return the boxes kept for an image's hash, or None; counts neither as a hit nor as a miss."""
        return _read(self.path(key))

    def put(self, image: np.ndarray, boxes: Sequence[TextBox]) -> None:
        """Keep the boxes of ``image``."""
        self._put(content_hash(image), boxes)

    def detect(self, image: np.ndarray, detect: Detect | None = None) -> list[TextBox]:
        """Return the boxes of ``image``, from disk or by ``detect``, whose answer is then kept.

        Without ``detect``, this process's shared detector of the operating point is used.
        """
        key = content_hash(image)
        boxes = self._counted(self.stored(key))
        if boxes is None:
            boxes = (detect or shared_detector(operating_point=self._operating_point))(image)
            self._put(key, boxes)
        return boxes

    def _counted(self, boxes: list[TextBox] | None) -> list[TextBox] | None:
        with self._counting:
            self.hits += boxes is not None
            self.misses += boxes is None
        return boxes

    def _put(self, key: str, boxes: Sequence[TextBox]) -> None:
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            draft.write_text(json.dumps([box.to_dict() for box in boxes]), encoding="utf-8")


def _read(path: Path) -> list[TextBox] | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return [TextBox(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    return None


def detect_cached(
    image: np.ndarray | Path | str, folder: Path | None = None, operating_point: str = "careful"
) -> list[TextBox]:
    """Return the tokens of an image (uint8 (H, W), or a file that :func:`cxr.data.read_xray` decodes).

    Raises TextError for an unusable array and ImageError for an unreadable file.
    """
    if isinstance(image, str | Path):
        from cxr.data import read_xray

        image = read_xray(Path(image))
    return DetectionStore(folder, operating_point=operating_point).detect(image)
