"""The LRP explorer: choosing an X-ray, explaining a class, uploads, and the pictures themselves."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from apps import act_in_viewer, change_look, codes, opened, said, shown_in_viewer, unfolded
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.data.library import save_data_set
from cxr.explain import COMPOSITES, explain
from cxr.explain.heatmap import Heatmap, Method
from cxr.explain.store import usage
from cxr.networks import load_network
from cxr.runs import Run, start
from cxr.text import TextBox


def picked(app: AppTest, param: str) -> str:
    return app.selectbox(key=f"pick:{param}").value


def shown_ids(app: AppTest) -> list[str]:
    """Ids of the image list in its order, which the widget holds as labels that end in the id."""
    return [label.rsplit(" · ", 1)[1] for label in app.selectbox(key="pick:image").options]


def scores(app: AppTest):
    return next(frame.value for frame in app.dataframe if "probability" in frame.value)


def booked(app: AppTest) -> pd.DataFrame:
    """The ledger, a column per class."""
    return app.table[0].value


def test_without_a_network_the_explorer_leads_to_training_or_data() -> None:
    app = opened("explorer")
    assert not app.exception
    assert app.info


def test_a_heatmap_of_the_predicted_class_is_there_at_once(trained: Run) -> None:
    app = opened("explorer")
    assert not app.exception, app.exception
    assert not app.error
    predicted = scores(app)["class"][0]
    words = said(app)
    assert f"Predicted **{predicted}**" in words
    assert "LRP: epsilon, z+, flat (epsilon-plus-flat) · biases ignored · epsilon 1e-06 · computed in" in words
    assert booked(app).columns.tolist()[0] == predicted
    shown = shown_in_viewer(app)
    assert [pane["title"] for pane in shown["panes"]] == ["X-ray", f"Heatmap: {predicted}", "Overlay"]
    assert shown["prediction"]["verdict"].startswith(f"Predicted {predicted} ")
    assert f"Red speaks for {predicted}, blue against it" in shown["sentence"]
    assert {
        "Picture with legend (PNG)",
        "Secondary capture (DICOM)",
        "Relevance of every input value (.npy)",
    } <= {button.label for button in app.download_button}


def test_the_predictions_shown_are_those_of_the_evaluation(trained: Run) -> None:
    table = trained.predictions().query("split == 'test'").set_index("image_id")
    for image_id in table.index[:3]:
        app = opened("explorer", image=image_id)
        shown = scores(app).set_index("class")["logit"]
        for name, logit in shown.items():
            assert logit == pytest.approx(table.at[image_id, f"logit_{name}"], abs=1e-4)


@pytest.fixture
def weights(trained: Run, tmp_path: Path) -> str:
    """The trained network as weights in a file, without its run."""
    (tmp_path / "weights").mkdir()
    for file in trained.folder.checkpoints.glob("best.*"):
        shutil.copy(file, tmp_path / "weights" / f"apart{file.suffix}")
    return "apart"


def test_weights_from_a_file_are_measured_on_the_split_when_it_is_opened(trained: Run, weights: str) -> None:
    table = trained.predictions().query("split == 'test'").sort_values("confidence")
    app = opened("explorer", model=weights, split="test")
    assert not app.exception, app.exception
    app.selectbox(key="browse:order").select("confidence, lowest first").run()
    assert shown_ids(app) == table["image_id"].tolist()


def test_a_large_split_is_measured_only_on_request(weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from services import explaining

    monkeypatch.setattr(explaining, "AT_ONCE", 3)
    app = opened("explorer", model=weights, split="test")
    assert app.selectbox(key="browse:order:before").options == ["class"]
    next(button for button in app.button if button.label.startswith("Predict all")).click().run()
    assert "errors first" in app.selectbox(key="browse:order").options


@pytest.mark.parametrize("page", ["explorer", "text"])
def test_the_first_x_ray_is_the_same_before_and_after_the_split_is_predicted(
    page: str, trained: Run, weights: str, demo: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services import explaining

    table = pd.read_csv(demo.path, keep_default_na=False)
    first = table.index[table["split"] == "test"][0]
    table.loc[first, "label"] = "a disease that the network does not know"
    table.to_csv(demo.path, index=False)
    with monkeypatch.context() as patch:
        patch.setattr(explaining, "AT_ONCE", 3)
        before = opened(page, model=weights, split="test")
        assert before.selectbox(key="browse:order:before").options == ["class"]
    after = opened(page, model=weights, split="test")
    measured = trained.predictions()
    trained.folder.write_predictions(measured[measured["image_id"] != table.loc[first, "image_id"]])
    of_run = opened(page, model=trained.id, split="test")
    for app in (after, of_run):
        assert "errors first" in app.selectbox(key="browse:order").options
        assert picked(app, "image") == picked(before, "image") == shown_ids(app)[0]


def test_choosing_another_network_begins_with_its_own_data(trained: Run, weights: str, demo: Manifest) -> None:
    save_data_set("another", demo)
    app = opened("explorer", model=weights, data="another")
    assert picked(app, "data") == "another"
    app.selectbox(key="pick:model").select(trained.id).run()
    assert picked(app, "data") == "demo"


def test_a_link_opens_the_image_class_and_composite_that_it_names(trained: Run) -> None:
    image_id = trained.predictions().query("split == 'val'")["image_id"].iloc[-1]
    link = {"model": trained.id, "data": "demo", "split": "val", "image": image_id}
    app = opened("explorer", **link, target="normal", composite="gradient")
    names = ("model", "data", "split", "image", "target", "composite")
    assert [picked(app, n) for n in names] == [trained.id, "demo", "val", image_id, "normal", "gradient"]
    assert "The values of a map add up to nothing: a sensitivity" in said(app)


def test_next_and_previous_walk_through_the_list(trained: Run) -> None:
    app = opened("explorer")
    ids = shown_ids(app)
    assert picked(app, "image") == ids[0]
    act_in_viewer(app, "show", to=0)  # there is none before it
    assert picked(app, "image") == ids[0]
    act_in_viewer(app, "show", to=2)
    assert picked(app, "image") == ids[1]
    assert app.query_params["image"] in (ids[1], [ids[1]])
    act_in_viewer(app, "show", to=1)
    assert picked(app, "image") == ids[0]
    act_in_viewer(app, "show", id=ids[3])
    assert picked(app, "image") == ids[3]
    assert shown_in_viewer(app)["list"] == {"position": 4, "total": len(ids)}
    act_in_viewer(app, "show", id="nope")
    assert picked(app, "image") == ids[3]


def test_a_class_is_chosen_in_the_viewer(trained: Run) -> None:
    app = opened("explorer")
    name = shown_in_viewer(app)["prediction"]["classes"][-1]["name"]
    act_in_viewer(app, "explain", name=name)
    assert picked(app, "target") == name
    assert [row["name"] for row in shown_in_viewer(app)["prediction"]["classes"] if row["explained"]] == [name]
    act_in_viewer(app, "explain", name="nope")
    assert picked(app, "target") == name


@pytest.mark.parametrize("wish", [{"to": 2}, {"name": "pneumonia"}, {"classes": "all"}])
def test_a_step_after_somebody_has_deleted_the_network_says_that_it_is_gone(trained: Run, wish: dict) -> None:
    app = opened("explorer", model=trained.id)
    trained.delete()
    act_in_viewer(app, "show", **wish)
    assert not app.exception
    (error,) = app.error
    assert trained.id in error.value
    assert not app.get("bidi_component")


def test_images_are_sorted_and_filtered_by_what_the_network_said(trained: Run) -> None:
    table = trained.predictions().query("split == 'test'").set_index("image_id")
    app = opened("explorer")
    app.selectbox(key="browse:order").select("confidence, lowest first").run()
    ids = shown_ids(app)
    assert table.loc[ids, "confidence"].is_monotonic_increasing
    app.toggle(key="browse:errors").set_value(True).run()
    wrong = set(table.index[~table["correct"]])
    assert wrong, "a network trained for two epochs errs somewhere"
    assert set(shown_ids(app)) == wrong
    app.toggle(key="browse:errors").set_value(False)
    app.multiselect(key="browse:label").set_value(["normal"]).run()
    assert set(shown_ids(app)) == set(table.index[table["label"] == "normal"])


def test_filters_that_leave_nothing_say_so_and_the_choices_below_survive(trained: Run) -> None:
    table = trained.predictions()
    trained.folder.write_predictions(table.assign(predicted=table["label"], correct=True))
    app = opened("explorer", composite="gradient")
    change_look(app, opacity=0.3)
    app.toggle(key="browse:errors").set_value(True).run()
    assert "No X-ray matches these filters" in said(app)
    app.toggle(key="browse:errors").set_value(False).run()
    assert picked(app, "composite") == "gradient"
    assert shown_in_viewer(app)["look"]["opacity"] == 0.3


@pytest.mark.parametrize("composite", list(COMPOSITES))
def test_every_composite_explains_every_class(trained: Run, composite: str) -> None:
    app = opened("explorer", composite=composite)
    for target in ("covid19", "normal", "pneumonia"):
        app.selectbox(key="pick:target").select(target).run()
        assert not app.exception
        if COMPOSITES[composite].kind == "lrp":
            assert booked(app).columns.tolist()[0] == target
        assert f"({composite})" in said(app)


def test_an_uploaded_xray_is_explained_like_the_same_file_of_the_data_set(trained: Run, demo: Manifest) -> None:
    image_id = demo.select(split="test").ids[0]
    of_data = scores(opened("explorer", image=image_id, split="test"))
    app = opened("explorer")
    app.segmented_control(key="explorer:source").set_value("Upload").run()
    assert "stays on this computer" in said(app)
    content = demo.image_path(image_id).read_bytes()
    app.file_uploader(key="explorer:upload").upload("mine.png", content, "image/png").run()
    assert not app.exception
    assert scores(app)["logit"].tolist() == pytest.approx(of_data["logit"].tolist(), abs=1e-5)


@pytest.mark.parametrize("content", [b"", b"plain text", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"\0" * 128 + b"DICM"])
def test_a_bad_upload_is_reported_in_one_line_that_names_it(trained: Run, content: bytes) -> None:
    app = opened("explorer")
    app.segmented_control(key="explorer:source").set_value("Upload").run()
    app.file_uploader(key="explorer:upload").upload("scan.png", content, "image/png").run()
    assert not app.exception
    (box,) = app.error
    assert box.value.startswith("scan.png")
    assert "\n" not in box.value
    assert "/tmp" not in box.value


def test_outlines_of_the_ground_truth_are_offered_where_there_are_masks(trained: Run) -> None:
    app = opened("explorer")
    shown = shown_in_viewer(app)
    outlines = {outline["name"]: outline["polygons"] for outline in shown["outlines"]}
    assert {"lung", "token"} <= set(outlines)
    corners = np.concatenate([np.array(polygon) for polygon in outlines["lung"]])
    assert 0 < corners.min() < corners.max() < 1
    assert shown["look"]["outlines"] == []
    change_look(app, outlines=["lung", "nope"])
    assert not app.exception
    assert shown_in_viewer(app)["look"]["outlines"] == ["lung"]
    assert app.query_params["outlines"] in ("lung", ["lung"])


def test_a_missing_image_file_is_reported_in_one_line(trained: Run, demo: Manifest) -> None:
    image_id = demo.select(split="test").ids[0]
    demo.image_path(image_id).unlink()
    app = opened("explorer", image=image_id, split="test")
    assert not app.exception
    assert "is missing" in app.error[0].value


def test_the_array_to_download_holds_the_very_relevance_of_the_model(trained: Run, demo: Manifest) -> None:
    from services import explaining

    network, _ = load_network(trained.id)
    xray = explaining.of_manifest(demo, demo.select(split="test").ids[0])
    picture = explaining.network_picture(trained.id, xray)
    stored = np.load(io.BytesIO(explaining.relevance_npy(network, picture, Method.of("epsilon"), "normal")))
    again = explain(network, fit_square(xray.pixels, 64)[None], "normal", "epsilon")
    assert stored.dtype == np.float32
    np.testing.assert_allclose(stored, again.relevance[0], atol=1e-6)


def test_a_second_visit_reads_the_map_that_the_first_one_computed(trained: Run, demo: Manifest) -> None:
    first = opened("explorer")
    assert "computed in" in said(first)
    again = opened("explorer")
    assert "loaded from the store" in said(again)
    pd.testing.assert_frame_equal(booked(again), booked(first))
    every = opened("explorer", classes="all")
    assert "1 loaded from the store, 2 computed in" in said(every)
    other = opened("explorer", bias="keep")
    assert "loaded from the store" not in said(other)


@pytest.mark.slow
def test_a_page_reads_what_a_run_has_explained(trained: Run, demo: Manifest) -> None:
    params = {
        "model": trained.id,
        "manifest": str(demo.path),
        "split": "test",
        "targets": "all",
        "composite": "epsilon",
    }
    run = start("explain", params, detached=False)
    assert run.status()["state"] == "finished", run.status()["error"]
    app = opened("explorer", composite="epsilon", split="test", classes="all")
    assert "loaded from the store" in said(app)


def test_the_ledger_adds_up_to_the_logit_of_every_class(trained: Run) -> None:
    app = opened("explorer", classes="all", composite="epsilon")
    assert not app.exception
    shown = scores(app).set_index("class")["logit"]
    table = booked(app)
    assert set(table.columns) - {""} == set(shown.index)
    for name, logit in shown.items():
        numbers = [float(value) for value in table[name]]
        assert numbers[0] == pytest.approx(logit, abs=2e-4)
        assert sum(numbers[1:]) == pytest.approx(numbers[0], abs=5e-4)


def test_all_classes_stand_side_by_side_at_one_colour_scale(trained: Run) -> None:
    app = opened("explorer")
    assert len(shown_in_viewer(app)["maps"]) == 1
    app.selectbox(key="pick:classes").select("all").run()
    assert not app.exception
    shown = shown_in_viewer(app)
    assert len(shown["maps"]) == 3
    assert sum(" · logit " in pane["title"] for pane in shown["panes"]) == 2
    assert shown["look"]["scale"] == "row"
    assert app.query_params["classes"] in ("all", ["all"])
    assert "--target all" in codes(app)[0]


def test_biases_are_a_choice_only_where_the_rules_leave_one(trained: Run) -> None:
    app = opened("explorer", bias="keep")
    assert picked(app, "bias") == "keep"
    assert "biases kept" in said(app)
    assert "--bias keep" in codes(app)[0]
    app.selectbox(key="pick:composite").select("epsilon").run()
    assert not [box for box in app.selectbox if box.key == "pick:bias"]
    assert any(box.disabled and box.value == "always kept" for box in app.selectbox)
    assert "--bias" not in codes(app)[0]
    app.selectbox(key="pick:composite").select("grad-cam").run()
    assert not app.exception


def test_lrp_stands_first_among_the_ways_and_the_others_say_what_they_are_for(trained: Run) -> None:
    labels = opened("explorer").selectbox(key="pick:composite").options
    n_lrp = sum(known.kind == "lrp" for known in COMPOSITES.values())
    assert [label.startswith("LRP: ") for label in labels] == [i < n_lrp for i in range(len(COMPOSITES))]
    assert all(label.startswith(("LRP: ", "For comparison: ")) for label in labels)


def test_an_unreliable_map_carries_a_warning(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr.explain import diagnostics

    monkeypatch.setattr(diagnostics, "ABSORBED_TIMES", 0.0)
    app = opened("explorer", composite="epsilon")
    assert any("Biases absorbed" in warning.value for warning in app.warning)
    assert not app.exception


def test_faithfulness_is_measured_on_a_press_and_kept(trained: Run) -> None:
    app = opened("explorer")
    assert not [metric for metric in app.metric if "Removal" in metric.label]
    app.button(key="faithful:start").click().run()
    assert not app.exception, app.exception
    (area,) = [metric for metric in app.metric if "Removal" in metric.label]
    assert area.value.endswith(" logits")
    assert "With all weights random the map still has a rank correlation of" in said(app)
    assert "Measured in" in said(app)
    change_look(app, opacity=0.5)
    assert "Measured in" in said(app)
    app.selectbox(key="pick:composite").select("epsilon").run()
    assert "Measured in" not in said(app)


@pytest.mark.parametrize(
    ("last", "words"),
    [(0.52, "0.52 with this one: much of it does not"), (0.3, "part of it does not"), (-0.1, "it depends on")],
)
def test_what_random_weights_leave_of_a_map_is_said_in_a_sentence(last: float, words: str) -> None:
    from sections.explorer.faithfulness import randomisation_verdict

    assert words in randomisation_verdict(last)
    assert "no relevance" in randomisation_verdict(float("nan"))


def test_a_map_is_compared_with_every_mask_that_there_is(trained: Run, demo: Manifest) -> None:
    from services import explaining

    xray = explaining.of_manifest(demo, demo.select(split="test").ids[0])
    app = unfolded(opened("explorer", image=xray.id, split="test"), "localisation")
    (table,) = [frame.value for frame in app.dataframe if "ground truth" in frame.value]
    filled = [name for name, path in xray.masks.items() if (read_xray(path) > 127).any()]
    assert set(table["ground truth"]) <= set(filled)
    assert "lung" in set(table["ground truth"])
    measured = table.dropna(subset=["mass inside"])
    assert len(measured)
    assert (measured["mass inside"] / measured["area"]).tolist() == pytest.approx(measured["times chance"].tolist())


def test_stored_heatmaps_are_counted_and_deleted_on_request(trained: Run) -> None:
    app = opened("explorer")
    app = unfolded(app, "stored")
    assert "1 heatmap of 1 network, " in said(app)
    next(button for button in app.button if button.label == "Delete stored heatmaps").click().run()
    assert not app.exception
    assert usage().maps == 0


def test_layers_are_listed_from_the_one_that_kept_most() -> None:
    from sections.explorer import heatmap_facts

    one = replace(_made_up(), layers=("classifier", "a", "b"), layer_absorbed=np.array([0.1, -0.5, 1e-9]))
    one = replace(one, layer_lost=np.array([0.0, 0.0, 0.0]))
    assert heatmap_facts.top_layers(one)["layer"].tolist() == ["a", "classifier"]


def _made_up() -> Heatmap:
    flat = np.ones((4, 4), np.float32)
    return Heatmap(flat, "normal", 1.0, "epsilon", "keep", {}, "float32", 16.0, 0.0, -15.0, 0.0, 0.0)


def test_names_of_classes_are_shown_as_they_are() -> None:
    from widgets import viewer

    assert viewer.plain("a_b*c [d] $e$") == r"a\_b\*c \[d\] \$e\$"


def test_boxes_are_drawn_where_they_lie_and_labelled_outside() -> None:
    from widgets import viewer

    image = np.zeros((400, 400), np.uint8)
    drawn = viewer.with_boxes(image, [TextBox(100, 100, 200, 150, "PORTABLE", 0.9, "word")], side=800)
    ys, xs = np.nonzero((drawn == viewer.BOX_COLOUR).all(axis=-1))
    assert abs(xs.min() - 200) <= 4
    assert abs(xs.max() - 400) <= 4
    assert abs(ys.max() - 300) <= 4
    assert ys.min() < 196, "the label stands above the box"
    assert cv2.cvtColor(drawn[204:296, 204:396], cv2.COLOR_RGB2GRAY).max() == 0
