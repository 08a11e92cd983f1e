"""Clusters of heatmaps: found where they are planted, silent where nothing is, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cluster_maps import corner_map, drawn, write_heatmaps
from configurations import CONFIGURATIONS, FOURTEEN, ODD_NAMES, Configuration, write_network, write_xrays

from cxr.errors import CxrError
from cxr.experiments.clusters.entries import class_entries, cluster_entries
from cxr.experiments.clusters.groups.partition import placed
from cxr.experiments.clusters.groups.spectral import components
from cxr.experiments.clusters.groups.structure import structure
from cxr.experiments.clusters.in_regions import RegionShares
from cxr.experiments.clusters.job import HEATMAPS, MAPS, TABLE, drawn_rows, run
from cxr.experiments.clusters.limits import FEWEST_PATIENTS, TOO_FEW
from cxr.experiments.clusters.maps import PooledMaps, pooled
from cxr.experiments.clusters.of_class import clusters_of_class
from cxr.experiments.clusters.results import ClusterResults, cluster_results
from cxr.experiments.clusters.scores import corrected_p, largest_by_chance, separateness, t_values
from cxr.runs import Run, get_run, list_runs, start
from cxr.runs.folder import RunFolder
from cxr.text.corrections import Reviews
from tests.typed_results import misfits

DRAWS = 39


def quiet(fraction: float, message: str = "") -> None:
    """Report nothing."""


def clustered(heatmaps: Run, **params: object) -> Run:
    folder = RunFolder.create(
        heatmaps.folder.path.parent,
        "cluster-heatmaps",
        {"heatmaps": heatmaps.id, "workers": 0, "text": False, **params},
    )
    run(folder, folder.params, quiet)
    folder.update_status(state="finished", message="finished")
    return get_run(folder.id)


def test_pooling_adds_up_positive_relevance_alone_and_the_sum_is_one():
    relevance = np.zeros((50, 50))
    relevance[:5, :5], relevance[30:, 30:] = 3.0, -9.0
    small = pooled(relevance, 20)
    assert small.sum() == pytest.approx(1)
    assert small[:2, :2].sum() == pytest.approx(1)
    assert pooled(-np.ones((50, 50)), 20).sum() == 0
    odd = pooled(np.random.default_rng(0).random((70, 70)), 16)
    assert odd.sum() == pytest.approx(1)
    assert odd.shape == (16, 16)


def test_a_planted_cluster_is_found_and_stable_and_maps_without_one_give_one():
    maps = drawn(80)
    of = clusters_of_class(maps, "hernia", DRAWS, 0)
    assert of.n_clusters == 2
    assert of.is_stable
    planted = np.arange(80) < 24
    assert np.array_equal(of.labels == 1, planted)
    assert all((entry["value"] or 0) > of.by_chance > 0 for entry in of.separateness)
    alone = np.random.default_rng(3).normal(size=(60, 40)) * np.linspace(3, 0.3, 40)
    assert structure(components(alone), DRAWS).n_clusters == 1


def test_x_rays_of_one_patient_are_no_cluster():
    rng = np.random.default_rng(0)
    base = [corner_map(rng, corner=False) for _ in range(40)]
    maps = np.stack([pooled(base[k // 4] * rng.uniform(0.99, 1.01, (64, 64)), 20) for k in range(160)])
    table = drawn(160).table.assign(patient=[f"p{k // 4}" for k in range(160)])
    of = clusters_of_class(PooledMaps(table, maps), "hernia", DRAWS, 0)
    assert len(of.sample) == 40
    assert of.n_clusters == 1


def test_equal_seeds_give_equal_clusters_and_other_seeds_the_same_planted_one():
    maps = drawn(70, seed=5)
    first, again, other = (clusters_of_class(maps, "hernia", DRAWS, seed) for seed in (3, 3, 4))
    for name in ("labels", "embedding", "layout", "sample"):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    assert first.structure is not None
    assert again.structure is not None
    assert (first.structure.p, first.structure.valley) == (again.structure.p, again.structure.valley)
    assert first.stability is not None
    assert again.stability is not None
    assert first.stability.agreement == again.stability.agreement
    assert np.array_equal(first.labels, other.labels)


def test_what_was_not_clustered_goes_where_its_neighbours_are():
    points = np.r_[np.zeros((6, 2)), np.full((6, 2), 9.0), [[0.1, 0.0]], [[8.9, 9.0]]]
    known = np.arange(12)
    labels, coordinates = placed(points, known, np.repeat([0, 1], 6), points[:12] * 2)
    assert labels[-2:].tolist() == [0, 1]
    assert coordinates[-2:].tolist() == [[0, 0], [18, 18]]


def test_separateness_is_the_distance_of_means_in_standard_deviations():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(400, 3)) * [1, 5, 0.1]
    labels = np.repeat([0, 1], 200)
    points[200:, 0] += 6
    values = separateness(points, labels, np.arange(400))
    assert values[0] == values[1]
    low, high = values[0]["low"], values[0]["high"]
    assert low is not None
    assert high is not None
    assert 5.2 < low < 6 < high < 7


def test_the_largest_t_by_chance_corrects_for_all_clusters_and_regions():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 120)
    false = 0
    for seed in range(40):
        values = np.random.default_rng(seed).random((120, 4))
        largest = largest_by_chance(values, labels, seed, 199)
        false += any(corrected_p(t, largest) < 0.05 for c in range(4) for t in t_values(values, (labels == c)[None])[0])
    assert false <= 6
    values[:, 1] += labels == 2
    t = t_values(values, (labels == 2)[None])[0]
    assert corrected_p(t[1], largest_by_chance(values, labels, 0, 199)) == 1 / 200
    assert t_values(values, np.zeros((1, 120), bool))[0].tolist() == [-np.inf] * 4


def test_a_cluster_is_named_by_the_region_that_it_uses_most_and_by_its_place():
    maps = drawn(80)
    of = clusters_of_class(maps, "hernia", DRAWS, 0)
    rows = drawn_rows([of], 60, 0)
    assert len(rows) == 60
    assert (rows < 24).sum() == 24  # equally many of each cluster, as far as there are
    rng = np.random.default_rng(0)
    shares = rng.dirichlet([1, 6, 1, 2], len(rows))
    shares[rows < 24] = rng.dirichlet([8, 2, 1, 2], 24)
    measured = RegionShares(rows, ("text", "lungs", "border", "elsewhere"), shares, np.full((60, 4), 0.25), {"box": 60})
    classes = class_entries(maps, [of], 0)
    large, small = cluster_entries(maps, [of], classes, measured, 0)
    assert (small["title"], small["place"]) == ("text, upper right corner", "upper right corner")
    assert (large["region"], large["size"], small["size"]) == ("lungs", 56, 24)
    assert small["shown"]
    assert small["sources"] == {"A": 24}
    assert small["estimate"]["low"] is not None
    assert small["estimate"]["low"] > 2
    assert all(x0 > 0.6 and y1 < 0.4 for x0, _, _, y1 in small["boxes"])
    source = next(entry for entry in classes[0]["associations"] if entry["column"] == "source")
    assert source["shown"]
    assert source["v"] == pytest.approx(1)


@pytest.mark.parametrize("configuration", [CONFIGURATIONS[1], CONFIGURATIONS[5], *ODD_NAMES], ids=str)
def test_heatmaps_of_any_network_are_clustered(configuration: Configuration, tmp_path: Path):
    done = clustered(write_heatmaps(tmp_path, configuration), text=True)
    results = cluster_results(done)
    assert list(misfits(results, ClusterResults)) == []
    target = configuration.classes[0]
    assert [(of["target"], of["n_clusters"], of["stable"]) for of in results["classes"]] == [(target, 2, True)]
    assert [(entry["number"], entry["size"]) for entry in results["clusters"]] == [(1, 29), (2, 15)]
    corner = results["clusters"][1]
    assert corner["place"] == "upper right corner"
    assert corner["sources"] == {"A": 15}
    assert [region["region"] for region in corner["regions"]] == ["text", "lungs", "border", "elsewhere"]
    table = pd.read_parquet(done.folder.path / TABLE)
    assert set(table["image_id"][table["cluster"] == 2]) == {f"x{k}" for k in range(15)}
    assert np.load(done.folder.path / MAPS).shape == (44, 20, 20)
    assert target in results["finding"]


def test_heatmaps_are_computed_first_where_there_are_none_and_a_stopped_run_goes_on(tmp_path: Path):
    configuration = Configuration(3, "multi-label", FOURTEEN)
    weights = write_network(configuration, tmp_path / "net.safetensors")
    manifest = write_xrays(tmp_path / "xrays", configuration, n=64)
    params = {"model": str(weights), "manifest": str(manifest), "split": "test", "targets": "Hernia", "batch": 16}
    folder = RunFolder.create(tmp_path / "runs", "cluster-heatmaps", params | {"text": False, "workers": 0})

    def stop_early(fraction: float, message: str = "") -> None:
        if "16 of" in message:
            folder.request_stop()

    run(folder, folder.params, stop_early)
    assert len(pd.read_parquet(folder.path / HEATMAPS / "index.parquet")) == 16
    assert folder.read_json("results.json") is None
    folder.clear_stop()
    said: list[str] = []
    run(folder, folder.params, lambda fraction, message="": said.append(message))
    assert said[2] == "32 of 64 images explained"
    results = folder.read_json("results.json")
    assert (results["n_images"], results["n_patients"], results["classes"][0]["target"]) == (64, 32, "Hernia")


@pytest.mark.parametrize("by_network", [True, False])
def test_few_x_rays_are_refused_with_a_sentence(by_network: bool, tmp_path: Path):
    if by_network:
        weights = write_network(CONFIGURATIONS[1], tmp_path / "net.safetensors")
        params = {"model": str(weights), "manifest": str(write_xrays(tmp_path / "xrays", CONFIGURATIONS[1]))}
        folder = RunFolder.create(tmp_path / "runs", "cluster-heatmaps", params)
        with pytest.raises(CxrError, match=r"too few heatmaps to cluster: .* Accepted: 30 patients or more"):
            run(folder, folder.params, quiet)
        assert folder.read_json(TOO_FEW)["most_patients"] < FEWEST_PATIENTS
        return
    heatmaps = write_heatmaps(tmp_path, CONFIGURATIONS[1], n=20)
    with pytest.raises(CxrError, match="no class is explained on X-rays of more than 20 patients"):
        start("cluster-heatmaps", {"heatmaps": heatmaps.id})


def test_a_run_that_is_not_of_heatmaps_or_not_finished_is_refused(tmp_path: Path):
    heatmaps = write_heatmaps(tmp_path, CONFIGURATIONS[1])
    heatmaps.folder.update_status(state="stopped")
    with pytest.raises(CxrError, match="is stopped: clusters are made of finished heatmaps"):
        start("cluster-heatmaps", {"heatmaps": heatmaps.id})
    other = RunFolder.create(tmp_path / "runs", "demo", {})
    with pytest.raises(CxrError, match="is of the kind 'demo'"):
        start("cluster-heatmaps", {"heatmaps": other.id})


def test_commands_show_name_measure_and_export_a_cluster(tmp_path: Path, cxr, wide_terminal):
    configuration = CONFIGURATIONS[0]
    heatmaps = write_heatmaps(tmp_path, configuration)
    code, out, err = cxr("clusters", heatmaps.id, "--no-text")
    assert code == 0, err
    assert "upper right corner" in out
    (run_id,) = (path.name for path in (tmp_path / "runs").iterdir() if "clusters" in path.name)
    assert cxr("clusters", run_id, "--name", "2", "  The  mark ")[0] == 0
    assert "The mark" in cxr("clusters", run_id)[1]
    assert cxr("clusters", run_id, "--name", "9", "x")[0] == 2
    code, out, err = cxr("clusters", run_id, "--measure", "2", "--mode", "black", "--device", "cpu")
    assert code == 0, err
    assert "Masking the region of cluster 2" in out
    assert "15 X-rays of 15 patients of the cluster" in out
    assert "29 X-rays of 29 patients of the class's other clusters" in out
    assert cxr("clusters", run_id, "--measure", "2", "--export-mask", "2", "--out", tmp_path / "m")[0] == 2
    assert cxr("clusters", heatmaps.id, "--export-mask", "2", "--out", tmp_path / "m")[0] == 2
    code, out, err = cxr("clusters", run_id, "--export-mask", "2", "--out", tmp_path / "m", "--json")
    assert code == 0, err
    reviews = Reviews.beside(tmp_path / "m" / "manifest.csv")
    assert len(reviews.reviewed) == 44
    box = (reviews.get("x3") or [])[0]
    assert box.x0 > 60
    assert box.y1 < 50
    assert cxr("clusters", run_id, "--export-mask", "2", "--out", tmp_path / "m")[0] == 2


def test_a_recipe_that_masks_text_masks_an_exported_region(tmp_path: Path):
    from cxr.data import ImageCache, Manifest
    from cxr.experiments.clusters.region.export import export_mask
    from cxr.training.data.masked_text import without_text
    from cxr.training.recipe import Text

    done = clustered(write_heatmaps(tmp_path, CONFIGURATIONS[1]))
    export_mask(done, 2, tmp_path / "masked", workers=0)
    manifest = Manifest.load(tmp_path / "masked" / "manifest.csv")
    treatment, summary = without_text(manifest, Text(handling="mask", mode="black"), quiet)
    assert (summary["n_images"], summary["n_by_hand"]) == (44, 44)
    masked, plain = (ImageCache.build(manifest, 64, workers=0, treatment=own) for own in (treatment, None))
    changed = (masked.rows(["x0"])[0] != plain.rows(["x0"])[0]).astype(float)
    assert changed[:16, 48:].mean() > 0.8
    assert changed[32:, :32].mean() == 0


def test_composites_options_and_biases_go_with_a_network_alone(tmp_path: Path, cxr, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("cxr.runs.starting.launch", lambda folder: None)
    heatmaps = write_heatmaps(tmp_path, CONFIGURATIONS[1])
    params = heatmaps.spec["params"]
    network = ["clusters", params["model"], "--data", params["manifest"], "--composite", "epsilon-alpha2-beta1-flat"]
    code, _, err = cxr(*network, "--option", "epsilon=1e-4", "--bias", "keep", "--detach")
    assert code == 0, err
    (started,) = list_runs(kind="cluster-heatmaps")
    own = started.spec["params"]
    assert (own["options"], own["bias"]) == ({"epsilon": 1e-4}, "keep")
    code, _, err = cxr(*network, "--option", "epsilom=1", "--detach")
    assert code == 2
    assert "epsilom" in err
    assert cxr("clusters", heatmaps.id, "--bias", "keep")[0] == 2


def test_ends_of_a_gradual_change_are_shown_with_a_doubt():
    rng = np.random.default_rng(0)
    maps = drawn(90).maps.copy()
    rows, columns = np.mgrid[:20, :20]
    for k in range(90):  # one spot that moves from left to right
        spot = np.exp(-((rows - 10) ** 2 + (columns - 2 - 15 * rng.random()) ** 2) / 18) + 0.01 * rng.random((20, 20))
        maps[k] = spot / spot.sum()
    moving = PooledMaps(drawn(90).table, maps)
    of = clusters_of_class(moving, "hernia", DRAWS, 0)
    assert of.gradual
    assert of.n_clusters == 2
    measured = RegionShares(np.zeros(0, np.int64), ("lungs",), np.zeros((0, 1)), np.zeros((0, 1)), {})
    (entry,) = classes = class_entries(moving, [of], 0)
    assert "two ends of what may be a gradual change" in entry["sentence"]
    assert not entry["shown"]
    clusters = cluster_entries(moving, [of], classes, measured, 0)
    assert not any(cluster["shown"] for cluster in clusters)
    assert "one end of a gradual change" in clusters[0]["sentence"]
