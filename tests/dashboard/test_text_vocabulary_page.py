"""The vocabulary on the text page: started in the background, shown as a table, with the images behind a token."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from apps import opened, refused, said
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest, read_xray
from cxr.experiments.vocabulary.count import one_per_patient
from cxr.experiments.vocabulary.job import read_tables
from cxr.runs import Run, get_run, list_runs, start
from cxr.text import Reviews
from cxr.text.detection_store import content_hash

KIND = "text-vocabulary"


def section(**query: str) -> AppTest:
    app = opened("text", **query)
    app = app.segmented_control(key="text:section").set_value("Vocabulary").run()
    assert not app.exception, app.exception
    return app


@pytest.fixture(scope="module")
def finished(master: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search of the test split of the master data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_DATA", str(master / "data"))
        patch.setenv("CXR_RUNS", str(master / "runs"))
        manifest = Manifest.load(master / "data" / "demo" / "manifest.csv")
        run = start(
            KIND,
            {"manifest": manifest.path, "split": "test"},
            name="vocabulary demo test",
            manifest_hash=manifest.hash(),
            root=tmp_path_factory.mktemp("searches"),
            detached=False,
        )
        assert run.status()["state"] == "finished", run.status()["error"]
    return run.folder.path


@pytest.fixture
def searched(trained: Run, master: Path, finished: Path, tmp_path: Path) -> Run:
    """The finished search among this test's own runs."""
    copy = shutil.copytree(finished, tmp_path / "runs" / finished.name)
    spec = copy / "spec.json"
    spec.write_text(spec.read_text().replace(str(master), str(tmp_path)))
    return get_run(finished.name)


@pytest.mark.slow
def test_without_a_search_the_section_offers_one_and_starts_it_in_the_background(trained: Run, demo: Manifest) -> None:
    app = section(split="test")
    n = len(demo.select(split="test"))
    assert app.button(key="vocabulary:start").label == f"Search the text of {n} X-rays"
    app.button(key="vocabulary:start").click().run()
    assert not app.exception, app.exception
    (run,) = list_runs(kind=KIND)
    assert run.spec["params"]["split"] == "test"
    assert run.wait(timeout=300)["state"] == "finished", run.status()["error"]
    images, _ = read_tables(run.folder.path)
    assert images["image_id"].tolist() == demo.select(split="test").ids
    assert run.results()["finding"] in said(section(split="test"))


def test_a_finished_search_shows_its_tokens_with_counts_by_class(searched: Run, demo: Manifest) -> None:
    app = section(split="test")
    images, tokens = read_tables(searched.folder.path)
    n_patients = images["patient_id"].nunique()
    assert f"{tokens['image_id'].nunique()} of {len(images)} X-rays of {n_patients} patients carry text" in said(app)
    app.number_input(key="vocabulary:least").set_value(1).run()
    app.segmented_control(key="vocabulary:group").set_value("kind").run()
    assert not app.exception, app.exception
    shown = app.dataframe[0].value.set_index("token")
    assert shown.loc["any text", "X-rays"] == tokens["image_id"].nunique()
    drawn = images[one_per_patient(images)]
    for name, of in drawn.groupby("label"):
        assert shown.loc["any text", name] == pytest.approx((of["n_tokens"] > 0).mean(), abs=0.005)
    assert {"odds ratio", "bits", "q", "points to"} <= set(shown.columns)
    explorer = [m.value for m in app.markdown if "X-rays" in m.value]
    assert any(f"on {shown['X-rays'].iloc[0]} X-rays" in value for value in explorer)


def test_the_whole_data_set_is_a_search_of_its_own(searched: Run, demo: Manifest) -> None:
    app = section(split="test")
    app.segmented_control(key="vocabulary:scope").set_value("all splits").run()
    assert not app.exception, app.exception
    assert app.button(key="vocabulary:start").label == f"Search the text of {len(demo)} X-rays"


def test_corrections_after_the_search_are_reported_and_counted_by_the_next(searched: Run, demo: Manifest) -> None:
    assert "Corrected by hand" not in said(section(split="test"))
    image_id = demo.select(split="test").ids[0]
    image = read_xray(demo.image_path(image_id))
    Reviews.beside(demo.path).save(image_id, [], shape=image.shape, content_hash=content_hash(image))
    app = section(split="test")
    assert "Corrected by hand since: 1." in said(app)
    app.button(key="vocabulary:start").click().run()
    (run,) = (r for r in list_runs(kind=KIND) if r.id != searched.id)
    assert run.wait(timeout=300)["state"] == "finished"
    assert run.results()["n_reviewed"] == 1
    images, _ = read_tables(run.folder.path)
    assert images.set_index("image_id").loc[image_id, "n_tokens"] == 0


@pytest.mark.slow
def test_a_failed_search_says_why_in_one_line(trained: Run, demo: Manifest) -> None:
    for image_id in demo.select(split="test").ids:
        demo.image_path(image_id).write_bytes(b"no image")
    app = section(split="test")
    app.button(key="vocabulary:start").click().run()
    (run,) = list_runs(kind=KIND)
    run.wait(timeout=300)
    app = section(split="test")
    assert "none of the" in app.error[0].value
    assert "\n" not in app.error[0].value


def test_what_an_address_names_of_the_vocabulary_comes_back_or_is_reported(searched: Run) -> None:
    query = {"look": "Vocabulary", "split": "test"}
    app = opened("text", **query, count="kind", least="2", join="1")
    assert not app.error
    assert app.segmented_control(key="vocabulary:group").value == "kind"
    assert app.number_input(key="vocabulary:least").value == 2
    assert app.toggle(key="vocabulary:join").value is True
    refused(app, query, "count", "entry", "page")
