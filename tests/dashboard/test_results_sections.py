"""Sections of the Results page: the matrix in three units, curves and thresholds, slices and their X-rays."""

from __future__ import annotations

import html
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from apps import click_cell, codes, matrix_of, opened, said, shown
from streamlit.testing.v1 import AppTest

from cxr import formatting
from cxr.evaluation.metrics import probabilities
from cxr.evaluation.tables.job import evaluate_table
from cxr.paths import runs_root
from cxr.runs import Run, mark_of
from cxr.runs.folder import RunFolder

NAMES = ("no finding", "TB|old", "*flu*")
FINDINGS = ("Mass", "Nodule/2")


def measured(tmp_path: Path, task: str, n: int = 240, names: tuple[str, ...] | None = None, seed: int = 3) -> Run:
    """A table of predictions with columns to slice by: the group ``west`` does worse, ``tiny`` has few patients."""
    names = names or (NAMES if task == "single-label" else FINDINGS)
    rng = np.random.default_rng(seed)
    patient = np.arange(n) // 2
    source = np.where(patient < 2, "tiny", np.where(patient % 3 == 0, "west", "east"))
    truth = np.random.default_rng(9).integers(0, len(names), n)
    targets = np.random.default_rng(9).random((n, len(names))) < 0.4
    there = np.eye(len(names))[truth] if task == "single-label" else targets
    logits = rng.normal(size=(n, len(names))) + np.where(source == "west", 0.2, 4.0)[:, None] * (there - 0.5)
    table = pd.DataFrame(probabilities(logits, task), columns=list(names))
    table["image"], table["patient_id"] = [f"i{k}" for k in range(n)], [f"p{k}" for k in patient]
    table["source"], table["view"] = source, np.where(np.arange(n) % 2, "PA", "AP")
    table["split"] = "test"
    if task == "single-label":
        table["label"] = [names[k] for k in truth]
    else:
        table["label"] = ["|".join(np.array(names)[row]) or "none" for row in targets]
    file = tmp_path / f"theirs{seed}.csv"
    table.to_csv(file, index=False)
    params = {"predictions": str(file), "task": task, "scale": "probabilities"}
    folder = RunFolder.create(runs_root(), "evaluate-predictions", params, name=f"theirs {seed}")
    evaluate_table(folder, folder.params)
    return Run(folder)


def charts_of(app: AppTest) -> list[str]:
    return [chart.proto.spec for chart in app.get("plotly_chart")]


def test_the_matrix_counts_x_rays_shares_and_patients_and_its_unit_is_in_the_address(tmp_path: Path) -> None:
    run = measured(tmp_path, "single-label")
    confusion = np.array(run.results()["splits"]["test"]["confusion"])
    app = opened("results", run=run.id)
    assert matrix_of(app)["texts"] == [[str(n) for n in row] for row in confusion.tolist()]
    assert matrix_of(app)["chosen"] is None
    of_row = (confusion / confusion.sum(1, keepdims=True)).tolist()
    assert matrix_of(app)["below"] == [[formatting.share(share) for share in row] for row in of_row]
    app = opened("results", run=run.id, unit="patients")
    assert not app.exception
    assert "Each patient counts once" in said(app)
    assert matrix_of(app)["below"] == [[f"{n} X-rays" for n in row] for row in confusion.tolist()]
    assert app.query_params["unit"] == "patients"
    assert "'nope', which is not here" in opened("results", run=run.id, unit="nope").error[0].value
    refusal = opened("results", run=run.id, cell="nope").error[0].value
    assert "'nope', which is not here" in refusal
    assert "''" not in refusal, "no cell is no name to choose"


def test_a_click_on_a_cell_shows_its_x_rays_and_a_second_one_all_errors(tmp_path: Path) -> None:
    run = measured(tmp_path, "single-label")
    true, predicted = NAMES[1], NAMES[2]
    (row, column), n = (1, 2), run.results()["splits"]["test"]["confusion"][1][2]
    app = click_cell(opened("results", run=run.id), true, predicted)
    assert f"True {true}, predicted {predicted} ({n})" in said(app)
    assert matrix_of(app)["chosen"] == [row, column]
    app = click_cell(app, true, predicted)
    assert "Errors, the most confident first" in said(app)
    assert matrix_of(app)["chosen"] is None
    app = click_cell(app, "nobody", predicted)  # what a browser sends is not believed
    assert not app.exception
    assert matrix_of(app)["chosen"] is None


def test_a_click_on_a_cell_of_a_finding_shows_what_came_of_it(tmp_path: Path) -> None:
    run = measured(tmp_path, "multi-label")
    app = click_cell(opened("results", run=run.id), "present", "present")
    assert matrix_of(app)["chosen"] == [1, 1]
    assert app.query_params["outcome"] == "true positive"


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_every_curve_is_shown_with_what_it_is_of_and_the_threshold_is_said_in_words(tmp_path: Path, task: str) -> None:
    run = measured(tmp_path, task)
    name = (NAMES if task == "single-label" else FINDINGS)[1]
    choice = {"class" if task == "single-label" else "finding": name}
    for curve, words in (
        ("roc", "pointwise"),
        ("precision-recall", "how common the class is"),
        ("calibration", "On the diagonal"),
        ("scores", "above the axis"),
    ):
        app = opened("results", run=run.id, tab="curves", curve=curve, threshold="0.35", prevalence="2.5", **choice)
        assert not app.exception
        assert not app.error
        page = said(app)
        assert words in page
        assert "A threshold of 0.35" in page
        assert "Where 2.5 % of X-rays have it" in page
        assert "of 120 patients with" in page or "patients with" in page
        assert len(charts_of(app)) == 1
        assert {"tab", "threshold", "prevalence"} <= set(app.query_params)


def test_the_words_follow_the_slider_and_another_class_starts_at_its_own_threshold(tmp_path: Path) -> None:
    run = measured(tmp_path, "single-label")
    app = opened("results", run=run.id, tab="curves")
    first = app.selectbox(key="pick:class").value
    table = run.predictions()
    app.slider(key=f"results:threshold:{first}").set_value(0.8).run()
    hits = int(((table["label"] == first) & (table[f"prob_{first}"] > 0.8)).sum())
    assert f"{hits} of {(table['label'] == first).sum()} X-rays" in said(app)
    assert app.query_params["threshold"] == "0.8"
    app.selectbox(key="pick:class").select(NAMES[2]).run()
    assert not app.exception
    assert "A threshold of 0.5" in said(app)
    assert "threshold" not in app.query_params


def test_a_class_without_an_x_ray_has_no_curve_and_the_page_says_why(tmp_path: Path) -> None:
    run = measured(tmp_path, "single-label", n=60)
    table = run.predictions()
    run.folder.write_predictions(table[table["label"] != NAMES[1]].reset_index(drop=True))
    app = opened("results", run=run.id, tab="curves", **{"class": NAMES[1]})
    assert not app.exception
    assert f"No curve of {NAMES[1]}: no X-ray of {NAMES[1]}" in said(app)


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_slices_stand_in_a_forest_plot_and_small_ones_are_said_to_be_small(tmp_path: Path, task: str) -> None:
    run = measured(tmp_path, task)
    app = opened("results", run=run.id, tab="slices", pairs="1")
    assert not app.exception
    assert not app.error
    page = said(app)
    assert "In X-rays with source west" in page
    assert "Too small to compare: source tiny (4 X-rays; 2 patients in it; 6 are needed)" in page
    assert "The worst pairs of columns" in page
    assert any(code == f"cxr slices {run.id} --split test" for code in codes(app))
    assert "source west" in charts_of(app)[0]
    for frame in app.dataframe:
        if "X-rays" in frame.value.columns:
            assert json.loads(frame.proto.columns)["X-rays"]["type_config"]["format"] == "localized"
    only = opened("results", run=run.id, tab="slices", column="view")
    assert "source west" not in charts_of(only)[0]
    assert only.query_params["column"] == "view"


def test_the_x_rays_of_a_slice_are_those_of_its_column_with_the_wrong_ones_first(tmp_path: Path) -> None:
    run = measured(tmp_path, "single-label")
    table = run.predictions()
    west = table[(table["source"] == "west") & (table["view"] == "PA")]
    app = opened("results", run=run.id, tab="slices", slice="source,west,view,PA")
    assert not app.exception
    assert f"source west and view PA: {len(west)} X-rays" in said(app).replace("\\", "")
    shown = app.dataframe[-1].value
    assert set(shown["image_id"]) == set(west["image_id"])
    assert not shown["correct"].iloc[0]
    app.button(key="results:slice:close").click().run()
    assert "slice" not in app.query_params
    for wrong in ("source,nowhere", "nothing,x", "source"):
        refused = opened("results", run=run.id, tab="slices", slice=wrong)
        assert not refused.exception
        assert "Accepted: COLUMN,GROUP" in refused.error[0].value


def test_runs_are_compared_with_the_x_rays_on_which_they_disagree(tmp_path: Path) -> None:
    first, second = measured(tmp_path, "single-label"), measured(tmp_path, "single-label", seed=4)
    app = opened("compare", runs=f"{first.id},{second.id}", split="test")
    assert not app.exception
    assert not app.error
    page = said(app)
    assert "240 X-rays of 120 patients are compared (240 of test)" in page.replace("*", "")
    assert "cannot be told apart" in page
    (a, b) = (run.predictions() for run in (first, second))
    alone = int(((a["predicted"] == a["label"]) & (b["predicted"] != b["label"])).sum())
    (choice,) = app.get("button_group")
    assert choice.options[0] == f"Only theirs 3 is right ({alone})"
    assert len(app.dataframe[0].value) == alone
    (same,) = opened("compare", runs=f"{first.id},{second.id}", list="both").get("button_group")
    assert same.value == "both"
    assert not any("test" in frame.value for frame in app.dataframe)  # they take longest, and are not opened yet
    app.session_state["compare:tests"] = True
    app.run()
    tests = next(frame.value for frame in app.dataframe if "test" in frame.value)
    assert {"McNemar", "DeLong", "paired bootstrap"} == set(tests["test"])
    assert any("always" in str(name) for name in app.dataframe[1].value.columns)
    assert f"cxr compare {first.id} {second.id} --split test" in codes(app)
    choice.set_value("second").run()
    assert app.query_params["list"] == "second"


def test_runs_of_one_long_name_are_told_apart_and_their_names_leave_room_for_the_marks(tmp_path: Path) -> None:
    name = "twice transfer learning that keeps neurons, on X-rays of 2 hospitals & more"
    runs = [measured(tmp_path, "single-label", seed=seed) for seed in (3, 4)]
    for run in runs:
        spec = json.loads((run.folder.path / "spec.json").read_text()) | {"name": name}
        (run.folder.path / "spec.json").write_text(json.dumps(spec))
    marks = [mark_of(run.id) for run in runs]
    app = opened("compare", runs=",".join(run.id for run in runs), split="test")
    assert not app.exception
    chosen = app.multiselect(key="compare:runs")
    assert [label.split(" · ")[0] for label in chosen.options] == [f"{name} ({mark})" for mark in reversed(marks)]
    figures, differences = (json.loads(chart.proto.spec)["layout"] for chart in app.get("plotly_chart"))
    for label, mark in zip(figures["yaxis"]["ticktext"], marks, strict=False):
        lines = label.split("<br>")
        assert html.unescape(" ".join(lines)) == f"{name} ({mark})"
        assert max(map(len, lines)) <= 26
        assert figures["height"] >= 4 * 17 * len(lines)
    assert figures["yaxis"]["ticktext"][2].startswith("always '")
    assert differences["xaxis"]["title"]["text"] == "difference", "a long name would be cut off there"
    assert f"Right of 0: {name} ({marks[0]}) is better." in said(app)


def test_three_runs_of_findings_are_compared_two_by_two(tmp_path: Path) -> None:
    runs = [measured(tmp_path, "multi-label", seed=seed) for seed in (3, 4, 5)]
    ids = [run.id for run in runs]
    app = opened("compare", runs=",".join(ids), pair=f"{ids[1]},{ids[2]}", finding=FINDINGS[1], measure="AUC of Mass")
    assert not app.exception
    assert not app.error
    assert "Only theirs 4 is right" in app.get("button_group")[0].options[0]
    assert {"pair", "finding", "measure"} <= set(app.query_params)


def test_a_deleted_run_that_is_compared_is_said_to_be_gone(tmp_path: Path) -> None:
    runs = [measured(tmp_path, "single-label", seed=seed) for seed in (3, 4, 5)]
    app = opened("compare", runs=",".join(run.id for run in runs), split="test")
    runs[1].delete()
    (error,) = app.run().error
    assert f"There is no run '{runs[1].id}' here: it has been deleted" in error.value
    next(button for button in app.button if button.label == "Go on without it").click().run()
    assert not app.error
    assert shown(app)["runs"] == f"{runs[0].id},{runs[2].id}"


def test_the_compare_page_asks_for_two_runs_and_refuses_what_cannot_be_compared(tmp_path: Path) -> None:
    one = measured(tmp_path, "single-label")
    app = opened("compare", runs=one.id)
    assert "Choose two runs or more" in app.info[0].value
    other = measured(tmp_path, "multi-label", seed=4)
    app = opened("compare", runs=f"{one.id},{other.id}")
    assert not app.exception
    assert "they cannot be compared" in app.error[0].value
    assert "There is no run" in said(opened("compare", runs="nope")) or opened("compare", runs="nope").error
