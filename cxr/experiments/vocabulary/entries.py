"""The shapes of a vocabulary's entries, as ``results.json`` holds them."""

from __future__ import annotations

from typing import NotRequired, TypedDict


class Odds(TypedDict):
    """An odds ratio with its limits; None, JSON's null, stands for infinity."""

    odds_ratio: NotRequired[float | None]
    low: NotRequired[float | None]
    high: NotRequired[float | None]


class ClassCounts(Odds):
    """Counts of a token in one class, and its association with the class where there are two classes or more.

    ``images`` carry it. Of the images drawn, one per patient: ``units`` carry it and ``of`` are in the class. ``p`` and
    ``odds_ratio`` with ``low`` and ``high`` are against the other classes.
    """

    images: int
    units: int
    of: int
    p: NotRequired[float]


class TokenCounts(TypedDict):
    """How often a token occurs: ``spellings`` and sources with their number of times, classes with their counts."""

    group: str
    token: str
    spellings: dict[str, int]
    times: int
    images: int
    patients: int
    by_class: dict[str, ClassCounts]
    by_source: dict[str, int]


class Association(TypedDict):
    """How a token goes with the classes: None where fewer than two classes have a label."""

    points_to: str | None
    bits: float | None
    chance: float | None
    p: float | None
    q: float | None


class WithinSources(Odds):
    """How a token goes with a class among X-rays of the same source.

    ``points_to`` is the class with the smallest p, ``p`` that p times the number of classes, ``q`` corrected over the
    entries; all None where no source has units of two classes of which some carry the token and some do not.
    ``sources`` are those that say something.
    """

    points_to: str | None
    p: float | None
    q: float | None
    sources: list[str]


class Entry(TokenCounts, Association):
    """A token with its counts and its association (see :func:`cxr.experiments.vocabulary.count.vocabulary`).

    ``within_sources`` is there where the X-rays drawn come from two sources or more.
    """

    within_sources: NotRequired[WithinSources]


class VocabularyResults(TypedDict):
    """The whole of ``results.json``; ``finding`` says in sentences what the entries show."""

    n_images: int
    n_with_text: int
    n_reviewed: int
    left_out: list[dict[str, str]]
    finding: str
    vocabulary: list[Entry]
    provenance: NotRequired[dict[str, str]]
