"""Experiments on X-rays that their network was trained on: they are marked, counted and named in what they find."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from configurations import CONFIGURATIONS, make_network, write_xrays

from cxr.data import ImageCache, Manifest, read_xray
from cxr.experiments.masking.job import run as run_masking
from cxr.experiments.stamping.job import run as run_stamping
from cxr.explain.job import explain_run
from cxr.models import save_model
from cxr.models.seen_images import Seen, SeenImages, sorted_digests
from cxr.paths import runs_root
from cxr.runs.folder import RunFolder
from cxr.text import Reviews, TextBox
from cxr.text.detection_store import content_hash

SIZE = 64
JOBS = {
    "text-experiment": (run_masking, {"explained": 2, "draws": 1}),
    "text-stamping": (run_stamping, {"word": "AP", "sizes": [0.2], "contrasts": [1.0], "avoid": False}),
    "explain": (explain_run, {"composite": "gradient", "previews": 0}),
}


@pytest.mark.parametrize("kind", JOBS)
@pytest.mark.parametrize("configuration", [CONFIGURATIONS[0], CONFIGURATIONS[4]], ids=str)
def test_what_an_experiment_finds_says_how_many_x_rays_are_not_new(tmp_path, kind, configuration):
    data = Manifest.load(write_xrays(tmp_path / "xrays", configuration, n=8, words=True))
    for image_id, path in data.image_paths().items():  # by hand, so that nothing is searched
        image = read_xray(path)
        box = [TextBox(4, 4, 60, 20, text="PORTABLE")] if path.stem in "0246" else []
        Reviews.beside(data.path).save(image_id, box, shape=image.shape, content_hash=content_hash(image))
    cache = ImageCache.build(data, SIZE, workers=0)
    files, pictures = cache.digests(np.arange(4))
    known = SeenImages("a", "only", "trained", 4, cache.form, sorted_digests(files), sorted_digests(pictures))
    network = save_model(make_network(configuration, SIZE), tmp_path / "net.safetensors", Seen((known,)))
    job, options = JOBS[kind]
    params = {"model": str(network), "manifest": str(data.path), "split": "test", "device": "cpu", **options}
    if kind != "explain":
        params["include_seen"] = True
    if kind == "text-stamping":
        params["towards"] = configuration.classes[0]
    folder = RunFolder.create(runs_root(), kind, params)
    job(folder, folder.params, lambda fraction, text: None)
    results = folder.read_json("results.json")
    counts = results["seen"]["splits"]["test"]
    measured = {"text-stamping": counts["of"]}.get(kind, 8)
    named = [image_id for row in results["seen"]["images"] for image_id in row["ids"]]
    assert counts["of"] == measured
    assert counts["trained"] == len(named) > 0
    assert set(named) <= set(cache.ids[:4])
    said = " ".join([results.get("finding", ""), *results.get("notes", [])])
    assert f"{len(named)} of the {measured} X-rays are not new to the network ({len(named)} trained on)." in said


@pytest.mark.parametrize("kind", ["text-experiment", "text-stamping"])
@pytest.mark.parametrize("configuration", [CONFIGURATIONS[1], CONFIGURATIONS[5]], ids=str)
def test_an_experiment_leaves_out_what_the_network_has_seen_names_and_counts_it(tmp_path, kind, configuration):
    data = Manifest.load(write_xrays(tmp_path / "xrays", configuration, n=12, words=True))
    for image_id, path in data.image_paths().items():  # by hand, so that nothing is searched
        image = read_xray(path)
        Reviews.beside(data.path).save(
            image_id, [TextBox(4, 4, 60, 20, text="PORTABLE")], shape=image.shape, content_hash=content_hash(image)
        )
    cache = ImageCache.build(data, SIZE, workers=0)
    files, pictures = cache.digests(np.arange(5))
    known = SeenImages("a", "only", "trained", 5, cache.form, sorted_digests(files), sorted_digests(pictures))
    network = save_model(make_network(configuration, SIZE), tmp_path / "net.safetensors", Seen((known,)))
    job, options = JOBS[kind]
    params = {"model": str(network), "manifest": str(data.path), "split": "test", "device": "cpu", **options}
    if kind == "text-stamping":
        params["towards"] = configuration.classes[0]
    folder = RunFolder.create(runs_root(), kind, params)
    job(folder, folder.params, lambda fraction, text: None)
    results = folder.read_json("results.json")
    counts = results["seen"]["splits"]["test"]
    named = {image_id for row in results["seen"]["images"] for image_id in row["ids"]}
    table = pd.read_parquet(folder.path / {"text-stamping": "stamped.parquet"}.get(kind, "predictions.parquet"))
    assert counts["left_out"]
    assert counts["trained"] == len(named) > 0
    assert named <= set(cache.ids[:5])
    assert table["image_id"].nunique() == counts["of"] - len(named) > 0
    assert not named & set(table["image_id"])
    sentence = f"{len(named)} of {counts['of']} X-rays are left out: they are not new to the network"
    assert sentence in results["finding"]
