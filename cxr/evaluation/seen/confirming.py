"""Near-duplicates are laid over the X-ray of the training itself, where that is still at hand.

A list of what a network has seen holds fingerprints alone. The X-rays of the training may lie where its run says, or
in the data set that is measured now. There a picture whose fingerprint is the listed one is that X-ray.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr.data import ImageCache, Manifest
from cxr.data.audit.duplicates.descriptors import VIEWS
from cxr.data.audit.duplicates.pictures import SIDE, Picture
from cxr.data.audit.duplicates.registration import register
from cxr.data.fingerprints import LEAST_SIDE, Match, fingerprints_of
from cxr.errors import CxrError
from cxr.models.seen_images import SeenImages
from cxr.runs import get_run

PROPOSED = 0.65
"""Agreement with a fingerprint from which on a pair is compared by registration, which then decides."""


class Original(NamedTuple):
    """An X-ray of the training that is at hand: its data and its id there."""

    manifest: Manifest
    image_id: str


class Near(NamedTuple):
    """Ids of near-duplicates, and those of them that were confirmed on the X-rays of the training themselves."""

    ids: set[str]
    confirmed: set[str]


def near_duplicates(matches: Mapping[str, Match], entry: SeenImages, manifest: Manifest) -> Near:
    """Return which X-rays of ``manifest``, by their matches with the fingerprints of ``entry``, are near-duplicates.

    Where the X-ray of the training is at hand, registration of the two decides, else the fingerprint alone.
    """
    proposed = {i: match for i, match in matches.items() if match.row >= 0 and match.score >= PROPOSED}
    # Those that are asked about are not X-rays of the training: these are equal, and not among them.
    originals = originals_of(entry, {match.row for match in proposed.values()}, manifest, set(matches))
    compared = {i: originals[match.row] for i, match in proposed.items() if match.row in originals}
    same = _same(compared, manifest)
    alone = {i for i, match in matches.items() if match.same and i not in same}
    confirmed = {i for i, agreed in same.items() if agreed}
    return Near(alone | confirmed, confirmed)


def originals_of(
    entry: SeenImages, rows: set[int], manifest: Manifest, others: Container[str] = ()
) -> dict[int, Original]:
    """Return of rows of an entry's fingerprints the X-rays that are at hand, none of ``others`` of ``manifest``."""
    missing = {entry.fingerprints[row].tobytes(): row for row in rows}
    found: dict[int, Original] = {}
    for file in _files(entry, manifest) if missing else ():
        with contextlib.suppress(CxrError, OSError):  # files may be gone, or the cache has no room
            source = Manifest.load(file)
            asked = [i for i in source.ids if file != manifest.path or i not in others]
            for image_id, made in _fingerprints(entry, source.select(ids=asked)) if asked else ():
                if made in missing:
                    found[missing.pop(made)] = Original(source, image_id)
        if not missing:
            break
    return found


def _files(entry: SeenImages, manifest: Manifest) -> list[Path]:
    """Return the manifests of the run that wrote an entry and of the data that are measured."""
    files = [] if manifest.path is None else [manifest.path]
    with contextlib.suppress(CxrError, OSError, KeyError):
        files.insert(0, Path(get_run(entry.run).spec["params"]["manifest"]))
    return list(dict.fromkeys(files))


def _fingerprints(entry: SeenImages, source: Manifest) -> Iterator[tuple[str, bytes]]:
    """Yield id and fingerprint of each X-ray, made as those of the entry were."""
    size, fit, *_ = entry.form.split("-")
    if not size.isdecimal():
        return
    cache = ImageCache.build(source, max(int(size), LEAST_SIDE), fit=fit)
    shown = [image_id for image_id in cache.ids if cache[image_id].min() < cache[image_id].max()]
    made = fingerprints_of(cache[image_id] for image_id in shown)
    yield from ((image_id, row.tobytes()) for image_id, row in zip(shown, made, strict=True))


def _same(compared: Mapping[str, Original], manifest: Manifest) -> dict[str, bool]:
    """Return of each pair whose files can be read whether the two are one X-ray."""
    if not compared:
        return {}
    pictures = _pictures(manifest, compared)
    of_training: dict[int, dict[str, Picture]] = {}
    for original in compared.values():
        source = original.manifest
        if id(source) not in of_training:
            ids = {other.image_id for other in compared.values() if other.manifest is source}
            of_training[id(source)] = _pictures(source, ids)
    same = {}
    for image_id, original in compared.items():
        other = of_training[id(original.manifest)].get(original.image_id)
        if image_id in pictures and other is not None:
            same[image_id] = one_x_ray(pictures[image_id], other)
    return same


def _pictures(manifest: Manifest, ids: Iterable[str]) -> dict[str, Picture]:
    """Return the pictures of X-rays whose files can be read."""
    chosen = set(ids)
    try:
        cache = ImageCache.build(manifest.select(ids=[i for i in manifest.ids if i in chosen]), SIDE)
    except CxrError:
        return {}
    return {image_id: Picture(np.array(cache[image_id])) for image_id in cache.ids}


def one_x_ray(first: Picture | NDArray[np.uint8], second: Picture | NDArray[np.uint8]) -> bool:
    """Return whether two pictures are one X-ray, from whatever part of the other each of them was cut."""
    one, other = (own if isinstance(own, Picture) else Picture(own) for own in (first, second))
    tries = product((False, True), VIEWS, ((one, other), (other, one)))
    registrations = (register(a, b, view, inverted) for inverted, view, (a, b) in tries)
    return any(found is not None and found.same for found in registrations)
