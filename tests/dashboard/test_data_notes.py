"""The Data page says what of the files was not followed when they were read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from apps import opened, said
from PIL import Image

from cxr.data import Manifest, import_data, save_data_set
from cxr.data.images.base import PLATEAU_LEFT_OUT


def test_data_lists_the_notes_on_files(tmp_path: Path) -> None:
    ramp = np.add.outer(np.arange(80), np.arange(64)).astype(np.uint16) * 20
    for label in ("sick", "well"):
        for number in range(2):
            film = ramp + number
            if label == "sick":
                film[:10, :20] = 65535
            path = tmp_path / "in" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(film).save(path)
    save_data_set("noted", import_data("image-folder", tmp_path / "in"))
    app = opened("data", data="noted")
    assert not app.exception
    assert {m.label: m.value for m in app.metric} == {
        "X-rays": "4",
        "Patients": "unknown",
        "Sources": "unknown",
        "Splits": "none yet",
    }
    assert f"2 X-rays: {PLATEAU_LEFT_OUT}" in said(app)
    assert any(expander.label.startswith("Notes of the import") for expander in app.expander)
    assert any("file_notes" in frame.value.columns and len(frame.value) == 2 for frame in app.dataframe)


def test_counts_of_classes_have_separators_of_thousands(demo: Manifest) -> None:
    app = opened("data", data="demo", look="splits")
    assert not app.exception
    crossed = [frame for frame in app.dataframe if "all" in frame.value.columns]
    assert len(crossed) == 2
    for frame in crossed:
        columns = json.loads(frame.proto.columns)
        for name in frame.value.columns:
            assert columns[name]["type_config"]["format"] == "localized", name
