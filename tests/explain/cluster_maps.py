"""X-rays and heatmaps whose clusters are known: what tests of clusters share."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from configurations import Configuration, write_network

from cxr.data import Manifest
from cxr.experiments.clusters.maps import PooledMaps
from cxr.explain.run_files import COLUMNS, INDEX, STORE
from cxr.runs import Run, get_run
from cxr.runs.folder import RunFolder

SIZE = 64


def corner_map(rng: np.random.Generator, corner: bool, size: int = SIZE) -> np.ndarray:
    """Return relevance (size, size): everywhere a little, most in the upper right corner or in the middle."""
    cells = np.abs(cv2.GaussianBlur(rng.normal(size=(size, size)), (0, 0), 3)) + 0.02
    y, x = (size // 8, size - size // 8) if corner else (size // 2, size // 2)
    rows, columns = np.mgrid[:size, :size]
    spot = np.exp(
        -((rows - y - rng.normal(0, 2)) ** 2 + (columns - x - rng.normal(0, 2)) ** 2) / (2 * (size / 12) ** 2)
    )
    return np.asarray(cells / cells.sum() + spot / spot.sum() - 0.2 / size**2)


def drawn(n: int = 80, share: float = 0.3, seed: int = 0, grid: int = 20, per_patient: int = 1) -> PooledMaps:
    """Return pooled maps of ``n`` X-rays of one class, ``share`` of whose patients have the mark in the corner."""
    from cxr.experiments.clusters.maps import pooled

    rng = np.random.default_rng(seed)
    patients = np.arange(n) // per_patient
    corner = patients < round(share * n / per_patient)
    maps = np.stack([pooled(corner_map(rng, bool(own)), grid) for own in corner])
    table = pd.DataFrame(
        {
            "image_id": [f"x{k}" for k in range(n)],
            "target": "hernia",
            "patient": [f"p{k}" for k in patients],
            "row": range(n),
            "label": "hernia",
            "source": np.where(corner, "A", "B"),
            "view": "",
        }
    )
    return PooledMaps(table, maps)


def write_heatmaps(folder: Path, configuration: Configuration, n: int = 44, share: float = 0.35) -> Run:
    """Write X-rays, a network and a finished run of heatmaps of its first class: ``share`` look at a corner.

    X-rays with the corner have a bright mark there and the source A; each is of a patient of its own.
    """
    (folder / "xrays").mkdir(parents=True)
    rng = np.random.default_rng(1)
    rows, maps = [], []
    for k in range(n):
        corner = k < round(share * n)
        image = cv2.GaussianBlur(rng.integers(40, 160, (96, 112), dtype=np.uint8), (9, 9), 0)
        if corner:
            cv2.rectangle(image, (94, 4), (108, 18), 255, -1)
        cv2.imwrite(str(folder / "xrays" / f"{k}.png"), image)
        maps.append(corner_map(rng, corner))
        name = configuration.classes[0]
        labels = {"label": "", "findings": name} if configuration.multi_label else {"label": name, "findings": ""}
        rows.append({"image": f"{k}.png", "image_id": f"x{k}", "split": "test", "patient_id": f"p{k}"} | labels)
        rows[-1]["source"] = "A" if corner else "B"
    pd.DataFrame(rows).to_csv(folder / "xrays" / "manifest.csv", index=False)
    weights = write_network(configuration, folder / "net.safetensors")
    manifest = folder / "xrays" / "manifest.csv"
    params = {"model": str(weights), "manifest": str(manifest), "split": "test"}
    run = RunFolder.create(_runs(), "explain", params)
    np.save(run.path / STORE, np.stack(maps).astype(np.float16))
    index = pd.DataFrame({"image_id": Manifest.load(manifest).ids}).assign(
        target=configuration.classes[0], label="", predicted=configuration.classes[0], row=range(n), scale=1.0
    )
    index.reindex(columns=list(COLUMNS)).to_parquet(run.path / INDEX, index=False)
    run.write_json("results.json", {"model": "drawn", "composite": "epsilon"})
    run.update_status(state="finished", message="finished")
    return get_run(run.id)


def _runs() -> Path:
    from cxr.paths import runs_root

    return runs_root()
