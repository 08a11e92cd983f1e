"""The section Stamp of the text page: settings in the URL, a live preview, a run and what it found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from apps import codes, opened, refused, said
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.evaluation import predict
from cxr.evaluation.metrics import softmax
from cxr.experiments.stamping.job import versions_of
from cxr.experiments.stamping.settings import Setting
from cxr.networks import load_network
from cxr.runs import Run, list_runs, start
from cxr.text.stamp import place_of, stamp_patch, word_patch


def stamp(**query: str) -> AppTest:
    app = opened("text", **query)
    app.segmented_control(key="text:section").set_value("Stamp").run()
    return app


def without_search(app: AppTest) -> AppTest:
    return app.toggle(key="stamping:avoid").set_value(False).run()


def test_the_preview_says_what_the_network_says_of_the_stamped_xray(trained: Run, demo: Manifest) -> None:
    app = without_search(stamp(word="L R", place="left", size="0.16", contrast="0.5", split="test"))
    assert not app.exception, app.exception
    shown = app.dataframe[0].value.set_index("class")
    image_id = app.selectbox(key="pick:image").value
    assert demo.row(image_id)["label"] != app.selectbox(key="pick:towards").value == "covid19"
    setting = Setting.of(
        {"model": "", "manifest": "", "word": "L R", "place": "left", "sizes": [0.16], "contrasts": [0.5]}
    )
    network, _ = load_network(trained.id)
    image = read_xray(demo.image_path(image_id))
    versions = list(versions_of(image, image_id, word_patch("L R"), setting))
    logits = predict(network, np.stack([fit_square(v.picture, network.card.size) for v in versions]))
    for column, values in zip(("as it is", "stamped", "control"), softmax(logits), strict=True):
        assert shown[f"prob. {column}"].tolist() == pytest.approx(values.tolist(), abs=1e-4)
    assert "the same patch without letters gives" in said(app)
    captions = [caption for image in app.image for caption in image.captions]
    assert [c for c in captions if c in ("As it is", "Stamped", "Without letters")] == [
        "As it is",
        "Stamped",
        "Without letters",
    ]


def test_settings_stand_in_the_url_and_the_command(trained: Run) -> None:
    app = without_search(stamp())
    app.text_input(key="stamping:word").set_value("OSP 7").run()
    app.selectbox(key="pick:place").select("bottom-left").run()
    assert app.query_params["word"] == "OSP 7"
    assert app.query_params["place"] == "bottom-left"
    command = next(code for code in codes(app) if "text stamp" in code)
    assert f"cxr text stamp {trained.id} --word 'OSP 7'" in command
    assert "--place bottom-left" in command
    assert "--cover" in command


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"word": "OSPEDALE DI SAN LUCA", "size": "0.16"}, "too large for"),
        ({"word": "Ü", "font": "aileron"}, "font 'aileron' cannot draw 'Ü'"),
    ],
)
def test_what_cannot_be_stamped_is_reported_in_one_line(trained: Run, query: dict[str, str], words: str) -> None:
    app = stamp(**query)
    assert not app.exception
    told = [*app.warning, *app.error]
    assert len(told) == 1
    assert words in told[0].value
    assert "\n" not in told[0].value


def test_an_empty_word_asks_for_one(trained: Run) -> None:
    app = stamp()
    app.text_input(key="stamping:word").set_value("").run()
    assert not app.exception
    assert "1 to 60 printable characters" in app.error[0].value


def test_a_token_of_another_xray_is_cut_and_stamped(trained: Run, demo: Manifest) -> None:
    source = demo.select(label="covid19").ids[0]
    app = without_search(stamp(token="cut from an X-ray", **{"from": source}))
    assert not app.exception, app.exception
    assert app.selectbox(key="pick:from").value == source
    sides = app.selectbox(key="pick:box").value
    command = next(code for code in codes(app) if "text stamp" in code)
    assert f"--from {source}:{sides}" in command
    assert f"token of {source}" in said(app).replace("\\", "")


@pytest.fixture
def finished(trained: Run, demo: Manifest) -> Run:
    params = {"model": trained.id, "manifest": demo.path, "split": "test", "word": "DX", "avoid": False}
    run = start("text-stamping", params | {"sizes": [0.05, 0.2], "contrasts": [0.5, 1.0]}, detached=False)
    assert run.status()["state"] == "finished", run.status()["error"]
    return run


def test_a_finished_run_shows_its_sentence_curves_table_and_images(finished: Run, demo: Manifest) -> None:
    app = without_search(stamp(stamping=finished.id, split="test"))
    assert not app.exception, app.exception
    results = finished.results()
    assert results["finding"] in said(app)
    table = app.dataframe[1].value
    assert table[["size", "contrast"]].to_numpy().tolist() == [[d["size"], d["contrast"]] for d in results["doses"]]
    app.segmented_control(key=f"stamping:curve:{finished.id}").set_value("logit").run()
    assert not app.exception, app.exception
    assert len(app.get("plotly_chart")) == 1
    answers = pd.read_parquet(finished.folder.path / "stamped.parquet")
    largest = answers[(answers["size"] == 0.2) & (answers["contrast"] == 1.0) & (answers["condition"] == "stamped")]
    before = answers[answers["condition"] == "unstamped"].set_index("image_id")["prob_covid19"]
    moved = largest.set_index("image_id")["prob_covid19"] - before
    first = moved.idxmax()
    cards = [m.value.replace("\\", "") for m in app.markdown if "control" in m.value and "→" in m.value]
    chance = largest.set_index("image_id").at[first, "prob_covid19"]
    assert f"covid19 {100 * before[first]:.0f} % → {100 * chance:.0f} %" in cards[0]


def test_what_an_address_names_of_a_stamping_comes_back_or_is_reported(finished: Run) -> None:
    query = {"look": "Stamp", "cover": "1", "split": "test", "stamping": finished.id}
    app = opened("text", **query, curve="probability", dose="0.05x0.5")
    assert not app.error
    assert app.segmented_control(key=f"stamping:curve:{finished.id}").value == "probability"
    assert app.selectbox(key=f"stamping:dose:{finished.id}").value == "0.05x0.5"
    refused(app, query, "curve", "dose")


def test_the_picture_of_a_most_affected_xray_is_the_one_that_was_asked_about(finished: Run, demo: Manifest) -> None:
    """The run keeps boxes, not pictures: drawn again from its box, a picture gives the network's stored answer."""
    answers = pd.read_parquet(finished.folder.path / "stamped.parquet").query("condition == 'stamped'")
    row = answers.iloc[-1]
    image = read_xray(demo.image_path(row["image_id"]))
    from cxr.text import TextBox

    box = TextBox(*(int(row[name]) for name in ("x0", "y0", "x1", "y1")))
    picture = stamp_patch(image, word_patch("DX").scaled(box.height), box, row["contrast"])
    network, _ = load_network(finished.spec["params"]["model"])
    logits = predict(network, fit_square(picture, network.card.size)[None])[0]
    assert logits.tolist() == pytest.approx([row[f"logit_{c}"] for c in network.classes], abs=1e-4)
    assert place_of("top-right") == (1.0, 0.0)
    assert box.x1 > 0.9 * image.shape[1]


def test_a_run_started_on_the_page_has_its_settings(trained: Run, demo: Manifest) -> None:
    app = without_search(stamp(word="L", towards="pneumonia", split="test"))
    n = len(demo.select(split="test", label=["covid19", "normal"]))
    button = app.button(key="stamping:start")
    assert button.label == f"Stamp all {n} X-rays"
    button.click().run()
    (run,) = list_runs(kind="text-stamping")
    wanted = {"model": trained.id, "word": "L", "towards": "pneumonia", "avoid": False, "control": "shuffled"}
    assert wanted.items() <= run.spec["params"].items()
    assert run.wait(timeout=300)["state"] == "finished", run.status()["error"]
    app = without_search(stamp(stamping=run.id, split="test", word="L", towards="pneumonia"))
    assert run.results()["finding"] in said(app)
    assert run.results()["onto"] == ["covid19", "normal"]


def test_a_manifest_path_is_known_on_other_splits_as_another_subject(finished: Run) -> None:
    app = without_search(stamp(split="val"))
    assert "No stamping experiment on this network and split yet" in said(app)
    assert Path(finished.spec["params"]["manifest"]).is_file()
