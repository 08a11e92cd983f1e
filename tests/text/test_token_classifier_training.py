"""The judge of text is not trained on the patients that its detector is measured on."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
PATIENTS = {"a": "p1", "b": "p1", "c": "p2", "d": "p3", "e": "", "f": "p4", "g": "p5"}
DUPLICATES = {"c": "same", "d": "same"}


def picture(number):
    coarse = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
    return cv2.resize(coarse, (96, 96), interpolation=cv2.INTER_NEAREST)


@pytest.fixture
def training(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    import train_token_classifier

    yield train_token_classifier
    for name in ("train_token_classifier", "drawn_tokens", "drawn_things"):
        sys.modules.pop(name)


@pytest.fixture
def data(tmp_path):
    """Seven X-rays of which ``a`` is held out under its name, and ``c`` under another one."""
    rows = []
    for i, (name, patient) in enumerate(PATIENTS.items()):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture(i))
        rows.append((f"{name}.png", "nih", patient, DUPLICATES.get(name, "")))
    columns = ["image", "source", "patient_id", "dup_group"]
    pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "manifest.csv", index=False)
    (tmp_path / "text").mkdir()
    for i, name in ((0, "nih__a.png"), (2, "elsewhere.png")):
        cv2.imwrite(str(tmp_path / "text" / name), picture(i))
    pd.DataFrame({"image": ["nih__a.png", "elsewhere.png"]}).to_csv(tmp_path / "text" / "images.csv", index=False)
    return tmp_path


def test_patients_and_duplicates_of_held_out_xrays_are_left_out(training, data):
    assert training.usable(data, None)["image"].tolist() == [f"{name}.png" for name in PATIENTS]
    assert training.usable(data, data / "text")["image"].tolist() == ["e.png", "f.png", "g.png"]


def test_labels_kept_aside_share_no_patient_with_those_trained_on(training, data, monkeypatch, tmp_path):
    labels = pd.DataFrame([(f"{name}.png", 5, 5, 20, 20, "word") for name in PATIENTS])
    labels.columns = ["image", "x0", "y0", "x1", "y1", "kind"]
    labels.to_csv(tmp_path / "labels.csv", index=False)
    monkeypatch.setattr(training, "LABELS_FILE", tmp_path / "labels.csv")
    monkeypatch.setattr(training, "KEPT_ASIDE", 2)
    known, unknown, real = training.told_apart(training.usable(data, None))
    assert unknown["image"].tolist() == ["a.png", "b.png", "e.png", "g.png"]
    assert known["image"].tolist() == ["c.png", "d.png", "f.png"]
    assert real["image"].tolist() == known["image"].tolist()


def test_every_label_has_a_kind_that_the_judge_knows_and_a_box(training):
    labels = pd.read_csv(training.LABELS_FILE)
    assert set(labels["kind"]) == set(training.CLASSES)
    assert (labels[["x0", "y0"]].to_numpy() >= 0).all()
    assert (labels["x1"] > labels["x0"]).all()
    assert (labels["y1"] > labels["y0"]).all()
    assert not labels.duplicated().any()
