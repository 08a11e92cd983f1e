"""Do clusters of heatmaps find what is planted, how often are they claimed where nothing is, and what do they cost?

    python benchmarks/clusters.py [--sets 20] [--networks 4] [--images 1000] [--out benchmarks/results/clusters.md]

Three parts: maps drawn with and without clusters, networks trained on synthetic X-rays with and without a mark in a
corner of half of one class, and the time of a run on many X-rays. The parts are kept as they are done in a folder
(--work), so that a benchmark that was ended goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from cxr.data import Manifest
from cxr.data.phantom import write_demo
from cxr.evaluation.intervals import wilson
from cxr.experiments.clusters.groups.partition import STABLE, ends, stability
from cxr.experiments.clusters.groups.spectral import components
from cxr.experiments.clusters.groups.structure import SIGNIFICANT, structure
from cxr.experiments.clusters.maps import PooledMaps, features
from cxr.experiments.clusters.of_class import ALONE_STABLE
from cxr.experiments.clusters.results import ClusterResults, cluster_results
from cxr.models import build, save_model
from cxr.runs import start

RESULTS = Path(__file__).with_name("results") / "clusters.md"
DRAWS = 39
GRID = 20
WITHOUT = (
    "noise",
    "skewed noise",
    "blobs anywhere",
    "one blob anywhere",
    "one blob along a line",
    "a mark of any strength",
)
N_PLANTED = 200
SHARES = (0.05, 0.1, 0.2)
N_PHANTOMS, SIDE = 330, 96
MARKED = "pneumonia"
RECIPE: dict[str, Any] = {
    "name": "clusters",
    "backbone": "densenet-small",
    "backbone_args": {"growth_rate": 6, "block_config": [2, 2, 2]},
    "size": 64,
    "device": "cpu",
    "threads": 1,
    "stages": [{"name": "final", "epochs": 20, "batch": 16, "monitor": "val_loss"}],
}


# --- drawn maps ----------------------------------------------------------------------------------------------------


def blob(y: float, x: float, spread: float) -> np.ndarray:
    """Return a round spot (GRID, GRID) of the sum 1."""
    rows, columns = np.mgrid[:GRID, :GRID]
    spot = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * spread**2))
    return np.asarray(spot / spot.sum())


def map_without(rng: np.random.Generator, name: str) -> np.ndarray:
    """Return a map (GRID, GRID) of the sum 1 from a distribution without clusters."""
    if name == "noise":
        cells = np.clip(1 + 0.3 * cv2.GaussianBlur(rng.normal(size=(GRID, GRID)), (0, 0), 1.5) * 5, 0.01, None)
    else:
        cells = np.exp(0.8 * rng.normal(size=(GRID, GRID)))
    cells = cells / cells.sum()
    if name == "a mark of any strength":
        own = rng.uniform(0, 0.5)
        return np.asarray((1 - own) * cells + own * blob(1.5 + rng.normal(0, 0.5), 2 + rng.normal(0, 0.5), 1.5))
    if name == "one blob along a line":
        cells = 0.4 * cells + 0.6 * blob(10, rng.uniform(3, 17), 2)
    if name in ("blobs anywhere", "one blob anywhere"):
        n = 3 if name == "blobs anywhere" else 1
        spots = [rng.gamma(2) * blob(rng.uniform(5, 15), rng.uniform(4, 16), rng.uniform(1.5, 3)) for _ in range(n)]
        cells = 0.4 * cells + 0.6 * sum(spots) / sum(float(spot.sum()) for spot in spots)
    return np.asarray(cells / cells.sum())


def drawn_maps(rng: np.random.Generator, n: int, name: str, share: float = 0.0, strength: float = 0.0) -> PooledMaps:
    """Return maps of ``n`` patients; on the first ``share`` of them a mark in the upper left corner is used."""
    maps = np.stack([map_without(rng, name) for _ in range(n)])
    for k in range(round(share * n)):
        own = np.clip(rng.normal(strength, strength / 4), 0.02, 0.95)
        maps[k] = (1 - own) * maps[k] + own * blob(1.5 + rng.normal(0, 0.5), 2 + rng.normal(0, 0.5), 1.5)
    ids = [str(k) for k in range(n)]
    table = pd.DataFrame({"image_id": ids, "target": "a", "patient": ids, "row": range(n)})
    return PooledMaps(table, maps.astype(np.float32))


def divided(maps: PooledMaps, seed: int) -> tuple[np.ndarray, list[int], bool]:
    """Return labels of maps, the clusters that a run would show as stable, and whether they are ends without groups."""
    points = components(features(maps.maps))
    found = structure(points, DRAWS, seed)
    if found.n_clusters == 1:
        cut = ends(points, seed)
        return (cut[0], [], True) if cut else (found.labels, [], False)
    halves = stability(points, found, seed)
    least = STABLE if halves.agreement >= STABLE else ALONE_STABLE
    return found.labels, [k for k in range(found.n_clusters) if halves.by_cluster[k] >= least], False


def most_alike(labels: np.ndarray, planted: np.ndarray, clusters: Sequence[int]) -> float:
    """Return the Jaccard similarity of the planted X-rays and of the cluster most like them; 0 without any."""
    own = [labels == k for k in clusters]
    return max((float((o & planted).sum() / (o | planted).sum()) for o in own), default=0.0)


def part_without(work: Path, sets: int, sizes: Sequence[int]) -> list[list[str]]:
    """Return rows: how often clusters are claimed where there are none."""
    rows = []
    for name in WITHOUT:
        for n in sizes:
            found = [kept(work, f"without-{name}-{n}-{s}", partial(one_without, name, n, s)) for s in range(sets)]
            rows.append([name, str(n), *(of_sets(sum(own[k] for own in found), sets) for k in range(3))])
    return rows


def one_without(name: str, n: int, seed: int) -> list[bool]:
    """Return whether groups are beyond gradual change, some are shown, and ends of a gradual change are offered."""
    labels, shown, gradual = divided(drawn_maps(np.random.default_rng([1, n, seed]), n, name), seed)
    return [bool(labels.max() > 0 and not gradual), bool(shown), gradual]


def part_planted(work: Path, sets: int, strengths: Sequence[float]) -> list[list[str]]:
    """Return rows: how often a planted cluster is found."""
    rows = []
    for name in ("noise", "blobs anywhere"):
        for share in SHARES:
            for strength in strengths:
                own = [
                    kept(work, f"planted-{name}-{share}-{strength}-{s}", partial(one_planted, name, share, strength, s))
                    for s in range(sets)
                ]
                found = [of_sets(sum(pair[k] >= 0.5 for pair in own), sets) for k in range(2)]
                rows.append([name, f"{share:.0%}", f"{strength:.0%}", *found, f"{np.median([p[0] for p in own]):.2f}"])
    return rows


def one_planted(name: str, share: float, strength: float, seed: int) -> list[float]:
    """Return how like the planted X-rays the cluster is that is most like them, of all clusters and of those shown."""
    planted = np.arange(N_PLANTED) < round(share * N_PLANTED)
    maps = drawn_maps(np.random.default_rng([2, N_PLANTED, seed]), N_PLANTED, name, share, strength)
    labels, shown, gradual = divided(maps, seed)
    every = range(labels.max() + 1) if labels.max() > 0 and not gradual else ()
    return [most_alike(labels, planted, every), most_alike(labels, planted, shown)]


def of_sets(k: int, n: int) -> str:
    """Return ``3 of 20 [5, 36] %``."""
    low, high = wilson(k, n) or (0.0, 1.0)
    return f"{k} of {n} [{100 * low:.0f}, {100 * high:.0f}] %"


# --- networks on synthetic X-rays ----------------------------------------------------------------------------------


def phantoms(folder: Path, seed: int, planted: bool) -> Manifest:
    """Write synthetic X-rays without text that tells the class; half of one class carry a mark if ``planted``."""
    write_demo(folder, n=N_PHANTOMS, size=SIDE, correlation=0.0, seed=seed)
    manifest = Manifest.load(folder / "manifest.csv")
    table = manifest.table
    rng = np.random.default_rng(seed)
    patients = sorted(set(table["patient_id"][table["label"] == MARKED]))
    chosen = set(rng.permutation(patients)[: len(patients) // 2]) if planted else set()
    marked = (table["label"] == MARKED) & table["patient_id"].isin(chosen)
    for image_id in table["image_id"][marked]:
        path = manifest.image_path(image_id)
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert image is not None
        y, x = (int(v) for v in rng.integers(3, 7, 2))
        cv2.rectangle(image, (x, y), (x + 9, y + 9), 255, -1)
        cv2.rectangle(image, (x + 3, y + 3), (x + 6, y + 6), 0, -1)
        cv2.imwrite(str(path), image)
    return manifest.with_table(table.assign(source=np.where(marked, "marked", "plain"))).save(folder / "manifest.csv")


def one_network(work: Path, seed: int, planted: bool) -> dict[str, Any]:
    """Train, explain, cluster; return what :func:`clusters_of` does."""
    name = f"{'planted' if planted else 'plain'}-{seed}"
    manifest = phantoms(work / "data" / name, seed, planted)
    trained = finished(start("train", {"recipe": RECIPE | {"seed": seed}, "manifest": manifest.path}, detached=False))
    explained = finished(start("explain", {"model": trained.id, "manifest": manifest.path}, detached=False))
    return clusters_of(explained.id)


def clusters_of(explained: str) -> dict[str, Any]:
    """Cluster finished heatmaps; return what the clusters of the marked class are, and of all."""
    run = finished(start("cluster-heatmaps", {"heatmaps": explained, "text": False}, detached=False))
    results = cluster_results(run)
    table = pd.read_parquet(run.folder.path / "clusters.parquet")
    own = table[table["target"] == MARKED]
    with_mark = (own["source"] == "marked").to_numpy()
    named: list[dict[str, Any]] = []
    for entry in results["clusters"]:
        inside = (own["cluster"] == entry["number"]).to_numpy()
        union = (inside | with_mark).sum()
        named.append(
            {
                "target": entry["target"],
                "shown": entry["shown"],
                "title": entry["title"],
                "alike": float((inside & with_mark).sum() / union) if union and entry["target"] == MARKED else 0.0,
            }
        )
    classes = [{"target": of["target"], "k": of["n_clusters"], "p": of["p_corrected"]} for of in results["classes"]]
    return {"clusters": named, "classes": classes, "marked": int(with_mark.sum()), "of": len(own)}


def finished(run: Any) -> Any:
    """Return a run that finished; raise what it failed with."""
    status = run.status()
    if status["state"] != "finished":
        raise RuntimeError(f"{run.id}: {status['state']} {status['error']}")
    return run


def part_networks(work: Path, networks: int) -> list[list[str]]:
    """Return rows: what clusters say of each network."""
    rows = []
    for planted in (True, False):
        for seed in range(networks):
            own = kept(work, f"network-{planted}-{seed}", partial(one_network, work, seed, planted))
            several = [entry for entry in own["clusters"] if entry["title"] != "one cluster"]
            best = max(several, key=lambda entry: entry["alike"], default=None)
            shown_ones = [entry for entry in several if entry["shown"]]
            found = f"{best['title']} ({best['alike']:.2f})" if best is not None and best["alike"] > 0 else "–"
            rows.append(
                [
                    "mark in a corner" if planted else "none",
                    str(seed),
                    f"{own['marked']} of {own['of']}" if planted else "–",
                    str(sum(of["k"] > 1 and of["p"] >= SIGNIFICANT for of in own["classes"])),
                    str(len(shown_ones)),
                    "; ".join(f"{entry['target']}: {entry['title']}" for entry in shown_ones) or "–",
                    (found + (", shown" if best and best["shown"] else ", not shown")) if planted else "–",
                ]
            )
    return rows


# --- time ----------------------------------------------------------------------------------------------------------


def part_time(work: Path, n: int) -> list[list[str]]:
    """Return rows: seconds of a run after the heatmaps, without text and with text that was never searched for."""
    folder = work / "data" / "time"
    write_demo(folder, n=n, size=256, seed=3)
    model = build("densenet-small", ("covid19", "normal", "pneumonia"), size=128)
    weights = save_model(model.eval(), work / "time.safetensors")
    manifest = folder / "manifest.csv"
    explained = finished(start("explain", {"model": str(weights), "manifest": manifest}, detached=False))
    rows = []
    for text in (False, True):
        begun = time.perf_counter()
        run = start("cluster-heatmaps", {"heatmaps": explained.id, "text": text}, detached=False)
        took = time.perf_counter() - begun
        results: ClusterResults = cluster_results(finished(run))
        what = f"with text searched for on {results['in_regions']} X-rays" if text else "without text"
        rows.append([str(n), what, f"{took:.0f}"])
    return rows


# --- the page ------------------------------------------------------------------------------------------------------


def kept(work: Path, name: str, compute: Callable[[], Any]) -> Any:
    """Return what was computed under a name before, or compute and keep it."""
    file = work / f"{name}.json"
    if not file.exists():
        value = compute()
        file.write_text(json.dumps(value), encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def drawn_in_words(without: list[list[str]], planted: list[list[str]]) -> list[str]:
    """Return the sections on drawn maps."""
    return [
        "## Maps without groups",
        f"Drawn maps of {GRID} x {GRID} cells, one of each patient, at places or strengths drawn evenly: they differ, "
        "but by all steps in between. *Groups*: the deepest valley has p < 0.05. *Shown*: at least one of them is "
        "shown as a stable cluster. *Ends*: no groups, but a stable cut, shown as the ends of a gradual change.",
        table(["maps", "patients", "groups", "shown", "ends"], without),
        "## A planted group",
        f"{N_PLANTED} patients; on some of them a part of the relevance lies on a mark in a corner. *Found*: a "
        "cluster whose Jaccard similarity with the planted X-rays is 0.5 or more; the last column is its median.",
        table(["other relevance", "X-rays", "on the mark", "found", "found and shown", "similarity"], planted),
    ]


def networks_in_words(rows: list[list[str]]) -> list[str]:
    """Return the section on networks."""
    return [
        "## Networks trained on synthetic X-rays",
        f"{N_PHANTOMS} synthetic X-rays of {SIDE} px, three classes, text that tells nothing of the class; half of the "
        f"patients of {MARKED} have a mark in the upper left corner. Heatmaps of all X-rays for the predicted class. "
        f"The last column is the cluster of {MARKED} most like the X-rays with the mark, and "
        "its Jaccard similarity with them.",
        table(
            [
                "planted",
                "seed",
                "marked",
                "classes with ends of a gradual change",
                "shown clusters",
                "which",
                "most alike",
            ],
            rows,
        ),
    ]


def time_in_words(rows: list[list[str]]) -> list[str]:
    """Return the section on time."""
    return [
        "## Time",
        f"Seconds after the heatmaps, by the clock, on {os.cpu_count()} cores. Text was never searched for on these "
        "X-rays before.",
        table(["X-rays", "run", "seconds"], rows),
    ]


def main() -> None:
    """Draw, train, measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=[60, 200], help="patients of maps without groups")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.2, 0.5], help="share of relevance on the mark")
    parser.add_argument("--networks", type=int, default=4)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--parts", default="networks,drawn,time", help="some of networks, drawn, time")
    parser.add_argument("--work", type=Path, default=None, help="folder that keeps the parts that are done")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp(prefix="cxr-clusters-"))
    work.mkdir(parents=True, exist_ok=True)
    os.environ |= {"CXR_DATA": str(work / "data"), "CXR_RUNS": str(work / "runs")}
    parts = [
        "# Clusters of heatmaps",
        f"`python benchmarks/clusters.py --sets {args.sets} --sizes {' '.join(map(str, args.sizes))} --strengths "
        f"{' '.join(map(str, args.strengths))} --networks {args.networks} --images {args.images} --parts "
        f"{args.parts}`, fixed seeds, {platform.machine()}, Python {platform.python_version()}. Intervals are Wilson's "
        "at 95 %.",
    ]
    written = {
        "networks": lambda: networks_in_words(part_networks(work, args.networks)),
        "drawn": lambda: drawn_in_words(
            part_without(work, args.sets, args.sizes), part_planted(work, args.sets, args.strengths)
        ),
        "time": lambda: time_in_words(kept(work, f"time-{args.images}", lambda: part_time(work, args.images))),
    }
    for part in args.parts.split(","):
        parts += written[part]()
    args.out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(args.out.read_text(encoding="utf-8"))
    if args.work is None:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    main()
