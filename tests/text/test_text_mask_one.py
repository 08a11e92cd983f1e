"""``cxr text mask``: one X-ray before and after its text is masked, by the boxes that count for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from configurations import CONFIGURATIONS, ODD_NAMES, Configuration, write_network, write_xrays
from typer.testing import CliRunner

from cxr.cli.text import app
from cxr.data import Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.evaluation import predict
from cxr.evaluation.metrics import probabilities
from cxr.networks import load_network
from cxr.text import Reviews, TextBox
from cxr.text.detection_store import content_hash
from cxr.text.mask import mask_text

SEVERAL = (CONFIGURATIONS[1], CONFIGURATIONS[4], *ODD_NAMES)
BOX = TextBox(8, 6, 26, 18, "DX", 1.0, "word")


def told(*words: object) -> dict:
    done = CliRunner().invoke(app, ["mask", *map(str, words), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("configuration", SEVERAL, ids=str)
def test_the_prediction_before_and_after_is_the_networks_of_these_pictures(
    configuration: Configuration, tmp_path: Path
) -> None:
    network_file = write_network(configuration, tmp_path / "network.safetensors", size=32)
    manifest = write_xrays(tmp_path / "films", configuration, n=6, side=48)
    data = Manifest.load(manifest)
    image = data.ids[2]
    pixels = read_xray(data.image_path(image))
    Reviews.beside(manifest).save(image, [BOX], shape=pixels.shape, content_hash=content_hash(pixels))

    report = told(network_file, image, "--data", manifest, "--mode", "black", "--margin", "0")
    network, _ = load_network(str(network_file))
    pictures = [fit_square(picture, 32) for picture in (pixels, mask_text(pixels, [BOX], "black", margin=0))]
    logits = predict(network, np.stack(pictures))
    chances = probabilities(logits, network.card.task)
    assert report["by_hand"]
    assert [box["text"] for box in report["boxes"]] == ["DX"]
    assert list(report["classes"]) == list(configuration.classes)
    for k, row in enumerate(report["classes"].values()):
        assert row["probability"]["before"] == pytest.approx(chances[0, k], abs=1e-5)
        assert row["probability"]["after"] == pytest.approx(chances[1, k], abs=1e-5)
        assert row["logit_moves"]["after"] == pytest.approx(logits[1, k] - logits[0, k], abs=1e-4)
    assert 0.05 < report["masked_share"] < 0.15
    assert told(network_file, image, "--data", manifest, "--mode", "black", "--margin", "0") == report


def test_without_text_nothing_is_changed_and_wrong_use_is_told_in_a_line(tmp_path: Path) -> None:
    configuration = SEVERAL[0]
    network_file = write_network(configuration, tmp_path / "network.safetensors", size=32)
    manifest = write_xrays(tmp_path / "films", configuration, n=6, side=48)
    data = Manifest.load(manifest)
    pixels = read_xray(data.image_path(data.ids[0]))
    Reviews.beside(manifest).save(data.ids[0], [], shape=pixels.shape, content_hash=content_hash(pixels))
    report = told(network_file, data.ids[0], "--data", manifest)
    assert (report["boxes"], report["masked_share"]) == ([], 0.0)
    assert all(row["logit_moves"]["after"] == 0 for row in report["classes"].values())
    shown = CliRunner().invoke(app, ["mask", str(network_file), data.ids[0], "--data", str(manifest)])
    assert "no text found" in shown.stdout
    wrong = CliRunner().invoke(app, ["mask", str(network_file), "nobody", "--data", str(manifest)])
    assert "'nobody' is not in the manifest" in str(wrong.exception)
