"""What an address names is shown or said to be missing, and what is shown stands in the address."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from apps import change_look, open_address, opened, said, shown, shown_in_viewer, unfolded
from streamlit.testing.v1 import AppTest

from cxr.data import Manifest
from cxr.data.library import save_data_set
from cxr.explain.composites import COMPOSITES, option_names
from cxr.runs import Run, get_run
from tests.dashboard.conftest import DASHBOARD

from services import page_list  # isort: skip  - found through the path that conftest sets
from widgets import address  # isort: skip
from widgets.parameters import GRID  # isort: skip

STAMP, CUT = {"look": "Stamp"}, {"look": "Stamp", "token": "cut from an X-ray"}
WHOLE, WORDS, BOXES = {"look": "Whole split"}, {"look": "Vocabulary"}, {"look": "Correct boxes"}
NEEDED = {
    **dict.fromkeys(["also", "draws", "all", "run"], WHOLE),
    **dict.fromkeys(["token", "word", "font", "ink", "place", "towards", "size", "contrast", "control"], STAMP),
    **dict.fromkeys(["onto", "cover", "stamping"], STAMP),
    **dict.fromkeys(["from", "box", "take"], CUT),
    **dict.fromkeys(["scope", "least", "join"], WORDS),
    **dict.fromkeys(["reviewed", "zoom"], BOXES),
}
"""What else an address of the text page names, for a parameter to be read there."""
UNREAD = {"tab", "list", "page", "curve", "dose", "count", "entry"}
"""Parameters of the text page's runs, of which there are none here: read in the tests of those runs."""
TOO_LONG = "nope" * 30


def told(app: AppTest) -> str:
    return "\n".join(box.value for box in [*app.error, *app.warning])


def copied(run: Run, name: str, **changes: Any) -> Run:
    """Return a copy of a run, newer than any other, with other fields in its spec."""
    folder = run.folder.path.with_name(f"29990101-000000-abcdef-{name}")
    shutil.copytree(run.folder.path, folder)
    spec = run.spec | {"id": folder.name, "name": name, "created": run.spec["created"] + 1} | changes
    (folder / "spec.json").write_text(json.dumps(spec))
    return get_run(folder.name)


def needed(page: str, param: str) -> dict[str, str]:
    """What else an address must name so that a parameter is read."""
    if page == "explorer" and param in option_names():
        return {"composite": next(name for name, known in COMPOSITES.items() if param in known.options)}
    if page == "explorer" and param in GRID:
        return {"look": "grid"}
    if page == "results":
        return {"tab": tab} if (tab := TABS.get(param)) else {}
    return NEEDED.get(param, {}) if page == "text" else {}


TABS = dict.fromkeys(("curve", "class", "threshold", "prevalence", "range"), "curves")
TABS |= dict.fromkeys(("column", "pairs", "slice"), "slices")
"""The section of the Results page that has a parameter."""


def test_every_page_lists_its_parameters_and_no_other_module_touches_the_address() -> None:
    listed = {Path(path).stem for entries in page_list.SECTIONS.values() for path, *_ in entries}
    assert set(address.PARAMETERS) == listed | {Path(page_list.UNKNOWN).stem}
    for file in DASHBOARD.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if file.name != "address.py":
            assert not re.search(r"query_params\b(?!=)|st\.switch_page|st\.stop\(\)", text), file
        if file.name != "page.py":
            assert "st.fragment" not in text, f"{file}: a part that runs by itself goes through page.refreshed"


@pytest.mark.parametrize("page", sorted(set(address.PARAMETERS) - {"home", "unknown"}))
def test_nonsense_in_any_parameter_is_named_and_the_address_stays(page: str, trained: Run) -> None:
    app = opened(page)
    for param in address.PARAMETERS[page]:
        value = TOO_LONG if param == "word" else "nope"
        query = needed(page, param) | {param: value}
        open_address(app, query)
        assert not app.exception, (param, app.exception)
        assert value[:80] in told(app), (param, told(app))
        assert query.items() <= shown(app).items(), param
        unread = page == "text" and param in UNREAD
        assert len(app.error) == (0 if unread or (page, param) in LATER else 1), (param, told(app))
        if app.error:
            assert dict(app.query_params) == query, f"{param}: an address that is not shown stays as it is"
            assert "\n" not in app.error[0].value
            assert not (app.metric and address.PARAMETERS[page][param].always), f"{param}: figures of something else"


LATER = {("study", name) for name in ("first", "level", "measure")} | {("weights", "from")}
LATER |= {("data", name) for name in ("flag", "flags-page", "pairs-page")}
LATER |= {("results", name) for name in ("finding", "outcome")}  # of networks of several findings alone
LATER |= {
    ("trust", name) for name in ("finding", "checklist", "rank", "group", "cluster", "turn", "page")
}  # of an audit
LATER |= {("explorer", name) for name in ("rank", "page", "group", "cluster", "turn")}  # of what was made
LATER |= {("explorer", name) for name in ("heatmaps", "text", "share", "values")}  # of what was made or chosen
LATER |= {("text", "seen")}  # of a whole split alone
LATER |= {("results", "slice-page"), ("results", "range-page")}  # of a slice or a range that was chosen
LATER |= {("compare", name) for name in address.PARAMETERS["compare"] if name != "runs"}  # of two runs
"""Parameters of what is not there or not looked at: a warning says that they are not shown."""


@pytest.mark.parametrize(("page", "param"), [("explorer", "model"), ("explorer", "opacity"), ("live", "compare")])
def test_empty_double_and_broken_values_are_reported(page: str, param: str, trained: Run) -> None:
    app = opened(page)
    for value, said_of_it in (
        ("", f"{param}= has no value"),
        (["a", "b"], "'a' and 'b'"),
        ("\ufffd\x00../<b>![x](http://example.org/x.png)", r"!\[x\](http"),
    ):
        open_address(app, {param: value})
        assert not app.exception
        assert len(app.error) == 1
        assert said_of_it in app.error[0].value
        assert not app.metric
        assert "predicted" not in said(app).lower()


def test_a_name_in_the_wrong_case_is_reported_and_a_foreign_one_too(trained: Run) -> None:
    app = opened("results", Run=trained.id)
    assert "Did you mean 'run'?" in app.error[0].value
    assert not app.metric
    app.button(key="address:instead:Run").click().run()
    assert app.metric
    app = opened("results", run=trained.id, utm="x")
    assert "'utm': unknown to this page" in app.warning[0].value
    assert app.metric
    app = opened("data", data="DEMO")
    assert "'DEMO'" in app.error[0].value


def test_what_is_missing_can_be_left_for_something_else(trained: Run) -> None:
    app = opened("results", run="nope", split="test")
    assert app.selectbox(key="pick:run").value is None
    app.button(key="address:instead:run").click().run()
    assert not app.error
    assert app.metric
    assert app.query_params == {"run": trained.id, "split": "test"}
    app = opened("results", run="nope", split="test")
    assert app.error
    app.selectbox(key="pick:run").select(trained.id).run()
    assert not app.error
    assert app.query_params == {"run": trained.id, "split": "test"}


def test_a_run_of_another_kind_or_without_a_network_or_damaged_is_called_so(trained: Run) -> None:
    evaluation = copied(trained, "evaluation", kind="evaluate")
    failed = copied(trained, "failed")
    shutil.rmtree(failed.folder.checkpoints)
    failed.folder.update_status(state="failed")
    assert "of the kind 'evaluate'" in opened("live", run=evaluation.id).error[0].value
    assert "of the kind 'evaluate'" in opened("text", run=evaluation.id).error[0].value
    assert "which has no network" in opened("explorer", model=evaluation.id).error[0].value
    assert "(failed) has no checkpoint yet" in opened("explorer", model=failed.id).error[0].value
    spec = failed.folder.path / "spec.json"
    spec.write_bytes(spec.read_bytes()[:40])
    app = opened("live", run=failed.id)
    assert "cannot be read" in app.error[0].value
    assert not app.metric


def test_an_xray_of_another_split_or_hidden_by_a_filter_is_offered_where_it_is(trained: Run, demo: Manifest) -> None:
    image_id = demo.select(split="train").ids[0]
    app = opened("explorer", model=trained.id, data="demo", split="test", image=image_id)
    assert "is in the split 'train' of this data set, not in 'test'" in app.error[0].value
    assert not app.dataframe
    app.button(key="address:instead:image").click().run()
    assert not app.error
    assert (app.query_params["split"], app.query_params["image"]) == ("train", image_id)
    label = demo.row(image_id)["label"]
    other = next(name for name in demo.classes if name != label)
    app = opened("explorer", model=trained.id, data="demo", split="train", image=image_id, label=other)
    assert "does not match the filters" in app.error[0].value
    app.button(key="address:instead:image").click().run()
    assert app.query_params["image"] == image_id
    assert "label" not in app.query_params


def test_a_run_whose_xrays_are_gone_is_shown_on_no_others(trained: Run, demo: Manifest, tmp_path: Path) -> None:
    save_data_set("other", demo)
    shutil.rmtree(tmp_path / "data" / "demo")
    app = opened("explorer", model=trained.id, data="own")
    assert "are missing" in app.error[0].value
    assert not app.dataframe


def test_settings_of_the_explorer_come_back_with_their_address(trained: Run, demo: Manifest) -> None:
    app = opened("explorer")
    app.selectbox(key="browse:order").select("class").run()
    app.multiselect(key="browse:label").set_value(["covid19", "normal"]).run()
    look = {"opacity": 0.35, "percentile": 98.2, "threshold": 0.1, "invert": True, "outlines": ["lung"]}
    look |= {"colours": "purple-green", "scale": "fixed", "fixed": 0.02, "centre": 100.0, "width": 80.0}
    look |= {"shown": ["xray", "overlay"]}
    change_look(app, **look)
    app.selectbox(key="pick:classes").select("all").run()
    app.multiselect(key="explorer:beside").set_value(["gradient"]).run()
    query = shown(app)
    expected = {"label": "covid19,normal", "opacity": "0.35", "percentile": "98.2", "outlines": "lung"}
    expected |= {"threshold": "0.1", "invert": "1", "colours": "purple-green", "scale": "0.02", "window": "100,80"}
    expected |= {"panes": "xray,overlay", "beside": "gradient"}
    assert expected.items() <= query.items()
    again = opened("explorer", **query)
    assert not again.error
    assert not again.warning
    assert again.selectbox(key="browse:order").value == "class"
    assert again.multiselect(key="browse:label").value == ["covid19", "normal"]
    drawn = shown_in_viewer(again)["look"]
    assert {name: drawn[name] for name in look} == look
    assert shown_in_viewer(again)["panes"][-1]["title"] == "gradient"
    assert again.selectbox(key="pick:classes").value == "all"
    assert shown(again) == query
    open_address(app, {name: query[name] for name in ("model", "data", "split", "image")})
    assert shown_in_viewer(app)["look"]["opacity"] == 0.8, "what an address leaves out has its default"
    assert app.multiselect(key="browse:label").value == []


def test_settings_of_the_text_page_come_back_when_their_section_does(trained: Run) -> None:
    app = opened("text", look="Stamp", word="OSP 7", place="left")
    app.segmented_control(key="text:section").set_value("One image").run()
    assert "word" not in app.query_params
    app.segmented_control(key="text:section").set_value("Stamp").run()
    assert app.text_input(key="stamping:word").value == "OSP 7"
    assert app.query_params["word"] == "OSP 7"


def test_filters_tabs_pages_and_comparisons_come_back_with_their_address(trained: Run, demo: Manifest) -> None:
    app = opened("data")
    app.multiselect(key="data:split").set_value(["train"]).run()
    app.number_input(key="data:page").set_value(2).run()
    again = opened("data", **shown(app))
    assert again.multiselect(key="data:split").value == ["train"]
    assert again.number_input(key="data:page").value == 2
    other = copied(trained, "other")
    app = opened("live", run=other.id)
    app.multiselect(key="live:compare").set_value([trained.id]).run()
    assert app.query_params == {"run": other.id, "compare": trained.id}
    assert opened("live", **shown(app)).multiselect(key="live:compare").value == [trained.id]


def test_a_link_opens_the_same_after_newer_runs_and_does_not_rewrite_itself(trained: Run) -> None:
    link = shown(opened("results"))
    assert link == {"run": trained.id, "split": "test"}
    newer = copied(trained, "newer")
    assert shown(opened("results"))["run"] == newer.id
    app = opened("results", **link)
    assert app.selectbox(key="pick:run").value == trained.id
    assert shown(app) == link


def test_the_cell_of_the_matrix_is_in_the_address(trained: Run) -> None:
    app = opened("results", run=trained.id, split="test", cell="normal,covid19")
    assert "True normal, predicted covid19" in said(app)
    assert shown(app)["cell"] == "normal,covid19"
    app.button(key="results:all").click().run()
    assert "cell" not in app.query_params


def test_values_with_commas_and_percent_signs_survive_an_address() -> None:
    values = ["a,b", "", "100 %", "%2C", "plain"]
    assert address.parted(address.joined(values)) == values
    assert address.joined(["covid19", "normal"]) == "covid19,normal"


# --- files that cannot be read or written ---------------------------------------------------------------------------


DAMAGED = [
    ("results", "predictions.parquet"),
    ("results", "results.json"),
    ("explorer", "predictions.parquet"),
    ("text", "predictions.parquet"),
    ("live", "metrics.jsonl"),
    ("live", "results.json"),
    ("home", "spec.json"),
    ("study", "spec.json"),
    ("weights", "spec.json"),
]


@pytest.mark.parametrize(("page", "name"), DAMAGED)
def test_a_cut_file_of_a_run_is_reported_in_one_line_and_never_a_traceback(page: str, name: str, trained: Run) -> None:
    file = trained.folder.path / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    app = opened(page)
    assert not app.exception
    assert all("\n" not in error.value for error in app.error)
    if page == "results" or name == "predictions.parquet":
        assert f"{name} is damaged" in app.error[0].value


@pytest.fixture
def locked(trained: Run) -> Iterator[None]:
    """Every read of a run's status is refused by the system."""

    def refuse(self: object) -> None:
        raise PermissionError(13, "Permission denied", str(trained.folder.path / "status.json"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "status", refuse)
        yield


@pytest.mark.usefixtures("locked")
@pytest.mark.parametrize("page", ["home", "live", "train", "weights"])
def test_an_error_of_the_system_is_one_line_on_any_page(page: str) -> None:
    app = opened(page)
    assert not app.exception
    assert "status.json: permission denied" in app.error[0].value
    assert "status.json" in app.error[0].value


def test_a_button_on_a_read_only_disk_says_so_and_the_page_stays(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from sections.explorer import heatmap_facts

    def refuse() -> None:
        raise OSError(30, "Read-only file system", "/cache/maps")

    monkeypatch.setattr(heatmap_facts, "clear", refuse)
    app = unfolded(opened("explorer"), "stored")
    next(button for button in app.button if button.label == "Delete stored heatmaps").click()
    app.run()
    assert not app.exception
    assert "/cache/maps: the file system is read-only" in app.toast[0].value
    assert app.dataframe


def test_a_page_that_waits_for_an_upload_says_what_of_its_address_is_not_shown(trained: Run) -> None:
    app = opened("explorer", model=trained.id, source="upload", image="phantom-00001")
    assert not app.exception
    assert "X-ray 'phantom-00001': not part of what is shown here" in said(app)


def test_a_page_that_an_error_ends_says_nothing_of_what_it_has_not_read_of_its_address(
    trained: Run, demo: Manifest
) -> None:
    image_id = demo.select(split="test").ids[0]
    demo.image_path(image_id).unlink()
    query = {"model": trained.id, "data": "demo", "split": "test", "image": image_id, "composite": "gradient"}
    app = opened("explorer", **query)
    assert len(app.error) == 1
    assert not app.warning
    assert app.query_params == query, "the address stays, for when the file is back"
    app = opened("explorer", **query, nonsense="1")
    (warning,) = app.warning
    assert warning.value == "The address also names 'nonsense': unknown to this page."
    app = opened("explorer", **query | {"image": "nope"})
    assert len(app.error) == 1
    assert not app.warning


def test_a_page_without_x_rays_says_nothing_of_what_it_has_not_read_of_its_address() -> None:
    app = opened("explorer", model="demo", composite="gradient")
    assert "No X-rays yet" in said(app)
    assert not app.warning


def test_an_address_without_a_page_says_which_it_names_and_links_to_those_that_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("widgets.pages.asked_name", lambda: "unknown")
    app = opened("unknown", run="x")
    assert not app.exception
    assert [error.value for error in app.error] == ["The address names the page 'unknown', which is not here."]
    assert not app.warning
    links = [link.proto.page for link in app.main.get("page_link")]
    assert links == list(page_list.TITLES)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://localhost:8501/", ""),
        ("http://localhost:8501/results?run=a/b", "results"),
        ("https://host/cxr/results", "results"),
        ("https://host/cxr/", ""),
        ("http://localhost:8501/no%20such", "no such"),
        (None, ""),
    ],
)
def test_the_page_is_the_last_part_of_the_address(url: str | None, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from widgets import pages

    monkeypatch.setattr(pages.st, "context", SimpleNamespace(url=url))
    assert pages.asked_name() == name
