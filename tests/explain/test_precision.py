"""bfloat16 is taken where a trial on the first image shows float32's map in less time, else float32 with a word."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from cxr.cli import app
from cxr.data import Manifest
from cxr.explain import explain, precision
from cxr.explain.heatmap import Method
from cxr.explain.job import explain_run
from cxr.explain.precision import LEAST_COSINE, Trial, least_cosine, try_bfloat16
from cxr.explain.store import HeatmapStore
from cxr.models import build, save_model
from cxr.runs.folder import RunFolder

CLASSES = ("x", "y", "z")


@pytest.fixture
def takes(monkeypatch):
    """Say how much of float32's time bfloat16 takes, whatever the machine."""

    def set_time(share):
        turns = iter([share, 1.0] * 1000)
        monkeypatch.setattr(precision, "seconds_of", lambda work: next(turns))

    return set_time


def network(channels=1, task="single-label"):
    torch.manual_seed(0)
    return build("densenet-small", CLASSES, size=64, channels=channels, task=task).eval()


IMAGES = np.random.default_rng(0).integers(0, 256, (3, 64, 64), dtype=np.uint8)


@pytest.mark.parametrize(("channels", "task"), [(1, "single-label"), (3, "multi-label")])
def test_bfloat16_is_taken_where_its_map_is_float32s_and_it_pays(takes, channels, task):
    takes(0.6)
    model = network(channels, task)
    result = explain(model, IMAGES, "y", precision="bfloat16")
    assert (result.precision, result.trial.time) == ("bfloat16", 0.6)
    assert result.trial.cosine >= LEAST_COSINE
    assert "in 0.6 of its time" in result.notes[-1]
    always = explain(model, IMAGES, "y", precision="bfloat16", trial=False)
    assert np.array_equal(result.relevance, always.relevance)


def test_where_it_is_slower_float32_is_taken_and_the_note_says_so(takes):
    takes(4.3)
    model = network()
    result = explain(model, IMAGES, "y", precision="bfloat16")
    assert result.precision == "float32"
    assert np.array_equal(result.relevance, explain(model, IMAGES, "y").relevance)
    assert (
        "takes 4.3 times as long as float32 here (at most 0.9 is worth it): propagated in float32." in result.notes[-1]
    )


def test_where_the_map_is_another_one_float32_is_taken_and_the_note_names_the_cosine(takes):
    takes(0.5)
    model = network()
    rough, fine = (
        explain(model, IMAGES[:1], "y", "epsilon", precision=name, trial=False).relevance for name in ("bfloat16", None)
    )
    cosine = float((rough * fine).sum() / np.linalg.norm(rough) / np.linalg.norm(fine))
    assert cosine < LEAST_COSINE, "plain epsilon divides by sums near zero"
    result = explain(model, IMAGES, "y", "epsilon", precision="bfloat16")
    assert result.precision == "float32"
    assert result.trial.cosine == pytest.approx(cosine, abs=1e-4)
    assert f"only to a cosine of {cosine:.3f} (0.999 is needed): propagated in float32." in result.notes[-1]


def test_a_network_is_tried_once_and_again_after_its_weights_have_changed(takes):
    takes(0.6)
    model = network()
    first = explain(model, IMAGES, "y", precision="bfloat16").trial
    assert explain(model, IMAGES[1:], "z", precision="bfloat16").trial is first
    takes(3.0)
    assert explain(model, IMAGES, "y", precision="bfloat16").trial is first
    with torch.no_grad():
        model.network.classifier.weight *= 1.5
    assert explain(model, IMAGES, "y", precision="bfloat16").precision == "float32"


def test_the_smallest_cosine_counts_and_maps_that_are_not_finite_or_zero_are_distinguished():
    one = np.eye(4)[None].repeat(2, 0)
    assert least_cosine(one, one) == pytest.approx(1)
    assert least_cosine(np.stack([one[0], -one[0]]), one) == pytest.approx(-1)
    assert least_cosine(0 * one, 0 * one) == 1
    assert least_cosine(0 * one, one) == 0
    assert least_cosine(np.nan * one, one) == -1
    assert not Trial(0.5).holds
    assert try_bfloat16(lambda: -one, lambda: one) == Trial(-1.0, pytest.approx(np.nan, nan_ok=True))


@pytest.fixture
def on_disk(tmp_path):
    model = network()
    save_model(model, tmp_path / "net.safetensors")
    rows = ["image,image_id,label,split,patient_id"]
    for i, pixels in enumerate(IMAGES):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        rows.append(f"{i}.png,i{i},{CLASSES[i]},test,p{i}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    Manifest.load(tmp_path / "manifest.csv")
    return tmp_path


@pytest.mark.parametrize(("share", "used"), [(0.5, "bfloat16"), (2.0, "float32")])
def test_a_run_records_which_precision_was_used_and_why(takes, on_disk, share, used):
    takes(share)
    params = {"model": str(on_disk / "net.safetensors"), "manifest": str(on_disk / "manifest.csv"), "split": "test"}
    folder = RunFolder.create(on_disk / "runs", "explain", params | {"precision": "bfloat16"})
    explain_run(folder, folder.params, lambda *_: None)
    results = folder.read_json("results.json")
    told = results["precision"]
    assert (told["requested"], told["used"], told["time"]) == ("bfloat16", used, share)
    assert told["cosine"] >= told["least_cosine"] == LEAST_COSINE
    assert told["note"] in results["notes"]
    stored = HeatmapStore.of(params["model"])
    index = sorted(path.name for path in stored.folder.iterdir())
    assert "index.sqlite" in index
    way = Method.of(precision="bfloat16" if used == "bfloat16" else None)
    from cxr.data import ImageCache
    from cxr.explain.heatmap import picture_digest

    picture = picture_digest(ImageCache.build(Manifest.load(on_disk / "manifest.csv"), 64)["i0"])
    assert [heatmap.precision for heatmap in stored.get(picture, way, CLASSES).values()] == [used]
    takes(0.5)  # a resumed run that had taken float32 keeps to it
    explain_run(folder, folder.params, lambda *_: None)
    assert folder.read_json("results.json")["precision"]["used"] == used


def test_the_command_says_which_precision_was_used(takes, on_disk):
    takes(3.0)
    words = ["explain", str(on_disk / "net.safetensors"), str(on_disk / "0.png"), "--precision", "bfloat16"]
    done = CliRunner().invoke(app, [*words, "--out", str(on_disk / "out"), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["precision"] == "float32"
    assert any("takes 3 times as long as float32 here" in note for note in told["notes"])
