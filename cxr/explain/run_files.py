"""The maps that an explaining run keeps: one of them for a page, and names of files that any system takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cxr.errors import ExplainError

if TYPE_CHECKING:
    from cxr.runs.folder import RunFolder

STORE, INDEX, PREVIEWS, PRECISION = "relevance.npy", "index.parquet", "previews", "precision.json"
LEDGER = ("logit", "positive", "negative", "absorbed", "lost", "residual", "not_finite")
COLUMNS = ("image_id", "label", "predicted", "target", "composite", "bias", *LEDGER, "concerns", "scale", "row",
            "weights", "picture")  # fmt: skip
_LONGEST_NAME = 100  # bytes, of 255 that a file's name may have: an image's and a class's stand in one


def safe_names(names: Sequence[str]) -> dict[str, str]:
    """Return each name as a part of a file's name; those that would be the same, in any case, get a number."""
    safe: dict[str, str] = {}
    used: set[str] = set()
    for name in names:
        short = re.sub(r"[^\w.-]+", "_", name).encode()[:_LONGEST_NAME].decode(errors="ignore")
        plain = candidate = short.lstrip(".") or "_"
        number = 1
        while candidate.casefold() in used:
            number += 1
            candidate = f"{plain}-{number}"
        used.add(candidate.casefold())
        safe[name] = candidate
    return safe


def read_map(folder: RunFolder, image_id: str, target: str | None = None) -> tuple[np.ndarray, pd.Series]:
    """Return one stored map, float32 (H, W) in relevance, and its row of the index; by default the image's first.

    Raises ExplainError where the run holds no map of that image and class.
    """
    path = folder.path / INDEX
    table = pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=list(COLUMNS))
    rows = table.loc[(table["image_id"] == image_id) & (target is None or table["target"] == target)]
    if rows.empty:
        of_class = "" if target is None else f" for {target!r}"
        raise ExplainError(f"run {folder.id} holds no heatmap of image {image_id!r}{of_class} (it holds {len(table)})")
    entry = rows.iloc[0]
    store = np.load(folder.path / STORE, mmap_mode="r")
    return store[int(entry["row"])].astype(np.float32) * np.float32(entry["scale"]), entry
