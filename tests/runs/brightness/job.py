"""The work."""

from __future__ import annotations

import numpy as np

from cxr.data import read_xray
from cxr.runs import RunFolder
from cxr.runs.kinds import Progress
from tests.runs.brightness.results import Brightness
from tests.runs.brightness.settings import BrightnessParams


def run(folder: RunFolder, params: BrightnessParams, *, progress: Progress) -> None:
    """Measure each X-ray; writes a row for each, and results.json."""
    manifest = params.data
    groups: dict[str, list[float]] = {}
    rows = manifest.table.to_dict("records")
    for done, row in enumerate(rows, 1):
        if folder.stop_requested():
            return
        value = float(np.percentile(read_xray(manifest.image_path(row["image_id"])), params.percentile))
        folder.append_metrics([{"kind": "image", "image_id": row["image_id"], "value": value}])
        groups.setdefault(row[params.by] or "none", []).append(value)
        progress(done / len(rows), f"{done} of {len(rows)} X-rays")
    folder.write_json("results.json", Brightness.of(groups).to_dict())
