"""Clusters of heatmaps as a run: maps are pooled, clustered by explained class, and each cluster is described.

Files in the run folder

- ``maps.npy`` float32 (N, grid, grid): the positive relevance of each heatmap, pooled, with the sum 1
- ``clusters.parquet``: one row per map, in the same order: image_id, target, row (of the run of heatmaps), cluster (its
  number in the results, 0 for none), label, source, view, patient, ``x`` and ``y`` on the map that people see, ``e1``
  to ``e3`` in the embedding
- ``regions.parquet``: the maps that were measured in regions, with shares of relevance and areas
- ``results.json``: :mod:`cxr.experiments.clusters.results`
- ``heatmaps/``: the heatmaps, as a run of ``explain`` keeps them, where no finished run was given; a stopped run goes
  on from there
- ``too_few.json``: of how many patients the heatmaps are at most, where that is too few to cluster
- ``names.json``, ``measured.json``: names that people gave, and what masking a cluster's region did; written later
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cxr.evaluation.provenance import provenance
from cxr.experiments.clusters.entries import class_entries, cluster_entries, finding
from cxr.experiments.clusters.in_regions import RegionShares, region_shares
from cxr.experiments.clusters.limits import FEWEST_PATIENTS, TOO_FEW
from cxr.experiments.clusters.maps import PooledMaps, check_enough, finished_heatmaps, most_patients, pooled_maps
from cxr.experiments.clusters.of_class import ClassClusters, clusters_of_class
from cxr.experiments.clusters.results import KIND, NOTES, ClusterResults
from cxr.explain.run_files import STORE
from cxr.files import replacing
from cxr.runs.folder import RunFolder
from cxr.text.boxes import TextBox
from cxr.text.search import search

if TYPE_CHECKING:
    from cxr.experiments.clusters.settings import ClusterParams
    from cxr.runs.spec import Spec

MAPS, TABLE, REGIONS, HEATMAPS = "maps.npy", "clusters.parquet", "regions.parquet", "heatmaps"
__all__ = ["HEATMAPS", "KIND", "MAPS", "REGIONS", "TABLE", "heatmaps_of", "run"]

Progress = Callable[[float, str], None]
_EXPLAINED, _POOLED, _CLUSTERED, _SEARCHED = 0.5, 0.55, 0.75, 0.9
_FEWEST_DRAWS, _DRAWS_BY_CLASS = 99, 40


class _OwnHeatmaps(RunFolder):
    """The folder of heatmaps below a run of clusters; a stop of the run is its stop."""

    def __init__(self, run: RunFolder) -> None:
        super().__init__(run.path / HEATMAPS)
        self.run = run

    @property
    def id(self) -> str:
        """The run's id."""
        return self.run.id

    @property
    def spec(self) -> Spec:
        """What was asked for: the run's."""
        return self.run.spec

    def user_stop_requested(self) -> bool:
        """Return whether somebody asked for a stop of the run."""
        return self.run.user_stop_requested()

    def stop_requested(self) -> bool:
        """Return whether the run has to save and end."""
        return self.run.stop_requested()


def heatmaps_of(folder: RunFolder, params: ClusterParams) -> RunFolder:
    """Return the folder of the heatmaps that a run of clusters is of."""
    return finished_heatmaps(params.heatmaps) if params.heatmaps else _OwnHeatmaps(folder)


def run(folder: RunFolder, params: ClusterParams, progress: Progress) -> None:
    """Explain where that is to be done, cluster, measure in regions, and write it down as the module says."""
    progress(0.0, "loading")
    heatmaps, began = heatmaps_of(folder, params), 0.0
    if isinstance(heatmaps, _OwnHeatmaps):
        began = _EXPLAINED
        _explain(heatmaps, params, lambda done, text: progress(began * done, text))
        if folder.stop_requested():
            return
    most = most_patients(heatmaps.path, params.data)
    if most < FEWEST_PATIENTS:
        folder.write_json(TOO_FEW, {"most_patients": most})
    check_enough(most)

    def step(fraction: float, text: str) -> None:
        progress(began + (1 - began) * fraction, text)

    maps = pooled_maps(
        heatmaps.path, params.data, params.grid, params.smooth, lambda done: step(0.1 * done, "pooling heatmaps")
    )
    clustered = _clustered(maps, params, folder.stop_requested, step)
    if folder.stop_requested():
        return
    measured, left_out = _measured(maps, clustered, heatmaps, params, folder.stop_requested, step)
    if folder.stop_requested():
        return
    classes = class_entries(maps, clustered, params.seed)
    clusters = cluster_entries(maps, clustered, classes, measured, params.seed)
    about = heatmaps.read_json("results.json") or {}
    n_images, n_patients = (int(maps.table[column].nunique()) for column in ("image_id", "patient"))
    results: ClusterResults = {
        "finding": finding(classes, clusters, n_images, n_patients),
        "notes": list(NOTES),
        "n_images": n_images,
        "n_patients": n_patients,
        "n_maps": len(maps.table),
        "model": str(about.get("model", params.network)),
        "heatmaps": params.heatmaps,
        "composite": str(about.get("composite", "")),
        "split": params.split or "",
        "grid": params.grid,
        "text": params.text,
        "in_regions": len(measured.rows),
        "lungs": measured.lungs,
        "classes": classes,
        "clusters": clusters,
        "left_out": left_out,
        "provenance": provenance(params.data, params.network),
    }
    _write_tables(folder.path, maps, clustered, measured)
    folder.write_json("results.json", results)
    progress(1.0, results["finding"])


def _explain(heatmaps: _OwnHeatmaps, params: ClusterParams, progress: Progress) -> None:
    from cxr.explain.job import explain_run

    heatmaps.path.mkdir(exist_ok=True)
    explain_run(heatmaps, params.model_copy(update={"previews": 0}), progress)


def _clustered(
    maps: PooledMaps, params: ClusterParams, stopped: Callable[[], bool], step: Progress
) -> list[ClassClusters]:
    targets = maps.targets
    draws = max(_FEWEST_DRAWS, _DRAWS_BY_CLASS * len(targets) - 1)
    clustered = []
    for k, target in enumerate(targets):
        if stopped():
            break
        text = f"clustering heatmaps of {target}"

        def within(done: float, k: int = k, text: str = text) -> None:
            step(0.1 + 0.4 * (k + done) / len(targets), text)

        clustered.append(clusters_of_class(maps, target, draws, params.seed, within))
    return clustered


def _measured(
    maps: PooledMaps,
    clustered: list[ClassClusters],
    heatmaps: RunFolder,
    params: ClusterParams,
    stopped: Callable[[], bool],
    step: Progress,
) -> tuple[RegionShares, list[dict[str, str]]]:
    rows = drawn_rows(clustered, params.in_regions, params.seed)
    ids = maps.table["image_id"].to_numpy()[rows]
    boxes: dict[str, list[TextBox]] = {}
    left_out: list[dict[str, str]] = []
    if params.text and len(rows):
        chosen = params.data.select(ids=list(dict.fromkeys(map(str, ids))))
        found, left_out = search(chosen, lambda done, text: step(0.5 + 0.35 * done, text), stopped, params.workers)
        boxes = {image_id: of.boxes for image_id, of in found.items()}
    readable = {row["image_id"] for row in left_out}
    store = np.load(heatmaps.path / STORE, mmap_mode="r")
    numbers = maps.table["row"].to_numpy()
    items = [
        (int(row), str(i), np.asarray(store[int(numbers[row])]))
        for row, i in zip(rows, ids, strict=True)
        if i not in readable
    ]
    shares = region_shares(
        params.data,
        items,
        boxes,
        params.text,
        lambda done: step(0.85 + 0.14 * done, "measuring heatmaps in regions"),
        stopped,
        params.workers,
    )
    return shares, left_out


def drawn_rows(clustered: list[ClassClusters], most: int, seed: int) -> np.ndarray:
    """Return the numbers of the maps that are measured in regions: about equally many of each cluster, by lot.

    Maps of classes with one cluster have nothing to be compared with. X-rays that were clustered themselves go first:
    one of each patient.
    """
    rng = np.random.default_rng([seed, 1])
    waiting = []
    for of in clustered:
        first = np.isin(np.arange(len(of.rows)), of.sample)
        for cluster in range(of.n_clusters if of.n_clusters > 1 else 0):
            own = rng.permutation(np.flatnonzero(of.labels == cluster))
            waiting.append(list(of.rows[own[np.argsort(~first[own], kind="stable")]]))
    chosen: list[int] = []
    while any(waiting) and len(chosen) < most:
        for queue in waiting:
            if queue and len(chosen) < most:
                chosen.append(int(queue.pop(0)))
    return np.sort(np.array(chosen, np.int64))


def _write_tables(folder: Path, maps: PooledMaps, clustered: list[ClassClusters], measured: RegionShares) -> None:
    n = len(maps.table)
    numbers, places, coordinates = np.zeros(n, np.int64), np.full((n, 2), np.nan), np.full((n, 3), np.nan)
    before = 0
    for of in clustered:
        if of.structure is None:
            continue
        numbers[of.rows] = of.labels + 1 + before
        places[of.rows] = of.layout
        width = min(3, of.embedding.shape[1])
        coordinates[of.rows, :width] = of.embedding[:, :width]
        before += of.n_clusters
    table = maps.table.assign(cluster=numbers, x=places[:, 0], y=places[:, 1])
    table[["e1", "e2", "e3"]] = coordinates
    regions = pd.DataFrame({"map": measured.rows})
    for k, name in enumerate(measured.names):
        regions[f"share_{name}"], regions[f"area_{name}"] = measured.shares[:, k], measured.areas[:, k]
    with replacing(folder / MAPS) as draft, draft.open("wb") as file:
        np.save(file, maps.maps)
    for name, frame in ((TABLE, table), (REGIONS, regions)):
        with replacing(folder / name) as draft:
            frame.to_parquet(draft, index=False)
