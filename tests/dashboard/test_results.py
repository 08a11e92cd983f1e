"""The Results page of networks of either task: figures, what was left out, images, and runs of the version before."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from apps import codes, matrix_of, open_in_gallery, opened, said, shown_in_gallery
from configurations import CONFIGURATIONS, Configuration, every_configuration, write_network, write_xrays
from streamlit.testing.v1 import AppTest

from cxr.data import ImageCache, Manifest
from cxr.data.library import save_data_set
from cxr.evaluation.job import evaluate
from cxr.evaluation.predict import predictions_table
from cxr.evaluation.tables.job import evaluate_table
from cxr.models import save_model
from cxr.models.seen_images import Seen, SeenImages, sorted_digests
from cxr.models.weights import load_model
from cxr.paths import runs_root
from cxr.runs import Run, list_runs
from cxr.runs.folder import RunFolder

SINGLE, SEVERAL = CONFIGURATIONS[0], CONFIGURATIONS[4]


def lowest_share_simulated() -> float:
    """Return in how many of 100 drawn sets the worst interval of an AUC or average precision holds, as measured."""
    table = Path(__file__).parents[2] / "benchmarks" / "results" / "intervals.md"
    shares, columns = [], []
    for line in table.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            columns = []
        elif not columns:
            columns = [k for k, name in enumerate(cells) if "auc" in name or "average_precision" in name]
        else:
            shares += [float(cells[k]) for k in columns if cells[k].replace(".", "").isdigit()]
    return min(shares)


def measured(tmp_path: Path, configuration: Configuration, changes: dict | None = None, **params: object) -> Run:
    """A run of the job ``evaluate`` in this process; ``changes`` are columns of the manifest."""
    write_network(configuration, tmp_path / "weights" / "net.safetensors")
    file = write_xrays(tmp_path / "xrays", configuration)
    if changes:
        pd.read_csv(file, dtype=str, keep_default_na=False).assign(**changes).to_csv(file, index=False)
    data = save_data_set("xrays", Manifest.load(file))
    named = {"weights": "net", "manifest": str(data / "manifest.csv")}
    folder = RunFolder.create(runs_root(), "evaluate", {**named, **params})
    evaluate(folder, folder.params)
    return Run(folder)


def measured_after_seeing(tmp_path: Path, configuration: Configuration, n: int) -> Run:
    """The same, of a network that was trained on the first ``n`` of the 12 X-rays."""
    run = measured(tmp_path, configuration)
    file = tmp_path / "weights" / "net.safetensors"
    data = Manifest.load(run.spec["params"]["manifest"])
    cache = ImageCache.build(data, 64)
    files, pictures = cache.digests(np.array([cache.index(i) for i in data.ids[:n]]))
    known = SeenImages("a", "only", "trained", n, cache.form, sorted_digests(files), sorted_digests(pictures))
    save_model(load_model(file), file, Seen((known,)))
    folder = RunFolder.create(runs_root(), "evaluate", run.spec["params"])
    evaluate(folder, folder.params)
    return Run(folder)


def test_what_was_seen_is_said_once_whatever_the_version_called_it(tmp_path) -> None:
    run = measured_after_seeing(tmp_path, SINGLE, 1)
    said_of_it = "1 of the 12 X-rays of split test is not new to the network (1 trained on): every figure is without it"
    app = opened("results", run=run.id)
    assert not app.exception
    assert said(app).replace("\\", "").count(said_of_it) == 1
    results = run.results()
    for key in ("notes", "seen_notes"):
        results[key] = [line.replace("not new to the network", "in other words") for line in results[key]]
    run.folder.write_json("results.json", results)
    app = opened("results", run=run.id)
    assert said(app).replace("\\", "").count(said_of_it) == 1
    assert "in other words" not in said(app)


@pytest.mark.parametrize("configuration", [SINGLE, SEVERAL], ids=str)
def test_xrays_that_the_network_has_seen_are_in_no_figure_and_are_listed(tmp_path, configuration) -> None:
    run = measured_after_seeing(tmp_path, configuration, 9)
    app = opened("results", run=run.id)
    assert not app.exception
    assert metrics(app)["X-rays"] == "3"
    (notice,) = app.warning
    assert "9 of the 12 X-rays of split test are not new to the network (9 trained on)" in notice.value.replace(
        "\\", ""
    )
    assert "“Measure also the X-rays seen before” measures them too" in notice.value.replace("\\", "")
    assert "include-seen" not in notice.value.replace("\\", "")
    listed = next(table.value for table in app.dataframe if "seen" in table.value)
    assert sorted(listed["image"]) == sorted(run.results()["seen"]["images"][0]["ids"])
    assert set(listed["seen"]) == {"trained on in stage only of run a"}
    pressed(app, "Measure also the 9 X-rays seen before")
    folder = list_runs(kind="evaluate")[0].folder
    assert folder.params == run.params.model_copy(update={"include_seen": True})
    evaluate(folder, folder.params)
    again = opened("results", run=folder.id)
    assert metrics(again)["X-rays"] == "12"
    assert any("Without them:" in warning.value.replace("\\", "") for warning in again.warning)
    assert any(code.startswith("cxr evaluate") and "--include-seen" in code for code in codes(again))
    pressed(again, "Measure without the 9 X-rays seen before")
    assert list_runs(kind="evaluate")[0].params == run.params


def test_a_measure_on_other_xrays_can_include_what_was_seen_and_the_command_follows(tmp_path: Path) -> None:
    run = measured(tmp_path, SINGLE)
    app = opened("results", run=run.id)
    command = "cxr evaluate net --data xrays"
    assert command in codes(app)
    app.checkbox(key="results:include-seen").check().run()
    assert f"{command} --include-seen" in codes(app)
    pressed(app, "Measure")
    (new,) = (r for r in list_runs(kind="evaluate") if r.id != run.id)
    assert new.params == run.params.model_copy(update={"include_seen": True})


def test_an_evaluation_says_so_and_leads_to_its_training(trained: Run) -> None:
    named = {"run": trained.id, "manifest": trained.spec["params"]["manifest"]}
    folder = RunFolder.create(runs_root(), "evaluate", named)
    evaluate(folder, folder.params)
    waiting = RunFolder.create(runs_root(), "train", trained.spec["params"])
    app = opened("results")
    assert app.selectbox(key="pick:run").value == folder.path.name, "not the newest, which has no predictions yet"
    assert len(app.selectbox(key="pick:run").options) == 3, waiting
    assert f"An evaluation of the training {trained.name} on demo." in said(app)
    pressed(app, "Results of the training")
    assert app.selectbox(key="pick:run").value == trained.id
    assert "An evaluation of" not in said(app)


def test_two_runs_of_one_name_and_minute_are_told_apart(tmp_path: Path) -> None:
    run = measured(tmp_path, SINGLE)
    other = run.folder.path.with_name("20260101-000000-abcdef-evaluate")
    shutil.copytree(run.folder.path, other)
    for chosen in (run.id, other.name):
        app = opened("results", run=chosen)
        app.checkbox(key="results:include-seen").check().run()
        assert app.query_params["run"] == chosen
    first, second = app.selectbox(key="pick:run").options
    assert {label.split(" · ")[0] for label in (first, second)} == {
        f"{run.name} ({mark})" for mark in ("abcdef", run.id.split("-")[2])
    }


def pressed(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception


def test_a_page_says_what_its_figures_rest_on(tmp_path) -> None:
    run = measured(tmp_path, SINGLE)
    told = run.results()["provenance"]
    page = plain(opened("results", run=run.id))
    assert f"weights sha256 {told['weights_sha256'][:12]}" in page
    assert f"Data: xrays (manifest hash {told['manifest_hash'][:12]})" in page
    assert "of 6 patients" in page


def plain(app: AppTest) -> str:
    """All that a page says in words, without the signs that keep names from being Markdown."""
    return said(app).replace("\\", "")


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


@every_configuration
def test_each_network_has_the_figures_of_its_task(tmp_path: Path, configuration: Configuration) -> None:
    run = measured(tmp_path, configuration)
    summary = run.results()["splits"]["test"]
    app = opened("results", run=run.id)
    assert not app.exception
    assert not app.error
    assert metrics(app)["X-rays"] == "12"
    lowest = math.floor(lowest_share_simulated())
    assert f"as few as {lowest} of 100 data sets" in plain(app)  # where intervals are too short, it is said beside them
    table = app.dataframe[0].value
    assert sorted(table.index) == sorted(configuration.classes)
    if configuration.multi_label:
        assert metrics(app)["Mean AUC"] == f"{summary['auc']['value']:.3f}"
        assert not {"Accuracy", "Macro F1"} & metrics(app).keys()
        for name, found in summary["per_class"].items():
            assert table.loc[name, "positive / known"] == f"{found['positive']} / {found['known']}"
        assert "above probability 0.5" in plain(app)
        assert "No accuracy is shown" in plain(app)
        assert matrix_of(app)["classes"] == ["absent", "present"]  # the matrix of a finding
    else:
        assert metrics(app)["Accuracy"] == f"{summary['accuracy']['value'] * 100:.1f} %"
        for name, found in summary["per_class"].items():
            value = found["auc"]["value"]
            assert table.loc[name, "AUC"].startswith("–" if value is None else f"{value:.3f}")
        assert matrix_of(app)["classes"] == list(summary["classes"])


def test_the_xrays_of_a_finding_are_shown_by_what_came_of_them(tmp_path: Path) -> None:
    run = measured(tmp_path, SEVERAL)
    per_class = run.results()["splits"]["test"]["per_class"]
    name = next(n for n, found in per_class.items() if found["confusion"][0][1])
    (_, false_positives), (false_negatives, true_positives) = per_class[name]["confusion"]
    app = opened("results", run=run.id, finding=name, outcome="false positive")
    assert f"False positives of {name} ({false_positives})" in said(app)
    assert len(shown_in_gallery(app)) == min(false_positives, 8)
    for outcome, n in (("false negative", false_negatives), ("true positive", true_positives)):
        assert f"{outcome[:1].upper()}{outcome[1:]}s of {name} ({n})" in said(
            opened("results", run=run.id, finding=name, outcome=outcome)
        )
    table = run.predictions()
    assert (table.loc[table[f"target_{name}"] == 0, f"prob_{name}"] > 0.5).sum() == false_positives
    assert "false positive" in app.query_params["outcome"]


def test_the_address_of_several_findings_is_completed_and_says_what_is_not_shown(tmp_path: Path) -> None:
    run = measured(tmp_path, SEVERAL)
    finding = SEVERAL.classes[-1]
    app = opened("results", run=run.id, finding=finding, cell="a,b")
    assert not app.exception
    assert "cell of the matrix 'a,b': not part of what is shown here" in said(app)
    app.session_state["results:outcome"] = "true positive"  # as a click on the matrix does
    app.run()
    assert app.query_params["split"] == "test"
    assert app.query_params["finding"] == finding
    assert app.query_params["outcome"] == "true positive"


def test_labels_that_the_network_does_not_know_are_said_and_one_press_measures_them(tmp_path: Path) -> None:
    labels = ["covid", "normal", "pneumonia", "tuberculosis"] * 3
    run = measured(tmp_path, SINGLE, {"label": labels})
    app = opened("results", run=run.id)
    warning = app.warning[0].value.replace("\\", "")
    assert "6 X-rays whose label is not a class of the network (covid 3, tuberculosis 3)" in warning
    assert "No X-ray of covid19 in split test" in warning
    next(b for b in app.button if b.label == "Measure with covid as covid19").click().run()
    assert not app.exception
    again = next(r for r in list_runs(kind="evaluate") if r.id != run.id)
    assert again.spec["params"]["aliases"] == {"covid": "covid19"}
    assert again.spec["params"]["manifest"] == run.spec["params"]["manifest"]
    assert again.spec["params"]["weights"] == "net"


def test_names_that_markdown_would_read_are_shown_as_they_are(tmp_path: Path) -> None:
    odd = Configuration(1, "multi-label", ("a*b*", "$x$ <b>", "Größe_1"))
    run = measured(tmp_path, odd)
    app = opened("results", run=run.id, finding="$x$ <b>")
    assert not app.exception
    assert sorted(app.dataframe[0].value.index) == sorted(odd.classes)
    reasons = [line for line in said(app).splitlines() if ": never predicted" in line]
    assert len(reasons) == 1, "one line for all classes of one reason"
    assert "a*b*" in reasons[0]
    assert not [element.value for element in (*app.caption, *app.markdown, *app.info) if "a*b*" in element.value]


def test_splits_that_were_not_measured_are_said_with_a_button_that_measures_them(tmp_path: Path) -> None:
    run = measured(tmp_path, SINGLE, {"split": ["train", "test", "test"] * 4})
    app = opened("results", run=run.id)
    assert "Not measured: train 4" in plain(app)
    assert any(b.label == "Measure the other 4 X-rays too" for b in app.button)


def test_an_evaluation_of_everything_opens_and_leads_to_each_xrays_own_split(tmp_path: Path) -> None:
    run = measured(tmp_path, SINGLE, {"split": ["train", "test", "test"] * 4}, splits=["all"])
    app = opened("results", run=run.id)
    assert not app.exception
    assert metrics(app)["X-rays"] == "12"
    assert any("--split all" in code for code in codes(app))
    own = Manifest.load(run.spec["params"]["manifest"])
    for picture in shown_in_gallery(app)[:3]:
        open_in_gallery(app, picture["id"])
        assert not app.exception, app.exception
        (link,) = [link.proto for link in app.get("page_link") if link.proto.label == "Explain"]
        assert {f"split={own.row(picture['id'])['split']}", f"image={picture['id']}"} <= set(
            link.query_string.split("&")
        )


def as_the_version_before_left_it(run: Run) -> None:
    """Turn a run of several findings into what was written when they were measured by the highest probability."""
    names = run.results()["classes"]
    table = run.predictions()
    logits = table[[f"logit_{name}" for name in names]].to_numpy()
    manifest = Manifest.load(run.spec["params"]["manifest"])
    run.folder.write_predictions(predictions_table(manifest, table["image_id"], logits, names))
    summary = {"accuracy": {"value": 0.9, "low": 0.8, "high": 1.0}, "confusion": [[1]], "n": 12}
    run.folder.write_json("results.json", {"classes": names, "splits": {"test": summary}, "unreadable": 0})


def test_old_figures_of_several_findings_are_not_shown_but_measured_again(tmp_path: Path) -> None:
    run = measured(tmp_path, SEVERAL)
    as_the_version_before_left_it(run)
    app = opened("results", run=run.id)
    assert not app.exception
    assert "Accuracy" not in metrics(app)
    assert "as if its findings excluded each other" in app.warning[0].value
    next(b for b in app.button if b.label == "Measure it again").click().run()
    again = next(r for r in list_runs(kind="evaluate") if r.id != run.id)
    assert again.spec["params"] == run.spec["params"]


def test_an_old_run_of_classes_that_exclude_each_other_opens_as_before(tmp_path: Path) -> None:
    run = measured(tmp_path, SINGLE)
    old = {key: value for key, value in run.results().items() if key in ("classes", "splits", "unreadable", "network")}
    for summary in old["splits"].values():
        summary.pop("task")
        summary.pop("absent")
    run.folder.write_json("results.json", old)
    app = opened("results", run=run.id)
    assert not app.exception
    assert metrics(app)["Accuracy"] == f"{old['splits']['test']['accuracy']['value'] * 100:.1f} %"


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_predictions_without_results_yet_show_no_error(tmp_path: Path, task: str) -> None:
    run = measured(tmp_path, SEVERAL if task == "multi-label" else SINGLE)
    (run.folder.path / "results.json").unlink()
    app = opened("results", run=run.id)
    assert not app.exception


def table_run(tmp_path: Path, configuration: Configuration, with_data: bool) -> Run:
    """Predictions that somebody else made, measured in this process."""
    run = measured(tmp_path, configuration)
    exported = run.predictions()
    assert exported is not None
    exported.drop(columns=["predicted", "correct"], errors="ignore").to_csv(tmp_path / "theirs.csv", index=False)
    params = {"predictions": str(tmp_path / "theirs.csv")}
    params |= {"manifest": run.spec["params"]["manifest"]} if with_data else {}
    folder = RunFolder.create(runs_root(), "evaluate-predictions", params)
    evaluate_table(folder, folder.params)
    return Run(folder)


@pytest.mark.parametrize(
    ("configuration", "with_data"), [(SINGLE, False), (SINGLE, True), (SEVERAL, False), (SEVERAL, True)], ids=str
)
def test_predictions_of_somebody_else_have_the_same_figures_without_what_needs_the_network(
    tmp_path, configuration, with_data
) -> None:
    run = table_run(tmp_path, configuration, with_data)
    app = opened("results", run=run.id)
    assert not app.exception
    assert not app.error
    assert metrics(app)["X-rays"] == "12"
    page = plain(app)
    assert "Not here, because they need the network: heatmaps" in page
    assert "Predictions: theirs.csv (sha256" in page
    links = [link.proto.label for link in app.get("page_link")]
    assert not {"Explain", "Explain its images"} & set(links)
    assert ("to see the X-rays themselves" in page) != with_data or configuration.multi_label
    assert any(code.startswith("cxr evaluate --predictions") for code in codes(app))


def test_the_form_has_a_field_for_all_that_an_error_about_a_table_asks_for(tmp_path: Path) -> None:
    table = {"image": list("abcd"), "diagnosis": ["flu", "sick", "none", "?"], "p": [0.9, 0.8, 0.3, 0.5]}
    pd.DataFrame(table).to_csv(tmp_path / "theirs.csv", index=False)
    app = opened("results")
    app.text_input(key="predictions:path").input(str(tmp_path / "theirs.csv")).run()

    def told(field: Any, text: str) -> str:
        field.input(text).run()
        app.button(key="predictions:start").click().run()
        assert not app.exception
        return app.error[0].value if app.error else ""

    said = told(app.text_input(key="predictions:positive"), "flu")
    assert "“Columns with other names”: CLASS=COLUMN" in said
    assert "“Labels that mean a class”: LABEL=CLASS" in said
    assert "--" not in said
    columns = app.text_area(key="predictions:columns")
    assert "Columns with other names: 'label' is not of the form" in told(columns, "label")
    assert "flu" in told(columns, "label = diagnosis\nflu = p")
    said = told(app.text_area(key="predictions:aliases"), "sick = flu")
    assert "“Labels to leave out”" in said
    assert "--" not in said
    assert told(app.text_area(key="predictions:ignored"), "?") == ""
    (run,) = list_runs()
    run.wait(timeout=300)
    assert (run.params.columns, run.params.class_columns) == ({"label": "diagnosis"}, {"flu": "p"})
    assert (run.params.aliases, run.params.ignored_labels) == ({"sick": "flu"}, ("?",))


def test_a_table_is_measured_from_the_form_and_what_is_wrong_with_it_is_one_line(tmp_path) -> None:
    pd.DataFrame({"image": ["a", "b"], "label": ["flu", "none"], "flu": [0.9, 0.2], "none": [0.1, 0.7]}).to_csv(
        tmp_path / "theirs.csv", index=False
    )
    app = opened("results")
    button = next(b for b in app.button if b.label == "Measure the predictions")
    assert "no table given" in button.click().run().error[0].value
    app.text_input(key="predictions:path").input(str(tmp_path / "theirs.csv")).run()
    app.button(key="predictions:start").click().run()
    assert "row 2: the probabilities of flu, none sum to 0.9, not 1" in app.error[0].value
    assert not app.exception
    assert list_runs() == []
    app.selectbox(key="predictions:scale").select("logits").run()
    app.button(key="predictions:start").click().run()
    (run,) = list_runs()
    assert (run.kind, run.params.scale) == ("evaluate-predictions", "logits")
    run.wait(timeout=300)
