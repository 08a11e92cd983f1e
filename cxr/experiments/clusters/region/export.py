"""A cluster's region as a mask for training: a manifest of the same X-rays whose corrected boxes are that region.

A recipe that masks text (``text: mask``) then masks the region instead, on every X-ray alike. It is masked on all of
them on purpose: a patch on the X-rays of one cluster alone would be a new mark that tells their class.

Files in the folder: ``manifest.csv`` with ``manifest.csv.boxes.json`` beside it (:mod:`cxr.text.corrections`),
``mask.png``, white where the region is, and ``region.json``, which says what it is of.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

from PIL import Image

from cxr.data import read_xray
from cxr.data.images.pool import WorkerDied, default_workers, map_in_order
from cxr.errors import CxrError, RunError, wrong_use
from cxr.experiments.clusters.region.places import in_pixels, mask_of
from cxr.experiments.clusters.results import cluster_of, cluster_results, params_of
from cxr.files import replacing
from cxr.runs.storage import write_json
from cxr.text.corrections import FileTokens, Reviews
from cxr.text.detection_store import content_hash
from cxr.text.search import search

if TYPE_CHECKING:
    from cxr.data import Manifest
    from cxr.runs import Run

MANIFEST, MASK, ABOUT = "manifest.csv", "mask.png", "region.json"
_SIDE = 512

Progress = Callable[[float, str], object]


class Exported(TypedDict):
    """What was exported."""

    folder: str
    manifest: str
    cluster: int
    run: str
    title: str
    area: float
    with_text: bool
    n_images: int
    left_out: list[dict[str, str]]
    boxes: list[list[float]]


def export_mask(
    run: Run,
    number: int,
    out: Path,
    with_text: bool = False,
    progress: Progress = lambda done, text: None,
    workers: int | None = None,
) -> Exported:
    """Write a cluster's region as a mask for training, as the module says, and return what was written.

    Parameters
    ----------
    with_text
        Burned-in text is masked too; it is searched for where that was not done before.

    Raises
    ------
    RunError
        For a number that no cluster has, or a folder that holds a manifest already.
    """
    entry = cluster_of(cluster_results(run), number)
    file = out / MANIFEST
    if file.exists():
        raise wrong_use(RunError(f"{file} is there already: give a folder that is new or empty"))
    manifest = params_of(run).data
    pixels, left_out = _pixels(manifest, with_text, progress, workers)
    if not pixels:
        raise RunError(f"none of the {len(manifest):,} X-rays can be read; the first: {left_out[0]['reason']}")
    saved = manifest.select(ids=list(pixels)).save(file)
    boxes = {i: [*in_pixels(entry["boxes"], of.shape), *of.boxes] for i, of in pixels.items()}
    Reviews.beside(file).save_many({i: replace(of, boxes=boxes[i], reviewed=True) for i, of in pixels.items()})
    with replacing(out / MASK) as draft:
        Image.fromarray(mask_of(entry["boxes"], _SIDE)).save(draft, format="PNG")
    exported = Exported(
        folder=str(out),
        manifest=str(saved.path),
        cluster=number,
        run=run.id,
        title=entry["title"],
        area=entry["area"],
        with_text=with_text,
        n_images=len(pixels),
        left_out=left_out,
        boxes=entry["boxes"],
    )
    write_json(out / ABOUT, exported)
    return exported


def _pixels(
    manifest: Manifest, with_text: bool, progress: Progress, workers: int | None
) -> tuple[dict[str, FileTokens], list[dict[str, str]]]:
    """Return the shape and the hash of each X-ray's pixels, with its text if that is masked too."""
    if with_text:
        return search(manifest, lambda done, text: _report(progress, done, text), workers=workers)
    paths = manifest.image_paths()
    if workers is None:
        workers = default_workers() if len(paths) > 8 else 0
    answers = cast("Generator[FileTokens | str | WorkerDied]", map_in_order(_file, list(paths.values()), workers))
    pixels: dict[str, FileTokens] = {}
    left_out = []
    for done, (image_id, answer) in enumerate(zip(paths, answers, strict=True), 1):
        if isinstance(answer, FileTokens):
            pixels[image_id] = answer
        else:
            left_out.append({"image_id": image_id, "reason": str(answer)})
        _report(progress, done / len(paths), f"{done:,} of {len(paths):,} X-rays read")
    return pixels, left_out


def _report(progress: Progress, done: float, text: str) -> None:
    progress(done, text)


def _file(path: Path) -> FileTokens | str:
    try:
        image = read_xray(path)
    except CxrError as error:
        return str(error)
    return FileTokens([], (image.shape[0], image.shape[1]), False, content_hash(image))
