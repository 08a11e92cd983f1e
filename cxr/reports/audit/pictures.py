"""Small copies of the X-rays behind the heaviest findings, for the report."""

from __future__ import annotations

import base64
import contextlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cxr.data import Manifest, read_xray
from cxr.errors import CxrError
from cxr.experiments.audit.results import NetworkAuditResults
from cxr.reports.identities import Identities

_SIDE, _QUALITY = 160, 80
_FINDINGS, _EACH = 3, 6


@dataclass(frozen=True)
class Picture:
    """A small copy of an X-ray as a data URL, and how the X-ray is called."""

    name: str
    data_url: str


def pictures_of(results: NetworkAuditResults, identities: Identities) -> dict[str, list[Picture]]:
    """Return by the names of findings up to 6 X-rays of each of the first 3 that have any."""
    path = results["subject"]["manifest"]
    if not path or not Path(path).is_file():
        return {}
    pictures: dict[str, list[Picture]] = {}
    with contextlib.suppress(CxrError, OSError):
        manifest = Manifest.load(path)
        for number, finding in enumerate(results["findings"], 1):
            if finding["images"] and len(pictures) < _FINDINGS:
                own = [
                    _picture(manifest, image_id, identities.name(image_id)) for image_id in finding["images"][:_EACH]
                ]
                pictures[str(number)] = [picture for picture in own if picture is not None]
    return pictures


def _picture(manifest: Manifest, image_id: str, name: str) -> Picture | None:
    """Return a small copy, None where the X-ray is not there any more."""
    try:
        image = read_xray(manifest.image_path(image_id))
    except (CxrError, OSError, KeyError):
        return None
    scale = _SIDE / max(image.shape)
    width, height = (max(1, round(n * scale)) for n in image.shape[::-1])
    small: np.ndarray = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    done, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        return None
    return Picture(name, "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode())
