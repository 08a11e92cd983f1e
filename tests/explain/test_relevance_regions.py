"""The relevance budget: shares of heatmaps by region, regions removed against controls, and a planted mark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from cxr.data import Manifest, read_xray
from cxr.errors import CxrError
from cxr.experiments.relevance import job, measure, picture_regions
from cxr.experiments.relevance.entries import planted_results, region_entries
from cxr.experiments.relevance.picture_regions import RegionMaker, at_size
from cxr.experiments.relevance.planted import hourglass, stamped
from cxr.experiments.relevance.ranking import ranked
from cxr.experiments.relevance.removal import control_masks, removed
from cxr.experiments.relevance.results import KIND, RelevanceResults, images_table, relevance_regions_results
from cxr.experiments.relevance.settings import RelevanceParams
from cxr.explain.job import explain_run
from cxr.explain.quality.region_shares import mean_gains, region_shares
from cxr.explain.store import clear
from cxr.models import XrayClassifier, build, save_model
from cxr.models.card import ModelCard
from cxr.reports import relevance as report
from cxr.runs import Run, RunFolder
from cxr.text import DetectionStore, TextBox
from tests.configurations import (
    CONFIGURATIONS,
    ODD,
    TINY,
    TWO,
    Configuration,
    every_configuration,
    write_network,
    write_xrays,
)
from tests.typed_results import misfits

Cxr = Callable[..., tuple[int, str, str]]
REGIONS = ("text", "lungs", "border", "elsewhere")


def quiet(fraction: float, message: str = "") -> None:
    """Report nothing."""


def budget(root: Path, manifest: Path, network: Path, **more: object) -> Run:
    """Return a finished run, done in this process."""
    params = RelevanceParams.of({"model": str(network), "manifest": manifest, "workers": 0, "text": False} | more)
    params.check()
    folder = RunFolder.create(root / "runs", KIND, params.stored())
    job.run(folder, params, quiet)
    folder.update_status(state="finished")
    return Run(folder.path)


def entry_of(results: RelevanceResults, region: str) -> dict:
    return next(e for e in results["regions"] if e["region"] == region and e["every"])


# shares


def test_shares_of_disjoint_regions_add_up_and_an_empty_region_holds_nothing():
    relevance = np.random.default_rng(0).normal(size=(3, 20, 20))
    left = np.zeros((20, 20), bool)
    left[:, :7] = True
    shares = region_shares(relevance, {"left": left, "rest": ~left, "none": np.zeros_like(left)})
    assert shares["left"][0] + shares["rest"][0] == pytest.approx(1)
    assert shares["left"][1] + shares["rest"][1] == pytest.approx(1)
    assert shares["none"] == (0, 0)
    flat = relevance.sum(0)
    assert shares["left"][0] == pytest.approx(flat.clip(0)[left].sum() / flat.clip(0).sum())
    assert np.isnan(region_shares(-np.abs(relevance), {"left": left})["left"][0])


def test_a_gain_is_the_mean_share_over_the_mean_area_and_images_without_the_region_change_nothing():
    rng = np.random.default_rng(0)
    areas, shares = rng.uniform(0.01, 0.05, 30), rng.uniform(0.02, 0.2, (30, 1))
    (gain,) = mean_gains(areas, shares, list(range(30)))
    assert gain["value"] == pytest.approx(shares.mean() / areas.mean())
    assert gain["low"] < gain["value"] < gain["high"]
    wider = mean_gains(areas[:10], shares[:10], [k // 5 for k in range(10)])[0]
    assert wider["low"] < wider["value"] < wider["high"]


def test_at_a_network_s_size_each_pixel_is_of_one_region():
    masks = {name: np.zeros((100, 80), bool) for name in ("text", "lungs", "border")}
    masks["text"][:3, :3] = True
    masks["lungs"][30:70, 20:60] = True
    masks["border"] = ~(masks["text"] | masks["lungs"])
    small = at_size(masks, 16)
    assert sum(mask.astype(int) for mask in small.values()).tolist() == np.ones((16, 16)).tolist()
    assert small["lungs"].mean() == pytest.approx(0.2, abs=0.05)
    assert "text" not in at_size({**masks, "text": np.zeros((100, 80), bool)}, 16)


# removal and controls


@pytest.mark.parametrize("corner", [True, False])
def test_controls_are_as_large_as_the_region_and_off_it(corner: bool):
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(30, 200, (64, 64), dtype=np.uint8), (7, 7), 0)
    region, avoid = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    if corner:
        region[2:8, 3:15] = region[2:8, 45:50] = True
    else:
        region[16:48, 8:28] = region[16:48, 36:56] = True
    avoid[30:34, 60:] = True
    masks = control_masks(picture, region, avoid, 3, [0, 1])
    assert len(masks) == 3
    for mask in masks:
        assert not (mask & (region | avoid)).any()
        assert mask.sum() == pytest.approx(region.sum(), rel=0.15)
    assert not np.array_equal(masks[0], masks[1])
    assert np.array_equal(masks, control_masks(picture, region, avoid, 3, [0, 1]))
    if corner:  # as near to the frame as the parts of the region
        ys, xs = np.nonzero(masks.any(0))
        assert np.minimum.reduce([ys, xs, 63 - ys, 63 - xs]).max() < 20


def test_a_control_changes_the_picture_as_much_as_the_region_and_elsewhere_only():
    rng = np.random.default_rng(1)
    picture = cv2.GaussianBlur(rng.integers(60, 160, (64, 64), dtype=np.uint8), (9, 9), 0)
    picture[4:12, 4:20] = 255
    region = np.zeros((64, 64), bool)
    region[3:13, 3:21] = True
    controls = control_masks(picture, region, np.zeros_like(region), 2, [0])
    without, *others = removed(picture, region, controls)
    assert np.array_equal(without[~region], picture[~region])
    assert without[region].max() < 200  # no ink is left
    change = np.abs(without.astype(int) - picture).sum()
    for mask, other in zip(controls, others, strict=True):
        assert np.array_equal(other[~mask], picture[~mask])
        assert 0 < np.abs(other.astype(int) - picture).sum() <= 1.1 * change


def test_a_region_with_no_room_beside_it_has_no_controls():
    region = np.ones((32, 32), bool)
    region[:, :10] = False
    assert control_masks(np.zeros((32, 32), np.uint8), region, ~region, 3, [0]).shape == (0, 32, 32)


def test_the_mark_lies_within_the_border_off_text():
    picture = np.random.default_rng(0).integers(0, 200, (128, 128), dtype=np.uint8)
    avoid = np.zeros((128, 128), bool)
    avoid[:64] = True
    for key in range(20):
        image, square = stamped(picture, 0.08, avoid, [key])
        assert not square[avoid].any()
        assert not square[11:-11, 11:-11].any()
        assert np.array_equal(image[~square], picture[~square])
        assert not np.array_equal(image, picture)
    assert stamped(picture, 0.08, np.ones_like(avoid), [0]) is None
    assert hourglass(5).astype(int).tolist()[0] == [1, 1, 1, 1, 1]
    assert hourglass(5).astype(int).tolist()[2] == [0, 0, 1, 0, 0]


# figures over patients


def rows(n: int, effect: float, gain: float, seed: int = 0) -> pd.DataFrame:
    """Return a table of ``n`` images of ``n // 2`` patients, of two explained classes."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"image_id": [f"i{k}" for k in range(n)], "patient": [f"p{k // 2}" for k in range(n)]})
    frame["explained"] = [ODD[k % 2] for k in range(n)]
    for region, area in (("border", 0.25), ("elsewhere", 0.75)):
        own = gain if region == "border" else (1 - 0.25 * gain) / 0.75
        frame[f"area_{region}"] = frame[f"control_area_{region}"] = area
        frame[f"share_{region}"] = (area * own * rng.lognormal(0, 0.1, n)).clip(0, 1)
        frame[f"absolute_{region}"] = frame[f"share_{region}"]
        frame[f"control_share_{region}"] = area * rng.lognormal(0, 0.1, n)
        frame[f"logit_change_{region}"] = rng.normal(effect if region == "border" else 0, 1, n)
        frame[f"control_change_{region}"] = rng.normal(0, 1, n)
        frame[f"grey_{region}"], frame[f"control_grey_{region}"] = 4.0, 3.0
    return frame


def test_what_the_logit_falls_by_beyond_its_control_is_shown_and_the_rest_is_not():
    entries = region_entries(rows(120, effect=-2.0, gain=2.0))
    border, rest = (e for e in entries if e["every"])
    assert (border["shown"], border["gain_shown"], rest["shown"], rest["gain_shown"]) == (True, True, False, False)
    assert border["gain"]["low"] > 1.8
    assert border["beyond"]["high"] < 0 < border["p_corrected"]
    assert "relies on it more than on such places" in border["sentence"]
    assert "the control changes 75 % as much grey" in border["sentence"]
    assert {e["group"] for e in entries if not e["every"]} == {ODD[0], ODD[1]}
    other_way = region_entries(rows(120, effect=2.0, gain=0.5))[0]
    assert (other_way["shown"], other_way["gain_shown"]) == (False, False)
    assert "other places lower it more" in other_way["sentence"]
    p, corrected = ([e[key] for e in entries if e["every"]] for key in ("p", "p_corrected"))
    assert corrected == pytest.approx([min(1, 2 * p[0]), p[1]])


def test_few_patients_show_nothing_and_it_is_said():
    entries = region_entries(rows(8, effect=-30.0, gain=3.0))
    border = next(e for e in entries if e["every"])
    assert not border["shown"]
    assert border["beyond"]["low"] is None
    assert "too few patients (4)" in border["sentence"]


# runs


@every_configuration
def test_any_network_gives_shares_that_add_up_and_results_of_their_type(configuration: Configuration, tmp_path: Path):
    manifest = write_xrays(tmp_path / "xrays", configuration, n=8)
    network = write_network(configuration, tmp_path / "net.safetensors")
    store = DetectionStore()
    for k, image_id in enumerate(Manifest.load(manifest).ids):
        boxes = [TextBox(4, 4, 30, 14, "PORTABLE", 0.9, "word")] * (k % 2)
        store.put(read_xray(Manifest.load(manifest).image_path(image_id)), boxes)
    run = budget(tmp_path, manifest, network, text=True, targets="all" if configuration.multi_label else "")
    results, table = relevance_regions_results(run), images_table(run)
    assert list(misfits(run.results(), RelevanceResults)) == []
    assert len(table) == 8 * (len(configuration.classes) if configuration.multi_label else 1)
    own = table[table["share_border"].notna()]
    total = own[[f"share_{name}" for name in REGIONS]].fillna(0).sum(axis=1)
    assert total.to_numpy() == pytest.approx(np.ones(len(own)), abs=1e-6)
    areas = table[[f"area_{name}" for name in REGIONS]].fillna(0).sum(axis=1)
    assert areas.to_numpy() == pytest.approx(np.ones(len(table)))
    text = entry_of(results, "text")
    assert text["n"] == 4
    assert table["area_text"].notna().groupby(table["image_id"]).all().sum() == 4
    assert {e["group"] for e in results["regions"]} <= {"all", *configuration.classes}
    assert results["planted"]["n"] == 8
    assert "8 X-rays of 4 patients" in results["finding"]
    if not configuration.multi_label:
        assert table["explained"].tolist() == table["predicted"].tolist()
    page = report.write(run, tmp_path / "report.html").read_text()
    assert "Relevance per area" in page


def test_heatmaps_of_an_explaining_run_are_taken_over_and_none_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    configuration = CONFIGURATIONS[1]
    manifest = write_xrays(tmp_path / "xrays", configuration, n=6)
    network = write_network(configuration, tmp_path / "net.safetensors")
    first = budget(tmp_path, manifest, network, planted=False)
    assert relevance_regions_results(first)["heatmaps"] == {"stored": 0, "computed": 6}
    again = budget(tmp_path, manifest, network, planted=False)
    assert relevance_regions_results(again)["heatmaps"] == {"stored": 6, "computed": 0}
    clear()
    folder = RunFolder.create(tmp_path / "runs", "explain", {"model": str(network), "manifest": str(manifest)})
    explain_run(folder, folder.params, quiet)
    clear()
    monkeypatch.setattr(measure, "stored_or_explained", lambda *_: pytest.fail("a heatmap was computed"))
    taken = budget(tmp_path, manifest, network, planted=False)
    shares = [images_table(run)["share_border"].to_numpy() for run in (first, taken)]
    assert shares[1] == pytest.approx(shares[0], abs=2e-3)
    other = RelevanceParams.of({"model": str(network), "manifest": manifest, "composite": "epsilon", "text": False})
    with pytest.raises(BaseException, match="a heatmap was computed"):
        job.run(RunFolder.create(tmp_path / "runs", KIND, other.stored()), other, quiet)


def test_a_stopped_run_goes_on_where_it_was_and_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    configuration = CONFIGURATIONS[4]
    manifest = write_xrays(tmp_path / "xrays", configuration, n=12)
    network = write_network(configuration, tmp_path / "net.safetensors")
    params = RelevanceParams.of({"model": str(network), "manifest": manifest, "text": False, "limit": 10})
    whole, halved = (RunFolder.create(tmp_path / "runs", KIND, params.stored()) for _ in range(2))
    job.run(whole, params, quiet)
    made: list[str] = []
    regions = RegionMaker.regions
    monkeypatch.setattr(RegionMaker, "regions", lambda own, i, *more: made.append(i) or regions(own, i, *more))

    def stop_at_four(fraction: float, message: str) -> None:
        if message.startswith("4 of"):
            halved.request_stop()

    job.run(halved, params, stop_at_four)
    assert (len(made), halved.read_json("results.json")) == (4, None)
    with (halved.path / "rows.jsonl").open("a") as lines:
        lines.write('[{"image_id": "half')  # as a process that was killed leaves it
    halved.clear_stop()
    job.run(halved, params, quiet)
    assert len(made) == len(set(made)) == 10
    first, second = (folder.read_json("results.json") for folder in (whole, halved))
    assert (first["n_images"], first["of"]) == (10, 12)
    assert first["regions"] == second["regions"]
    assert first["planted"] == second["planted"]
    assert not (halved.path / "rows.jsonl").exists()


def test_lungs_come_the_same_way_for_all_x_rays(tmp_path: Path):
    manifest = write_xrays(tmp_path, CONFIGURATIONS[0], n=4)
    table = pd.read_csv(manifest)
    mask = np.zeros((96, 96), np.uint8)
    mask[20:80, 15:40] = mask[20:80, 55:80] = 255
    cv2.imwrite(str(tmp_path / "lungs.png"), mask)
    table["lung_mask"] = ["lungs.png", "lungs.png", "lungs.png", ""]
    table.to_csv(manifest, index=False)
    assert RegionMaker.of(Manifest.load(manifest), "auto", False, 0.08).lungs == "segmentation"
    table["lung_mask"] = "lungs.png"
    table.to_csv(manifest, index=False)
    maker = RegionMaker.of(Manifest.load(manifest), "auto", False, 0.08)
    regions, source = maker.regions(Manifest.load(manifest).ids[0], (), 96)
    assert (maker.lungs, source) == ("manifest", "manifest")
    assert np.array_equal(regions["lungs"], mask > 127)
    assert RegionMaker.of(Manifest.load(manifest), "box", False, 0.08).lungs == "box"


def test_lesions_that_the_data_mark_are_a_region_of_their_own(tmp_path: Path):
    manifest = write_xrays(tmp_path, CONFIGURATIONS[0], n=2)
    mask = np.zeros((96, 96), np.uint8)
    mask[40:52, 30:42] = 255
    cv2.imwrite(str(tmp_path / "lesion.png"), mask)
    table = pd.read_csv(manifest).assign(lesion_mask=["lesion.png", ""])
    table.to_csv(manifest, index=False)
    data = Manifest.load(manifest)
    maker = RegionMaker.of(data, "box", False, 0.08)
    with_lesion, without = (maker.regions(image_id, (), 96)[0] for image_id in data.ids)
    assert next(iter(with_lesion)) == picture_regions.LESION
    assert np.array_equal(with_lesion["lesion"], mask > 127)
    assert not (with_lesion["lungs"] & with_lesion["lesion"]).any()
    assert "lesion" not in without


# a planted shortcut


def corner_pictures(n: int, marked: bool, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return blurred noise (n, 48, 48) of two classes: one has a mark, in the corner or in the middle."""
    rng = np.random.default_rng(seed)
    images = np.stack([cv2.GaussianBlur(rng.integers(40, 160, (48, 48), dtype=np.uint8), (7, 7), 0) for _ in range(n)])
    label = np.arange(n) % 2
    place = np.s_[0:3, 2:9] if marked else np.s_[20:28, 20:28]
    for image, own in zip(images, label, strict=True):
        if own:
            image[place] = 220
    return images, label


def trained(folder: Path, marked: bool, channels: int) -> tuple[Path, Path]:
    """Return a network that learnt to see a mark, and a manifest of new X-rays like those."""
    torch.manual_seed(0)
    model: XrayClassifier = build(
        classes=TWO,
        size=48,
        channels=channels,
        task="single-label",
        backbone="densenet-small",
        backbone_args=dict(TINY),
    )
    images, label = corner_pictures(48, marked, 1)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    model.train()
    for _ in range(25):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), torch.from_numpy(label)).backward()
        optimiser.step()
    network = save_model(model.eval(), folder / "net.safetensors")
    folder.joinpath("xrays").mkdir()
    images, label = corner_pictures(30, marked, 2)
    table = []
    for k, image in enumerate(images):
        cv2.imwrite(str(folder / "xrays" / f"{k}.png"), image)
        table.append(
            {"image": f"{k}.png", "label": TWO[label[k]], "split": "test", "patient_id": f"p{k}", "source": "A"}
        )
    pd.DataFrame(table).to_csv(folder / "xrays" / "manifest.csv", index=False)
    return network, folder / "xrays" / "manifest.csv"


def test_a_network_that_learnt_a_mark_in_the_corner_relies_on_the_border_and_one_that_did_not_does_not(tmp_path: Path):
    found = {}
    for marked, channels in ((True, 3), (False, 1)):
        folder = tmp_path / str(marked)
        folder.mkdir()
        network, manifest = trained(folder, marked, channels)
        run = budget(folder, manifest, network, targets=TWO[1], lungs="box", planted=False)
        found[marked] = entry_of(relevance_regions_results(run), "border")
    assert found[True]["shown"], found[True]["sentence"]
    assert found[True]["beyond"]["high"] < 0
    assert found[True]["gain_shown"]
    assert found[True]["gain"]["low"] > 1.2
    assert not found[False]["shown"], found[False]["sentence"]
    assert not found[False]["gain_shown"]


# the command


def test_the_command_measures_shows_again_and_writes_its_report(cxr: Cxr, tmp_path: Path):
    configuration = Configuration(3, "single-label", TWO)
    manifest = write_xrays(tmp_path / "xrays", configuration, n=8)
    network = write_network(configuration, tmp_path / "net.safetensors")
    words = ["--data", manifest, "--no-text", "--lungs", "box", "--limit", "6", "--target", "label", "--json"]
    code, printed, errors = cxr("relevance", network, *words)
    assert code == 0, errors
    results = json.loads(printed)
    assert (results["n_images"], results["text"], results["lungs"]) == (6, False, "box")
    code, printed, errors = cxr("relevance", results["run"], "--out", tmp_path / "report.csv")
    assert code == 0, errors
    assert results["regions"][0]["title"] in printed
    assert len(pd.read_csv(tmp_path / "report.csv")) == len(results["regions"])
    for name in ("figure.svg", "figure.png"):
        assert cxr("relevance", results["run"], "--out", tmp_path / name)[0] == 0
        assert (tmp_path / name).stat().st_size > 5000


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--composite", "nonsense"], "unknown composite 'nonsense'"),
        (["--target", "flu"], "unknown target 'flu'"),
        (["--lungs", "guess"], "lungs: 'guess' is not allowed"),
        (["--border", "0.6"], "border: 0.6 is not allowed"),
        (["--split", "nope"], "unknown split 'nope'"),
        (["--out", "report.doc"], "report.doc has no known report format"),
    ],
)
def test_wrong_use_is_one_line_and_starts_nothing(cxr: Cxr, tmp_path: Path, words: list[str], line: str):
    manifest = write_xrays(tmp_path / "xrays", CONFIGURATIONS[1], n=4)
    network = write_network(CONFIGURATIONS[1], tmp_path / "net.safetensors")
    code, _, errors = cxr("relevance", network, "--data", manifest, *words)
    assert (code, errors.count("\n")) == (2, 1), errors
    assert line in errors


def test_a_network_on_which_the_composite_does_not_run_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Stranger(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :2] * torch.sigmoid(x.mean())

    manifest = write_xrays(tmp_path / "xrays", CONFIGURATIONS[1], n=4)
    network = write_network(CONFIGURATIONS[1], tmp_path / "net.safetensors")
    card = ModelCard(**build(classes=TWO, size=32, channels=1, backbone="densenet-small").card.__dict__)
    monkeypatch.setattr("cxr.networks.load_network", lambda ref: (XrayClassifier(Stranger(), card), "stranger"))
    params = RelevanceParams.of({"model": str(network), "manifest": manifest})
    with pytest.raises(CxrError, match=r"not verified for Stranger.*Available: .*gradient"):
        params.check()


def test_x_rays_are_ranked_by_their_relevance_in_a_region(tmp_path: Path):
    table = pd.DataFrame({"image_id": list("abc"), "share_text": [0.1, np.nan, 0.4], "area_text": [0.1, np.nan, 0.1]})
    assert ranked(table, "text")["image_id"].tolist() == ["c", "a"]
    assert ranked(table, "devices").empty


def test_without_a_mark_there_is_no_background():
    assert planted_results(rows(10, 0, 1)) is None
