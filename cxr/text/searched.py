"""What a search for text found on files, written by one process so that another takes it over without opening them.

A Parquet file with one row per image: ``image_id``, ``file`` (digest of the file), ``pixels`` (hash of what it decodes
to, which is also the key of the stored detections), ``height, width, reviewed, boxes`` (JSON), ``reason`` (why it
cannot be read, else "") and ``versions`` of decoder and detector.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypedDict, cast

import pandas as pd

from cxr.data import Manifest
from cxr.data.digests import file_digests
from cxr.data.images.decode import DECODER_VERSION
from cxr.files import replacing
from cxr.paths import cache_root
from cxr.text.boxes import TextBox
from cxr.text.corrections import FileTokens, Review, Reviews
from cxr.text.detection.detector import DETECTOR_VERSION
from cxr.text.detection_store import DetectionStore
from cxr.text.search import Progress, search_each

SEARCHED = "searched.parquet"
_COLUMNS = ("image_id", "file", "pixels", "height", "width", "reviewed", "boxes", "reason", "versions")
_VERSIONS = f"decoder {DECODER_VERSION}, detector {DETECTOR_VERSION}"


class _Outcome(TypedDict):
    pixels: str
    height: int
    width: int
    reviewed: bool
    boxes: str
    reason: str


class _Row(_Outcome):
    image_id: str
    file: str
    versions: str


def digests_of_files(manifest: Manifest, ids: Iterable[str]) -> dict[str, str | None]:
    """Return the digest of each image's file, None where it cannot be opened; remembered by size and time of change."""
    paths = manifest.image_paths()
    chosen = list(ids)
    digests = file_digests([paths[image_id] for image_id in chosen], cache_root() / "digests.sqlite")
    return {image_id: digests[paths[image_id]] for image_id in chosen}


def write_searched(
    folder: Path, manifest: Manifest, before: Mapping[str, str | None], results: Mapping[str, FileTokens | str]
) -> None:
    """Write results of :func:`cxr.text.search.search_each` to ``folder``.

    ``before`` are the digests of the files before the search; what has changed since is left out.
    """
    after = digests_of_files(manifest, results)
    rows = [
        {"image_id": image_id, "file": before[image_id], **_outcome(result), "versions": _VERSIONS}
        for image_id, result in results.items()
        if before[image_id] is not None and before[image_id] == after[image_id]
    ]
    with replacing(folder / SEARCHED) as draft:
        pd.DataFrame(rows, columns=list(_COLUMNS)).to_parquet(draft, index=False)


def search_part(
    folder: Path, manifest: Manifest, progress: Progress, stopped: Callable[[], bool], workers: int | None
) -> None:
    """Search the images of a manifest, a part of a run's, and write what was found to ``folder``.

    What an earlier turn wrote there is taken over. Arguments as for :func:`cxr.text.search.search_each`.
    """
    before = digests_of_files(manifest, manifest.ids)
    known = read_searched([folder], manifest)
    write_searched(folder, manifest, before, search_each(manifest, progress, stopped, workers, known))


def read_searched(folders: Iterable[Path], manifest: Manifest) -> dict[str, FileTokens | str]:
    """Return what earlier searches wrote to ``folders`` of images of a manifest, as far as their files are the same.

    Boxes that a person has saved since go before, and boxes that were removed do not count any more.
    """
    rows = _rows_of(folders)
    ids = [image_id for image_id in manifest.ids if image_id in rows]
    digests = digests_of_files(manifest, ids)
    reviews = Reviews.beside(manifest.path) if manifest.path else None
    results = {
        image_id: _result(rows[image_id], reviews.entry(image_id) if reviews else None)
        for image_id in ids
        if digests[image_id] == rows[image_id]["file"]
    }
    return {image_id: result for image_id, result in results.items() if result is not None}


def _outcome(result: FileTokens | str) -> _Outcome:
    if isinstance(result, str):
        return {"pixels": "", "height": 0, "width": 0, "reviewed": False, "boxes": "[]", "reason": result}
    height, width = result.shape
    boxes = json.dumps([box.to_dict() for box in result.boxes], ensure_ascii=False)
    return {
        "pixels": result.content_hash,
        "height": height,
        "width": width,
        "reviewed": result.reviewed,
        "boxes": boxes,
        "reason": "",
    }


def _rows_of(folders: Iterable[Path]) -> dict[str, _Row]:
    """Return the rows by image id that this version's decoder and detector wrote."""
    files = [folder / SEARCHED for folder in folders]
    tables = [pd.read_parquet(file, columns=list(_COLUMNS)) for file in files if file.exists()]
    rows = [cast("_Row", row) for table in tables for row in table.to_dict("records")]
    return {row["image_id"]: row for row in rows if row["versions"] == _VERSIONS}


def _result(row: _Row, review: Review | None) -> FileTokens | str | None:
    """Return what a row holds with the review that counts now; None where the image has to be searched."""
    if row["reason"]:
        return row["reason"]
    shape, pixels = (row["height"], row["width"]), row["pixels"]
    if review is not None and review.fits_content(shape, pixels):
        return FileTokens(list(review.boxes), shape, True, pixels)
    # Boxes that a person has taken back since do not count: the detector's may be stored.
    taken_back = row["reviewed"]
    boxes = DetectionStore().stored(pixels) if taken_back else [TextBox(**box) for box in json.loads(row["boxes"])]
    return None if boxes is None else FileTokens(boxes, shape, False, pixels)
