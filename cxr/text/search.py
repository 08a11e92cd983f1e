"""Many X-rays and their tokens: corrected boxes first, then the store, then the detector, over processes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import cast

from cxr.data import Manifest
from cxr.data.images.pool import WorkerDied, default_workers, map_in_order
from cxr.errors import TextError, unknown, wrong_use
from cxr.text.corrections import FileTokens, Reviews, tokens_of_file

Progress = Callable[[float, str], None]


def images_of(data: str, split: str) -> Manifest:
    """Return the images of a split ("" for all) of a data set; a TextError names the splits there are."""
    from cxr.data.library import resolve_manifest

    return in_split(Manifest.load(resolve_manifest(data)), split)


def in_split(manifest: Manifest, split: str) -> Manifest:
    """Return the images of a split ("" for all) of a manifest; a TextError names the splits there are."""
    if split and split not in manifest.splits:
        raise wrong_use(
            TextError(unknown("split", split, manifest.splits or ["none: leave it out to take every image"]))
        )
    chosen = manifest.select(split=split) if split else manifest
    if not len(chosen):
        raise TextError(f"{manifest.path or 'the manifest'} has no images")
    return chosen


def search(
    manifest: Manifest,
    progress: Progress = lambda fraction, text: None,
    stopped: Callable[[], bool] = lambda: False,
    workers: int | None = None,
) -> tuple[dict[str, FileTokens], list[dict[str, str]]]:
    """Return the tokens by image id, and the images left out with their reason; ends early once ``stopped``.

    Raises
    ------
    TextError
        If none of the images can be read.
    """
    ids = manifest.ids
    reviews = Reviews.beside(manifest.path) if manifest.path else None
    items = [(manifest.image_path(i), reviews.entry(i) if reviews else None) for i in ids]
    if workers is None:
        workers = default_workers() if len(ids) > 8 else 0
    # Side by side, one core each; alone, all of them.
    task = partial(tokens_of_file, threads=1 if workers else None)
    results = cast("Generator[FileTokens | str | WorkerDied]", map_in_order(task, items, workers))
    found: dict[str, FileTokens] = {}
    left_out = []
    for done, (image_id, result) in enumerate(zip(ids, results, strict=True), 1):
        if isinstance(result, FileTokens):
            found[image_id] = result
        else:
            reason = result if isinstance(result, str) else "the search for text ended without an answer"
            left_out.append({"image_id": image_id, "reason": reason})
        progress(done / len(ids), f"text searched on {done} of {len(ids)} images")
        if stopped():
            results.close()
            return found, left_out
    if not found:
        raise TextError(f"none of the {len(ids)} images can be read; the first: {left_out[0]['reason']}")
    return found, left_out
