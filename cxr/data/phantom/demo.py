"""A data set of synthetic X-rays on disk: images, ground-truth masks, boxes of the text, manifest with splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxr.data.images.pool import WorkerDied, map_in_order
from cxr.data.manifest import Manifest
from cxr.data.phantom.phantom import CLASSES, Phantom, check_choices, child, make_phantom
from cxr.data.splits import split_manifest
from cxr.errors import CxrError
from cxr.files import replacing

LICENCE = "CC0-1.0 synthetic"
MIN_IMAGES = 12  # below, a class has too few patients for three splits
# Of every 15 images the last three are second X-rays of the patients of the first three, classes in turn.
_BLOCK, _PATIENTS = 15, 12


@dataclass(frozen=True)
class _Case:
    """Image ``index`` of a data set: all that is needed to make it, in any process and any order."""

    folder: str
    seed: int
    index: int
    size: int
    correlation: float

    @property
    def label(self) -> str:
        return CLASSES[self.index % len(CLASSES)]

    @property
    def patient(self) -> int:
        block, place = divmod(self.index, _BLOCK)
        return block * _PATIENTS + place % _PATIENTS

    @property
    def image_id(self) -> str:
        return f"phantom-{self.index:05d}"

    def phantom(self) -> Phantom:
        return make_phantom(
            child(self.seed, 0, self.index),
            self.label,
            size=self.size,
            correlation=self.correlation,
            patient=child(self.seed, 1, self.patient),
        )


def demo_phantom(index: int, seed: int = 0, *, size: int = 256, correlation: float = 0.5) -> Phantom:
    """Return image ``index`` of the data set of ``seed``, the same whatever the size of the set."""
    return _Case("", seed, index, size, correlation).phantom()


def write_demo(
    folder: str | Path,
    n: int = 600,
    correlation: float = 0.5,
    seed: int = 0,
    size: int = 256,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write ``n`` synthetic X-rays of balanced classes and return their manifest, split by patient.

    The folder gets ``images/``, ``masks/lung|lesion|token/`` (PNG, masks 0 and 255), ``tokens.csv`` (one row per
    word: box in pixels, text, kind, phrase) and ``manifest.csv``, which is written last. One patient in four has two
    X-rays. Image i of a seed is the same whatever ``n`` and ``workers``.

    Parameters
    ----------
    n : number of images, at least 12.
    correlation : how often the text gives away the class, 0 to 1 (see :mod:`cxr.data.phantom.token_sets`).
    workers : processes; 0 works in this one, None takes one per core.
    progress : called with (done, total).

    Raises
    ------
    CxrError : a number out of range, or a folder that cannot be written.
    """
    if n < MIN_IMAGES:
        raise CxrError(f"{n:,} synthetic X-rays are too few for three splits: at least {MIN_IMAGES}")
    check_choices(CLASSES[0], size, correlation)
    root = Path(folder).expanduser().absolute()
    _prepare(root)
    cases = [_Case(str(root), seed, index, size, correlation) for index in range(n)]
    rows, tokens = [], []
    for result in map_in_order(_write_case, cases, workers, progress):
        if isinstance(result, WorkerDied):
            raise CxrError(f"making synthetic X-rays in {root} failed: {result}")
        if isinstance(result, CxrError):
            raise result
        rows.append(result[0])
        tokens += result[1]
    columns = ["image_id", "image", "x0", "y0", "x1", "y1", "text", "kind", "phrase"]
    with replacing(root / "tokens.csv") as draft:
        pd.DataFrame(tokens, columns=columns).to_csv(draft, index=False)
    manifest, _ = split_manifest(Manifest.from_table(pd.DataFrame(rows), root), seed=seed)
    return manifest.save(root / "manifest.csv")


def _prepare(root: Path) -> None:
    """Make the folders; an earlier manifest goes first, so that none ever describes other images."""
    try:
        for name in ("images", "masks/lung", "masks/lesion", "masks/token"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "manifest.csv").unlink(missing_ok=True)
    except OSError as error:
        raise CxrError(f"{root} cannot hold synthetic X-rays: {error.strerror or error}") from error


def _write_case(case: _Case) -> tuple[dict[str, object], list[dict[str, object]]] | CxrError:
    """Make and write one image; return its rows of the manifest and of the tokens' table, or what went wrong."""
    phantom, root = case.phantom(), Path(case.folder)
    files = {
        "image": (f"images/{case.image_id}.png", phantom.image),
        "lung_mask": (f"masks/lung/{case.image_id}.png", phantom.lung_mask),
        "lesion_mask": (f"masks/lesion/{case.image_id}.png", phantom.lesion_mask),
        "token_mask": (f"masks/token/{case.image_id}.png", phantom.token_mask),
    }
    try:
        for path, pixels in files.values():
            (root / path).write_bytes(_png(pixels))
    except OSError as error:
        return CxrError(f"synthetic X-ray {case.image_id} cannot be written to {root}: {error.strerror or error}")
    row = _manifest_row(case, phantom) | {column: path for column, (path, _) in files.items()}
    identity = {"image_id": case.image_id, "image": files["image"][0]}
    return row, [identity | dict(token) for token in phantom.tokens]


def _manifest_row(case: _Case, phantom: Phantom) -> dict[str, object]:
    return {
        "image_id": case.image_id,
        "label": phantom.label,
        "patient_id": f"phantom-patient-{case.patient:05d}",
        "dup_group": "",
        "source": phantom.token_set.source if phantom.token_set else "",
        "view": phantom.token_set.view if phantom.token_set else "",
        "sex": phantom.sex,
        "age": float(phantom.age),
        "licence": LICENCE,
        "role": "train",
        "width": case.size,
        "height": case.size,
    }


def _png(pixels: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
