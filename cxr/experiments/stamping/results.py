"""The shapes of a stamping experiment's results, as ``results.json`` holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired, TypedDict, cast

from cxr.evaluation.results import SeenRecord
from cxr.experiments.masking.shapes import Comparison
from cxr.formatting import Estimate

if TYPE_CHECKING:
    from cxr.runs import Run


class Effects(TypedDict):
    """What one dose does (see :func:`cxr.experiments.stamping.dose_response.results_of`)."""

    n: int
    n_patients: NotRequired[int]
    turned: dict[str, Estimate]
    turned_beyond: Comparison
    change: dict[str, float]
    probability: dict[str, dict[str, Estimate]]
    logit: dict[str, dict[str, Estimate]]
    probability_beyond: Comparison


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


class LeftOutSize(TypedDict):
    """An X-ray that could not be stamped, or not at a size, and why; ``size`` is "" for all of them."""

    image_id: str
    size: str
    reason: str


class StampingResults(DoseResponse):
    """The whole of ``results.json``."""

    model: str
    split: str
    place: str
    control: str
    left_out: list[LeftOutSize]
    seen: NotRequired[SeenRecord]
    provenance: NotRequired[dict[str, str]]


def stamping_results(run: Run) -> StampingResults | None:
    """Return the results of an experiment; None as long as there are none."""
    return cast("StampingResults | None", run.results())


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
