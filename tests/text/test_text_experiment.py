import io
import json
import re
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from configurations import CONFIGURATIONS, write_network, write_xrays
from PIL import Image
from text_drawing import chest_like, write_text

from cxr.data import ImageCache, Manifest
from cxr.errors import TextError
from cxr.evaluation.metrics import probabilities
from cxr.experiments.masking import example
from cxr.experiments.masking.conclusions import too_weak
from cxr.experiments.masking.effects import Answers
from cxr.experiments.masking.effects_by_finding import effects_by_finding
from cxr.experiments.masking.job import run
from cxr.experiments.masking.one_image import masked_versions
from cxr.experiments.masking.predictions import groups_of
from cxr.experiments.masking.results import condition_table
from cxr.experiments.masking.sentences import finding
from cxr.experiments.masking.settings import Setting
from cxr.experiments.masking.shapes import MaskingResults
from cxr.models import build, save_model
from cxr.paths import cache_root
from cxr.reports import masking
from cxr.reports.identities import Privacy
from cxr.runs import get_run
from cxr.runs.folder import RunFolder
from cxr.text.boxes import TextBox
from cxr.text.corrections import Reviews
from cxr.text.detection.shared import shared_detector
from cxr.text.detection_store import DetectionStore
from tests.typed_results import misfits

CLASSES = ("covid19", "normal")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Six X-ray-like pictures of two classes; three carry a word. A seventh file is broken."""
    folder = tmp_path_factory.mktemp("xrays")
    rows = []
    for i in range(6):
        image = chest_like(220, 260, seed=i)
        if i % 2 == 0:
            image, _ = write_text(image, "PORTABLE", 130, 15, 22)
        Image.fromarray(image).save(folder / f"{i}.png")
        rows.append({"image": f"{i}.png", "label": CLASSES[i % 2], "split": "test", "patient_id": f"p{i}"})
    (folder / "broken.png").write_bytes(b"no picture")
    rows.append({"image": "broken.png", "label": "normal", "split": "test", "patient_id": "p9"})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    torch.manual_seed(0)
    model = build("densenet-small", CLASSES, size=64).eval()
    save_model(model, path)
    return path


@pytest.fixture(scope="module")
def black(tmp_path_factory, data, weights):
    """The folder of an experiment with black boxes, what it reported, and where its detections are kept."""
    folder = tmp_path_factory.mktemp("experiment")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_DATA", str(folder / "data"))
        return *do(folder, data, weights, mode="black"), folder / "data"


def do(tmp_path, data, weights, **params):
    params = {"model": str(weights), "manifest": str(data), "split": "test", "workers": 0} | params
    folder = RunFolder.create(tmp_path / "runs", "text-experiment", params)
    seen = []
    run(folder, folder.params, lambda fraction, message: seen.append((fraction, message)))
    return folder, seen


def test_the_experiment_writes_its_numbers_its_boxes_and_a_sentence(black):
    folder, seen, _ = black
    results = folder.read_json("results.json")
    table = folder.predictions()
    assert (results["n_images"], results["n_with_text"], results["n_tokens"]) == (6, 3, 3)
    assert results["tokens_by_kind"] == {"word": 3}
    assert len(results["left_out"]) == 1
    assert "broken.png" in results["left_out"][0]["reason"]
    assert results["before"]["n"] == results["after"]["n"] == results["control"]["n"] == 6
    assert results["n_changed"] == table["changed"].sum() == len(results["changed"])
    assert set(results["modes"]) == {"black"}
    assert set(results["modes"]["black"]["logit"]["tokens"]) == set(CLASSES)
    assert "3 tokens on 3 of 6 images (3 of 6 patients)" in results["finding"]
    assert "(3 of the 3 X-rays with text, 3 patients)." in results["finding"]
    json.dumps(results, allow_nan=False)
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert seen[-1] == (1.0, results["finding"])
    boxes = pd.read_parquet(folder.path / "boxes.parquet")
    assert list(boxes.columns) == ["image_id", "x0", "y0", "x1", "y1", "text", "score", "kind"]
    assert set(boxes["text"].str.upper()) == {"PORTABLE"}
    controls = pd.read_parquet(folder.path / "control_boxes.parquet")
    assert controls.groupby("control").size()["random"] == 3 * 5
    assert results["relevance"]["n"] == 3
    assert 0 < results["relevance"]["tokens"]["positive"]["share"]["value"] < 1


def test_every_condition_of_every_image_is_kept(black):
    folder, _, _ = black
    long = pd.read_parquet(folder.path / "conditions.parquet")
    counts = long.groupby("condition").size().to_dict()
    assert counts == {"before": 6, "tokens": 6, "random": 30, "other": 6, "kept": 6}
    table = folder.predictions().set_index("image_id")
    draws = long[(long["condition"] == "random") & (long["draw"] == 0)].set_index("image_id")
    assert np.allclose(draws["logit_normal"], table.loc[draws.index, "logit_normal_control"])
    kept = long[long["condition"] == "kept"]
    assert set(kept["kept"]) == {"kind:word", "word:PORTABLE"}
    # The only token left in is the image as it was.
    same = kept.set_index("image_id")["logit_normal"]
    assert np.allclose(same, table.loc[same.index, "logit_normal_before"])


def test_several_modes_share_their_control_boxes_and_are_corrected_together(
    tmp_path, data, weights, black, monkeypatch
):
    monkeypatch.setenv("CXR_DATA", str(black[2]))
    folder, _ = do(tmp_path, data, weights, modes=["black", "noise"], draws=2, explained=0)
    results = folder.read_json("results.json")
    assert list(results["modes"]) == ["black", "noise"]
    ps = [results["modes"][mode]["moved_beyond_random"] for mode in ("black", "noise")]
    assert all(one["p_holm"] >= one["p"] for one in ps)
    assert min(one["p_holm"] for one in ps) == pytest.approx(min(1.0, 2 * min(one["p"] for one in ps)))
    first = black[0].predictions()["logit_normal_control"]
    assert np.allclose(folder.predictions()["logit_normal_control"], first)
    assert results["relevance"]["note"]


def test_a_corrected_box_goes_before_the_detectors(tmp_path, data, weights, black, monkeypatch):
    monkeypatch.setenv("CXR_DATA", str(black[2]))
    mine = tmp_path / "mine"
    shutil.copytree(data.parent, mine)
    manifest = Manifest.load(mine / data.name)
    Reviews.beside(mine / data.name).save(manifest.ids[0], [], shape=(220, 260), content_hash="")
    folder, _ = do(tmp_path, mine / data.name, weights, draws=1, explained=0)
    table = folder.predictions().set_index("image_id")
    assert table.loc[manifest.ids[0], "n_boxes"] == 0
    assert table["reviewed"].sum() == folder.read_json("results.json")["n_reviewed"] == 1
    assert table["n_boxes"].sum() == 2


def test_tokens_left_in_are_named_by_kind_and_by_word():
    boxes = [TextBox(0, 0, 9, 9, "Left AP", kind="word"), TextBox(20, 0, 29, 9, "L", kind="letter")]
    groups = groups_of(boxes, {"LEFT", "L"})
    assert {name: len(some) for name, some in groups.items()} == {
        "kind:word": 1,
        "kind:letter": 1,
        "word:LEFT": 1,
        "word:L": 1,
    }


def test_images_without_text_keep_their_logits_and_images_with_text_do_not(black):
    folder, _, _ = black
    table = folder.predictions()
    without, having = table[table["n_boxes"] == 0], table[table["n_boxes"] > 0]
    for name in CLASSES:
        assert np.array_equal(without[f"logit_{name}_before"], without[f"logit_{name}_after"])
        assert np.array_equal(without[f"logit_{name}_before"], without[f"logit_{name}_control"])
        assert (having[f"logit_{name}_before"] != having[f"logit_{name}_after"]).all()
    assert (without["masked_share"] == 0).all()
    assert having["masked_share"].between(0.01, 0.1).all()


def test_a_network_that_reads_the_token_changes_under_masking_and_not_under_the_control(tmp_path, data):
    manifest = Manifest.load(data)
    setting = Setting.of({"model": "", "manifest": "", "mode": "mean"})
    image_id = manifest.ids[0]
    boxes = shared_detector()(write_text(chest_like(220, 260), "PORTABLE", 130, 15, 22)[0])
    versions = masked_versions(manifest, image_id, boxes, setting, 64)
    before, after, control = (versions.images[k].astype(int) for k in ("before", "after", "control"))
    corner = np.s_[2:16, 30:64]  # where the word is, at the network's size
    assert (before - after)[corner].max() > 30
    assert np.array_equal(before[corner], control[corner])
    assert versions.masked_share > 0.01


def test_the_network_sees_the_same_pixels_as_from_the_cache(tmp_path, data):
    manifest = Manifest.load(data)
    cache = ImageCache.build(manifest, 64, workers=0)
    setting = Setting.of({"model": "", "manifest": ""})
    for image_id in cache.ids:
        assert np.array_equal(masked_versions(manifest, image_id, [], setting, 64).images["before"], cache[image_id])


def test_a_second_run_finds_every_token_in_the_store(tmp_path, data, weights, black, monkeypatch):
    monkeypatch.setenv("CXR_DATA", str(black[2]))
    stores = []
    monkeypatch.setattr("cxr.text.corrections.DetectionStore", lambda: stores.append(DetectionStore()) or stores[-1])
    do(tmp_path, data, weights, mode="inpaint")
    assert sum(store.hits for store in stores) == 6
    assert sum(store.misses for store in stores) == 0


def test_a_stop_is_obeyed_without_results(tmp_path, data, weights):
    params = {"model": str(weights), "manifest": str(data), "split": "test", "workers": 0}
    folder = RunFolder.create(tmp_path / "runs", "text-experiment", params)

    def stop_at_the_second_image(fraction, message):
        if "2 of" in message:
            folder.request_stop()

    run(folder, folder.params, stop_at_the_second_image)
    assert not (folder.path / "results.json").exists()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"mode": "blurr"}, "'blurr'"),
        ({"split": "night"}, "'night'"),
        ({"draws": 0}, "0 draws"),
        ({"margin": -0.1}, "-0.1"),
        ({"margin": 1000}, "1000.0 is not allowed. Accepted: 0 to 100"),
        ({"explained": -1}, "-1"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, data, weights, changes, named):
    with pytest.raises(TextError, match=named):
        do(tmp_path, data, weights, **changes)


def test_worker_processes_give_the_same_numbers(tmp_path, data, weights):
    alone, _ = do(tmp_path, data, weights, n=2)
    shutil.rmtree(cache_root())
    beside, _ = do(tmp_path, data, weights, n=2, workers=1)
    assert beside.read_json("results.json")["n_tokens"] == 1
    pd.testing.assert_frame_equal(alone.predictions(), beside.predictions())


def test_one_condition_reads_like_plain_predictions(black):
    plain = condition_table(black[0].predictions(), "after")
    assert {"predicted", "correct", "confidence", "logit_normal", "prob_covid19", "label"} <= set(plain.columns)
    assert not any(column.endswith(("_after", "_before")) for column in plain.columns)


@pytest.fixture(scope="module", params=CONFIGURATIONS, ids=str)
def configured(request, tmp_path_factory, configured_data):
    """The configuration, and a finished experiment on it with both kinds of masks."""
    configuration = request.param
    folder = tmp_path_factory.mktemp("configured")
    manifest = write_xrays(folder / "xrays", configuration, words=True)
    weights = write_network(configuration, folder / "net.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_DATA", str(configured_data))
        return configuration, do(folder, manifest, weights, modes=["black", "inpaint"], draws=2)[0]


@pytest.fixture(scope="module")
def configured_data(tmp_path_factory):
    """The pictures are the same for every configuration: what is detected on them is kept for all."""
    return tmp_path_factory.mktemp("detected")


def test_the_experiment_ends_with_its_results_whatever_the_network(configured):
    configuration, folder = configured
    results, table = folder.read_json("results.json"), folder.predictions()
    classes = list(configuration.classes)
    assert (results["task"], results["classes"]) == (configuration.task, classes)
    assert (results["n_images"], results["n_with_text"]) == (12, 6)
    assert results["relevance"]["n"] == 6
    assert list(misfits(results, MaskingResults)) == []
    json.dumps(results, allow_nan=False)
    effect = results["modes"]["black"]
    for name in ("before", "after", "control"):
        logits = table[[f"logit_{c}_{name}" for c in classes]].to_numpy()
        shown = table[[f"prob_{c}_{name}" for c in classes]].to_numpy()
        assert np.allclose(shown, probabilities(logits, configuration.task))
    before, after = (table[[f"prob_{c}_{name}" for c in classes]].to_numpy() for name in ("before", "after"))
    for k, c in enumerate(classes):
        change = (after - before)[:, k].mean()
        assert effect["probability"]["tokens"][c]["value"] == pytest.approx(change, abs=1e-6)
    crossed = (
        ((before > 0.5) != (after > 0.5)).any(1) if configuration.multi_label else before.argmax(1) != after.argmax(1)
    )
    assert table["changed"].tolist() == crossed.tolist()
    assert results["n_changed"] == crossed.sum() == len(results["changed"])
    divisor = len(classes) if configuration.multi_label else 2
    assert table["moved"].tolist() == pytest.approx((np.abs(after - before).sum(1) / divisor).tolist(), abs=1e-6)


def test_the_results_say_how_well_the_controls_match(configured):
    """Measured on the pictures that the network saw, over the images with text."""
    _, folder = configured
    results, conditions = folder.read_json("results.json"), pd.read_parquet(folder.path / "conditions.parquet")
    having = set(folder.predictions().query("n_boxes > 0")["image_id"])
    of = conditions[conditions["image_id"].isin(having)].groupby(["mode", "condition"])["picture_change"].mean()
    for mode in ("black", "inpaint"):
        match = results["modes"][mode]["match"]
        for name in ("tokens", "random", "other"):
            assert match["change"][name] == pytest.approx(of[mode, name])
        assert match["change"]["tokens"] > 0
        assert match["change"]["random"] > 0
        assert 0 <= match["inside"]["tokens"] < 0.2
    leading = results["modes"]["black"]["match"]["change"]
    assert f"masking random boxes by {leading['random']:.2f}" in results["finding"]
    boxes = pd.read_parquet(folder.path / "control_boxes.parquet")
    assert set(boxes["mode"]) == {"black", "inpaint"}


def test_an_experiment_of_an_older_version_still_has_its_report(configured, monkeypatch, tmp_path):
    """Without the match of the controls, shrunken means and the change of the picture."""
    _, folder = configured
    old = shutil.copytree(folder.path, tmp_path / folder.id)
    results = json.loads((old / "results.json").read_text())
    for effect in results["modes"].values():
        del effect["match"]
    for row in results["left_in"]:
        del row["shrunken"]
    (old / "results.json").write_text(json.dumps(results))
    conditions = pd.read_parquet(old / "conditions.parquet").drop(columns="picture_change")
    conditions.to_parquet(old / "conditions.parquet", index=False)
    boxes = pd.read_parquet(old / "control_boxes.parquet")
    boxes[boxes["mode"] == "black"].drop(columns="mode").to_parquet(old / "control_boxes.parquet", index=False)
    monkeypatch.setenv("CXR_RUNS", str(tmp_path))
    run, words = get_run(folder.id), masking.titles(results)["match"]
    plain = masking.write(run, tmp_path / "old.md").read_text(encoding="utf-8")
    assert results["finding"] in plain
    assert f"## {words}" not in plain
    monkeypatch.setenv("CXR_RUNS", str(folder.path.parent))
    assert f"## {words}" in masking.write(get_run(folder.id), tmp_path / "new.md").read_text(encoding="utf-8")
    for ending in ("html", "zip"):
        monkeypatch.setenv("CXR_RUNS", str(tmp_path))
        assert masking.write(run, tmp_path / f"old.{ending}").stat().st_size > 1000


def test_the_story_of_an_experiment_is_explained_whatever_the_network(configured):
    configuration, folder = configured
    told = example.read(folder.path)
    assert told.target in configuration.classes
    assert told.before.shape == told.after.shape == (64, 64)
    assert not np.array_equal(told.before, told.after)


def test_no_measure_of_one_decision_stands_beside_several_findings(configured):
    configuration, folder = configured
    results, table = folder.read_json("results.json"), folder.predictions()
    effect, words = results["modes"]["black"], results["finding"]
    conditions = pd.read_parquet(folder.path / "conditions.parquet")
    one_decision = not configuration.multi_label
    assert ("accuracy" in effect) == ("accuracy" in results["before"]) == ("Accuracy" in words) == one_decision
    assert ("predicted" in conditions) == ("predicted_before" in table) == one_decision
    assert ("findings" in effect) == ("findings" in table) == configuration.multi_label
    if configuration.multi_label:
        tests = [of["moved_beyond_random"] for e in results["modes"].values() for of in e["findings"].values()]
        assert len(tests) == 2 * len(configuration.classes)
        least = min(tests, key=lambda entry: entry["p"])
        assert least["p_holm"] == pytest.approx(min(1.0, len(tests) * least["p"]))
        assert f"the probabilities of {len(configuration.classes)} findings" in words
        # Of single findings nothing is said where random boxes change the picture much less than the tokens do.
        assert (f"Holm over {len(tests)} tests" in words) == (not too_weak(effect))


def test_the_report_of_any_network_has_every_class_in_every_form(configured, monkeypatch, tmp_path):
    configuration, folder = configured
    monkeypatch.setenv("CXR_RUNS", str(folder.path.parent))
    run = get_run(folder.id)
    page = masking.write(run, tmp_path / "text.html", Privacy(with_images=True)).read_text(encoding="utf-8")
    plain = masking.write(run, tmp_path / "text.md").read_text(encoding="utf-8")
    results = folder.read_json("results.json")
    assert results["finding"] in plain
    for name in configuration.classes:
        assert re.search(f"<(td|th)( [^>]*)?>{name}</", page)
        assert f"\n| {name} |".replace("_", r"\_") in plain
    assert page.count('<input type="range"') == 2  # the X-ray and its heatmap, before and after
    assert ("p (accuracy)" in plain) == (not configuration.multi_label)
    with zipfile.ZipFile(io.BytesIO(masking.to_zip(run))) as archive:
        tables = {name: pd.read_csv(archive.open(name)) for name in archive.namelist() if name.endswith(".csv")}
    assert len(tables["classes.csv"]) == len(configuration.classes)
    assert len(tables["predictions.csv"]) == 12


def made_up_findings(moving, n=80, noise=0.02):
    """Answers of n images about two findings: masking the tokens takes ``moving`` off the first one's logit."""
    rng = np.random.default_rng(0)
    before = rng.normal(0, 0.5, (n, 2))
    shift = lambda by: before + rng.normal(0, noise, (n, 2)) - np.array([by, 0.0])  # noqa: E731
    return Answers(
        before=before,
        tokens={"mean": shift(moving)},
        random={"mean": np.stack([shift(0), shift(0)])},
        other={"mean": shift(0)},
        truth=np.where(rng.uniform(size=(n, 2)) < 0.5, 1.0, 0.0),
        patients=[f"p{k}" for k in range(n)],
        task="multi-label",
    )


def sentence_of(answers, classes=("Mass", "Edema")):
    summary = {"auc": {"value": 0.8}, "per_class": {}}
    facts = {"task": "multi-label", "classes": list(classes), "n_tokens": 9, "n_with_text": 9, "n_images": 80}
    modes = {"modes": effects_by_finding(answers, classes)}
    return finding(facts | dict.fromkeys(("before", "after"), summary) | modes)


def test_the_sentence_names_the_finding_that_the_text_moves_and_no_other():
    told = sentence_of(made_up_findings(0.6))
    assert "The tokens matter more than patches of their size" in told
    assert "Farther than under random boxes moves Mass (-0.1" in told
    assert "Edema" not in told
    nothing = sentence_of(made_up_findings(0.0))
    assert re.search(r"do not differ significantly \(p = \S+; 80 images\)", nothing)
    assert nothing.count("; 80 images)") == 2
    assert "No single finding moves farther" in nothing


def test_a_finding_whose_mean_change_is_zero_still_moves():
    """Up on half of the images, down on the other half: the mean hides what the size of the change shows."""
    answers = made_up_findings(0.0)
    answers.tokens["mean"][:, 1] += np.where(np.arange(80) % 2 == 0, 1.0, -1.0)
    effect = effects_by_finding(answers, ("Mass", "Edema"))["mean"]
    assert abs(effect["probability"]["tokens"]["Edema"]["value"]) < 0.02
    assert effect["findings"]["Edema"]["moved"]["tokens"]["value"] > 0.15
    assert effect["findings"]["Edema"]["moved_beyond_random"]["p_holm"] < 0.01
    assert effect["findings"]["Mass"]["moved_beyond_random"]["p_holm"] > 0.05
    gained = {(row["finding"], row["to"]): row["tokens"] for row in effect["flips"]}
    before, after = answers.before[:, 1] > 0, answers.tokens["mean"][:, 1] > 0
    assert gained["Edema", "present"] == (~before & after).sum()
    assert gained["Edema", "absent"] == (before & ~after).sum()


def test_findings_that_are_not_known_have_no_auc_and_no_word_about_it():
    answers = made_up_findings(0.6)
    answers.truth[:] = np.nan
    effect = effects_by_finding(answers, ("Mass", "Edema"))["mean"]
    assert effect["auc"]["tokens"]["value"] is None
    assert effect["auc_by_finding"]["tokens"] == {}
    assert "AUC" not in sentence_of(answers)


def test_a_network_of_one_finding_has_its_sentence():
    answers = made_up_findings(0.6)
    one = Answers(
        before=answers.before[:, :1],
        tokens={"mean": answers.tokens["mean"][:, :1]},
        random={"mean": answers.random["mean"][:, :, :1]},
        other={"mean": answers.other["mean"][:, :1]},
        truth=answers.truth[:, :1],
        patients=answers.patients,
        task="multi-label",
    )
    told = sentence_of(one, ("Mass",))
    assert "moves the probability of Mass by 0.1" in told
    assert "it crosses a probability of 0.5" in told
    assert "findings" not in told
