"""Configurations that tests through several parts run with: channels, task, number and names of classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from cxr.models import XrayClassifier, build, save_model
from cxr.models.imports.recognise import NIH14

TWO = ("hernia", "no hernia")
THREE = ("covid19", "normal", "pneumonia")
FOURTEEN = NIH14
ODD = ("all", "predicted", "a/b", "a b", "A_B", "50 % | $x$", "*<b>flu</b>*", "肺炎 [1](2)", "..", "label")
"""Names that files, tables, Markdown, HTML, formats or our own words could mistake for something else."""
TINY: Mapping[str, Any] = {"growth_rate": 4, "block_config": [1, 1]}


@dataclass(frozen=True)
class Configuration:
    """What a network takes in and gives out."""

    channels: int
    task: str
    classes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.channels}-channels-{self.task}-{len(self.classes)}-classes"

    @property
    def multi_label(self) -> bool:
        return self.task == "multi-label"


# Every pair of values of two of the properties stands in at least one of them.
CONFIGURATIONS = (
    Configuration(1, "single-label", THREE),
    Configuration(3, "single-label", TWO),
    Configuration(3, "single-label", FOURTEEN),
    Configuration(1, "multi-label", TWO),
    Configuration(3, "multi-label", THREE),
    Configuration(1, "multi-label", FOURTEEN),
)
ODD_NAMES = (Configuration(3, "single-label", ODD), Configuration(1, "multi-label", ODD))
ONE_FINDING = Configuration(3, "multi-label", ("Effusion",))
every_configuration = pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
"""Runs a test with each of :data:`CONFIGURATIONS`; class-, module- and session-scoped fixtures may take it too."""


def make_network(configuration: Configuration, size: int = 64, seed: int = 0, **options: Any) -> XrayClassifier:
    """Return a tiny network with random weights, in evaluation mode."""
    torch.manual_seed(seed)
    arguments: dict[str, Any] = {"backbone": "densenet-small", "backbone_args": dict(TINY)} | options
    return build(
        classes=configuration.classes, size=size, channels=configuration.channels, task=configuration.task, **arguments
    ).eval()


def write_network(configuration: Configuration, path: Path, **options: Any) -> Path:
    """Save a network of :func:`make_network` as a weights file and return the file."""
    return save_model(make_network(configuration, **options), path)


def write_xrays(
    folder: Path, configuration: Configuration, n: int = 12, side: int = 96, words: bool = False, split: str = "test"
) -> Path:
    """Write ``n`` grey pictures of ``n // 2`` patients with their manifest, and return the manifest's file.

    Labels go round the classes; for several labels an X-ray has one or two findings, each fourth has none. With
    ``words`` every other picture carries burned-in text.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for k in range(n):
        image = cv2.GaussianBlur(rng.integers(40, 160, (side, side), dtype=np.uint8), (9, 9), 0)
        if words and k % 2 == 0:
            scale = side / 220
            cv2.putText(image, "PORTABLE", (side // 16, side // 6), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 2)
        cv2.imwrite(str(folder / f"{k}.png"), image)
        first, second = (configuration.classes[(k + step) % len(configuration.classes)] for step in (0, 1))
        findings = "" if k % 4 == 3 else first if k % 3 else f"{first}|{second}"
        labels = {"label": "", "findings": findings or "No Finding"} if configuration.multi_label else {"label": first}
        rows.append(
            {"image": f"{k}.png", "split": split, "patient_id": f"p{k // 2}", "source": "AB"[k % 2], "findings": ""}
            | labels
        )
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"
