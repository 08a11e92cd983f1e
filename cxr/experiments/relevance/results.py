"""What a relevance budget gives, as ``results.json`` and ``images.parquet`` hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict, cast

import pandas as pd

from cxr.errors import RunError
from cxr.evaluation.results import SeenRecord
from cxr.formatting import Estimate
from cxr.json_types import JsonObject

if TYPE_CHECKING:
    from cxr.runs import Run

KIND = "relevance-regions"
IMAGES = "images.parquet"
EVERY = "all"
"""The group of all X-rays. A class may be called so too: ``every`` tells them apart."""

NOTES = (
    "Gain: the share of the positive relevance that a region holds over its share of the area; 1 is what a map without "
    "any preference has. Relevance says where the network's answer was found by this method, not that it is wrong "
    "there: relevance outside the lungs can be anatomy, and relevance inside them can be a tube.",
    "Removed: the region is filled by a smooth continuation of what is left. Elsewhere: the same area, changed by as "
    "much grey, at other places off text and lesions; tokens and other small parts go to places of the same depth in "
    "the picture, larger regions to blobs. No place is quite like the lungs or the border, so that their controls are "
    "places of another kind.",
    "A region counts as one that the network relies on where removing it lowers the logit of the explained class more "
    "than its control does: signs of patients flipped, p corrected over regions (Holm), those of the classes together "
    "in a family of their own. What is not shown is not excluded.",
    "Intervals are 95 %, over patients, each by itself. They hold for this network, these X-rays and this composite. "
    "They do not include errors of the lung masks or of the search for text.",
)


class RegionEntry(TypedDict):
    """A region, of all X-rays (``every``; their ``group`` is "all") or of those explained for the class ``group``.

    Attributes
    ----------
    n, n_patients
        X-rays that have the region, and their patients. ``share`` and ``area`` are means over all X-rays of the group.
    share, absolute
        Of positive and of absolute relevance.
    gain, absolute_gain
        Share over area.
    control_gain
        That of positive relevance at the control places.
    logit_change, control_change
        Of the explained class, without the region and without the control places.
    grey, control_grey
        Mean absolute change of grey of the network's picture, 0 to 255, by either.
    beyond
        The difference of these two, with ``p`` and ``p_corrected``.
    gain_p, gain_p_corrected
        Of the share inside being that at the control places.
    shown
        Removing the region lowers the logit more than its control does, after correction.
    gain_shown
        The region holds more relevance than its control, after correction.
    """

    group: str
    every: bool
    region: str
    title: str
    n: int
    n_patients: int
    area: float
    share: Estimate
    absolute: Estimate
    gain: Estimate
    absolute_gain: Estimate
    control_gain: Estimate
    logit_change: Estimate
    control_change: Estimate
    grey: float
    control_grey: float | None
    beyond: Estimate
    p: float | None
    p_corrected: float | None
    gain_p: float | None
    gain_p_corrected: float | None
    shown: bool
    gain_shown: bool
    sentence: str


class PlantedResults(TypedDict):
    """What a mark does that the network cannot know, over the X-rays that were stamped.

    ``gain`` is that of the mark's square, ``gain_without`` that of the same square without the mark. ``moved`` is the
    mean absolute change of the explained class's logit, ``changed`` the share of X-rays of which something else is
    decided. ``text_over_mark`` is the gain of burned-in text over that of the mark.
    """

    n: int
    n_patients: int
    area: float
    gain: Estimate
    absolute_gain: Estimate
    gain_without: Estimate
    logit_change: Estimate
    moved: Estimate
    changed: Estimate
    text_over_mark: Estimate
    sentence: str


class LeftOut(TypedDict):
    """An X-ray that could not be read, and why."""

    image_id: str
    reason: str


class RelevanceResults(TypedDict):
    """The results of a relevance budget, as ``results.json`` holds them.

    ``lungs`` is the way that was chosen for all X-rays, ``lungs_by_source`` how many masks came from where. ``of`` is
    the number of X-rays from which ``n_images`` were drawn, ``heatmaps`` how many images had theirs stored or computed.
    """

    model: str
    task: str
    classes: list[str]
    split: str
    composite: str
    bias: str
    options: JsonObject
    targets: str
    text: bool
    border: float
    draws: int
    of: int
    n_images: int
    n_patients: int
    n_maps: int
    without_relevance: int
    lungs: str
    lungs_by_source: dict[str, int]
    heatmaps: dict[str, int]
    regions: list[RegionEntry]
    planted: PlantedResults | None
    finding: str
    notes: list[str]
    left_out: list[LeftOut]
    correction: str
    provenance: dict[str, str]
    seen: SeenRecord


def relevance_regions_results(run: Run) -> RelevanceResults:
    """Return the results of a finished relevance budget.

    Raises
    ------
    RunError
        If the run is none, or is not finished.
    """
    results = run.results()
    if results is None or run.kind != KIND:
        raise RunError(f"run {run.id} has no results of a relevance budget to report")
    return cast("RelevanceResults", results)


def images_table(run: Run) -> pd.DataFrame:
    """Return the table of a finished budget: one row for each image and explained class.

    Columns: image_id, patient, true, predicted, explained, logit, lungs, and for each region ``area_``, ``share_``,
    ``gain_``, ``absolute_``, ``logit_change_``, ``grey_``, ``control_area_``, ``control_share_``, ``control_change_``
    and ``control_grey_<region>``, NaN where an X-ray has no such region; ``planted_...`` of a planted mark.
    """
    path = run.folder.path / IMAGES
    if not path.exists():
        raise RunError(f"run {run.id} has no table of its X-rays: {path} is not there")
    return pd.read_parquet(path)


def flat(entries: list[RegionEntry]) -> pd.DataFrame:
    """Return the entries as a table: one row for each, three columns for each estimate."""
    rows = []
    for entry in entries:
        row: dict[str, object] = {}
        for key, value in entry.items():
            if isinstance(value, dict):
                row |= {key: value["value"], f"{key}_low": value["low"], f"{key}_high": value["high"]}
            else:
                row[key] = value
        rows.append(row)
    return pd.DataFrame(rows)
