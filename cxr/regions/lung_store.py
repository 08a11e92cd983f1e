"""Answers of the segmentation, kept on disk by image content: an X-ray is segmented once.

One picture for each X-ray, ``<cache>/lungs/<segmentation version>/<two digits>/<hash>.png``, replaced as a whole: any
number of processes and threads may share the folder. The key is a hash of the decoded pixels.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr.files import replacing
from cxr.paths import cache_root
from cxr.regions.segmentation.lung_segmentation import SEGMENTATION_VERSION, lung_probability
from cxr.regions.segmentation.picture import SIDE
from cxr.text.detection_store import content_hash


class LungStore:
    """Lung probabilities, uint8 (SIDE, SIDE), by image content.

    Parameters
    ----------
    folder
        Where the files lie; default ``cache_root()/lungs``.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or cache_root() / "lungs") / SEGMENTATION_VERSION

    def path(self, image: NDArray[np.uint8]) -> Path:
        """Return the file of an image."""
        key = content_hash(image)
        return self.folder / key[:2] / f"{key}.png"

    def probability(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the answer to an X-ray (H, W), from disk or by the network, whose answer is then kept."""
        file = self.path(image)
        kept = _read(file)
        if kept is not None:
            return kept
        answer = lung_probability(image)
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as draft:
            draft.write_bytes(cv2.imencode(".png", answer)[1].tobytes())
        return answer


def _read(file: Path) -> NDArray[np.uint8] | None:
    """Return a kept answer; a file that is missing or broken counts as none."""
    with contextlib.suppress(OSError, cv2.error):
        answer = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_GRAYSCALE)
        if answer is not None and answer.shape == (SIDE, SIDE):
            return np.asarray(answer, np.uint8)
    return None
