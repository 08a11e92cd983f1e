"""Find X-rays that are in a set more than once: candidates by descriptors, then each candidate pair compared."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxr import __version__
from cxr.data.audit.duplicates.candidates import NEIGHBOURS, Candidate, candidates_of, grouped, nearest_rows
from cxr.data.audit.duplicates.descriptors import DIMENSIONS, VIEWS, Describer, sampled
from cxr.data.audit.duplicates.parts import Arrays, Parts
from cxr.data.audit.duplicates.pictures import Picture
from cxr.data.audit.duplicates.registration import Registration, register
from cxr.data.audit.duplicates.wording import Size, describe_change, describe_sizes
from cxr.data.digests import picture_digest
from cxr.data.images.stored_images import Images
from cxr.machine import cores

PAIR_COLUMNS = ("image_id_a", "image_id_b", "kind", "transform", "score")
Progress = Callable[[float, str], None]

_PART, _AT_ONCE = 1024, 256  # X-rays of a part, which is kept, and of a step of it
_DESCRIBED, _MATCHED = 0.35, 0.7  # shares of the whole work, for the progress
_SURE_POLARITY = 0.3
_NO_PROGRESS: Progress = lambda share, text: None  # noqa: E731


def find_duplicates(
    thumbnails: Images,
    ids: Sequence[str],
    *,
    sizes: Sequence[Size] | None = None,
    neighbours: int = NEIGHBOURS,
    progress: Progress | None = None,
    folder: Path | None = None,
) -> pd.DataFrame:
    """Find X-rays that are the same one: equal, or cropped, turned a little, inverted, brightened or saved otherwise.

    The result depends on the images and their order alone.

    Parameters
    ----------
    thumbnails
        uint8 (N, S, S), each X-ray stretched to a square; best 128 pixels or more.
    ids
        The N image ids.
    sizes
        Width and height of the N files in pixels, (0, 0) for unknown; equal thumbnails of files of different size are
        no exact duplicates, and turns are measured in the files' pixels.
    neighbours
        With how many others each X-ray is compared.
    progress
        Called with the share that is done, 0 to 1, and a text, after each part of 1,024 X-rays. An exception that it
        raises ends the search.
    folder
        Where parts are kept, so that a search of the same images goes on from there; removed at the end.

    Returns
    -------
    DataFrame
        ``image_id_a, image_id_b, kind, transform, score``: kind ``exact`` or ``near``; what differs in words; the
        correlation of details, 1 for exact ones. Of several equal X-rays each is paired with the first of them alone,
        and only the first is compared with others. Pictures of one single grey are left out.
    """
    report = progress or _NO_PROGRESS
    known = list(sizes) if sizes is not None else [(0, 0)] * len(ids)
    digests = [picture_digest(thumbnails[row]) for row in range(len(thumbnails))]
    parts = Parts(folder, _inputs(digests, known, neighbours))
    pairs, first = _exact(digests, known)
    described = _described(thumbnails, first, parts, report)
    candidates = _candidates(described, neighbours, parts, report)
    pairs += _near(_Pictures(thumbnails, known, first, described.polarity), candidates, parts, report)
    rows = [(ids[a], ids[b], kind, words, score) for a, b, kind, words, score in sorted(pairs)]
    parts.remove()
    report(1.0, f"{len(rows):,} pairs found")
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


_Pair = tuple[int, int, str, str, float]


class _Described(NamedTuple):
    """Descriptors (views, M, D) and polarity (M,) of the M X-rays that are compared."""

    descriptors: NDArray[np.float32]
    polarity: NDArray[np.float32]


class _Pictures(NamedTuple):
    """The pictures and sizes of all X-rays, which of them are compared, and the polarity of those."""

    thumbnails: Images
    sizes: Sequence[Size]
    compared: NDArray[np.int64]
    polarity: NDArray[np.float32]


def _inputs(digests: Sequence[int], sizes: Sequence[Size], neighbours: int) -> str:
    """Return a digest of what the parts of a search depend on."""
    digest = hashlib.blake2b(np.array(digests, np.uint64).tobytes(), digest_size=16)
    digest.update(np.array(sizes, np.int64).tobytes())
    return f"{__version__} {neighbours} {digest.hexdigest()}"


def _exact(digests: Sequence[int], sizes: Sequence[Size]) -> tuple[list[_Pair], NDArray[np.int64]]:
    """Return pairs of equal pictures, and the rows that are the first of their kind."""
    rows: dict[int, list[int]] = defaultdict(list)
    for row, digest in enumerate(digests):
        if digest:
            rows[digest].append(row)
    pairs: list[_Pair] = []
    for same in rows.values():
        for row in same[1:]:
            rescaled = describe_sizes((sizes[same[0]], sizes[row]))
            pairs.append((same[0], row, "near" if rescaled else "exact", rescaled or "same pixels", 1.0))
    return pairs, np.array(sorted(same[0] for same in rows.values()), np.int64)


def _described(thumbnails: Images, rows: NDArray[np.int64], parts: Parts, report: Progress) -> _Described:
    """Describe the X-rays at ``rows``; none where there is nothing to compare."""
    n = len(rows) if len(rows) > 1 else 0
    descriptors, polarity = np.zeros((len(VIEWS), n, DIMENSIONS), np.float32), np.zeros(n, np.float32)
    if not n:
        return _Described(descriptors, polarity)
    describer = Describer.fit([thumbnails[int(row)] for row in sampled(rows)])

    def describe(start: int) -> Arrays:
        part = rows[start : start + _PART]
        batches = [part[k : k + _AT_ONCE] for k in range(0, len(part), _AT_ONCE)]
        with ThreadPoolExecutor(cores()) as pool:
            done = pool.map(lambda batch: describer.describe([thumbnails[int(row)] for row in batch]), batches)
            of_views, of_polarity = zip(*done, strict=True)
        return np.concatenate(of_views, axis=1), np.concatenate(of_polarity)

    starts = range(0, n, _PART)
    for start, part in zip(starts, parts.of("describe", starts, describe), strict=True):
        end = min(start + _PART, n)
        descriptors[:, start:end], polarity[start:end] = part
        report(_DESCRIBED * end / n, f"{end:,} of {n:,} X-rays described")
    return _Described(descriptors, polarity)


def _candidates(described: _Described, neighbours: int, parts: Parts, report: Progress) -> list[Candidate]:
    """Return the pairs to compare."""
    descriptors, n = described.descriptors, len(described.polarity)

    def nearest(start: int) -> Arrays:
        return (nearest_rows(descriptors, start, min(start + _PART, n), neighbours),)

    starts, pairs = range(0, n, _PART), [np.zeros((0, 2), np.int64)]
    for start, part in zip(starts, parts.of("nearest", starts, nearest), strict=True):
        pairs.append(part[0])
        end = min(start + _PART, n)
        share = _DESCRIBED + (_MATCHED - _DESCRIBED) * end / n
        report(share, f"{end:,} of {n:,} X-rays: looking for those most like them")
    return candidates_of(descriptors, np.concatenate(pairs))


def _near(pictures: _Pictures, candidates: list[Candidate], parts: Parts, report: Progress) -> list[_Pair]:
    """Compare each candidate pair, and return those that are one X-ray."""
    groups = grouped(candidates)

    def compare(group: list[Candidate]) -> list[_Pair]:
        first = Picture(pictures.thumbnails[int(pictures.compared[group[0].first])])
        return [pair for candidate in group for pair in _compared(pictures, first, candidate)]

    def compare_part(start: int) -> Arrays:
        with ThreadPoolExecutor(cores()) as pool:
            found = [pair for near in pool.map(compare, groups[start : start + _PART]) for pair in near]
        return (
            np.array([(a, b) for a, b, *_ in found], np.int64).reshape(-1, 2),
            np.array([words for *_, words, _ in found], np.str_),
            np.array([score for *_, score in found], np.float64),
        )

    pairs: list[_Pair] = []
    starts = range(0, len(groups), _PART)
    for start, (rows, words, scores) in zip(starts, parts.of("compare", starts, compare_part), strict=True):
        for (a, b), text, score in zip(rows.tolist(), words.tolist(), scores.tolist(), strict=True):
            pairs.append((a, b, "near", text, score))
        end = min(start + _PART, len(groups))
        text = f"{end:,} of {len(groups):,} X-rays compared with those most like them"
        report(_MATCHED + (1 - _MATCHED) * end / len(groups), text)
    return pairs


def _compared(pictures: _Pictures, first: Picture, candidate: Candidate) -> Iterator[_Pair]:
    """Yield the pair if it is one X-ray, the smaller row first."""
    thumbnails, sizes = pictures.thumbnails, pictures.sizes
    a, b = int(pictures.compared[candidate.first]), int(pictures.compared[candidate.second])
    registration = _registered(first, Picture(thumbnails[b]), candidate, pictures.polarity)
    if registration is None or not registration.same:
        return
    if a > b:
        a, b, registration = b, a, registration.reversed()
    words = describe_change(thumbnails[a], thumbnails[b], registration, (sizes[a], sizes[b]))
    yield a, b, "near", words, round(min(registration.score, 1.0), 4)


def _registered(
    first: Picture, second: Picture, candidate: Candidate, polarity: NDArray[np.float32]
) -> Registration | None:
    """Lay the two over each other; where it is not sure which of them is a negative, try both."""
    a, b = polarity[candidate.first], polarity[candidate.second]
    inverted = bool(a * b < 0)
    both = min(abs(a), abs(b)) < _SURE_POLARITY
    tries = [
        register(first, second, VIEWS[candidate.view], sign)
        for sign in ([inverted, not inverted] if both else [inverted])
    ]
    return max((found for found in tries if found is not None), key=lambda found: found.score, default=None)
