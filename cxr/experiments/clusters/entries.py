"""From clusters to what is said of them: their regions, names and sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxr.evaluation.tests import holm
from cxr.experiments.clusters.associations import associations, corrected, counts_of
from cxr.experiments.clusters.groups.structure import SIGNIFICANT
from cxr.experiments.clusters.in_regions import RegionShares
from cxr.experiments.clusters.limits import FEWEST_PATIENTS
from cxr.experiments.clusters.maps import PooledMaps
from cxr.experiments.clusters.of_class import ClassClusters
from cxr.experiments.clusters.region import places
from cxr.experiments.clusters.results import ClassEntry, ClusterEntry, ClusterRegion
from cxr.experiments.clusters.scores import RegionGain, corrected_p, largest_by_chance, region_gains
from cxr.formatting import Estimate, p_value, times, xrays

_EXAMPLES = 60
_NOTHING = Estimate(value=None, low=None, high=None)


def class_entries(maps: PooledMaps, clustered: Sequence[ClassClusters], seed: int) -> list[ClassEntry]:
    """Return for each class whether its heatmaps form clusters, p values corrected for all classes."""
    ps = holm([of.structure.p if of.structure else None for of in clustered])
    entries = [_class_entry(maps, of, p, seed, len(clustered)) for of, p in zip(clustered, ps, strict=True)]
    corrected([association for entry in entries for association in entry["associations"]])
    for entry, of in zip(entries, clustered, strict=True):
        entry["sentence"] = _class_sentence(entry, of)
    return entries


def _class_entry(maps: PooledMaps, of: ClassClusters, p: float | None, seed: int, n_classes: int) -> ClassEntry:
    table = maps.table.iloc[of.rows]
    several = of.n_clusters > 1
    too_few = f"fewer than {FEWEST_PATIENTS} patients" if of.structure is None else ""
    sample = table.iloc[of.sample]
    return ClassEntry(
        target=of.target,
        n_images=len(table),
        n_patients=int(table["patient"].nunique()),
        n_clustered=len(of.divided),
        n_clusters=of.n_clusters if of.structure else 0,
        p=of.structure.p if of.structure else None,
        p_corrected=p,
        valley=of.structure.valley if of.structure else None,
        gaps={str(k): gap for k, gap in of.structure.gaps.items()} if of.structure else {},
        agreement=of.stability.agreement if of.stability else None,
        stable=of.is_stable,
        shown=several and p is not None and p < SIGNIFICANT,
        associations=associations(sample, of.labels[of.sample], 3 * n_classes, seed) if several else [],
        sentence="",
        reason=too_few,
    )


def _class_sentence(entry: ClassEntry, of: ClassClusters) -> str:
    n = f"{entry['target']}: {xrays(entry['n_images'], entry['n_patients'])}"
    if entry["reason"]:
        return f"{n}, {entry['reason']}: not clustered."
    p = f"p {p_value(entry['p_corrected'])}"
    if entry["n_clusters"] < 2:
        return f"{n}, one cluster: they are not shown to be more than gradual change ({p})."
    if of.gradual:
        agreement = f"adjusted Rand index {entry['agreement']:.2f}"
        return f"{n}, no separate clusters ({p}), but two ends of what may be a gradual change, stable ({agreement})."
    beyond = "" if entry["shown"] else ", not beyond chance once corrected for all classes"
    if entry["stable"]:
        how = "stable"
    else:
        alone = sum(of.stable(cluster) for cluster in range(of.n_clusters))
        how = "unstable: halves of the patients give others" + (f", but for {alone} of them" if alone else "")
    agreement = f"adjusted Rand index {entry['agreement']:.2f}"
    return f"{n}, {entry['n_clusters']} clusters ({p}{beyond}), {how} ({agreement})."


def cluster_entries(
    maps: PooledMaps,
    clustered: Sequence[ClassClusters],
    classes: Sequence[ClassEntry],
    measured: RegionShares,
    seed: int,
) -> list[ClusterEntry]:
    """Return an entry for each cluster of all classes, numbered from 1, the largest of each class first."""
    gains, ps = _gains(maps, clustered, measured, seed)
    entries: list[ClusterEntry] = []
    for of, own in zip(clustered, classes, strict=True):
        for cluster in range(of.n_clusters if of.structure else 0):
            key = (of.target, cluster)
            regions = [
                _region(name, gain, p)
                for name, gain, p in zip(measured.names, gains.get(key, []), ps.get(key, []), strict=False)
            ]
            entries.append(_cluster_entry(maps, of, cluster, len(entries) + 1, regions, own["shown"]))
    return entries


def _gains(
    maps: PooledMaps, clustered: Sequence[ClassClusters], measured: RegionShares, seed: int
) -> tuple[dict[tuple[str, int], list[RegionGain]], dict[tuple[str, int], list[float]]]:
    """Return what each cluster of a class with several makes of each region, and the corrected p of its t."""
    gains: dict[tuple[str, int], list[RegionGain]] = {}
    largest = np.full(1, -np.inf)
    patients = maps.table["patient"].to_numpy(dtype=object)
    for of in clustered:
        if of.n_clusters < 2:
            continue
        own = np.isin(measured.rows, of.rows)
        rows = measured.rows[own]
        labels = of.labels[np.searchsorted(of.rows, rows)]
        independent = np.isin(rows, of.rows[of.sample])
        shares, areas = measured.shares[own], measured.areas[own]
        for cluster in range(of.n_clusters):
            inside = labels == cluster
            if 0 < inside.sum() < len(inside):
                gains[of.target, cluster] = region_gains(shares, areas, inside, list(patients[rows]), independent)
        largest = np.maximum(largest, largest_by_chance(shares[independent], labels[independent], seed))
    return gains, {key: [corrected_p(gain.t, largest) for gain in own] for key, own in gains.items()}


def _region(name: str, gain: RegionGain, p: float) -> ClusterRegion:
    above = gain.relative["value"] is not None and gain.relative["value"] > 1
    return ClusterRegion(
        region=name,
        share=gain.share,
        gain=gain.gain,
        relative=gain.relative,
        p_corrected=p,
        shown=above and p < SIGNIFICANT,
    )


def _cluster_entry(
    maps: PooledMaps, of: ClassClusters, cluster: int, number: int, regions: list[ClusterRegion], beyond_chance: bool
) -> ClusterEntry:
    inside = of.labels == cluster
    rows = of.rows[inside]
    table = maps.table.iloc[rows]
    own = maps.maps[rows]
    rest = maps.maps[of.rows[~inside]]
    even = np.full(own.shape[1:], 1 / own[0].size)
    above = places.excess(own.mean(0), rest.mean(0) if len(rest) else even)
    cells = places.region(above)
    boxes = places.boxes_of(cells)
    place = places.place_in_words(above)
    best = max((r for r in regions if r["shown"]), key=lambda r: r["relative"]["value"] or 0.0, default=None)
    several, stable = of.n_clusters > 1, of.stable(cluster)
    title = ", ".join(filter(None, (best["region"] if best else "", place))) if several else "one cluster"
    distances = np.linalg.norm(np.sqrt(own) - np.sqrt(own).mean(0), axis=(1, 2))
    typical = table["image_id"].to_numpy()[np.argsort(distances, kind="stable")]
    entry = ClusterEntry(
        number=number,
        name=title,
        title=title,
        target=of.target,
        size=len(rows),
        patients=int(table["patient"].nunique()),
        region=best["region"] if best else "",
        place=place,
        estimate=best["relative"] if best else _NOTHING,
        regions=regions,
        separateness=of.separateness[cluster] if of.separateness else _NOTHING,
        separateness_by_chance=of.by_chance,
        stability=float(of.stability.by_cluster[cluster]) if of.stability else None,
        stable=stable,
        shown=several and stable and beyond_chance,
        classes=counts_of(table["label"]),
        sources=counts_of(table["source"]),
        views=counts_of(table["view"]),
        boxes=[list(box) for box in boxes],
        area=float(cells.mean()),
        examples=[str(image_id) for image_id in typical[:_EXAMPLES]],
        sentence="",
    )
    entry["sentence"] = _cluster_sentence(entry, several)
    return entry


def _cluster_sentence(entry: ClusterEntry, several: bool) -> str:
    n = xrays(entry["size"], entry["patients"])
    if not several:
        return f"All {n} explained for {entry['target']} are one cluster."
    what = f"Cluster {entry['number']} ({entry['target']}, {n})"
    at = "at" if entry["place"].endswith(("edge", "corner")) else "in"
    place = f" {at} the {entry['place']} of the picture" if entry["place"] else ""
    if entry["region"]:
        where = f", mostly{place}" if place else ""
        uses = f"uses {_NOUNS[entry['region']]} {times(entry['estimate'])} as much as the others of its class{where}"
    else:
        uses = f"differs from the others of its class{place}, and is not shown to use one region more than they do"
    doubt = (
        ""
        if entry["shown"]
        else " It is unstable."
        if not entry["stable"]
        else " It may be one end of a gradual change."
    )
    return f"{what} {uses}.{doubt}"


_NOUNS = {"text": "burned-in text", "lungs": "the lungs", "border": "the border", "elsewhere": "what is elsewhere"}


def finding(classes: Sequence[ClassEntry], clusters: Sequence[ClusterEntry], n_images: int, n_people: int) -> str:
    """Return what clusters were found in a few sentences."""
    n = xrays(n_images, n_people)
    shown = [entry for entry in clusters if entry["shown"]]
    clustered = [entry for entry in classes if not entry["reason"]]
    unstable = [entry["target"] for entry in clustered if entry["n_clusters"] > 1 and not entry["stable"]]
    doubt = f" Unstable, and to be read with caution: those of {', '.join(unstable)}." if unstable else ""
    if not shown:
        few = len(classes) - len(clustered)
        left_out = f" {few} had too few patients." if few else ""
        halves = [e["sentence"] for e in clusters if e["stable"] and e["region"] in ("text", "border")]
        doubt += f" {halves[0]}" if halves else ""
        return (
            f"No stable clusters are shown among the heatmaps of {n}, in {len(clustered)} of {len(classes)} explained "
            f"classes.{left_out} That is no proof that the network uses the same everywhere.{doubt}"
        )
    about = [entry for entry in shown if entry["region"]] or shown
    about = sorted(about, key=lambda e: (e["region"] not in ("text", "border"), -(e["estimate"]["value"] or 0.0)))
    some = " ".join(entry["sentence"] for entry in about[:3])
    plural = "clusters" if len(shown) > 1 else "cluster"
    return f"{len(shown)} stable {plural} among the heatmaps of {n}. {some}{doubt}"
