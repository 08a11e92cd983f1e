"""The X-rays of a run described in all views, each kept as soon as it is done.

``described.f16`` holds (V, P) float16 for each X-ray, ``described.jsonl`` a line for each: its id and where its lungs
came from. The line is written last, so that whatever was cut off is done again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from cxr.data.images.base import Refusal
from cxr.data.images.decode import decode
from cxr.data.images.pool import WorkerDied, map_in_order
from cxr.errors import CxrError
from cxr.experiments.data_audit.results import LeftOut
from cxr.experiments.probes.descriptors import LENGTH, describe
from cxr.experiments.probes.results import VIEWS
from cxr.regions import Lungs, lungs_of, view_of
from cxr.text import TextBox

if TYPE_CHECKING:
    from cxr.data import Manifest
    from cxr.experiments.probes.settings import Masks
    from cxr.runs.folder import RunFolder
    from cxr.text.corrections import FileTokens

RECORDS, LINES = "described.f16", "described.jsonl"
NO_LUNGS = "none"
"""Where lungs came from on an X-ray without plausible ones."""

Progress = Callable[[float, str], None]


@dataclass
class Described:
    """Descriptors of X-rays.

    Attributes
    ----------
    by_image
        By image id (V, P) float16, the views in the order of :data:`cxr.experiments.probes.results.VIEWS`.
    lungs_from
        By image id ``segmentation``, ``manifest``, ``box`` or :data:`NO_LUNGS`.
    left_out
        X-rays that cannot be read.
    """

    by_image: dict[str, np.ndarray] = field(default_factory=dict)
    lungs_from: dict[str, str] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)


Item = tuple[Path, Path | None, str, Sequence[TextBox]]


def describe_file(item: Item) -> tuple[np.ndarray, str] | str:
    """Return the descriptors (V, P) of an X-ray's views and where its lungs came from, or why it cannot be read.

    Of a form that :func:`cxr.data.images.pool.map_in_order` takes. An X-ray whose segmentation is not plausible has no
    lungs: a box in its place would be another way of masks, which may be that of one source alone.
    """
    path, mask_file, masks, boxes = item
    try:
        image = decode(path)
        lungs = lungs_of(image, mask_file if masks == "manifest" else None, segment=masks == "segmentation")
    except (Refusal, CxrError) as error:
        return str(error)
    return describe_views(image, lungs, boxes), lungs.source if lungs.source == masks else NO_LUNGS


def describe_views(
    image: np.ndarray, lungs: Lungs, boxes: Sequence[TextBox], views: Sequence[str] = VIEWS
) -> np.ndarray:
    """Return the descriptors (V, P) float16 of an X-ray's views."""
    white = np.full_like(image, 255)
    described = [describe(view_of(image, lungs, boxes, view), view_of(white, lungs, boxes, view) > 0) for view in views]
    return np.stack(described).astype(np.float16)


def describe_all(
    folder: RunFolder,
    manifest: Manifest,
    masks: Masks,
    tokens: dict[str, FileTokens],
    workers: int | None,
    progress: Progress,
    shards: Iterable[Path] = (),
) -> Described:
    """Return the descriptors of a manifest's X-rays.

    What an earlier turn described, or a shard whose folder is given, is kept; failures are tried again. Ends early
    where a stop was requested.
    """
    done = read(folder.path)
    for shard in shards:
        other = read(shard)
        done.by_image |= other.by_image
        done.lungs_from |= other.lungs_from
    todo = [image_id for image_id in manifest.ids if image_id not in done.by_image]
    items: list[Item] = [
        (
            manifest.image_path(i),
            manifest.mask_path(i, "lung") if masks == "manifest" else None,
            masks,
            tokens[i].boxes if i in tokens else (),
        )
        for i in todo
    ]
    answers = cast("Generator[tuple[np.ndarray, str] | str | WorkerDied]", map_in_order(describe_file, items, workers))
    with (folder.path / RECORDS).open("ab") as records, (folder.path / LINES).open("a", encoding="utf-8") as lines:
        for number, (image_id, answer) in enumerate(zip(todo, answers, strict=True), len(manifest) - len(todo) + 1):
            if isinstance(answer, WorkerDied):
                done.left_out.append({"image_id": image_id, "reason": "the decoder ended without an answer"})
            elif isinstance(answer, str):
                done.left_out.append({"image_id": image_id, "reason": answer})
            else:
                done.by_image[image_id], done.lungs_from[image_id] = answer
                records.write(answer[0].tobytes())
                records.flush()
                lines.write(json.dumps([image_id, answer[1]]) + "\n")
                lines.flush()
            progress(number / len(manifest), f"{number:,} of {len(manifest):,} X-rays described")
            if folder.stop_requested():
                answers.close()
                break
    return done


def read(folder: Path) -> Described:
    """Return what was described in a folder; what was cut off, in either file, is removed from both."""
    lines, records = folder / LINES, folder / RECORDS
    done = Described()
    if not (lines.is_file() and records.is_file()):
        return done
    text = lines.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1].splitlines(keepends=True)
    size = len(VIEWS) * LENGTH * np.dtype(np.float16).itemsize
    n = min(len(whole), records.stat().st_size // size)
    if "".join(whole[:n]) != text:
        lines.write_text("".join(whole[:n]), encoding="utf-8")
    if records.stat().st_size != n * size:
        with records.open("r+b") as file:
            file.truncate(n * size)
    values = np.fromfile(records, np.float16).reshape(n, len(VIEWS), LENGTH)
    for (image_id, source), own in zip(map(json.loads, whole[:n]), values, strict=True):
        done.by_image[image_id], done.lungs_from[image_id] = own, source
    return done


def forget(folder: Path) -> None:
    """Remove what was kept while the run worked."""
    for name in (RECORDS, LINES):
        (folder / name).unlink(missing_ok=True)
