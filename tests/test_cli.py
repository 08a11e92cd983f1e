"""The command line: exit codes, JSON, errors in one line, and the whole way from nothing to an experiment."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

from cxr.cli.output import show_table
from cxr.cli.results import show_results
from cxr.data.library import resolve_manifest
from cxr.errors import ExplainError, ManifestError, RecipeError, RunError
from cxr.evaluation.metrics import summarise
from cxr.explain.composites import composite_of
from cxr.runs import get_run, list_runs
from cxr.training import load_recipe

SMALL = [
    "backbone_args={growth_rate: 4, block_config: [2, 2]}",
    "size=32",
    "device=cpu",
    "threads=1",
    "stages.0.epochs=2",
    "stages.0.batch=8",
]
TRAIN = ["train", "demo", "--data", "demo", *(part for value in SMALL for part in ("--set", value))]


@pytest.fixture
def value(cxr):
    """Run a command line with --json, demand that it succeeds, and return what it told."""

    def command(*arguments: object):
        code, out, err = cxr(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return command


@pytest.fixture(autouse=True)
def end_everything(tmp_path):
    yield
    for run in list_runs(tmp_path / "runs"):
        if run.active:
            run.kill()


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """Six X-rays of noise in folders of two classes, and one file that is no image."""
    rng = np.random.default_rng(0)
    for label in ("ill", "well"):
        folder = tmp_path / "xrays" / label
        folder.mkdir(parents=True)
        for index in range(3):
            Image.fromarray(rng.integers(0, 255, (80, 64), np.uint8)).save(folder / f"{index}.png")
    (tmp_path / "xrays" / "ill" / "broken.png").write_text("no image")
    return tmp_path / "xrays"


@pytest.fixture
def manifest(class_folders: Path, tmp_path: Path) -> Path:
    """A manifest of those X-rays in two splits."""
    files = sorted(path for path in class_folders.glob("*/*.png") if path.stem != "broken")
    table = pd.DataFrame({"image": files, "label": [path.parent.name for path in files], "split": "train"})
    table.loc[table.index % 3 == 0, "split"] = "test"
    table.to_csv(tmp_path / "manifest.csv", index=False)
    return tmp_path / "manifest.csv"


def test_help_names_every_command_and_imports_nothing_heavy():
    script = (
        "import sys; sys.argv = ['cxr', '--help']\n"
        "from cxr.cli import main\n"
        "try: main()\n"
        "except SystemExit as left: assert not left.code\n"
        "print('HEAVY', sorted({'torch', 'pandas', 'numpy', 'streamlit', 'cv2', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    commands = [
        "demo",
        "data",
        "train",
        "recipe",
        "runs",
        "evaluate",
        "compare",
        "explain",
        "heatmaps",
        "text",
        "weights",
        "dashboard",
    ]
    assert all(f" {command} " in done.stdout for command in commands)
    assert done.stdout.endswith("HEAVY []\n"), done.stdout + done.stderr


def test_the_installed_command_and_the_module_are_the_same():
    module = subprocess.run([sys.executable, "-m", "cxr", "--version"], capture_output=True, text=True)
    script = subprocess.run([Path(sys.executable).parent / "cxr", "--version"], capture_output=True, text=True)
    assert module.returncode == script.returncode == 0
    assert module.stdout == script.stdout != ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["runs"],
        ["train", "demo"],
        ["demo", "--correlation", "2"],
        ["demo", "--n", "many"],
        ["data", "import", "manifest", "x.csv"],
        ["data", "import", "manifest", "x.csv", "--name", "x", "--column", "label"],
        ["data", "split", "demo", "--fraction", "train=most"],
        ["data", "split", "no-data-set"],
        ["dashboard", "--port", "0"],
    ],
)
def test_wrong_use_exits_with_2(cxr, arguments):
    code, out, err = cxr(*arguments)
    assert code == 2
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data", "show", "nowhere"], "'nowhere' is neither a data set"),
        (["data", "import", "nih", "x", "--name", "x"], "unknown kind of data set 'nih'. Available: covid-chestxray"),
        (["data", "import", "manifest", "x", "--name", "a/b"], "'a/b' is not a valid name of a data set"),
        (
            ["data", "import", "manifest", "{data}", "--name", "x", "--uncertain", "no"],
            "unknown value of `uncertain` 'no'",
        ),
        (["data", "import", "manifest", "{data}", "--name", "x", "--column", "label=no"], "has no column 'no'"),
        (["data", "import", "image-folder", "x", "--name", "x", "--column", "a=b"], "has no option 'columns'"),
        (["data", "split", "{data}", "--name", "x", "--keep", "no"], "split 'no' cannot be kept"),
        (["demo", "--size", "3"], "size 3 of a synthetic X-ray is out of range: 96 to 1024"),
        (["train", "speedy", "--data", "demo"], "unknown recipe 'speedy'. Available: demo"),
        (["train", "demo", "--data", "nowhere"], "'nowhere' is neither a data set"),
        (["train", "demo", "--data", "x", "--set", "stages.0.epoch=3"], "stages.0.epoch: unknown key"),
        (["train", "demo", "--data", "{data}", "--set", "backbone=nope"], "backbone 'nope' is not known"),
        (["recipe", "show", "demo", "--set", "size=0"], "size: 0 is not allowed"),
        (["recipe", "show", "demo", "--set", "size=[1"], "size: '[1' is not YAML"),
        (["recipe", "show", "demo", "--set", "text.mode=nope"], "unknown mask mode 'nope'"),
        (["study", "show", "nothing"], "unknown study 'nothing'. Available: claim"),
        (["evaluate", "nothing", "--data", "x"], "no trained network 'nothing'"),
        (["evaluate", "demo"], "'demo' is not a run with data of its own: give --data"),
        (
            ["evaluate", "demo", "--data", "{data}", "--split", "no"],
            "split 'no' is not in the manifest. Found: test, train",
        ),
        (["evaluate", "demo", "--data", "{data}", "--alias", "ill=no"], "unknown class of the network in alias ill=no"),
        (["explain", "nothing", "x.png"], "no trained network 'nothing'"),
        (["explain", "demo", "x.png", "--composite", "lrp"], "unknown composite 'lrp'. Available: epsilon-plus-flat"),
        (["explain", "demo", "nowhere.png"], "nowhere.png not found: give an image file"),
        (["explain", "demo", "x.png", "--bias", "lose"], "unknown bias 'lose'. Available: ignore, keep"),
        (["explain", "demo", "x.png", "--option", "gamma=1"], "unknown option of composite 'epsilon-plus-flat'"),
        (["explain", "demo", "x.png", "--option", "epsilon=-1"], "epsilon -1 is out of range. Accepted: numbers from"),
        (["explain", "demo", "x.png", "--precision", "no"], "unknown precision 'no'. Available: bfloat16"),
        (["explain", "demo", "--data", "{data}", "--target", "no"], "unknown target 'no'. Available: predicted"),
        (["text", "detect", "x.png", "--operating-point", "no"], "unknown operating point 'no'. Available: careful"),
        (["text", "experiment", "demo", "--mode", "blue"], "unknown mask mode 'blue'. Available: black"),
        (["text", "experiment", "demo", "--draws", "0"], "draws 0 is not allowed. Accepted: 1 to 100"),
        (["text", "vocabulary", "{data}", "--split", "no"], "unknown split 'no'. Available: test, train"),
        (["text", "stamp", "demo", "--data", "{data}", "--word", "X", "--towards", "no"], "class of the network 'no'"),
        (["text", "stamp", "demo", "--data", "{data}", "--word", "X", "--place", "no"], "unknown place 'no'"),
        (["text", "stamp", "demo", "--data", "{data}", "--word", "X", "--size", "7"], "size 7 is not allowed"),
        (["runs", "list", "--kind", "nothing"], "unknown kind of run 'nothing'. Available: train"),
        (["runs", "show", "nothing"], "there is no run 'nothing'"),
        (["weights", "show", "nothing"], "no trained network 'nothing'"),
        (["weights", "export", "demo", "--format", "no", "--out", "x"], "unknown format 'no'. Available: onnx"),
    ],
)
def test_a_name_or_value_that_is_not_accepted_is_one_line_exit_code_2_and_no_run(cxr, manifest, arguments, words):
    code, out, err = cxr(*(part.format(data=manifest) for part in arguments), "--json")
    assert words in err
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert json.loads(out) == {"error": err.removeprefix("error: ").rstrip("\n")}
    assert list_runs() == []


def test_what_fails_though_it_was_called_rightly_exits_with_1(cxr, manifest, tmp_path):
    (tmp_path / "no-image.png").write_text("no image")
    (tmp_path / "recipe.yaml").write_text("size: 0")
    for arguments, words in (
        (["text", "detect", tmp_path / "no-image.png"], "no-image.png"),
        (["text", "detect", tmp_path / "nowhere.png"], "nowhere.png: does not exist"),
        (["recipe", "show", tmp_path / "recipe.yaml"], "size: 0 is not allowed"),
        (
            ["data", "import", "manifest", tmp_path / "nowhere.csv", "--name", "x"],
            "nowhere.csv is not there. Accepted: the path of a table",
        ),
    ):
        code, _, err = cxr(*arguments)
        assert words in err
        assert code == 1, err


def test_an_error_keeps_its_class_and_says_that_a_value_is_not_accepted():
    for call, kind in (
        (lambda: get_run("nothing"), RunError),
        (lambda: load_recipe("nothing"), RecipeError),
        (lambda: composite_of("nothing"), ExplainError),
        (lambda: resolve_manifest("nothing"), ManifestError),
    ):
        with pytest.raises(kind) as error:
            call()
        assert error.value.wrong_use
        assert not kind("of another cause").wrong_use


@pytest.mark.parametrize(
    ("variable", "command"),
    [
        ("CXR_RUNS", "runs list"),
        ("CXR_RUNS", "study list"),
        ("CXR_DATA", "data list"),
        ("CXR_DATA", "evaluate demo --data mine"),
        ("CXR_WEIGHTS", "weights list"),
        ("CXR_WEIGHTS", "weights show demo"),
    ],
)
def test_a_root_folder_that_is_a_file_is_said_to_be_one(cxr, tmp_path, monkeypatch, variable, command):
    file = tmp_path / "file"
    file.write_text("")
    rest = f"{variable} must name a folder that can be read, or one that does not exist yet\n"
    below = file / "below"
    for folder, wrong in (
        (file, f"{file} is a file"),
        (below, f"{below}: a part of this path is a file, not a folder"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(variable, str(folder))
            code, _, err = cxr(*command.split())
        assert code == 1
        assert err == f"error: {wrong}. {rest}"


def test_folders_of_images_become_a_data_set_and_a_broken_file_is_named(value, cxr, class_folders):
    told = value("data", "import", "image-folder", class_folders, "--name", "mine", "--alias", "well=normal")
    assert (told["n"], told["classes"]) == (6, ["ill", "normal"])
    assert [Path(row["file"]).name for row in told["excluded"]] == ["broken.png"]
    assert [row["name"] for row in value("data", "list")] == ["mine"]
    assert sum(row["n"] for row in value("data", "show", "mine")["counts"]) == 6
    assert "normal" in cxr("data", "show", "mine")[1]
    code, _, err = cxr("data", "import", "image-folder", class_folders, "--name", "mine")
    assert (code, "a data set called 'mine' already exists" in err) == (1, True)
    assert value("data", "import", "image-folder", class_folders, "--name", "mine", "--overwrite")["n"] == 6


def test_columns_of_a_manifest_can_have_other_names(value, class_folders, tmp_path):
    files = sorted(path for path in class_folders.glob("*/*.png") if path.stem != "broken")
    rows = {"datei": [str(path) for path in files], "befund": [path.parent.name for path in files]}
    pd.DataFrame(rows).to_csv(tmp_path / "theirs.csv", index=False)
    columns = ["--column", "image=datei", "--column", "label=befund"]
    told = value("data", "import", "manifest", tmp_path / "theirs.csv", "--name", "mine", *columns)
    assert (told["n"], told["classes"]) == (6, ["ill", "well"])


def test_an_import_says_what_it_read_otherwise_and_keeps_labels_on_request(value, cxr, class_folders, tmp_path):
    files = sorted(path for path in class_folders.glob("*/*.png") if path.stem != "broken")
    rows = {"image": [str(path) for path in files], "label": ["Hernia", "hernia", "Hernia", "well", "WELL", "well"]}
    pd.DataFrame(rows).to_csv(tmp_path / "theirs.csv", index=False)
    command = ["data", "import", "manifest", tmp_path / "theirs.csv", "--no-split", "--name"]
    told = value(*command, "joined")
    assert told["classes"] == ["Hernia", "well"]
    assert "labels: WELL -> well (1), hernia -> Hernia (1)" in told["notes"]
    assert any("The patient of all 6 X-rays is unknown" in note for note in told["notes"])
    assert json.loads((Path(told["manifest"]).parent / "data.json").read_text())["notes"] == told["notes"]
    assert "labels: WELL -> well (1)" in cxr(*command, "again")[1]
    kept = value(*command, "kept", "--keep-labels", "--source", "north")
    assert kept["classes"] == ["Hernia", "WELL", "hernia", "well"]
    assert {row["source"] for row in kept["counts"]} == {"north"}
    code, _, err = cxr(*command, "wrong", "--uncertain", "maybe")
    assert (code, "unknown value of `uncertain` 'maybe'. Available: unknown, positive, negative" in err) == (2, True)


def test_a_data_set_is_split_anew_and_keeps_its_left_out_table(value, class_folders):
    value("data", "import", "image-folder", class_folders, "--name", "mine", "--no-split")
    assert {row["split"] for row in value("data", "show", "mine")["counts"]} == {""}
    told = value("data", "split", "mine", "--fraction", "train=.67", "--fraction", "test=.33", "--seed", "1")
    assert {row["split"] for row in told["counts"]} == {"train", "test"}
    assert (Path(told["manifest"]).parent / "excluded.csv").read_text().count("broken.png") == 1
    copy = value("data", "split", told["manifest"], "--name", "copy", "--fraction", "train=.5", "--fraction", "val=.5")
    assert {row["split"] for row in copy["counts"]} == {"train", "val"}


def test_the_kinds_and_the_presets_are_listed(value):
    assert {"manifest", "dicom", "image-folder"} <= {row["kind"] for row in value("data", "kinds")}
    names = ["demo", "scratch", "imagenet", "twice", "twice-keep"]
    assert [row["name"] for row in value("recipe", "list")] == [*names, *(f"{name}-densenet201" for name in names[1:])]


def test_weights_that_are_not_there_are_reported_before_a_run_starts(cxr, value, class_folders, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    value("data", "import", "image-folder", class_folders, "--name", "mine", "--no-split")
    value("data", "split", "mine", "--fraction", "train=.5", "--fraction", "val=.5")
    code, out, err = cxr("train", "imagenet", "--data", "mine", "--detach")
    assert (code, out) == (1, "")
    assert "no ImageNet weights for 'densenet121'" in err
    assert list_runs() == []


def test_on_a_narrow_terminal_a_table_becomes_lines_that_fit(capsys):
    columns, row = ["run", "state", "message"], ["20261124-165609-76637f-a-name", "finished", "a message " * 6]
    script = f"from cxr.cli.output import show_table; show_table('', {columns!r}, [{row!r}])"
    for width, has_borders in ((40, False), (100, True)):
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | {"COLUMNS": str(width)}
        )
        lines = done.stdout.splitlines()
        assert max(map(len, lines)) <= width, done.stdout + done.stderr
        assert any("│" in line for line in lines) == has_borders
        assert " ".join(done.stdout.replace("│", " ").split()).count("a message") == 6
        assert row[0] in done.stdout


def test_counts_have_separators_in_tables_and_confusion_matrices(capsys):
    truth = np.repeat(["a", "b"], [1683, 1240])
    predicted = np.where(np.arange(len(truth)) < 3, "b", truth)
    table = pd.DataFrame({"label": truth, "predicted": predicted, "patient_id": "", "image_id": np.arange(len(truth))})
    show_results({"splits": {"test": summarise(table.astype(str), ["a", "b"])}})
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert ["a", "1,680", "3"] in cells
    assert ["b", "0", "1,240"] in cells
    assert ["test", "2,923", "2,923"] in [row[:3] for row in cells]


def test_numbers_stand_right_and_what_is_no_count_comes_as_text(capsys):
    show_table("", ["what", "size", "images", "is"], [["a", "1024", 1680, True], ["b", "96", 2, None]])
    rows = [line.split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
    assert [cell.strip() for cell in rows[0][1:-1]] == ["a", "1024", "1,680", "True"]
    assert [cell[-2] for cell in rows[1][2:4]] == ["6", "2"]


def test_a_recipe_that_was_shown_can_be_trained_from(cxr, value, tmp_path):
    code, text, _ = cxr("recipe", "show", "demo", "--set", "stages.0.epochs=3")
    assert code == 0
    (tmp_path / "mine.yaml").write_text(text)
    assert value("recipe", "show", tmp_path / "mine.yaml")["stages"][0]["epochs"] == 3


@pytest.mark.slow
def test_the_whole_way_from_synthetic_x_rays_to_the_effect_of_their_text(value, cxr, tmp_path):
    demo = value("demo", "--n", 36, "--size", 96)
    assert (demo["n"], demo["classes"]) == (36, ["covid19", "normal", "pneumonia"])

    trained = value(*TRAIN, "--name", "first")
    assert (trained["kind"], trained["name"], trained["status"]["state"]) == ("train", "first", "finished")
    assert trained["manifest_hash"] == demo["hash"]
    assert {"test", "val"} <= set(trained["results"]["splits"])

    measured = value("evaluate", trained["id"], "--split", "test")
    assert measured["results"]["splits"]["test"]["confusion"] == trained["results"]["splits"]["test"]["confusion"]
    code, out, _ = cxr("runs", "show", measured["id"])
    assert (code, "true class by row" in out) == (0, True)

    image = pd.read_csv(demo["manifest"])["image_id"][0]
    told = value("explain", trained["id"], image, "--target", "normal", "--out", tmp_path / "maps")
    relevance = np.load(told["files"]["relevance"])
    assert relevance.shape[-2:] == (32, 32)
    assert relevance.sum() == pytest.approx(told["relevance_sum"], abs=1e-5)
    assert sum(row["probability"] for row in told["predictions"].values()) == pytest.approx(1)
    assert Image.open(told["files"]["overlay"]).size == (96, 96)
    again = value("explain", trained["id"], told["image"], "--target", "normal", "--out", tmp_path / "maps2")
    assert np.array_equal(np.load(again["files"]["relevance"]), relevance)
    code, _, err = cxr("explain", trained["id"], told["image"], "--target", "lupus")
    assert (code, err.startswith("error: "), "lupus" in err) == (2, True, True)

    every = value("explain", trained["id"], image, "--target", "all", "--bias", "keep", "--out", tmp_path / "all",
                  "--option", "epsilon=1e-4")  # fmt: skip
    assert [entry["target"] for entry in every["maps"]] == list(every["predictions"])
    assert (every["bias"], every["options"]["epsilon"]) == ("keep", 1e-4)
    for entry in every["maps"]:
        parts = ("relevance_for", "relevance_against", "absorbed", "lost", "residual")
        assert sum(entry[part] for part in parts) == pytest.approx(entry["logit"], abs=1e-5)
        assert all(Path(file).stat().st_size > 0 for file in entry["files"].values())
    assert any(line.startswith("Convolutions") and "biases kept" in line for line in every["legend"])
    compared = value("explain", trained["id"], image, "--composite", "grad-cam", "--out", tmp_path / "maps")
    assert compared["absorbed"] is None
    run = value("explain", trained["id"], "--n", "2", "--target", "all")
    assert (run["results"]["n"], run["results"]["maps"]) == (2, 6)
    stored = value("heatmaps")
    assert stored["maps"] >= 5
    assert value("heatmaps", "--clear")["bytes"] == stored["bytes"]
    assert value("heatmaps")["maps"] == 0

    (found,) = value("text", "detect", told["image"])
    assert found["image"] == told["image"]
    experiment = value("text", "experiment", trained["id"], "--mode", "black")
    assert experiment["results"]["mode"] == "black"
    assert {"before", "after"} <= set(experiment["results"])

    assert [row["kind"] for row in value("runs", "list")] == ["text-experiment", "explain", "evaluate", "train"]
    assert isinstance(value("weights", "list"), list)
    card = value("weights", "show", trained["id"])
    assert (card["classes"], card["split_hash"] != "") == (demo["classes"], True)
    given = value("weights", "export", trained["id"], "--format", "timm", "--out", tmp_path / "timm")
    assert given["relative_difference"] < 1e-4


@pytest.mark.slow
def test_ctrl_c_saves_and_stops_and_the_run_can_be_resumed(value):
    value("demo", "--n", 36, "--size", 96)
    command = [sys.executable, "-m", "cxr", *TRAIN, "--set", "stages.0.epochs=5000"]
    terminal = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # tests started in a shell's background inherit an ignored SIGINT; a terminal's commands do not
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 90
    while not (list_runs() and list_runs()[0].metrics()[0]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(terminal.pid, signal.SIGINT)
    out, err = terminal.communicate(timeout=60)
    (run,) = list_runs()
    assert run.status()["state"] == "stopped"
    assert (terminal.returncode, f"`cxr runs resume {run.id}` continues it" in out) == (0, True), out + err
    assert (run.folder.checkpoints / "last.json").exists()
    rows = len(run.metrics()[0])
    told = value("runs", "resume", run.id, "--detach")
    assert told["status"]["resumes"] == 1
    while len(run.metrics()[0]) <= rows:
        assert time.monotonic() < deadline + 90
        time.sleep(0.05)


def test_the_dashboard_answers_on_this_machine_alone_and_its_address_is_printed_and_ctrl_c_is_no_failure():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "cxr", "dashboard", "--port", str(port)]
    server = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert server.stdout.readline() == f"dashboard at http://127.0.0.1:{port}\n"
        deadline = time.monotonic() + 60
        while not _healthy(port):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        listening = psutil.Process(server.pid).net_connections("tcp")
        assert {c.laddr.ip for c in listening if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
        server.send_signal(signal.SIGINT)
        last_words = server.stdout.read()
        assert (server.wait(300), "Aborted" in last_words, "Traceback" in last_words) == (0, False, False), last_words
    finally:
        server.kill()
        server.wait(300)
        server.stdout.close()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as answer:
            return answer.read() == b"ok"
    except OSError:
        return False


def test_a_taken_port_is_named_before_anything_starts(cxr):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, _, err = cxr("dashboard", "--port", str(port))
    assert code == 1
    assert f"port {port} of 127.0.0.1 is in use" in err
