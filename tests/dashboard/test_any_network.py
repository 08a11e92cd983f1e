"""The explorer and the text page on networks of every kind: channels, task, number and names of classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from apps import act_in_viewer, ask_ahead, codes, opened, said, shown_in_viewer, without_addresses
from configurations import CONFIGURATIONS, ODD_NAMES, ONE_FINDING, Configuration, write_network, write_xrays
from streamlit.delta_generator import DeltaGenerator

from cxr.data import Manifest
from cxr.data.library import save_data_set
from cxr.evaluation.metrics import probabilities
from cxr.experiments.masking.example import most_moved
from cxr.experiments.masking.job import run as run_masking
from cxr.experiments.masking.sentences import lead
from cxr.experiments.stamping.job import run as run_stamping
from cxr.explain.store import usage
from cxr.reports.masking_xrays import change_of
from cxr.runs.folder import RunFolder

any_network = pytest.mark.parametrize("configuration", [*CONFIGURATIONS, *ODD_NAMES, ONE_FINDING], ids=str)
few_networks = pytest.mark.parametrize(
    "configuration", [CONFIGURATIONS[2], *CONFIGURATIONS[4:], ODD_NAMES[1], ONE_FINDING], ids=str
)


@pytest.fixture(scope="module")
def detected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures are the same for every configuration: what is found on them is kept for all."""
    return tmp_path_factory.mktemp("detected")


@pytest.fixture
def where(configuration: Configuration, tmp_path: Path, detected: Path) -> dict[str, str]:
    """An address that opens a network of the configuration on X-rays of which every other carries text."""
    (tmp_path / "data" / ".cache").mkdir(parents=True)
    (tmp_path / "data" / ".cache" / "text").symlink_to(detected)
    manifest = Manifest.load(write_xrays(tmp_path / "xrays", configuration, n=8, words=True))
    save_data_set("drawn", manifest)
    (tmp_path / "weights").mkdir()
    write_network(configuration, tmp_path / "weights" / "net.safetensors")
    return {"model": "net", "data": "drawn", "split": "test"}


def params_of(where: dict[str, str]) -> dict[str, object]:
    from cxr.data.library import resolve_manifest

    return {"model": where["model"], "manifest": str(resolve_manifest(where["data"])), "split": "test", "workers": 0}


def done(kind: str, job, params: dict[str, object], tmp_path: Path) -> RunFolder:
    """Do a run in this process, as a worker does it, and return its folder."""
    folder = RunFolder.create(tmp_path / "runs", kind, params)
    job(folder, folder.params, lambda fraction, message: None)
    folder.update_status(state="finished", message="finished")
    return folder


@any_network
def test_the_explorer_shows_one_kind_of_probability(configuration: Configuration, where: dict[str, str]) -> None:
    app = opened("explorer", **where, classes="all", composite="epsilon-gamma-box", gamma="0.5", low="-3")
    findings = Manifest.load(params_of(where)["manifest"]).table["findings"]
    assert not app.exception, app.exception
    assert not app.error, app.error
    table = next(frame.value for frame in app.dataframe if "probability" in frame.value)
    assert set(table["class"]) == set(configuration.classes)
    expected = probabilities(table["logit"].to_numpy()[None], configuration.task)[0]
    assert table["probability"].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    first = table.iloc[0]
    words = said(app)
    assert "gamma 0.5 (default 0.25) · low -3 (not the default) · computed in" in words
    assert "--option gamma=0.5 --option low=-3" in codes(app)[0]
    seen = shown_in_viewer(app)
    assert [row["name"] for row in seen["prediction"]["classes"]] == table["class"].tolist()
    assert len(seen["maps"]) == min(12, len(configuration.classes))
    if configuration.multi_label:
        assert f"Most probable **{first['class']}** ({first['probability']:.2f})" in words
        assert seen["prediction"]["verdict"] == f"Most probable {first['class']} {first['probability']:.2f}"
        assert seen["prediction"]["right"] is None
        assert "Predicted" not in words
        assert "Findings" in words
    else:
        assert f"Predicted **{first['class']}**" in words
        assert "True label: **" in words
        assert seen["prediction"]["verdict"] == f"Predicted {first['class']} {first['probability']:.2f}"
        label = seen["prediction"]["truth"].removeprefix("True label: ")
        assert seen["prediction"]["right"] == (label == first["class"])
    (here,) = [thumb["caption"] for thumb in seen["strip"] if thumb["here"]]
    assert here.removesuffix(" ✗").endswith(f"→ {first['class']} {first['probability']:.2f}")
    assert app.selectbox(key="pick:target").options[1:] == list(configuration.classes)
    name = configuration.classes[0]
    app.selectbox(key="pick:classes").set_value("one")
    app.selectbox(key="pick:target").set_value(name)
    app.multiselect(key="browse:label").set_value([name]).run()
    assert not app.exception, app.exception
    assert f"Heatmap: {name}" in [pane["title"] for pane in shown_in_viewer(app)["panes"]]
    labels = [label.split(" → ")[0] for label in app.selectbox(key="pick:image").options]
    assert labels
    if configuration.multi_label:
        assert len(labels) == sum(name in text.split("|") for text in findings)
    else:
        assert set(labels) == {name}
    assert app.selectbox(key="browse:order").options[0] == ("findings" if configuration.multi_label else "class")


@pytest.mark.parametrize("configuration", [CONFIGURATIONS[-1]], ids=str)
def test_a_table_of_fourteen_findings_is_shown_whole(
    configuration: Configuration, where: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heights: dict[str, list[object]] = {}
    enqueue = DeltaGenerator._enqueue

    def noted(self: DeltaGenerator, kind: str, proto: Any, *args: Any, **options: Any) -> DeltaGenerator:
        if kind == "dataframe":
            rows = pa.ipc.open_stream(proto.arrow_data.data).read_all().num_rows
            if rows == len(configuration.classes):
                heights[page].append(options["layout_config"].height)
        return enqueue(self, kind, proto, *args, **options)

    monkeypatch.setattr(DeltaGenerator, "_enqueue", noted)
    ids = Manifest.load(params_of(where)["manifest"]).select(split="test").ids
    for page, image in (("explorer", ids[0]), *(("text", image) for image in ids)):
        heights.setdefault(page, [])
        app = opened(page, **where, image=image)
        assert not app.exception, app.exception
    assert all(heights.values()), "a text page without text has no such table"
    assert {height for of_page in heights.values() for height in of_page} == {"content"}


@few_networks
@pytest.mark.parametrize("classes", ["one", "all"])
def test_what_is_fetched_ahead_is_what_the_page_shows_there(
    configuration: Configuration, where: dict[str, str], classes: str
) -> None:
    app = opened("explorer", **where, classes=classes)
    assert ask_ahead(app, at="2") is None, "its heatmap is not stored, and was not computed"
    assert usage().maps == len(shown_in_viewer(app)["maps"])
    for position in (2, 3, 2, 1):
        act_in_viewer(app, "show", to=position)
    app = opened("explorer", **where, classes=classes)  # a visitor who has not been there
    ahead = {position: ask_ahead(app, at=str(position)) for position in (2, 3)}
    assert shown_in_viewer(app)["list"]["position"] == 1
    subjects = set()
    for position, other in ahead.items():
        act_in_viewer(app, "show", to=position)
        assert not app.exception, app.exception
        shown = shown_in_viewer(app)
        assert other is not None
        assert without_addresses(other) == without_addresses(shown)
        subjects.add(shown["subject"])
    assert len(subjects) == 2
    assert ask_ahead(app, at="99") is None


@few_networks
def test_what_a_click_leads_to_is_what_the_page_shows_then(configuration: Configuration, where: dict[str, str]) -> None:
    """Each click by the browser's words for the server, and then on the page."""
    first, name = configuration.classes[0], configuration.classes[-1]
    begin = {"composite": "epsilon-alpha2-beta1-flat", "bias": "keep", "target": first}
    app = opened("explorer", **where, **begin)
    ids = [xray["id"] for xray in shown_in_viewer(app)["strip"]]

    def picked(key: str, place: int) -> dict[str, str]:
        word = {"pick:target": "class", "pick:composite": "composite", "pick:image": "xray"}[key]
        return {"image": shown_id(), word: app.selectbox(key=key).options[place]}

    def shown_id() -> str:
        return next(xray["id"] for xray in shown_in_viewer(app)["strip"] if xray["here"])

    def pick(key: str, place: int) -> None:
        app.selectbox(key=key).select_index(place).run()

    clicks = [
        (lambda: {"image": shown_id(), "target": name}, lambda: act_in_viewer(app, "show", name=name)),
        (lambda: picked("pick:target", 0), lambda: pick("pick:target", 0)),
        (lambda: picked("pick:target", 1), lambda: pick("pick:target", 1)),
        (lambda: picked("pick:composite", 0), lambda: pick("pick:composite", 0)),
        (lambda: picked("pick:composite", 2), lambda: pick("pick:composite", 2)),
        (lambda: picked("pick:image", 2), lambda: pick("pick:image", 2)),
        (lambda: {"image": shown_id(), "classes": "all"}, lambda: act_in_viewer(app, "show", classes="all")),
        (lambda: {"image": shown_id(), "classes": "one"}, lambda: act_in_viewer(app, "show", classes="one")),
        (lambda: {"image": ids[1], "target": first}, lambda: act_in_viewer(app, "show", id=ids[1], name=first)),
    ]
    for again in (False, True):
        app = opened("explorer", **where, **begin)
        for place, (wish, click) in enumerate(clicks):
            before, answer = shown_in_viewer(app), ask_ahead(app, **wish())
            click()
            assert not app.exception, app.exception
            shown = shown_in_viewer(app)
            if again:
                assert answer is not None, place
            if answer is not None:
                assert without_addresses(answer) == without_addresses(shown), place
            if place or name != first:
                assert (shown["context"], shown["subject"]) != (before["context"], before["subject"]), place
    assert ask_ahead(app, image="nope") is None
    assert ask_ahead(app, image=ids[0], target="nope") is None
    assert ask_ahead(app, image=ids[0], composite="nope") is None


@few_networks
def test_the_text_page_of_one_image_speaks_of_the_network_as_it_is(
    configuration: Configuration, where: dict[str, str]
) -> None:
    app = opened("text", **where, heatmaps="1", image=Manifest.load(params_of(where)["manifest"]).ids[0])
    assert not app.exception, app.exception
    assert not app.error, app.error
    changes = app.dataframe[0].value.set_index("class")
    assert set(changes.index) == set(configuration.classes)
    assert (changes["prob. before"].sum() == pytest.approx(1)) != configuration.multi_label
    moved = (changes["prob. masked"] - changes["prob. before"]).abs().idxmax()
    if configuration.multi_label:
        assert f"Masking the text moves **{moved}** most" in said(app)
        assert f"with random boxes masked instead to {changes['prob. random'][moved]:.3f}." in said(app)
        assert any(p["title"].startswith(f"Before: logit of {moved} ") for p in shown_in_viewer(app)["panes"])
    else:
        assert "prediction" in said(app)


@few_networks
def test_a_finished_experiment_is_shown_on_the_page(
    configuration: Configuration, where: dict[str, str], tmp_path: Path
) -> None:
    folder = done("text-experiment", run_masking, params_of(where) | {"draws": 2}, tmp_path)
    app = opened("text", run=folder.id)
    assert not app.exception, app.exception
    assert not app.error, app.error
    words, results = said(app), folder.read_json("results.json")
    assert results["finding"] in words
    by_class = app.dataframe[2].value
    few = len(configuration.classes) <= 4  # a table of few rows is turned
    assert list(by_class.columns if few else by_class.iloc[:, 0]) == list(configuration.classes)
    assert app.info[0].value.replace("\\", "") == lead(results)
    assert "8 X-rays of " in words
    measures = app.dataframe[0].value["measure"].tolist()
    assert ("a finding crosses its threshold" in measures) == configuration.multi_label
    assert ("predictions changed" in measures) == (not configuration.multi_label)
    app.segmented_control(key=f"experiments:shown:{folder.id}").set_value("largest moves").run()
    assert not app.exception, app.exception
    first = folder.predictions().sort_values("moved", ascending=False).iloc[0]
    if configuration.multi_label:
        assert change_of(first, most_moved(first, configuration.classes)[0]) in said(app)
    assert "accuracy" not in app.dataframe[1].value or not configuration.multi_label


@few_networks
def test_stamping_is_previewed_and_its_results_are_shown(
    configuration: Configuration, where: dict[str, str], tmp_path: Path
) -> None:
    towards = configuration.classes[0]
    params = params_of(where) | {"word": "DX", "avoid": False, "towards": towards}
    folder = done("text-stamping", run_stamping, params | {"sizes": [0.16], "contrasts": [1.0]}, tmp_path)
    query = {"look": "Stamp", "stamping": folder.id, "towards": towards, "cover": "1", "size": "0.16"}
    app = opened("text", **where, **query)
    assert not app.exception, app.exception
    assert not app.error, app.error
    words, results = said(app), folder.read_json("results.json")
    assert results["finding"] in words
    preview = app.dataframe[0].value.set_index("class")
    assert set(preview.index) == set(configuration.classes)
    if configuration.multi_label:
        before, after = (preview.at[towards, f"prob. {name}"] for name in ("as it is", "stamped"))
        assert f"the probability of **{towards}** goes from {before:.3f} to {after:.3f}" in words
        assert f"above 0.5 for {towards} without any stamp" in words
    else:
        assert "the same patch without letters gives" in words
        assert f"predicted {towards} without any stamp" in words
    app.segmented_control(key=f"stamping:curve:{folder.id}").set_value("logit").run()
    assert not app.exception, app.exception
