"""A tiny data set that a small network learns in seconds: squares, rings and empty noise, with findings beside."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from cxr.data import ImageCache, Manifest

CLASSES = ("covid19", "normal", "pneumonia")
SIDE = 32


def picture(label: str, rng: np.random.Generator) -> np.ndarray:
    image = rng.integers(60, 120, (SIDE, SIDE), dtype=np.uint8)
    x, y = (int(v) for v in rng.integers(8, 24, 2))
    if label == "covid19":
        cv2.circle(image, (x, y), 6, 255, 2)
    elif label == "pneumonia":
        cv2.rectangle(image, (x - 5, y - 5), (x + 5, y + 5), 255, -1)
    return image


def row(n: int, label: str, **values: str) -> dict[str, str]:
    return {"image": f"{n:03d}.png", "label": label, "patient_id": f"p{n}", "source": "here"} | values


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 30 train, 9 val, 12 test and 4 probe images, and 24 intermediate ones with findings.

    The first four intermediate images belong to patients of val, test and probe.
    """
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    rows = []
    for split, count in (("train", 30), ("val", 9), ("test", 12)):
        rows += [row(len(rows) + k, CLASSES[k % 3], split=split, role="train") for k in range(count)]
    rows += [row(len(rows) + k, "normal", split="probe", role="probe") for k in range(4)]
    held_out = ["p30", "p39", "p45", "p51"]
    findings = ["No Finding", "Pneumonia", "Edema|Pneumonia", "Edema"]
    for k in range(24):
        values = {"findings": findings[k % 4], "role": "intermediate", "source": "nih"}
        rows.append(row(len(rows), "", **values) | ({"patient_id": held_out[k]} if k < 4 else {}))
    for values in rows:
        shown = values["label"] or ("pneumonia" if "Pneumonia" in values["findings"] else "normal")
        cv2.imwrite(str(folder / values["image"]), picture(shown, rng))
    pd.DataFrame(rows).fillna("").to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.fixture(scope="session")
def tiny_cache(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data root with the tiny set's images decoded already."""
    root = tmp_path_factory.mktemp("data")
    ImageCache.build(Manifest.load(tiny), SIDE, root=root / ".cache", workers=0)
    return root


@pytest.fixture(autouse=True)
def decoded_once(private_folders: None, tiny_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all tests of training share the decoded images."""
    monkeypatch.setenv("CXR_DATA", str(tiny_cache))
