"""The form of a recipe, and what pages tell of a training in stages."""

from __future__ import annotations

import numpy as np
import pytest
from apps import codes, opened, said

from cxr.data import Manifest
from cxr.paths import runs_root
from cxr.runs import Run, list_runs, start
from cxr.runs.folder import RunFolder
from cxr.runs.metrics.metrics_table import Metrics
from cxr.training import load_recipe


def widget(kind: object, label: str, nth: int = 0) -> object:
    return [w for w in kind if w.label == label][nth]


@pytest.fixture
def with_findings(demo: Manifest) -> Manifest:
    """The synthetic X-rays, of which a part has findings and serves the first stage alone."""
    table = demo.table.copy()
    intermediate = table.index[table["split"] == "train"][::2]
    names = {"covid19": "Opacity", "normal": "No Finding", "pneumonia": "Pneumonia|Opacity"}
    table.loc[intermediate, "findings"] = [names[label] for label in table.loc[intermediate, "label"]]
    table.loc[intermediate, ["label", "split", "role"]] = ["", "", "intermediate"]
    demo.with_table(table).save(demo.path)
    return Manifest.load(demo.path)


@pytest.fixture
def in_stages(with_findings: Manifest) -> Run:
    changes = {"backbone": "densenet-small", "weights": None, "size": 64, "stages.*.epochs": 2, "threads": 1}
    recipe = load_recipe("twice-keep").changed(changes | {"backbone_args": {"growth_rate": 4, "block_config": [2, 2]}})
    params = {"recipe": recipe.model_dump(mode="json"), "manifest": str(with_findings.path), "data_name": "demo"}
    run = start("train", params, name="in stages", detached=False)
    assert run.status()["state"] == "finished", run.folder.log_tail()
    return run


def test_results_tell_what_each_stage_achieved_and_which_neurons_were_kept(in_stages: Run) -> None:
    app = opened("results", run=in_stages.id)
    assert not app.exception
    table = next(f.value for f in app.dataframe if "kept output neurons" in f.value.columns)
    assert table["stage"].tolist() == ["findings", "final"]
    assert table["kept output neurons"].tolist() == ["none", "normal (was No Finding), pneumonia (was Pneumonia)"]
    assert table["validation"][0].startswith("mean AUC ")
    by_class = next(f.value for f in app.dataframe if list(f.value.index) == ["No Finding", "Opacity", "Pneumonia"])
    assert [text.split(" / ")[1] for text in by_class["positive / known"]] == [
        str(in_stages.results()["stages"][0]["n_val"])
    ] * 3


def of_findings(rows: list[dict]) -> Run:
    """A training whose first stage is of findings, with these rows of metrics."""
    recipe = {"stages": [{"name": "findings", "task": "multi-label"}, {"name": "final"}]}
    folder = RunFolder.create(runs_root(), "train", {"recipe": recipe, "manifest": "m.csv"})
    if rows:
        folder.append_metrics(rows)
    return Run(folder)


def test_live_shows_the_auc_of_findings_before_and_after_the_first_epoch() -> None:
    epoch = {"kind": "epoch", "stage": "findings", "stage_index": 0, "epoch": 1, "step": 4, "val_loss": 0.5}
    runs = [of_findings(rows) for rows in ([], [epoch | {"val_auc": 0.625, "val_average_precision": 0.25}])]
    best = []
    for run in runs:
        app = opened("live", run=run.id)
        assert not app.exception
        best.append(next((m.label, m.value) for m in app.metric if m.label.startswith("Best")))
    assert best == [("Best val. AUC", "–"), ("Best val. AUC (findings)", "0.625")]


def test_live_shows_how_far_kept_neurons_moved_and_the_score_of_the_present_stage(in_stages: Run) -> None:
    app = opened("live", run=in_stages.id)
    assert not app.exception
    assert any(m.label == "Best val. accuracy (final)" for m in app.metric)
    charts = [str(element.proto.spec) for element in app.get("plotly_chart")]
    assert any("pneumonia (was Pneumonia)" in spec and "covid19 (new)" in spec for spec in charts)


def test_curves_of_two_stages_are_not_joined_and_each_beginning_carries_its_name() -> None:
    from sections.live import curves

    scores = {"val_accuracy": 0.5, "val_loss": 1.0}
    rows = [
        {"kind": "start", "stage": "findings", "stage_index": 0, "step": 0} | scores,
        {"kind": "step", "stage": "findings", "stage_index": 0, "step": 2, "loss": 9.0},
        {"kind": "epoch", "stage": "findings", "stage_index": 0, "step": 2} | scores,
        {"kind": "start", "stage": "final", "stage_index": 1, "step": 2} | scores,
        {"kind": "step", "stage": "final", "stage_index": 1, "step": 3, "loss": 1.0},
    ]
    metrics = Metrics.of_rows(rows)
    score = curves.score_curves({"x": metrics})
    assert score.layout.xaxis.rangemode == "nonnegative"  # one point alone would begin at step -1
    assert not any(trace.cliponaxis for trace in score.data)
    np.testing.assert_array_equal(score.data[0].x, [0, 2, np.nan, 2])
    assert [note.text for note in score.layout.annotations] == ["findings", "final"]
    training = next(trace for trace in curves.loss_curves({"x": metrics}).data if trace.name == "training")
    np.testing.assert_array_equal(training.y, [9.0, np.nan, 1.0])  # the second stage is not smoothed into the first
    assert not curves.score_curves({"x": metrics, "y": metrics}).layout.annotations


def test_a_long_training_is_drawn_with_some_thousand_points_and_every_spike() -> None:
    from sections.live import curves

    rows = [{"kind": "step", "stage_index": n // 70_000, "step": n, "loss": 1.0} for n in range(100_000)]
    rows[61_803]["loss"] = 50.0
    rows += [{"kind": "epoch", "stage_index": 1, "step": n, "val_loss": 1.0} for n in range(20_000)]
    traces = curves.loss_curves({"x": Metrics.of_rows(rows)}).data
    assert all(len(trace.x) <= curves.MOST_POINTS + 10 for trace in traces)
    assert np.nanmax(traces[0].y) == 50.0
    assert (traces[0].x[0], traces[0].x[-1]) == (0, 99_999)


def test_of_findings_the_chart_shows_the_auc_and_no_share_of_right_entries() -> None:
    from sections.live import curves

    first = {"kind": "epoch", "stage": "findings", "stage_index": 0, "step": 1, "val_accuracy": 0.9, "val_auc": 0.6}
    last = {"kind": "epoch", "stage": "final", "stage_index": 1, "step": 2, "val_accuracy": 0.5}
    drawn = curves.score_curves({"x": Metrics.of_rows([first, last])}).data
    shown = {trace.name: [y for y in trace.y if np.isfinite(y)] for trace in drawn}
    assert shown == {"accuracy": [0.5], "AUC": [0.6]}


def test_the_form_changes_what_is_trained(demo: Manifest) -> None:
    app = opened("train", recipe="demo")
    widget(app.selectbox, "What is trained").select("block-3").run()
    widget(app.selectbox, "Loss").select("focal").run()
    widget(app.number_input, "Focal gamma").set_value(1.5).run()
    widget(app.number_input, "Weight averaging (EMA)").set_value(0.99).run()
    widget(app.number_input, "Stop early after").set_value(4).run()
    widget(app.number_input, "Accumulation steps").set_value(2).run()
    widget(app.number_input, "Epochs").set_value(1).run()
    widget(app.checkbox, "Deterministic").check().run()
    widget(app.button, "Start training").click().run()
    assert not app.error
    (run,) = list_runs(kind="train")
    recipe = run.spec["params"]["recipe"]
    stage = recipe["stages"][0]
    assert (stage["train"], stage["loss"], stage["focal_gamma"]) == ("block-3", "focal", 1.5)
    assert (stage["ema"], stage["early_stop"], stage["accumulate"], stage["epochs"]) == (0.99, 4, 2, 1)
    assert recipe["deterministic"]


def test_labels_that_the_recipe_leaves_out_are_said_before_anything_starts(demo: Manifest) -> None:
    assert not opened("train", recipe="demo").warning
    table = demo.table.copy()
    strange = table.index[table["split"] == "test"][:3]
    table.loc[strange, "label"] = "tuberculosis"
    demo.with_table(table).save(demo.path)
    (warning,) = opened("train", recipe="demo").warning
    assert "split test: 3 X-rays are left out" in warning.value
    assert warning.value.endswith("tuberculosis 3")


def test_what_does_not_go_together_is_reported_in_one_line_and_starts_nothing(demo: Manifest) -> None:
    app = opened("train", recipe="demo")
    widget(app.number_input, "Number of GPUs").set_value(9).run()
    assert "batch: 16 is too small for devices 9" in app.error[0].value
    assert not app.exception


def test_a_recipe_that_finds_nothing_to_learn_from_is_refused_before_it_starts(demo: Manifest) -> None:
    app = opened("train", recipe="twice-keep")
    assert len(app.warning) == 1, "before anything is pressed"
    assert "stage 1 (findings) has nothing to learn from" in said(app)
    widget(app.selectbox, "Initial weights").select("none (random)").run()
    widget(app.button, "Start training").click().run()
    assert "stage 1 (findings) has nothing to learn from" in app.error[0].value
    assert list_runs() == []
    assert not app.exception


def test_what_will_happen_is_said_and_measured_before_the_start(demo: Manifest) -> None:
    app = opened("train", recipe="demo")
    assert "X-rays seen 48 times" in said(app)
    assert "Changed from" not in said(app)
    widget(app.number_input, "Epochs").set_value(2).run()
    widget(app.number_input, "Image size (pixels)").set_value(32).run()
    assert "Changed from demo: size: 128 -> 32, stages.0.epochs: 48 -> 2." in said(app)
    widget(app.button, "Estimate").click().run()
    assert not app.exception
    assert "on the processor at" in said(app)
    assert list_runs() == []


def test_several_seeds_start_as_many_trainings_and_live_shows_them_together(
    demo: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr.runs.starting.launch", lambda folder: None)
    app = opened("train", recipe="demo")
    widget(app.number_input, "Number of seeds").set_value(3).run()
    assert sum("--set seed=" in code for code in codes(app)) == 2
    widget(app.button, "Start training").click().run()
    assert not app.exception
    runs = list_runs(kind="train")
    assert sorted(run.spec["params"]["recipe"]["seed"] for run in runs) == [0, 1, 2]
    assert {run.spec["name"][-6:] for run in runs} == {"seed 0", "seed 1", "seed 2"}
