"""Clusters of heatmaps of networks trained on real X-rays: as they are, and with a word that only one class carries.

    python benchmarks/clusters_real.py MANIFEST [--out benchmarks/results/clusters_real.md] [--work FOLDER]

``MANIFEST`` has the roles train, the classes covid19, pneumonia and normal, and several sources. The second network is
the control: a quarter of the patients of one class carry a word in a corner, and clusters have to find them.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from cxr.data import Manifest, read_xray
from cxr.experiments.clusters.results import ClusterResults, cluster_results
from cxr.runs import Run, start
from cxr.text.stamp import box_for, place_of, stamp_patch, word_patch

RESULTS = Path(__file__).with_name("results") / "clusters_real.md"
STAMPED, SHARE, WORD, PLACE = "pneumonia", 0.25, "PORTABLE", "top-left"
HEIGHT = 0.05  # of the longer side
CONTROL_CLASSES = ("normal", "pneumonia")
RECIPE: dict[str, Any] = {
    "name": "real",
    "backbone": "densenet-small",
    "backbone_args": {},
    "size": 128,
    "stages": [
        {
            "name": "final",
            "epochs": 24,
            "batch": 32,
            "optimiser": {"name": "adamw", "lr": 0.001, "weight_decay": 0.05},
            "schedule": {"name": "cosine", "warmup_epochs": 1},
        }
    ],
}


def stamped(manifest: Manifest, folder: Path, seed: int = 0) -> Manifest:
    """Write copies of the X-rays of two classes, a word in a corner of a share of the patients of one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    table = manifest.table
    table = table[table["label"].isin(CONTROL_CLASSES) & table["split"].isin(("train", "val", "test"))]
    table = table[table["source"] == table["source"].value_counts().index[0]]
    own = table["label"] == STAMPED
    patients = sorted(set(table["patient_id"][own]))
    chosen = set(np.random.default_rng(seed).permutation(patients)[: round(SHARE * len(patients))])
    with_word = own & table["patient_id"].isin(chosen)
    patch, files = word_patch(WORD), []
    for image_id, mark in zip(table["image_id"], with_word, strict=True):
        image = read_xray(manifest.image_path(image_id))
        if mark:
            word = patch.scaled(round(HEIGHT * max(image.shape)))
            image = stamp_patch(image, word, box_for(image.shape, word, place_of(PLACE)))
        files.append(str(folder / f"{image_id}.png"))
        cv2.imwrite(files[-1], image)
    view = np.where(with_word, "with the word", "without")
    columns = {"image": files, "lung_mask": "", "view": view}
    return manifest.with_table(table.assign(**columns)).save(folder / "manifest.csv")


def finished(run: Run) -> Run:
    """Return a run that finished; raise what it failed with."""
    status = run.status()
    if status["state"] != "finished":
        raise RuntimeError(f"{run.id}: {status['state']} {status['error']}")
    return run


def trained(manifest: Path) -> str:
    """Return the id of a network that is trained on X-rays."""
    return finished(start("train", {"recipe": RECIPE, "manifest": manifest}, detached=False)).id


def clustered(network: str, manifest: Path, split: str) -> dict[str, Any]:
    """Explain a split, cluster; return what is found."""
    explained = start("explain", {"model": network, "manifest": manifest, "split": split}, detached=False)
    return of_heatmaps(finished(explained).id, split)


def of_heatmaps(explained: str, split: str) -> dict[str, Any]:
    """Cluster finished heatmaps; return what is found."""
    run = finished(start("cluster-heatmaps", {"heatmaps": explained}, detached=False))
    results: ClusterResults = cluster_results(run)
    table = pd.read_parquet(run.folder.path / "clusters.parquet")
    return {
        "run": run.id,
        "split": split,
        "finding": results["finding"],
        "classes": [entry["sentence"] for entry in results["classes"]],
        "clusters": [
            {
                "sentence": entry["sentence"],
                "views": entry["views"],
                "alike": alike(table, entry["number"], entry["target"]),
                "stability": entry["stability"],
            }
            for entry in results["clusters"]
            if entry["title"] != "one cluster"
        ],
    }


def alike(table: pd.DataFrame, number: int, target: str) -> float:
    """Return the Jaccard similarity of a cluster and the X-rays of its class that carry the word."""
    own = table[table["target"] == target]
    inside, word = own["cluster"] == number, own["view"] == "with the word"
    return float((inside & word).sum() / max(1, (inside | word).sum()))


def kept(work: Path, name: str, compute: Callable[[], Any]) -> Any:
    """Return what was computed under a name before, or compute and keep it."""
    file = work / f"{name}.json"
    if not file.exists():
        file.write_text(json.dumps(compute()), encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))


def in_words(title: str, about: str, found: Sequence[dict[str, Any]]) -> list[str]:
    """Return the section on one network."""
    parts = [f"## {title}", about]
    for of in found:
        lines = [f"**Split {of['split']}.** {of['finding']}", *(f"- {text}" for text in of["classes"])]
        for entry in of["clusters"]:
            word = f" Similarity (Jaccard) with the X-rays that carry the word: {entry['alike']:.2f}."
            lines.append(f"- {entry['sentence']}{word if 'with the word' in str(entry['views']) else ''}")
        parts += [lines[0], "\n".join(lines[1:])]
    return parts


def main() -> None:
    """Train, explain, cluster, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--parts", default="plain,stamped")
    parser.add_argument("--work", type=Path, default=None, help="folder that keeps what is done")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    work = args.work or Path(tempfile.mkdtemp(prefix="cxr-clusters-real-"))
    work.mkdir(parents=True, exist_ok=True)
    os.environ |= {"CXR_DATA": str(work / "data"), "CXR_RUNS": str(work / "runs")}
    page = [
        "# Clusters of heatmaps of real X-rays",
        f"`python benchmarks/clusters_real.py MANIFEST --parts {args.parts}`, one network each, fixed seeds.",
    ]
    manifest = Manifest.load(args.manifest)
    if "plain" in args.parts:
        path = work / "plain" / "manifest.csv"
        path.parent.mkdir(exist_ok=True)
        network = kept(work, "plain-network", lambda: trained(manifest.save(path).path or path))
        found = [kept(work, f"plain-{s}", partial(clustered, network, path, s)) for s in ("test", "train")]
        about = "Three classes; one of them is from another source than the other two."
        page += in_words("X-rays as they are", about, found)
    if "stamped" in args.parts:
        path = work / "stamped" / "manifest.csv"
        network = kept(work, "stamped-network", lambda: trained(stamped(manifest, path.parent).path or path))
        found = [kept(work, "stamped-train", lambda: clustered(network, path, "train"))]
        about = (
            f"Two classes of one source; {SHARE:.0%} of the patients of {STAMPED} carry the word {WORD} ({PLACE}). "
            "The network is trained on these X-rays, and they are explained."
        )
        page += in_words("A word in a corner", about, found)
    args.out.write_text("\n\n".join(page) + "\n", encoding="utf-8")
    print(args.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
