"""The shapes of a stamping experiment's results, as ``results.json`` holds them."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from cxr.evaluation.metrics import Interval


class Effects(TypedDict):
    """What one dose does (see :func:`cxr.experiments.stamping.dose_response.results_of`)."""

    n: int
    n_patients: NotRequired[int]
    turned: dict[str, Interval]
    turned_beyond: Interval
    change: dict[str, float]
    probability: dict[str, dict[str, Interval]]
    logit: dict[str, dict[str, Interval]]
    probability_beyond: Interval


class Dose(Effects):
    """One dose, a size at a contrast, and what it does."""

    size: float
    contrast: float


class DoseResponse(TypedDict):
    """All doses of an experiment; ``finding`` says in sentences what they show."""

    n_images: int
    n_there: int
    classes: list[str]
    towards: str
    onto: list[str]
    token: str
    doses: list[Dose]
    task: str
    threshold: float
    finding: str


class VersionRow(TypedDict):
    """What the long table holds of one picture of an X-ray, before the network's answers; no box without a stamp."""

    image_id: str
    condition: str
    size: float
    contrast: float
    x0: float | None
    y0: float | None
    x1: float | None
    y1: float | None
    change: float
