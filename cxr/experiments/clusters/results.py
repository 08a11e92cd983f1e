"""What clusters of heatmaps give: an entry for each cluster, for each explained class whether there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING, NotRequired, TypedDict, cast

from cxr.errors import RunError, unknown, wrong_use
from cxr.formatting import Estimate

if TYPE_CHECKING:
    from cxr.experiments.clusters.settings import ClusterParams
    from cxr.runs import Run

KIND = "cluster-heatmaps"
NOTES = (
    "A cluster says that the network's decisions on these X-rays rest on the same part of the picture. It does not say "
    "that this is wrong, nor that the others are right. Measure what happens to the predictions when the part is "
    "hidden before you conclude anything.",
    "Clusters are groups with a valley between them: where they meet, X-rays are sparser than within, counting one "
    "X-ray of each patient. p compares the deepest valley with those of maps that change gradually and fill as many "
    "dimensions, corrected for the explained classes (Holm). Gaps between eigenvalues decide nothing.",
    "Stable: halves of the patients, clustered alone, give the same clusters (adjusted Rand index 0.75 or more and a "
    "mean Jaccard similarity of 0.75 or more), or this one cluster (0.85 or more).",
    "Regions: the share of positive relevance in text, lungs, border (8 % of the sides) and elsewhere. p of a "
    "cluster's share being above that of the others, by permuting clusters over patients, is corrected for clusters, "
    "regions and classes (Westfall and Young). Clusters are made from where relevance lies, so that some difference "
    "is expected: its size matters more than its p.",
    "Separateness: standard deviations between a cluster and the others along Fisher's direction. Dividing maps "
    "without clusters gives some too: that is the figure by chance beside it.",
    "Left and right are those of the picture. Intervals are 95 %, over patients.",
)


class ClusterRegion(TypedDict):
    """What a cluster makes of a region: see :class:`cxr.experiments.clusters.scores.RegionGain`."""

    region: str
    share: Estimate
    gain: Estimate
    relative: Estimate
    p_corrected: float | None
    shown: bool


class ClusterEntry(TypedDict):
    """A cluster.

    ``number`` counts from 1 through all explained classes. ``name`` and ``title`` are what it is called by its region
    and place; ``target`` is the explained class. ``estimate`` is the gain of ``region`` over that of the other
    clusters, of "" (no region stands out) there is none. ``shown``: clusters of the class are beyond chance and this
    one is stable. ``boxes`` (x0, y0, x1, y1 in shares of the picture) cover what the cluster uses more than the
    others. ``examples`` are its most typical X-rays.
    """

    number: int
    name: str
    title: str
    target: str
    size: int
    patients: int
    region: str
    place: str
    estimate: Estimate
    regions: list[ClusterRegion]
    separateness: Estimate
    separateness_by_chance: float | None
    stability: float | None
    stable: bool
    shown: bool
    classes: dict[str, int]
    sources: dict[str, int]
    views: dict[str, int]
    boxes: list[list[float]]
    area: float
    examples: list[str]
    sentence: str


class Association(TypedDict):
    """How the clusters of a class go with a column of the data: Cramer's V, and p corrected for all columns (Holm)."""

    column: str
    values: int
    v: float | None
    p: float | None
    p_corrected: float | None
    shown: bool
    sentence: str


class ClassEntry(TypedDict):
    """Whether the heatmaps of an explained class form clusters.

    ``reason`` says why they were not clustered, "" where they were. ``valley`` says by what factor X-rays are sparser
    where the clusters meet than within them; ``p`` compares it with maps that change gradually.
    """

    target: str
    n_images: int
    n_patients: int
    n_clustered: int
    n_clusters: int
    p: float | None
    p_corrected: float | None
    valley: NotRequired[float | None]
    gaps: dict[str, float]
    agreement: float | None
    stable: bool
    shown: bool
    associations: list[Association]
    sentence: str
    reason: str


class MaskedChange(TypedDict):
    """What masking a cluster's region does: see :mod:`cxr.experiments.clusters.region.measure`."""

    n_images: int
    n_patients: int
    logit_change: Estimate
    control_change: Estimate
    beyond_control: Estimate
    changed: Estimate
    changed_control: Estimate


class Measurement(TypedDict):
    """The effect of masking a cluster's region in its own X-rays, and in the others of its class."""

    number: int
    target: str
    mode: str
    area: float
    inside: MaskedChange
    outside: MaskedChange | None
    sentence: str
    notes: list[str]
    date: str


class ClusterResults(TypedDict):
    """The results of clusters of heatmaps, as ``results.json`` holds them."""

    finding: str
    notes: list[str]
    n_images: int
    n_patients: int
    n_maps: int
    model: str
    heatmaps: str
    composite: str
    split: str
    grid: int
    text: bool
    in_regions: int
    lungs: dict[str, int]
    classes: list[ClassEntry]
    clusters: list[ClusterEntry]
    left_out: list[dict[str, str]]
    provenance: dict[str, str]


def cluster_results(run: Run) -> ClusterResults:
    """Return the results of a finished run of clusters.

    Raises
    ------
    RunError
        If the run is none of clusters, or is not finished.
    """
    results = run.results()
    if results is None or run.kind != KIND or "clusters" not in results:
        raise RunError(f"run {run.id} has no clusters of heatmaps to show")
    return cast("ClusterResults", results)


def cluster_of(results: ClusterResults, number: int) -> ClusterEntry:
    """Return a cluster by its number; a RunError names those that there are."""
    by_number = {entry["number"]: entry for entry in results["clusters"]}
    if number not in by_number:
        raise wrong_use(RunError(unknown("cluster", str(number), [str(known) for known in by_number])))
    return by_number[number]


def params_of(run: Run) -> ClusterParams:
    """Return what a run of clusters was asked for."""
    return cast("ClusterParams", run.params)
