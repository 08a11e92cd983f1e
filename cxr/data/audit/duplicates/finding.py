"""Find X-rays that are in a set more than once: candidates by descriptors, then each candidate pair compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cxr.cores import cores
from cxr.data.audit.duplicates.candidates import NEIGHBOURS, Candidate, nearest_pairs
from cxr.data.audit.duplicates.descriptors import VIEWS, Describer, sampled
from cxr.data.audit.duplicates.pictures import Picture
from cxr.data.audit.duplicates.registration import Registration, register
from cxr.data.audit.duplicates.wording import Size, describe_change, describe_sizes
from cxr.data.digests import picture_digest
from cxr.data.images.stored_images import Images

PAIR_COLUMNS = ("image_id_a", "image_id_b", "kind", "transform", "score")
Progress = Callable[[float, str], None]

_AT_ONCE = 256
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
        Called with the share that is done, 0 to 1, and a text.

    Returns
    -------
    DataFrame
        ``image_id_a, image_id_b, kind, transform, score``: kind ``exact`` or ``near``; what differs in words; the
        correlation of details, 1 for exact ones. Of several equal X-rays each is paired with the first of them alone,
        and only the first is compared with others. Pictures of one single grey are left out.
    """
    report = progress or _NO_PROGRESS
    known = list(sizes) if sizes is not None else [(0, 0)] * len(ids)
    pairs, first = _exact(thumbnails, known)
    candidates, polarity = _candidates(thumbnails, first, neighbours, report)
    pairs += _near(thumbnails, known, candidates, polarity, report)
    rows = [(ids[a], ids[b], kind, words, score) for a, b, kind, words, score in sorted(pairs)]
    report(1.0, f"{len(rows)} pairs found")
    return pd.DataFrame(rows, columns=list(PAIR_COLUMNS))


_Pair = tuple[int, int, str, str, float]


def _exact(thumbnails: Images, sizes: Sequence[Size]) -> tuple[list[_Pair], NDArray[np.int64]]:
    """Return pairs of equal pictures, and the rows that are the first of their kind."""
    rows: dict[int, list[int]] = defaultdict(list)
    for row in range(len(thumbnails)):
        if digest := picture_digest(thumbnails[row]):
            rows[digest].append(row)
    pairs: list[_Pair] = []
    for same in rows.values():
        for row in same[1:]:
            rescaled = describe_sizes((sizes[same[0]], sizes[row]))
            pairs.append((same[0], row, "near" if rescaled else "exact", rescaled or "same pixels", 1.0))
    return pairs, np.array(sorted(same[0] for same in rows.values()), np.int64)


def _candidates(
    thumbnails: Images, rows: NDArray[np.int64], neighbours: int, report: Progress
) -> tuple[list[Candidate], NDArray[np.float32]]:
    """Return the pairs to compare, as rows of the thumbnails, and the polarity (N,) of every thumbnail."""
    polarity = np.zeros(len(thumbnails), np.float32)
    if len(rows) < 2:
        return [], polarity
    describer = Describer.fit([thumbnails[int(row)] for row in sampled(rows)])
    descriptors = np.empty((len(VIEWS), len(rows), describer.projection.shape[1]), np.float32)
    starts = range(0, len(rows), _AT_ONCE)

    def describe(start: int) -> None:
        part = rows[start : start + _AT_ONCE]
        pictures = [thumbnails[int(row)] for row in part]
        descriptors[:, start : start + len(part)], polarity[part] = describer.describe(pictures)

    with ThreadPoolExecutor(cores()) as pool:
        for done, _ in enumerate(pool.map(describe, starts), 1):
            report(
                _DESCRIBED * done / len(starts), f"{min(done * _AT_ONCE, len(rows))} of {len(rows)} X-rays described"
            )
    matching = partial(_report_matching, report)
    pairs = nearest_pairs(descriptors, neighbours, matching)
    return [Candidate(int(rows[a]), int(rows[b]), view) for a, b, view in pairs], polarity


def _report_matching(report: Progress, share: float) -> None:
    report(_DESCRIBED + (_MATCHED - _DESCRIBED) * share, "looking for similar X-rays")


def _near(
    thumbnails: Images,
    sizes: Sequence[Size],
    candidates: list[Candidate],
    polarity: NDArray[np.float32],
    report: Progress,
) -> list[_Pair]:
    """Compare each candidate pair, and return those that are one X-ray."""
    by_first: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_first[candidate.first].append(candidate)

    def compare(group: list[Candidate]) -> list[_Pair]:
        first = Picture(thumbnails[group[0].first])
        return [pair for candidate in group for pair in _compared(thumbnails, sizes, first, candidate, polarity)]

    pairs: list[_Pair] = []
    with ThreadPoolExecutor(cores()) as pool:
        for done, near in enumerate(pool.map(compare, by_first.values()), 1):
            pairs += near
            if done % _AT_ONCE == 0:
                text = f"{done} of {len(by_first)} X-rays compared with those most like them"
                report(_MATCHED + (1 - _MATCHED) * done / len(by_first), text)
    return pairs


def _compared(
    thumbnails: Images, sizes: Sequence[Size], first: Picture, candidate: Candidate, polarity: NDArray[np.float32]
) -> Iterator[_Pair]:
    """Yield the pair if it is one X-ray, the smaller row first."""
    second = Picture(thumbnails[candidate.second])
    registration = _registered(first, second, candidate, polarity)
    if registration is None or not registration.same:
        return
    a, b = candidate.first, candidate.second
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
