"""What the page of running trainings lets a user choose, and that its charts lose and invent nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from apps import opened, refused
from streamlit.testing.v1 import AppTest

from cxr.paths import runs_root
from cxr.runs import Run, RunFolder
from cxr.runs.metrics.metrics_table import Metrics
from tests.dashboard.conftest import DASHBOARD

from sections.live import axes, curves, seeds, usage  # isort: skip  - found through the path that conftest sets
from sections.live.axes import View  # isort: skip
from widgets import charts  # isort: skip

assert DASHBOARD


def rows_of(stages: int, epochs: int = 3, steps: int = 20, task: str = "single", shift: float = 0.0) -> list[dict]:
    """Rows of a training: each epoch takes a minute."""
    rows, step = [], 0
    for stage in range(stages):
        base = {"stage": f"stage {stage}", "stage_index": stage}
        scores = {"val_auc": 0.7} if task == "multi" else {"val_accuracy": 0.6, "val_macro_f1": 0.5}
        start = {"kind": "start", "epoch": 0, "step": step, "steps_per_epoch": steps, "val_loss": 1.0 + shift}
        rows.append(base | start | scores | {"time": 1000.0 + 3 * step})
        for epoch in range(1, epochs + 1):
            for _ in range(steps):
                step += 1
                row = {"kind": "step", "epoch": epoch, "step": step, "loss": 2 / step + shift, "lr": 1e-3 / (1 + stage)}
                rows.append(base | row | {"images_per_s": 50.0, "wait_s": 0.0, "time": 1000.0 + 3 * step})
            end = {"kind": "epoch", "epoch": epoch, "step": step, "val_loss": 1 / epoch + shift}
            rows.append(base | end | scores | {"time": 1000.0 + 3 * step})
    return rows


def training(rows: list[dict], name: str = "x", seed: int = 0, state: str = "finished", **params: Any) -> Run:
    recipe = {"stages": [{"name": "final"}], "seed": seed}
    folder = RunFolder.create(runs_root(), "train", {"recipe": recipe, "manifest": "m.csv", **params}, name)
    folder.append_metrics(rows)
    folder.update_status(state=state, started=1000.0, ended=4000.0, launched=1000.0)
    return Run(folder)


def specs(app: AppTest) -> list[dict]:
    assert not app.exception
    assert not app.error
    return [json.loads(element.proto.spec) for element in app.get("plotly_chart")]


def shown(app: AppTest) -> dict[str, str]:
    return {name: values[-1] for name, values in app.session_state["address"].shown.items()}


def title(spec: dict, axis: str = "xaxis") -> str:
    return spec["layout"][axis]["title"]["text"]


def test_live_shows_loss_scores_learning_rate_and_speed(private_folders: None) -> None:
    charts_shown = specs(opened("live", run=training(rows_of(1)).id))
    titles = [spec["layout"]["title"]["text"] for spec in charts_shown]
    assert titles == ["Loss", "Learning rate", "Validation", "Images per second"]
    score = charts_shown[2]["data"]
    assert len({trace["line"]["color"] for trace in score}) == len({trace["line"]["dash"] for trace in score}) == 2


def test_axis_smoothing_and_scale_are_in_the_address_and_come_back_with_it(private_folders: None) -> None:
    run = training(rows_of(2))
    app = opened("live", run=run.id)
    assert title(specs(app)[0]) == "step"
    app.segmented_control(key="live:x").set_value("time").run()
    app.select_slider(key="live:smooth").set_value(150).run()
    app.toggle(key="live:log").set_value(True).run()
    address = shown(app)
    assert address == {"run": run.id, "x": "time", "smooth": "150", "log": "1"}
    loss, rate, score, _ = specs(opened("live", **address))
    assert title(loss) == "minutes since the start"
    assert (loss["layout"]["yaxis"]["type"], rate["layout"]["yaxis"]["type"]) == ("log", "log")
    assert "type" not in score["layout"]["yaxis"]


def test_what_an_address_asks_and_live_has_not_is_refused_in_one_line(private_folders: None) -> None:
    run = training(rows_of(1))
    refused(opened("live", run=run.id), {"run": run.id}, "x", "smooth", "log", "seeds", "compare")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"smooth": "7"}, f"the smoothing '7', which is not here. Accepted: {', '.join(map(str, axes.SMOOTHINGS))}."),
        ({"log": "yes"}, "the log scale 'yes', which is not here. Accepted: 0, 1."),
        (
            {"seeds": "1"},
            "the band over seeds '1', which is not here. Accepted: 0, since no other run differs in its seed",
        ),
    ],
)
def test_a_refused_value_is_named_with_what_would_be_accepted(
    private_folders: None, wrong: dict[str, str], said: str
) -> None:
    (error,) = opened("live", run=training(rows_of(1)).id, **wrong).error
    assert said in error.value


def test_a_deleted_run_that_was_compared_with_is_said_to_be_gone_and_the_rest_stays_chosen(
    private_folders: None,
) -> None:
    run, kept, deleted = (training(rows_of(1), name) for name in ("a", "b", "c"))
    app = opened("live", run=run.id, compare=f"{deleted.id},{kept.id}")
    deleted.delete()
    app.run()
    for _ in range(2):  # until the user does what the button says
        (error,) = app.error
        assert f"There is no run '{deleted.id}' here: it has been deleted" in error.value
        assert not app.get("plotly_chart")
        app.run()
    next(button for button in app.button if button.label == "Go on without it").click().run()
    assert not app.error
    assert app.multiselect(key="live:compare").value == [kept.id]
    assert len(app.get("plotly_chart")) == 4
    (error,) = opened("live", run=run.id, compare=deleted.id).error
    assert "it has been deleted" in error.value


def test_a_run_that_is_chosen_itself_is_no_more_compared_with_without_a_word(private_folders: None) -> None:
    run, other = training(rows_of(1), "a"), training(rows_of(1), "b")
    app = opened("live", run=run.id, compare=other.id)
    app.selectbox(key="pick:run").set_value(other.id).run()
    assert not app.error
    assert app.multiselect(key="live:compare").value == []


def test_a_refused_resume_shows_what_the_run_does_now(private_folders: None) -> None:
    run = training(rows_of(1), state="stopped")
    app = opened("live", run=run.id)
    run.folder.update_status(state="finished")  # somebody else has resumed it meanwhile
    next(button for button in app.button if button.label == "Resume").click().run()
    assert not app.exception
    assert "Resume" not in [button.label for button in app.button]


def test_runs_of_one_name_are_overlaid_with_a_colour_each(private_folders: None) -> None:
    runs = [training(rows_of(1), "same"), training(rows_of(2, task="multi"), "same"), training(rows_of(1), "other")]
    app = opened("live", run=runs[0].id, compare=",".join(run.id for run in runs[1:]))
    loss, *_ = specs(app)
    named = [trace for trace in loss["data"] if trace.get("name")]
    assert len({trace["name"] for trace in named}) == len(named) == 6
    colours = {trace["name"].split(" · ")[0]: trace["line"]["color"] for trace in named}
    assert len(colours) == len(set(colours.values())) == 3
    dashes = {trace["name"].split(" · ")[1]: trace["line"]["dash"] for trace in named}
    assert dashes == {"training": "solid", "validation": "dash"}


@pytest.mark.parametrize("state", ["finished", "stopped", "failed", "running"])
def test_only_a_page_with_an_active_run_asks_again(private_folders: None, state: str, monkeypatch: Any) -> None:
    """Also where the active one is only compared with, or a seed of the band."""
    import widgets.page

    intervals: list[float | None] = []
    original = widgets.page.refreshed
    monkeypatch.setattr(widgets.page, "refreshed", lambda every: (intervals.append(every), original(every))[1])
    place = {"study": "20260101-000000-abcdef", "study_recipe": "twice"}
    run, other = (training(rows_of(1), seed=k, state=s, **place) for k, s in enumerate(("finished", state)))
    if state == "running":  # as a run of another machine that was heard a moment ago
        import time

        other.folder.update_status(state="running", pid=1, pid_started=1.0, host="elsewhere", heartbeat=time.time())
    queries: list[dict[str, str]] = [
        {"run": other.id},
        {"run": run.id, "compare": other.id},
        {"run": run.id, "seeds": "1"},
    ]
    for query in queries:
        intervals.clear()
        assert not opened("live", **query).exception
        assert (intervals[-1] is not None) == (state == "running")


def test_a_finished_run_shows_how_long_it_took(private_folders: None) -> None:
    app = opened("live", run=training(rows_of(1)).id)
    assert next(m.value for m in app.metric if m.label == "From start to end") == "50 min"


def test_seeds_of_a_study_become_one_band_and_other_runs_none(private_folders: None) -> None:
    place = {"study": "20260101-000000-abcdef", "study_recipe": "twice"}
    members = [training(rows_of(1, shift=0.1 * seed), f"seed {seed}", seed, **place) for seed in (2, 0, 1)]
    alone = training(rows_of(1), "alone", 5, **(place | {"study_recipe": "scratch"}))
    app = opened("live", run=members[0].id, compare=alone.id)
    assert [t.label for t in app.toggle] == ["Log scale", "Band over 3 seeds"]
    app.toggle(key="live:seeds").set_value(True).run()
    assert shown(app)["seeds"] == "1"
    loss, *_ = specs(app)
    names = [trace.get("name") for trace in loss["data"]]
    assert "seed 2 · training, mean of 3" in names
    assert "seed 2 · validation, range" in names
    assert "alone · training" in names
    assert [t.label for t in opened("live", run=alone.id).toggle] == ["Log scale"]
    assert [run.name for run in seeds.siblings(members[0], [alone, *members])] == ["seed 0", "seed 1", "seed 2"]


def test_a_band_holds_every_seed_and_its_mean() -> None:
    parts = [(np.array([0.0, 1, 2, 3]), np.array([3.0, 2, 1, 0]) + k) for k in range(3)]
    parts.append((np.array([1.0, np.nan, 2, 5]), np.array([9.0, np.nan, 9, 9])))
    grid, mean, low, high = curves.band(parts)
    assert grid.tolist() == [1.0, 2.0, 3.0]
    assert low.tolist() == [2.0, 1.0, 0.0]
    assert high.tolist() == [9.0, 9.0, 9.0]
    np.testing.assert_allclose(mean, [4.5, 3.75, 3.0])
    assert [len(part) for part in curves.band([])] == [0, 0, 0, 0]


def test_epochs_go_on_through_stages_and_into_the_one_that_is_not_over() -> None:
    rows = rows_of(2, epochs=2, steps=10)
    at = axes.epochs_at(Metrics.of_rows(rows))
    assert at(np.array([0.0, 5, 10, 20, 35, 40, 45])).tolist() == [0.0, 0.5, 1.0, 2.0, 3.5, 4.0, 4.5]
    unfinished = [row for row in rows if row["step"] <= 33]
    assert axes.epochs_at(Metrics.of_rows(unfinished))(np.array([33.0])).tolist() == [3.3]
    old = [{key: value for key, value in row.items() if key != "steps_per_epoch"} for row in unfinished]
    assert axes.epochs_at(Metrics.of_rows(old))(np.array([33.0])).tolist() == [3.3]
    begun = Metrics.of_rows([row for row in old if row["step"] <= 4])
    assert axes.epochs_at(begun)(np.array([4.0])).tolist() == [1.0]
    assert axes.epochs_at(Metrics.of_rows([]))(np.array([])).tolist() == []


@pytest.mark.parametrize(
    ("steps", "unit", "word"), [(10, 1.0, "seconds"), (1000, 60.0, "minutes"), (9000, 3600.0, "hours")]
)
def test_times_have_a_readable_unit(steps: int, unit: float, word: str) -> None:
    metrics = Metrics.of_rows(rows_of(1, epochs=1, steps=steps))
    assert axes.unit_for([metrics]) == unit
    view = View("time", unit_s=unit)
    assert view.title == f"{word} since the start"
    assert axes.of_steps(metrics, view)[-1] == pytest.approx(3 * steps / unit)
    assert axes.of_rows(metrics.of_kind("epoch"), metrics, view)[0] == pytest.approx(3 * steps / unit)
    assert axes.unit_for([Metrics.of_rows([])]) == 1.0


def test_a_step_without_a_time_is_left_out_of_the_axis_of_time_alone() -> None:
    rows = [{"kind": "step", "step": n, "loss": 1.0} | ({"time": 5.0 + n} if n else {}) for n in range(4)]
    metrics = Metrics.of_rows(rows)
    assert curves.loss_curve(metrics, View())[0][0].tolist() == [0, 1, 2, 3]
    assert curves.loss_curve(metrics, View("time", unit_s=1.0))[0][0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [3, 1500, 1501, 100_000])
def test_thinning_keeps_ends_and_every_spike_up_and_down(n: int, dtype: type) -> None:
    rng = np.random.default_rng(n)
    values = rng.normal(0, 0.01, n).astype(dtype)
    regions = np.array_split(np.arange(n), min(n, 40))
    spikes = np.array([rng.choice(region) for region in regions])
    values[spikes] += np.where(np.arange(len(spikes)) % 2, 5, -5).astype(dtype)
    shown = charts.thinned(values, 1500)
    assert len(shown) <= 1500
    assert (np.diff(shown) > 0).all()
    assert {0, n - 1} | set(spikes.tolist()) <= set(shown.tolist())


def test_sessions_and_axes_share_what_is_made_of_the_columns_until_rows_are_added(private_folders: None) -> None:
    from services import load

    run = training(rows_of(1))
    first, again = load.metrics(run), load.metrics(Run(run.folder))
    assert first is again
    curves.loss_curve(first, View())
    made = curves._thinned_stages.cache_info().misses
    for axis in axes.AXES:
        curves.loss_curve(again, View(axis, log=True, unit_s=1.0))
    assert curves._thinned_stages.cache_info().misses == made
    run.folder.append_metrics([{"kind": "step", "step": 61, "stage_index": 0, "loss": 7.0}])
    later = load.metrics(run)
    assert curves.loss_curve(later, View())[0][1][-1] == 7.0


def test_a_training_tells_how_many_steps_an_epoch_has(trained: Run, tmp_path: Path) -> None:
    rows, _ = trained.metrics()
    (start,) = [row for row in rows if row["kind"] == "start"]
    steps = [row for row in rows if row["kind"] == "step"]
    assert start["steps_per_epoch"] * 2 == len(steps)


def test_no_chart_measures_its_labels_which_would_draw_it_twice() -> None:
    runs = {"a": Metrics.of_rows(rows_of(2))}
    drawn = (curves.loss_curves, curves.score_curves, curves.rate_curves, curves.speed_curves)
    figures = [draw(runs, View(log=True)) for draw in drawn]
    figures.append(curves.neuron_curves([{"epoch": 1, "neurons": {"ill": {"kept": "", "change": 0.1}}}]))
    used = {name: np.array([1.0, 2.0]) for name in ("cores", "memory_mb", "gpu", "gpu_mb")}
    figures += usage.charts_of(used | {"time": np.array([1.0, 2.0])}, runs["a"], View("time")).values()
    assert len(figures) == 9
    for figure in figures:
        for axis in (figure.layout.xaxis, figure.layout.yaxis):
            assert (axis.automargin, axis.ticklabeloverflow) == (False, "allow")


def test_the_names_of_the_lines_of_one_run_are_above_them_and_those_of_several_below() -> None:
    one, two = ({name: Metrics.of_rows(rows_of(1)) for name in names} for names in ("a", "ab"))
    for draw in (curves.loss_curves, curves.score_curves):
        assert draw(one).layout.legend.y == 1.0, "seen without scrolling"
        assert draw(two).layout.legend.y < 0
