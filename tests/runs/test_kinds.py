"""A kind of run is one line of data: its parameters are typed, its job can be imported, a new one is one folder."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from cxr.errors import CxrError, RunError
from cxr.runs import Kind, Params, Run, get_run, kinds, list_runs, local, members_of, start
from cxr.runs.kinds import KINDS, kind_of
from tests.configurations import CONFIGURATIONS, Configuration, write_xrays
from tests.runs import brightness

every_kind = pytest.mark.parametrize("kind", list(KINDS.values()), ids=lambda kind: kind.name)
PLAIN_RECIPE: dict[str, Any] = {"name": "old", "backbone": "densenet-small", "size": 32, "stages": [{"epochs": 1}]}
WORKER = """
import sys
from cxr.runs import kinds, worker
from tests.runs import brightness
kinds.KINDS["brightness"] = brightness.KIND
sys.exit(worker.main(sys.argv[1]))
"""


def old_specs(manifest: str) -> dict[str, list[dict[str, Any]]]:
    """Parameters of each kind as versions before this one wrote them, by pages and by commands."""
    measured = {"manifest": manifest, "device": "auto"}
    plan = {"name": "old", "recipes": {"a": {"recipe": "demo", "set": {}}}, "seeds": [0]}
    return {
        "train": [
            {"recipe": PLAIN_RECIPE, "manifest": manifest, "data_name": "demo"},
            {"recipe": PLAIN_RECIPE, "manifest": manifest, "study": "20250131-142355-7f3ac2", "study_recipe": "a"},
            {"recipe": "demo", "manifest": manifest},
        ],
        "evaluate": [
            {"run": "20250131-142355-7f3ac2-demo", "manifest": manifest},
            {"weights": "demo", **measured, "splits": ["test"], "aliases": {"flu": "covid19"}, "include_seen": True},
            {"model": "demo", "manifest": manifest, "splits": None},
        ],
        "evaluate-predictions": [
            {"predictions": "/tables/theirs.csv"},
            {"predictions": "/tables/theirs.csv", "manifest": manifest, "scale": "logits", "task": "single-label"},
            {"predictions": "/tables/theirs.csv", "columns": {"image": "file"}, "class_columns": {"flu": "p"}},
        ],
        "explain": [
            {"model": "demo", **measured, "split": "test", "composite": "epsilon", "options": {"epsilon": 0.001}},
            {"model": "demo", "manifest": manifest, "ids": ["a", "b"], "targets": "all", "previews": 3, "batch": 2},
            {"model": "demo", "manifest": manifest, "split": "", "n": 4, "bias": "keep", "precision": "bfloat16"},
        ],
        "cluster-heatmaps": [
            {"model": "demo", **measured, "split": "test", "grid": 16, "text": False, "seed": 2},
            {"heatmaps": "20250131-142355-7f3ac2", "model": "demo", "manifest": manifest, "targets": "all"},
        ],
        "text-experiment": [
            {"model": "demo", "manifest": manifest, "split": "test", "mode": "black", "margin": 0.2},
            {"model": "demo", **measured, "split": "", "modes": ["inpaint", "blur"], "draws": 3, "explained": 0},
            {"model": "demo", "manifest": manifest, "split": "test", "modes": [], "seed": 1, "n": 4, "workers": 0},
        ],
        "text-stamping": [
            {"model": "demo", **measured, "split": "test", "word": "DX", "take": "ink", "onto": ["normal"]},
            {"model": "demo", "manifest": manifest, "split": "", "cut": "a:b:1,2,30,14", "take": "bright", "n": 3},
            {"model": "demo", "manifest": manifest, "word": "L", "sizes": [0.1], "contrasts": [1.0], "avoid": False},
        ],
        "text-vocabulary": [
            {"manifest": manifest, "split": ""},
            {"manifest": manifest, "split": "test", "min_images": 2, "join": True, "workers": 0},
        ],
        "audit-data": [
            {"manifest": manifest},
            {"manifest": manifest, "split": "test", "by": "findings", "text": False, "seed": 3, "workers": 0},
        ],
        "find-duplicates": [{"manifest": manifest}, {"manifest": manifest, "workers": 0}],
        "check-data": [{"manifest": manifest}, {"manifest": manifest, "split": "test", "workers": 0}],
        "audit-network": [
            {"model": "demo", "manifest": manifest},
            {"model": "demo", "manifest": manifest, "split": "test", "quick": True, "parts": ["evaluation", "seen"]},
            {"model": "demo", "manifest": manifest, "external": [{"manifest": manifest, "split": "test"}, manifest]},
            {"predictions": "20250131-142355-7f3ac2-theirs", "split": "all", "aliases": {"flu": "covid19"}},
        ],
        "probe-data": [
            {"manifest": manifest},
            {"manifest": manifest, "split": "test", "by": "label", "masks": "box", "text": False, "n": 50, "seed": 3},
        ],
        "relevance-regions": [
            {"model": "demo", **measured, "split": "test", "limit": 20, "composite": "epsilon", "targets": "all"},
            {"model": "demo", "manifest": manifest, "split": "", "text": False, "lungs": "box", "planted": False},
        ],
        "import": [
            {"kind": "folders", "path": str(Path(manifest).parent), "name": "x", "columns": {}, "aliases": {}},
            {"kind": "csv", "path": manifest, "name": "x", "columns": None, "split": False, "seed": 1},
            {"kind": "dicom", "path": manifest, "name": "x", "modalities": ["SC"], "splits": "none", "source": "A"},
        ],
        "demo": [{}, {"n": 60, "correlation": 0.25, "seed": 3, "name": "text-0.25"}, {"n": 12, "size": 96}],
        "study": [
            {
                "plan": plan,
                "recipes": {"a": PLAIN_RECIPE},
                "manifest": manifest,
                "manifest_sha256": "0" * 64,
                "data_name": "demo",
            }
        ],
    }


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_xrays(tmp_path / "data" / "xrays", CONFIGURATIONS[0])


@pytest.fixture
def with_brightness(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Add the line of the new kind to the registry, here and in the processes of runs."""
    monkeypatch.setitem(kinds.KINDS, "brightness", brightness.KIND)
    monkeypatch.setattr(local, "worker_command", lambda folder: [sys.executable, "-c", WORKER, str(folder)])
    yield
    for run in list_runs():
        if run.active:
            run.kill()


def write_spec(root: Path, kind: str, params: dict[str, Any]) -> Run:
    """Write the folder of a run byte by byte as the version before did: spec.json and status.json."""
    folder = root / "20250131-142355-7f3ac2-old"
    (folder / "checkpoints").mkdir(parents=True)
    about = {"id": folder.name, "kind": kind, "name": "old", "created": 1738333435.5, "manifest_hash": "ab" * 32}
    (folder / "spec.json").write_text(json.dumps(about | {"params": params, "versions": {"cxr": "0.1.0"}}))
    status = {"state": "stopped", "progress": 0.5, "message": "stopped", "eta_s": None, "pid": 4, "pid_started": 1.0}
    status |= {"heartbeat": 2.0, "error": None, "launched": 1.0, "started": 1.0, "ended": 3.0, "resumes": 1}
    (folder / "status.json").write_text(json.dumps(status | {"metrics_generation": 2, "host": None, "job": None}))
    (folder / "log.txt").touch()
    return get_run(folder.name, root)


# each kind


@every_kind
def test_a_kind_has_typed_parameters_and_a_job_that_takes_them(kind: Kind):
    model = kind.params_model()
    assert issubclass(model, Params)
    assert model.model_config["extra"] == "forbid"
    assert [name for name, field in model.model_fields.items() if field.annotation is Any] == []
    names = list(inspect.signature(kind.load_job()).parameters)
    assert (names[0], names[2]) == ("folder", "progress")
    annotation = inspect.signature(kind.load_job(), eval_str=False).parameters[names[1]].annotation
    assert annotation.split(" | ")[0] == model.__name__  # a job may also take plain values, as an older version's did


@every_kind
def test_an_unknown_parameter_is_refused_in_one_line_that_names_it_and_leaves_no_folder(kind: Kind):
    field = next(iter(kind.params_model().model_fields))
    with pytest.raises(CxrError) as error:
        start(kind.name, {f"{field}s": 1})
    assert str(error.value).startswith(f"{field}s: unknown key (did you mean '{field}'?)")
    assert "\n" not in str(error.value)
    assert list_runs() == []


@every_kind
def test_what_the_version_before_wrote_opens_and_can_be_done_again(kind: Kind, manifest: Path, tmp_path: Path):
    for number, params in enumerate(old_specs(str(manifest))[kind.name]):
        run = write_spec(tmp_path / str(number), kind.name, params)
        assert run.status().state == "stopped"
        model = kind.params_model()
        again = model.of(run.params.stored())
        assert again == model.of(json.loads(json.dumps(run.params.stored()))) == run.params
        assert run.folder.params == run.params
        assert members_of(run) == []


@pytest.mark.parametrize(
    ("kind", "params", "line"),
    [
        ("evaluate", {"weights": "demo", "splits": [3]}, "splits.0: 3 is not allowed. Allowed: text"),
        ("evaluate", {}, "run: missing. Give a training's id as run"),
        ("evaluate", {"weights": "demo", "device": "gpu"}, "device: 'gpu' is not allowed. Allowed: auto, cpu, cuda"),
        ("explain", {"model": "demo", "n": 0}, "n: 0 is not allowed. Allowed: at least 1"),
        ("text-experiment", {"model": "demo", "modes": ["purple"]}, "unknown mask mode 'purple'. Available: "),
        ("text-stamping", {"model": "demo", "word": "L", "font": "comic"}, "unknown font 'comic'. Available: "),
        ("import", {"kind": "csv", "path": ".", "name": "x", "splits": "some"}, "splits: 'some' is not allowed"),
        ("train", {"recipe": {"size": 7}}, "size: 7 is not allowed. Allowed: 32 to 1024"),
        ("train", {"recipe": "nightly"}, "unknown recipe 'nightly'. Available: "),
        ("text-vocabulary", {"manifest": "nowhere"}, "'nowhere' is neither a data set"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_before_anything_starts(kind, params, line, manifest):
    with pytest.raises(CxrError) as error:
        start(kind, {"manifest": str(manifest)} | params if kind != "import" else params)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    assert list_runs() == []


def test_an_unknown_kind_in_a_folder_is_reported_when_its_parameters_are_read_and_the_folder_is_still_listed(tmp_path):
    run = write_spec(tmp_path / "runs", "segment", {"organ": "lung"})
    assert [(found.id, found.kind) for found in list_runs()] == [(run.id, "segment")]
    with pytest.raises(RunError, match=r"unknown kind of run 'segment'. Available: train, evaluate"):
        _ = run.params


# a new kind


@pytest.mark.usefixtures("with_brightness")
@pytest.mark.parametrize("configuration", [CONFIGURATIONS[1], CONFIGURATIONS[4]], ids=str)
def test_a_new_kind_is_one_folder_and_one_line(configuration: Configuration, tmp_path: Path):
    write_xrays(tmp_path / "data" / "xrays", configuration)
    run = start("brightness", {"manifest": "xrays", "by": "split"}, detached=False)
    assert run.status().state == "finished", run.status().error
    assert run.name == "brightness of xrays"
    assert list(run.results()["groups"]) == ["test"]
    assert len(run.metrics()[0]) == 12
    assert run.spec["manifest_hash"] == run.params.manifest_hash() != ""
    assert run.spec["params"] == {"manifest": str(tmp_path / "data" / "xrays" / "manifest.csv"), "by": "split"}
    again = start(run.spec, {"percentile": 100}, detached=False)
    assert again.results()["groups"]["test"] >= run.results()["groups"]["test"]
    with pytest.raises(CxrError, match=r"percentile: 101 is not allowed. Allowed: 0 to 100"):
        start("brightness", {"manifest": "xrays", "percentile": 101})


@pytest.mark.usefixtures("with_brightness", "manifest")
def test_its_command_and_its_section_start_the_same_run():
    from tests.runs.brightness.command import app

    printed = CliRunner().invoke(app, ["xrays", "--as-json"])
    assert printed.exit_code == 0, printed.output
    by_command = json.loads(printed.stdout)
    assert set(by_command["results"]["groups"]) == set(CONFIGURATIONS[0].classes)
    page = AppTest.from_file(str(Path(brightness.__file__).with_name("section.py")), default_timeout=60).run()
    page.button[0].click().run()
    assert not page.exception
    newest = list_runs(kind="brightness")[0]
    assert newest.id != by_command["id"]
    assert newest.wait(300).state == "finished"
    assert (newest.name, newest.results(), newest.spec["params"]) == (
        by_command["name"],
        by_command["results"],
        {"manifest": by_command["params"]["manifest"]},
    )
    page.run()
    assert [table.value.shape[0] for table in page.table] == [3]
    page.text_input[0].set_value("nowhere").run()
    page.button[0].click().run()
    assert [error.value.count("\n") for error in page.error] == [0]


@pytest.mark.usefixtures("with_brightness")
def test_a_run_of_the_version_before_is_resumed_from_the_beginning_where_its_kind_does_not_resume(tmp_path, manifest):
    run = write_spec(tmp_path / "runs", "brightness", {"manifest": str(manifest)})
    run.folder.append_metrics([{"kind": "image", "image_id": "x", "value": 1.0}])
    assert run.resume().wait(300).state == "finished", run.status().error
    assert len(run.metrics()[0]) == 12
    assert run.status().resumes == 2


# what it costs


def test_listing_runs_imports_no_parameters_and_no_job(tmp_path):
    write_spec(tmp_path / "runs", "train", {"recipe": PLAIN_RECIPE, "manifest": "gone.csv"})
    script = "import sys; from cxr.runs import list_runs; [(r.kind, r.status(), r.active) for r in list_runs()]; "
    script += "print([m for m in sys.modules if m.endswith(('.settings', '.job')) and 'slurm' not in m])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@every_kind
def test_the_parameters_of_a_kind_are_checked_without_loading_torch(kind: Kind):
    script = f"import sys; from cxr.runs.kinds import kind_of; kind_of({kind.name!r}).params_model(); "
    script += "print(sorted({'torch', 'timm', 'sklearn', 'streamlit'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_kind_says_which_device_stored_parameters_ask_for():
    assert kind_of("train").requested_devices({"recipe": {"device": "cuda:1", "devices": 2}}) == ("cuda:1", 2)
    assert kind_of("train").requested_devices({"recipe": "demo"}) == ("auto", 1)
    assert kind_of("evaluate").requested_devices({"device": "cpu", "devices": None}) == ("cpu", 1)
    assert kind_of("train").with_devices({"recipe": {"size": 32}, "n": 1}, 4) == {
        "recipe": {"size": 32, "devices": 4},
        "n": 1,
    }


def test_runs_know_no_kind_but_by_the_registry():
    folder = Path(kinds.__file__).parent
    named = {
        (file.name, node.value)
        for file in folder.rglob("*.py")
        if file.name != "kinds.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in (*KINDS, "recipe")
    }
    assert named == set()
