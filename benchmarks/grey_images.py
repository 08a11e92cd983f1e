"""Reading files as OpenCV decodes them, for measurements that must not depend on our own decoder."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


def read_grey(path: Path | str, flags: int = cv2.IMREAD_GRAYSCALE) -> NDArray[np.uint8]:
    """Return an image file as uint8 (H, W); a file that OpenCV cannot read ends the measurement."""
    image = cv2.imread(str(path), flags)
    if image is None:
        raise SystemExit(f"{path} cannot be read as an image")
    return np.asarray(image, np.uint8)
