import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from configurations import every_configuration, write_network, write_xrays
from PIL import Image
from text_drawing import chest_like, write_text

from cxr.cli import main
from cxr.cli.experiments.stamping import show_doses
from cxr.data import ImageCache, Manifest
from cxr.data.phantom import write_demo
from cxr.errors import TextError
from cxr.evaluation import predict
from cxr.evaluation.truth import finding_targets
from cxr.experiments.stamping.dose_response import least, results_of, strongest
from cxr.experiments.stamping.job import run, versions_of
from cxr.experiments.stamping.results import StampingResults
from cxr.experiments.stamping.settings import Cut, Setting, chosen_images
from cxr.models import build, save_model
from cxr.runs import list_runs, start
from cxr.runs.folder import RunFolder
from cxr.text import Reviews, TextBox
from cxr.text.detection_store import content_hash
from cxr.text.stamp import word_patch
from tests.typed_results import misfits

CLASSES = ("covid19", "normal", "pneumonia")
DOSES = {"sizes": [0.05, 0.1], "contrasts": [0.5, 1.0]}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Nine X-ray-like pictures of three classes and of two sizes; a tenth file is broken."""
    folder = tmp_path_factory.mktemp("xrays")
    rows = []
    for i in range(9):
        image = chest_like(220, 260 if i % 2 else 200, seed=i)
        if i == 0:
            image, _ = write_text(image, "OSP", 20, 15, 24)
        Image.fromarray(image).save(folder / f"{i}.png")
        label = CLASSES[i % 3]
        rows.append({"image_id": f"x{i}", "image": f"{i}.png", "label": label, "split": "test", "patient_id": f"p{i}"})
    (folder / "broken.png").write_bytes(b"no picture")
    rows.append({"image_id": "b", "image": "broken.png", "label": "normal", "split": "test", "patient_id": "p9"})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "net.safetensors"
    torch.manual_seed(0)
    save_model(build("densenet-small", CLASSES, size=64).eval(), path)
    return path


def do(tmp_path, data, weights, **params):
    params = {"model": str(weights), "manifest": str(data), "word": "DX", "avoid": False, **DOSES} | params
    folder = RunFolder.create(tmp_path / "runs", "text-stamping", params)
    seen = []
    run(folder, folder.params, lambda fraction, message: seen.append((fraction, message)))
    return folder, seen


@pytest.fixture(scope="module")
def done(tmp_path_factory, data, weights):
    """The folder of an experiment and what it reported."""
    return do(tmp_path_factory.mktemp("stamping"), data, weights)


def test_the_experiment_writes_every_answer_its_numbers_and_a_sentence(done):
    folder, seen = done
    results, table = folder.read_json("results.json"), pd.read_parquet(folder.path / "stamped.parquet")
    assert set(table["label"]) == {"normal", "pneumonia"}
    assert table.groupby("condition", observed=True).size().to_dict() == {
        "unstamped": 6,
        "stamped": 6 * 4,
        "control": 6 * 4,
    }
    assert (results["n_images"], results["towards"], results["onto"]) == (6, "covid19", ["normal", "pneumonia"])
    assert [(dose["size"], dose["contrast"], dose["n"]) for dose in results["doses"]] == [
        (0.05, 0.5, 6),
        (0.05, 1.0, 6),
        (0.1, 0.5, 6),
        (0.1, 1.0, 6),
    ]
    assert [entry["image_id"] for entry in results["left_out"]] == ["b"]
    assert list(misfits(results, StampingResults)) == []
    assert "broken.png" in results["left_out"][0]["reason"]
    assert results["finding"].startswith("Stamping “DX” onto 6 images of normal and pneumonia (6 patients, size 0.1")
    assert "the same patch without letters" in results["finding"]
    json.dumps(results, allow_nan=False)
    fractions = [fraction for fraction, _ in seen]
    assert fractions == sorted(fractions)
    assert seen[-1] == (1.0, results["finding"])


def test_the_numbers_are_those_of_the_table(done):
    folder, _ = done
    results, table = folder.read_json("results.json"), pd.read_parquet(folder.path / "stamped.parquet")
    before = table[table["condition"] == "unstamped"].set_index("image_id")
    for dose in results["doses"]:
        rows = table[(table["size"] == dose["size"]) & (table["contrast"] == dose["contrast"])]
        parts = {name: rows[rows["condition"] == name].set_index("image_id") for name in ("stamped", "control")}
        for name, part in parts.items():
            turned = (before["predicted"] != "covid19") & (part["predicted"] == "covid19")
            assert dose["turned"][name]["value"] == pytest.approx(turned.mean())
            for c in CLASSES:
                moved = (part[f"logit_{c}"] - before[f"logit_{c}"]).mean()
                assert dose["logit"][c][name]["value"] == pytest.approx(moved, abs=1e-6)
        # The control is one only if it changes as much.
        assert dose["change"]["stamped"] > 20
        assert dose["change"]["control"] == pytest.approx(dose["change"]["stamped"], abs=0.6)


@every_configuration
def test_any_network_is_asked_about_the_class_or_finding_that_it_is_given(tmp_path, configuration, capsys):
    data, weights = (
        write_xrays(tmp_path / "xrays", configuration),
        write_network(configuration, tmp_path / "n.safetensors"),
    )
    towards = configuration.classes[0]
    folder, _ = do(tmp_path, data, weights, towards=towards, sizes=[0.2], contrasts=[1.0])
    results, table = folder.read_json("results.json"), pd.read_parquet(folder.path / "stamped.parquet")
    show_doses(results)
    out = capsys.readouterr().out
    json.dumps(results, allow_nan=False)
    assert results["task"] == configuration.task
    manifest = Manifest.load(data).table.set_index("image_id")
    stamped = manifest.loc[table["image_id"].unique()]
    if configuration.multi_label:
        without = finding_targets(manifest, [towards])[:, 0] == 0
        assert not any(towards in text.split("|") for text in manifest.loc[without, "findings"])
        assert set(stamped.index) == set(manifest.index[without])
        assert f"onto {len(stamped)} images without {towards}" in results["finding"]
        assert f"takes the probability of {towards} above 0.5 on" in results["finding"]
        assert f"{towards} above 0.5" in out
        assert "predicted" not in table
    else:
        assert towards not in set(stamped["label"])
        assert f"of predictions to {towards}" in results["finding"]
        assert f"turned to {towards}" in out
    sizes = table.set_index("condition")[[f"prob_{c}" for c in configuration.classes]].sum(axis=1)
    assert np.allclose(sizes, 1) != configuration.multi_label
    change = {c: results["doses"][0]["probability"][c]["stamped"]["value"] for c in configuration.classes}
    for c in configuration.classes:
        mean = table.groupby("condition", observed=True)[f"prob_{c}"].mean()
        assert change[c] == pytest.approx(mean["stamped"] - mean["unstamped"], abs=1e-6)


def test_stamping_onto_a_finding_takes_the_x_rays_that_have_it_and_not_the_other(tmp_path):
    findings = ["Mass", "Mass|Edema", "Edema", "No Finding", "?Edema|Mass", ""]
    rows = [{"image_id": f"x{k}", "image": f"{k}.png", "findings": text} for k, text in enumerate(findings)]
    manifest = Manifest.from_table(pd.DataFrame(rows), tmp_path)
    asked = {"model": "", "manifest": "", "split": "", "word": "DX", "towards": "Edema"}
    chosen, setting = chosen_images(manifest, ("Edema", "Mass"), Setting.of(asked), "multi-label")
    assert (chosen.ids, setting.onto) == (["x0", "x3"], ("Mass", "No Finding"))
    chosen, _ = chosen_images(manifest, ("Edema", "Mass"), Setting.of(asked | {"onto": ["Mass"]}), "multi-label")
    assert chosen.ids == ["x0"]
    with pytest.raises(TextError, match=r"unknown class to stamp onto 'Flu'\. Available: Mass, No Finding"):
        chosen_images(manifest, ("Edema", "Mass"), Setting.of(asked | {"onto": ["Flu"]}), "multi-label")


def test_unstamped_answers_are_those_on_the_cache(done, data, weights):
    from cxr.networks import load_network

    table = pd.read_parquet(done[0].path / "stamped.parquet").query("condition == 'unstamped'").set_index("image_id")
    model, _ = load_network(str(weights))
    manifest = Manifest.load(data).select(ids=table.index.tolist())
    cached = predict(model, ImageCache.build(manifest, 64, workers=0), table.index.tolist())
    assert np.allclose(table[[f"logit_{c}" for c in CLASSES]].to_numpy(), cached, atol=1e-5)


def test_a_second_run_says_the_same_and_another_seed_shuffles_otherwise(tmp_path, data, weights, done):
    first = pd.read_parquet(done[0].path / "stamped.parquet")
    again = pd.read_parquet(do(tmp_path, data, weights)[0].path / "stamped.parquet")
    pd.testing.assert_frame_equal(first, again)
    other = pd.read_parquet(do(tmp_path, data, weights, seed=1)[0].path / "stamped.parquet")
    same = {name: first["condition"] == name for name in ("stamped", "control")}
    assert np.array_equal(first["logit_covid19"][same["stamped"]], other["logit_covid19"][same["stamped"]])
    assert not np.array_equal(first["logit_covid19"][same["control"]], other["logit_covid19"][same["control"]])


def test_contrasts_of_a_size_lie_at_one_place_and_jitter_moves_images_apart(data):
    manifest = Manifest.load(data)
    setting = Setting.of({"model": "", "manifest": "", "word": "DX", "place": "0.5,0.5", "jitter": 0.2, **DOSES})
    image, patch = chest_like(220, 220), word_patch("DX")
    places = {}
    for image_id in manifest.ids[:3]:
        versions = list(versions_of(image, image_id, patch, setting))
        for size in setting.sizes:
            boxes = {(v.box.x0, v.box.y0) for v in versions if v.size == size}
            assert len(boxes) == 1
        places[image_id] = boxes.pop()
    assert len(set(places.values())) == 3


def test_corrected_boxes_stay_free(tmp_path, data, weights, monkeypatch):
    """A review says that the upper right is text; no detector is asked about a reviewed image."""
    manifest = Manifest.load(data)
    reviews = Reviews(tmp_path / "boxes.json")
    monkeypatch.setattr(Reviews, "beside", classmethod(lambda cls, path: reviews))
    from cxr.data import read_xray

    for image_id in manifest.ids[:9]:
        image = read_xray(manifest.image_path(image_id))
        box = TextBox(image.shape[1] // 2, 0, image.shape[1], 80)
        reviews.save(image_id, [box], shape=image.shape, content_hash=content_hash(image))
    monkeypatch.setattr("cxr.text.corrections.shared_detector", None)  # asked for a box, it would fail
    folder, _ = do(tmp_path, data, weights, avoid=True)
    table = pd.read_parquet(folder.path / "stamped.parquet").dropna(subset="x0")
    width = table["image_id"].map({i: read_xray(manifest.image_path(i)).shape[1] for i in set(table["image_id"])})
    assert ((table["y0"] >= 80) | (table["x1"] <= width // 2)).all()
    covering, _ = do(tmp_path, data, weights)
    assert (pd.read_parquet(covering.path / "stamped.parquet").dropna(subset="x0")["y0"] < 80).all()


def test_a_size_that_does_not_fit_is_left_out_for_that_image_alone(tmp_path, data, weights):
    folder, _ = do(tmp_path, data, weights, word="OSPEDALE", sizes=[0.05, 0.16], contrasts=[1.0])
    results = folder.read_json("results.json")
    small, large = results["doses"]
    assert small["n"] == 6
    assert large["n"] == 3  # of those 260 px wide; the others are 200
    reasons = [entry["reason"] for entry in results["left_out"] if entry["size"]]
    assert len(reasons) == 3
    assert "too large for x" in reasons[0]
    with pytest.raises(TextError, match="none of the 7 images can be stamped; the first: “OSPEDALE” at this size is"):
        do(tmp_path, data, weights, word="OSPEDALE", sizes=[0.8])


def test_a_token_cut_from_another_image_is_stamped(tmp_path, data, weights):
    folder, _ = do(tmp_path, data, weights, word="", cut="x0:18,13,75,36")
    results = folder.read_json("results.json")
    assert results["token"] == "the token of x0"
    assert all(dose["change"]["stamped"] > 10 for dose in results["doses"])


def test_a_stop_is_obeyed_without_results(tmp_path, data, weights):
    params = {"model": str(weights), "manifest": str(data), "word": "DX", "avoid": False}
    folder = RunFolder.create(tmp_path / "runs", "text-stamping", params)
    run(folder, folder.params, lambda fraction, message: folder.request_stop() if message.startswith("2 of") else None)
    assert not (folder.path / "results.json").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"word": ""}, "word '' cannot be stamped"),
        ({"place": "up"}, "unknown place 'up'. Available: top-left"),
        ({"sizes": [1.5]}, "size 1.5 is not allowed. Accepted: 0.005 to 0.9"),
        ({"sizes": [0.1, 0.1]}, "several different ones"),
        ({"contrasts": [0]}, "contrast 0 is not allowed. Accepted: 0.01 to 1"),
        ({"control": "none"}, "unknown control 'none'. Available: shuffled, plate"),
        ({"jitter": -1}, "jitter -1 is not allowed"),
        ({"towards": "flu"}, "unknown class of the network 'flu'. Available: covid19"),
        ({"onto": ["covid19"]}, "unknown class to stamp onto 'covid19'. Available: normal, pneumonia"),
        ({"split": "night"}, "unknown split 'night'. Available: test"),
        ({"cut": "x0"}, "'x0' does not name a token of an X-ray. Accepted: IMAGE_ID:x0,y0,x1,y1"),
        ({"cut": "x0:1,2,3,9000"}, "is not within the X-ray of 200 x 220 px"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, data, weights, changes, words):
    with pytest.raises(TextError) as error:
        do(tmp_path, data, weights, **changes)
    assert words in str(error.value)


def test_an_image_id_with_colons_can_be_cut_from():
    assert Cut.of("a:b:1,2,3,4") == Cut("a:b", (1, 2, 3, 4))


def made_up(n_stamped, n_control, n=60):
    """A long table of n images of two doses: at the larger one some turn, at the smaller one none."""
    rows = []
    for size, turned in ((0.02, (0, 0)), (0.1, (n_stamped, n_control))):
        for condition, count in (("unstamped", 0), *zip(("stamped", "control"), turned, strict=True)):
            if condition == "unstamped" and size == 0.1:
                continue
            for k in range(n):
                there = k < count
                rows.append(
                    {"image_id": f"i{k}", "patient_id": f"p{k // 2}", "condition": condition, "change": 9.0}
                    | {"size": np.nan if condition == "unstamped" else size, "contrast": 1.0}
                    | {"predicted": "a" if there else "b", "prob_a": 0.9 if there else 0.1, "logit_a": float(there)}
                    | {"prob_b": 0.1 if there else 0.9, "logit_b": -float(there)}
                )
    return pd.DataFrame(rows)


def test_the_sentence_blames_the_letters_only_beyond_the_control():
    strong = results_of(made_up(30, 2), ("a", "b"), "a", "“DX”", ("b",))
    dose = strongest(strong)
    assert dose["turned"]["stamped"]["value"] == pytest.approx(0.5)
    assert dose["turned"]["stamped"]["low"] < 0.5 < dose["turned"]["stamped"]["high"]
    assert dose["turned_beyond"]["value"] == pytest.approx(28 / 60)
    assert dose["turned_beyond"]["p"] < dose["turned_beyond"]["p_holm"] < 0.01
    assert dose["probability"]["a"]["beyond"]["value"] == pytest.approx(0.8 * 28 / 60)
    assert dose["logit"]["b"]["stamped"]["value"] == pytest.approx(-0.5)
    assert least(strong)["size"] == 0.1
    assert "moves 50.0 % [" in strong["finding"]
    assert (
        "On 60 X-rays of 30 patients the letters turn more predictions than a patch of their size does."
        in strong["finding"]
    )
    assert "The smallest dose that raises the probability of a beyond the control is size 0.1" in strong["finding"]
    none = results_of(made_up(30, 30), ("a", "b"), "a", "“DX”", ("b",))
    assert least(none) is None
    assert "At no dose does the token raise the probability of a more than its control" in none["finding"]
    assert "The two do not differ significantly on" in none["finding"]
    assert (
        "the patch without letters turns more predictions"
        in results_of(made_up(2, 30), ("a", "b"), "a", "“DX”")["finding"]
    )
    few = results_of(made_up(9, 0, n=10), ("a", "b"), "a", "“DX”", ("b",))["finding"]
    assert "With fewer than 6 patients no difference to a control can be shown." in few
    assert "At no dose" not in few
    # Where nothing turns the interval is no point: 30 patients without a case leave 12 % open.
    nothing = strong["doses"][0]["turned"]["stamped"]
    assert (nothing["low"], round(nothing["high"], 3)) == (0.0, 0.122)


@pytest.mark.slow
def test_the_demo_network_is_asked_in_a_process_of_its_own(tmp_path):
    """The shipped network on synthetic X-rays without class tokens: a run from the package, with its detector."""
    write_demo(tmp_path / "data" / "demo", n=12, size=128, correlation=0.0, seed=3)
    manifest = tmp_path / "data" / "demo" / "manifest.csv"
    params = {"model": "demo", "manifest": manifest, "split": "", "word": "PORTABLE", "place": "top-left", "n": 4}
    done = start("text-stamping", params | {"sizes": [0.05], "contrasts": [1.0]}, detached=False)
    status = done.status()
    assert status["state"] == "finished", status["error"]
    results = done.results()
    assert status["message"] in ("finished", results["finding"])
    assert results["n_images"] == 4
    assert results["doses"][0]["change"]["stamped"] > 20


def cxr(monkeypatch, capsys, *arguments):
    monkeypatch.setattr("sys.argv", ["cxr", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code or 0, *capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--word", "DX", "--place", "up"], "unknown place 'up'. Available: top-left"),
        (["--word", "日本", "--font", "pixel"], "font 'pixel' cannot draw '日本'"),
        (["--word", "DX", "--towards", "flu"], "unknown class of the network 'flu'"),
        (["--word", "DX", "--size", "2"], "size 2 is not allowed"),
        (["--from", "nobody:1,2,3,4"], "image_id 'nobody' is not in the manifest"),
        ([], "no token given: use either --word"),
        (["--word", "DX", "--split", "nope"], "unknown split 'nope'. Available: "),
        (["--word", "DX", "--from", "x0:1,2,3,4"], "no token given: use either --word"),
    ],
)
def test_the_command_line_names_what_is_wrong_and_starts_nothing(monkeypatch, capsys, data, weights, arguments, words):
    code, out, err = cxr(monkeypatch, capsys, "text", "stamp", weights, "--data", data, *arguments, "--json")
    assert code == 2
    assert words in err
    assert err.count("\n") == 1
    assert json.loads(out)["error"] in err
    assert list_runs() == []


def test_the_command_line_tells_the_sentence_and_the_doses(monkeypatch, capsys, data, weights):
    arguments = ["--data", data, "--split", "", "--word", "DX", "--cover", "--onto", "normal"]
    arguments += ["--size", "0.1", "--contrast", "1"]
    code, out, err = cxr(monkeypatch, capsys, "text", "stamp", weights, *arguments)
    assert code == 0, err
    assert "Stamping “DX” onto 3 images of normal" in out
    assert "turned to covid19" in out
    (started,) = list_runs()
    assert started.spec["params"]["split"] == ""
