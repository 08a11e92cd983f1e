"""The text page: one image before and after masking, and the experiment on a whole split."""

from __future__ import annotations

import html
import io
import re
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from apps import codes, done_by_call, opened, refused, said, shown_in_viewer, without_time
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest
from cxr.errors import TextError
from cxr.experiments.masking.results import condition_table
from cxr.experiments.masking.sentences import lead
from cxr.reports import masking
from cxr.reports.identities import Privacy
from cxr.runs import Run, get_run, list_runs, start
from tests.dashboard.conftest import DASHBOARD


def whole_split(**query: str) -> AppTest:
    app = opened("text", **query)
    return app.segmented_control(key="text:section").set_value("Whole split").run()


@pytest.fixture(scope="module")
def finished(master: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished experiment on the test split of the master data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_DATA", str(master / "data"))
        patch.setenv("CXR_RUNS", str(master / "runs"))
        (trained,) = list_runs(kind="train")
        params = {"model": trained.id, "manifest": master / "data" / "demo" / "manifest.csv", "split": "test"}
        elsewhere = tmp_path_factory.mktemp("experiments")
        run = start("text-experiment", params | {"mode": "mean"}, name="text demo test", root=elsewhere, detached=False)
        assert run.status()["state"] == "finished", run.status()["error"]
    return run.folder.path


@pytest.fixture
def experiment(trained: Run, master: Path, finished: Path, tmp_path: Path) -> Run:
    """The finished experiment among this test's own runs."""
    copy = shutil.copytree(finished, tmp_path / "runs" / finished.name)
    spec = copy / "spec.json"
    spec.write_text(spec.read_text().replace(str(master), str(tmp_path)))
    return get_run(finished.name)


@pytest.mark.parametrize(
    ("score", "shown"), [(None, "not read"), (0.89, "doubtful, 0.89"), (0.9, "0.90"), (0.99, "0.99")]
)
def test_a_reading_is_doubtful_below_the_limit_that_was_measured(score: float | None, shown: str) -> None:
    from sections.text.tokens import TABLE_FORMAT, reading

    measured = (DASHBOARD.parent / "benchmarks" / "results" / "reading_scores.md").read_text(encoding="utf-8")
    (row,) = [line for line in measured.splitlines() if line.startswith("| 0.9 |")]
    assert reading(score) == shown
    assert "8 of 25, 32% (19% to 50%) | 30 of 30, 100% (77% to 100%)" in row
    assert "32 % of the doubtful readings were right (95 % interval 19 to 50)" in str(TABLE_FORMAT["reading"])


def test_without_a_network_the_text_page_leads_to_training_or_data() -> None:
    app = opened("text")
    assert not app.exception
    assert app.info


def control_in_words(before: str, masked: str, random: str) -> str:
    """Return how the verdict about one X-ray ends, by the class that is predicted in each condition."""
    if before != masked:
        verb = "leaves" if random == before else "gives"
        return f"to **{masked}**; masking random boxes instead {verb} **{random}**."
    if random == before:
        return "when the text is masked or random boxes instead."
    return f"when the text is masked; with random boxes masked it is **{random}**."


def test_one_image_shows_its_tokens_and_the_prediction_before_and_after(trained: Run, demo: Manifest) -> None:
    table = trained.predictions().query("split == 'test'").set_index("image_id")
    image_id = table.index[0]
    app = opened("text", image=image_id, split="test")
    assert not app.exception, app.exception
    changes, found = (app.dataframe[i].value for i in (0, 1))
    assert len(found), "every phantom of full correlation carries text"
    assert found["reading"].str.fullmatch(r"(doubtful, )?[01]\.\d\d|not read").all()
    assert (found["reading"] == "not read").equals(found["text"] == "")
    for name, row in changes.set_index("class").iterrows():
        assert row["prob. before"] == pytest.approx(table.at[image_id, f"prob_{name}"], abs=1e-4)
    assert changes["prob. masked"].sum() == pytest.approx(1, abs=1e-6)
    assert (changes["Δ logit masked"] != 0).any()
    assert "when the text is masked" in said(app) or "Masking the text changes" in said(app)
    predicted = [changes.set_index("class")[f"prob. {name}"].idxmax() for name in ("before", "masked", "random")]
    assert control_in_words(*predicted) in said(app)


def test_the_picture_and_the_prediction_do_not_wait_for_the_search_of_controls(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def search(*_: object) -> None:
        raise TextError("no place was found")

    monkeypatch.setattr("sections.text.tokens.masked_versions", search)
    app = opened("text", margin="0.35")
    assert not app.exception, app.exception
    assert "when the text is masked" in said(app) or "Masking the text changes" in said(app)
    assert app.get("image")
    assert app.get("iframe")  # as it is and masked, with a slider between
    assert [error.value for error in app.error] == ["no place was found"]
    assert any("cxr text mask" in code for code in codes(app))


def test_mask_mode_and_margin_change_what_the_network_sees(trained: Run) -> None:
    app = opened("text", mode="black")
    assert app.selectbox(key="pick:mode").value == "black"
    black = app.dataframe[0].value["Δ logit masked"].tolist()
    app.selectbox(key="pick:mode").select("inpaint").run()
    inpainted = app.dataframe[0].value["Δ logit masked"].tolist()
    app.slider(key="tokens:margin").set_value(0.5).run()
    wide = app.dataframe[0].value["Δ logit masked"].tolist()
    assert black != inpainted
    assert inpainted != wide


def test_heatmaps_before_and_after_are_shown_on_request(trained: Run) -> None:
    app = opened("text")
    app.toggle(key="text:heatmaps").set_value(True).run()
    assert not app.exception
    shown = shown_in_viewer(app)
    titles = [pane["title"] for pane in shown["panes"]]
    assert titles[:2] == ["Before", "Text masked"]
    assert [title.split(": logit of ")[0] for title in titles[2:]] == titles[:2]
    assert len({image["url"] for image in shown["images"]}) == 2
    assert len({known["url"] for known in shown["maps"]}) == 2


def test_a_split_without_an_experiment_says_how_to_start_one(trained: Run) -> None:
    app = whole_split()
    assert not app.exception
    assert "Start one" in said(app)
    assert app.button(key="text:start").label.startswith("Mask the text of all")


def test_a_finished_experiment_shows_what_it_found(experiment: Run) -> None:
    results, table = experiment.results(), experiment.predictions()
    app = whole_split(run=experiment.id)
    assert not app.exception, app.exception
    assert "Open as notebook" in [button.label for button in app.get("download_button")]
    assert app.info[0].value.replace("\\", "") == lead(results)
    assert len(lead(results)) < len(results["finding"]) / 2
    assert results["finding"] in said(app)
    assert "only a very small effect on accuracy" in said(app)
    assert f"{len(table)} X-rays of {results['n_patients']} patients; " in said(app)
    summary, accuracies, by_class = (app.dataframe[i].value for i in (0, 1, 2))
    in_short = summary.set_index("measure")["text masked"]
    assert in_short["predictions changed"].startswith(f"{100 * table['changed'].mean():.1f} % [")
    assert in_short["probabilities moved by"].startswith(f"{table['moved'].mean():.3f} [")
    assert accuracies["condition"].tolist() == ["before", "text masked", "random boxes"]
    for name, shown in zip(("before", "after", "control"), accuracies["accuracy"], strict=True):
        share = 100 * condition_table(table, name)["correct"].mean()
        assert shown.startswith(f"{share:.1f} %")
    for name in by_class:  # three classes, so that each is a column
        change = table[f"logit_{name}_after"] - table[f"logit_{name}_before"]
        assert by_class.loc["logit, text masked", name].startswith(f"{change.mean():+.3f} [")
    assert "One X-ray" in [heading.value for heading in app.header]
    assert any("as it was read by the program, which may be wrong" in caption.value for caption in app.caption)
    command = f"cxr text report {experiment.id} --out text.html"
    assert command in codes(app)  # neither pictures nor ids go out unless asked for
    app.checkbox(key=f"experiments:{experiment.id}:images").check().run()
    assert f"{command} --with-images" in codes(app)
    app.segmented_control(key=f"experiments:shown:{experiment.id}").set_value("largest moves").run()
    assert not app.exception
    assert any(" token" in m.value and "→" in m.value for m in app.markdown)


def test_an_address_with_an_experiment_alone_opens_it_though_a_newer_network_is_there(
    experiment: Run, tmp_path: Path
) -> None:
    network = experiment.spec["params"]["model"]
    newer = shutil.copytree(tmp_path / "runs" / network, tmp_path / "runs" / "29990101-000000-abcdef-newer")
    spec = newer / "spec.json"
    spec.write_text(spec.read_text().replace(network, newer.name))
    assert next(iter(list_runs(kind="train"))).id == newer.name
    app = opened("text", run=experiment.id)
    assert not app.exception, app.exception
    assert app.selectbox(key="pick:model").value == network
    assert experiment.results()["finding"] in said(app)


def test_every_setting_stands_in_the_url(trained: Run) -> None:
    query = {"look": "Whole split", "mode": "black", "margin": "0.25", "also": "noise,swap", "draws": "3"}
    app = opened("text", **query)
    assert not app.exception, app.exception
    assert app.slider(key="tokens:margin").value == 0.25
    assert app.number_input(key="experiments:draws").value == 3
    command = codes(app)[0]
    assert "--mode black --margin 0.25 --mode noise --mode swap --draws 3" in command
    app.slider(key="tokens:margin").set_value(0.4).run()
    assert app.query_params["margin"] in ("0.4", ["0.4"])
    app = opened("text", heatmaps="1")
    assert not app.exception
    assert app.toggle(key="text:heatmaps").value is True


def test_what_an_address_names_of_an_experiment_comes_back_or_is_reported(experiment: Run) -> None:
    query = {"run": experiment.id, "look": "Whole split"}
    app = opened("text", **query, tab="Flips", list="largest moves")
    assert app.session_state["experiments:tab"] == "Flips"
    assert app.segmented_control(key=f"experiments:shown:{experiment.id}").value == "largest moves"
    refused(app, query, "tab", "list", "page")
    app = opened("text", **query, split="val")
    assert "which are not chosen above" in app.error[0].value
    app.button(key="address:instead:run").click().run()
    assert experiment.results()["finding"] in said(app)


def test_the_report_is_one_file_with_the_finding_pictures_and_tables(experiment: Run, tmp_path: Path) -> None:
    shown = Privacy(with_images=True)
    page = masking.write(experiment, tmp_path / "text.html", shown).read_text(encoding="utf-8")
    results = experiment.results()
    assert results["finding"] in html.unescape(page)
    assert f'<p class="finding">{lead(results)}</p>' in html.unescape(page)
    assert "<th>measure</th><th>text masked</th>" in page
    assert re.findall(r"""(?:src|href)=["'](?!data:)([^"']+)""", page) == []
    assert "http" not in page
    assert len(page) < 3_000_000
    assert page.count("data:image/png;base64,") >= 4
    assert page.count("data:image/svg+xml;base64,") == 1
    assert '<input type="range"' in page
    assert f"<h1>Burned-in text: {get_run(experiment.params.model).name} on demo, test</h1>" in page
    assert page.count("linear-gradient(90deg, rgb(5, 48, 97)") == 1, "the scale of the heatmaps"
    for title in ("One X-ray", "By class", "Every way of masking", "Relevance inside tokens", "How to read this"):
        assert f">{title}</h" in page
    assert "<tr><th>changed, text masked</th><td>" in page, "of many columns each is a row"
    assert "<tr><th>condition</th><th>accuracy</th>" in page
    plain = masking.write(experiment, tmp_path / "text.md").read_text(encoding="utf-8")
    assert results["finding"] in plain
    assert f"| {results['classes'][0]} |" in plain
    for ending, begins in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")):
        assert masking.write(experiment, tmp_path / f"text.{ending}").read_bytes().startswith(begins)
    with zipfile.ZipFile(io.BytesIO(masking.to_zip(experiment))) as archive:
        predictions = pd.read_csv(archive.open("predictions.csv"))
        conditions = pd.read_csv(archive.open("conditions.csv"))
    assert len(predictions) == results["n_images"]
    assert {"before", "tokens", "random", "other"} <= set(conditions["condition"])


def test_the_python_call_writes_the_report_that_the_command_writes(
    experiment: Run, tmp_path: Path, cxr: Callable
) -> None:
    words = ["text", "report", experiment.id, "--out"]
    contents = []
    for ending, options in ((".md", []), (".html", []), (".html", ["--with-ids", "--with-images"])):
        by_command, by_call = tmp_path / f"by-command{ending}", tmp_path / f"by-call{ending}"
        assert cxr(*words, by_command, *options)[0] == 0
        done_by_call(*words, by_call, *options)
        assert without_time(by_call.read_text()) == without_time(by_command.read_text())
        contents.append(by_call.read_text())
    assert len(set(contents)) == 3


def test_a_report_that_cannot_be_written_is_reported_in_one_line(experiment: Run, trained: Run, tmp_path: Path) -> None:
    for run, path, named in (
        (experiment, tmp_path / "text.docx", "text.docx has no known report format. Accepted"),
        (experiment, tmp_path / "nowhere" / "text.html", "does not exist"),
        (trained, tmp_path / "text.html", "has no results of a text experiment"),
    ):
        with pytest.raises(TextError, match=named):
            masking.write(run, path)
    assert not (tmp_path / "text.html").exists()


def test_experiments_on_other_splits_are_listed_on_request(experiment: Run) -> None:
    app = whole_split(split="val")
    assert "No experiment on this network and split" in said(app)
    app.toggle(key="experiments:all").set_value(True).run()
    assert app.selectbox(key="pick:run").value == experiment.id
    assert experiment.results()["finding"] in said(app)


def test_an_experiment_started_on_the_page_can_be_stopped_and_says_what_is_missing(trained: Run) -> None:
    app = whole_split()
    app.button(key="text:start").click().run()
    app.button(key="experiment:stop").click().run()
    (run,) = list_runs(kind="text-experiment")
    wanted = {"model": trained.id, "split": "test", "modes": ["inpaint"], "margin": 0.1, "draws": 5}
    assert wanted.items() <= run.spec["params"].items()
    assert run.wait(timeout=300)["state"] == "stopped"
    deadline = time.monotonic() + 10
    app = whole_split(run=run.id)
    while "ended without results" not in said(app) and time.monotonic() < deadline:
        app.run()
    assert "ended without results" in said(app)
    assert not app.exception


@pytest.mark.slow
def test_a_failed_experiment_shows_its_error_in_one_line(trained: Run, demo: Manifest) -> None:
    for image_id in demo.select(split="test").ids:
        demo.image_path(image_id).write_bytes(b"no image")
    app = whole_split()
    app.button(key="text:start").click().run()
    (run,) = list_runs(kind="text-experiment")
    run.wait(timeout=300)
    app = whole_split(run=run.id)
    assert not app.exception
    assert "none of the" in app.error[0].value
    assert "\n" not in app.error[0].value


def test_an_xray_without_text_says_that_masking_changes_nothing(trained: Run, demo: Manifest) -> None:
    import cv2
    import numpy as np

    image_id = demo.select(split="test").ids[0]
    cv2.imwrite(str(demo.image_path(image_id)), np.full((128, 128), 60, np.uint8))
    app = opened("text", image=image_id, split="test")
    assert not app.exception
    assert "No text was found on this X-ray" in said(app)
