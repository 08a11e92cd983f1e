"""Many X-rays and their tokens: corrected boxes first, then the store, then the detector, over processes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from functools import partial
from typing import cast

from cxr.data import Manifest
from cxr.data.images.pool import WorkerDied, default_workers, map_in_order
from cxr.errors import TextError, unknown, wrong_use
from cxr.text.corrections import FileTokens, Reviews, tokens_of_file

Progress = Callable[[float, str], None]
_DIED = "the search for text ended without an answer"


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
    known: Mapping[str, FileTokens | str] | None = None,
) -> tuple[dict[str, FileTokens], list[dict[str, str]]]:
    """Return the tokens by image id, and the images left out with their reason; ends early once ``stopped``.

    Arguments as for :func:`search_each`.

    Raises
    ------
    TextError
        If none of the images can be read.
    """
    results = search_each(manifest, progress, stopped, workers, known)
    found = {image_id: result for image_id, result in results.items() if isinstance(result, FileTokens)}
    left_out = [
        {"image_id": image_id, "reason": result} for image_id, result in results.items() if isinstance(result, str)
    ]
    if not found and len(results) == len(manifest):
        raise TextError(f"none of the {len(manifest):,} images can be read; the first: {left_out[0]['reason']}")
    return found, left_out


def search_each(
    manifest: Manifest,
    progress: Progress = lambda fraction, text: None,
    stopped: Callable[[], bool] = lambda: False,
    workers: int | None = None,
    known: Mapping[str, FileTokens | str] | None = None,
) -> dict[str, FileTokens | str]:
    """Return for each image, in the manifest's order, its tokens or the reason why it cannot be read.

    Parameters
    ----------
    stopped
        Asked after each image; once it says so, the images so far are returned.
    workers
        Processes that search; None for one per core, 0 for this process.
    known
        Results by image id that are taken as they are: these files are not opened.
    """
    known = known or {}
    ids = manifest.ids
    reviews = Reviews.beside(manifest.path) if manifest.path else None
    items = [(manifest.image_path(i), reviews.entry(i) if reviews else None) for i in ids if i not in known]
    if workers is None:
        workers = default_workers() if len(items) > 8 else 0
    # Side by side, one core each; alone, all of them.
    task = partial(tokens_of_file, threads=1 if workers else None)
    new = cast("Generator[FileTokens | str | WorkerDied]", map_in_order(task, items, workers))
    results: dict[str, FileTokens | str] = {}
    with closing(new):
        for done, image_id in enumerate(ids, 1):
            result = known[image_id] if image_id in known else next(new)
            results[image_id] = _DIED if isinstance(result, WorkerDied) else result
            progress(done / len(ids), f"text searched on {done:,} of {len(ids):,} images")
            if stopped():
                break
    return results
