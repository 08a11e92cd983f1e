"""Heatmaps that a training draws while it runs: right, without any effect on it, and no reason to end it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cxr.errors import ExplainError
from cxr.explain import DEFAULT_COMPOSITE, explain
from cxr.explain.heatmap import Method
from cxr.models import load_model
from cxr.runs import Run
from cxr.training.watching.heatmaps import FOLDER, MOST, drawn_epochs, read_heatmaps
from cxr.training.watching.worst import read_worst
from tests.training.running import assert_same, interrupted, run, start

FINDINGS = {"name": "findings", "task": "multi-label", "label": "findings", "sources": ["nih"], "epochs": 1}


@pytest.mark.parametrize("channels", [1, 3])
def test_every_second_epoch_is_drawn_as_the_network_of_that_epoch_explains_its_mistakes(tiny: Path, channels) -> None:
    folder = run(start(tiny, changes={"channels": channels, "stages.*.epochs": 2, "heatmaps_every": 2}))
    trained = Run(folder)
    assert drawn_epochs(trained) == [(0, 2)]
    drawn, worst = read_heatmaps(trained, 0, 2), read_worst(trained)
    assert drawn is not None
    assert worst is not None
    assert (drawn.stage, drawn.epoch, drawn.composite, drawn.masked) == ("final", 2, DEFAULT_COMPOSITE, False)
    assert drawn.xrays == worst["xrays"][:MOST]
    assert drawn.targets == [xray["predicted"] for xray in drawn.xrays]
    assert drawn.pictures.shape == drawn.relevance.shape == (MOST, 32, 32)
    assert drawn.pictures.dtype == np.uint8
    # The last checkpoint is of the same epoch.
    last = next(folder.checkpoints.glob("*/last.safetensors"))
    again = explain(load_model(last), drawn.pictures, drawn.targets)
    expected = again.relevance.sum(axis=1)
    assert np.abs(drawn.relevance - expected).max() <= 1e-3 * np.abs(expected).max()
    assert drawn.logits == pytest.approx(again.target_logits.tolist(), rel=1e-4, abs=1e-5)


def test_a_stage_of_findings_explains_the_finding_that_was_most_wrong(tiny: Path) -> None:
    recipe = {"backbone": "resnet18", "size": 32, "weights": None, "device": "cpu", "channels": 1, "name": "f"}
    recipe["stages"] = [FINDINGS, {"name": "final", "epochs": 1}]
    changes = {"backbone": "resnet18", "backbone_args": {}, "stages.*.epochs": 1, "heatmaps_every": 1}
    trained = Run(run(start(tiny, recipe, changes)))
    assert drawn_epochs(trained) == [(0, 1), (1, 1)]
    drawn = read_heatmaps(trained, 0, 1)
    assert drawn is not None
    assert set(drawn.targets) <= {"Pneumonia", "Edema"}
    assert all(xray["truth"].rsplit(" ", 1)[0] == name for xray, name in zip(drawn.xrays, drawn.targets, strict=True))
    confidences = [1 / (1 + np.exp(-abs(logit))) for logit in drawn.logits]
    assert confidences == pytest.approx([xray["confidence"] for xray in drawn.xrays], abs=1e-4)
    assert np.isfinite(drawn.relevance).all()
    assert np.abs(drawn.relevance).max() > 0


def test_drawing_changes_nothing_of_the_training_stopped_or_not(tiny: Path) -> None:
    without = run(start(tiny))
    drawing = start(tiny, changes={"heatmaps_every": 1})
    interrupted(drawing, looks=6)
    run(drawing)
    assert_same(without, drawing)
    assert not (without.path / FOLDER).exists()
    assert drawn_epochs(Run(drawing)) == [(0, 1), (0, 2), (0, 3)]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ExplainError("this network has no rules"), "this network has no rules"),
        (RuntimeError("out of memory\nat 0x1"), "out of memory"),
        (OSError(), "OSError"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_one_line_and_ends_nothing(
    tiny: Path, monkeypatch, error, reason, caplog
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Method, "explain", fails)
    folder = run(start(tiny, changes={"stages.*.epochs": 1, "heatmaps_every": 1}))
    assert folder.predictions() is not None
    assert drawn_epochs(Run(folder)) == []
    (line,) = [record.getMessage() for record in caplog.records if "no heatmaps" in record.getMessage()]
    assert line == f"no heatmaps are drawn after epoch 1: {reason}"


def test_a_file_that_is_no_drawing_is_none(tiny: Path) -> None:
    folder = run(start(tiny, changes={"stages.*.epochs": 1, "heatmaps_every": 1}))
    path = folder.path / FOLDER / "0-00001.npz"
    path.write_bytes(path.read_bytes()[:500])
    (folder.path / FOLDER / "notes-of-mine.npz").write_bytes(b"")
    assert drawn_epochs(Run(folder)) == [(0, 1)]
    assert read_heatmaps(Run(folder), 0, 1) is None
    assert read_heatmaps(Run(folder), 0, 7) is None
