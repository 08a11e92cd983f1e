"""The Python calls beside each command: they do what the command does, and every page that shows one shows them."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest
import torch
import torchvision
from apps import codes, done_by_call, opened, without_time

from cxr.cli.python_calls import python_call
from cxr.data import Manifest
from cxr.errors import WeightsError
from cxr.models import load_model
from cxr.paths import shipped_weights, weights_root
from cxr.runs import Run, list_runs
from cxr.runs.starting import NotStarted, nothing_started, start
from tests.reports.runs_made import measured

RUNS = (
    "cxr evaluate {run} --data demo --split test --include-seen",
    "cxr evaluate demo --data demo --split test --alias normal=normal",
    "cxr text experiment {run} --data demo --split test --mode black --mode mean --draws 3",
    "cxr text stamp {run} --word PORTABLE --data demo --split test --size 0.05 --size 0.1",
    "cxr text vocabulary demo --split test --min-images 4",
    "cxr explain {run} --data demo --split test --option epsilon=1e-4 --target all",
    "cxr relevance {run} --data demo --split test",
    "cxr clusters {run} --data demo --split test",
    "cxr audit {run} --data demo --split test",
    "cxr data audit demo --no-text",
    "cxr data check demo",
    "cxr data probe demo --masks box --no-text",
    "cxr data duplicates demo",
    "cxr train demo --data demo --set seed=3 --set stages.-1.epochs=2 --name again",
    "cxr demo --name another --n 12 --detach",
    "cxr data import image-folder {folder} --name mine --splits none --detach",
)
DONE_HERE = (
    "cxr data guess {folder}",
    "cxr data show demo",
    "cxr data split demo --keep test --fraction train=0.9 --fraction val=0.1 --seed 3",
    "cxr data openings demo",
    "cxr data export demo {folder}/demo.zip --images",
    "cxr runs show {run}",
    "cxr slices {run} --split test --no-pairs",
    "cxr checklist {run}",
    "cxr report {run} --out {folder}/report.html",
    "cxr explain {run} {image} --data demo --target normal --option epsilon=1e-5",
    "cxr text mask {run} {image} --data demo",
    "cxr weights export {run} --format card --out {folder}/card.md",
)
ADDRESSES = (
    ("data", {"data": "demo"}),
    ("data", {"tab": "Synthetic X-rays"}),
    ("train", {"data": "demo", "recipe": "demo"}),
    ("live", {}),
    ("results", {}),
    ("explorer", {"data": "demo", "split": "test"}),
    ("explorer", {"data": "demo", "split": "test", "look": "grid"}),
    ("text", {"data": "demo", "split": "test"}),
    ("text", {"data": "demo", "split": "test", "look": "Whole split"}),
    ("text", {"data": "demo", "split": "test", "look": "Stamp"}),
    ("text", {"data": "demo", "split": "test", "look": "Vocabulary"}),
    ("study", {"tab": "New study"}),
    ("trust", {"data": "demo"}),
    ("weights", {}),
    ("home", {}),
)


def filled(line: str, run: Run, demo: Manifest, folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    image = demo.select(split="test").ids[0]
    return [word.format(run=run.id, folder=folder, image=image) for word in shlex.split(line)]


@pytest.mark.parametrize("line", RUNS)
def test_the_call_starts_the_run_that_the_command_starts(
    line: str, trained: Run, demo: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cxr: Callable
) -> None:
    monkeypatch.setattr("cxr.runs.starting.launch", lambda folder: None)
    monkeypatch.setattr(Run, "wait", lambda self, **options: None)
    monkeypatch.chdir(tmp_path)
    words = filled(line, trained, demo, tmp_path / "files")
    lines = python_call([word for word in words if word != "--detach"])
    assert lines, "no call"
    before = {run.id for run in list_runs()}
    exec(compile(lines, "page", "exec"), {})
    (by_call,) = [run for run in list_runs() if run.id not in before]
    by_call.folder.update_status(state="finished")  # a name is imported once at a time
    before.add(by_call.id)
    cxr(*words[1:], *([] if "--detach" in words else ["--detach"]))
    (by_command,) = [run for run in list_runs() if run.id not in before]
    assert by_call.kind == by_command.kind
    assert by_call.name == by_command.name
    assert by_call.params.model_dump() == by_command.params.model_dump()


@pytest.mark.slow
def test_calls_that_are_done_at_once_work_as_they_stand(trained: Run, demo: Manifest, tmp_path: Path) -> None:
    calls = [python_call(filled(line, trained, demo, tmp_path / "files")) for line in DONE_HERE]
    assert all(calls), [line for line, call in zip(DONE_HERE, calls, strict=True) if not call]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    script = "\n".join(f"exec({call!r}, {{}})" for call in calls)  # none sees what another has imported
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    written = {path.name for path in (tmp_path / "files").iterdir()}
    assert {"demo.zip", "report.html", "card.md"} <= written
    assert "finished" in done.stdout


def test_the_call_of_compare_prints_the_differences_that_the_command_finds(
    trained: Run, demo: Manifest, cxr: Callable
) -> None:
    own = measured(shipped_weights() / "demo.safetensors", demo.path, splits=["test"], include_seen=True)
    for words in ((trained.id, own.id), (own.id, trained.id, "--split", "test")):
        status, printed, _ = cxr("compare", *words, "--json")
        assert status == 0
        sentences = [difference["sentence"] for difference in json.loads(printed)["differences"]]
        assert len(sentences) == 3
        assert done_by_call("compare", *words).splitlines() == sentences


def test_the_calls_of_a_data_set_write_and_print_what_the_commands_do(
    demo: Manifest, tmp_path: Path, cxr: Callable
) -> None:
    by_command, by_call = tmp_path / "command.json", tmp_path / "call.json"
    assert cxr("data", "export", "demo", "--croissant", by_command)[0] == 0
    done_by_call("data", "export", "demo", "--croissant", by_call)
    assert by_call.read_bytes() == by_command.read_bytes()
    for words in ([], ["--split", "test"]):
        status, printed, _ = cxr("data", "openings", "demo", *words, "--json")
        assert status == 0
        assert done_by_call("data", "openings", "demo", *words).splitlines() == [
            entry["sentence"] for entry in json.loads(printed)
        ]


def test_the_call_of_a_check_writes_flags_and_what_is_left_of_a_split(
    demo: Manifest, tmp_path: Path, cxr: Callable
) -> None:
    ids = demo.select(split="test").ids
    path = demo.image_path(ids[0])
    cv2.imwrite(str(path), 255 - cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    for kind, left in (("inverted", ids[1:]), ("lateral", ids)):
        flags, rest = ([tmp_path / f"{kind}-{what}-{k}.csv" for k in range(2)] for what in ("flags", "rest"))
        for k, done in enumerate((cxr, done_by_call)):
            done("data", "check", "demo", "--split", "test", "--out", flags[k], "--without", rest[k], "--kind", kind)
        assert flags[0].read_bytes() == flags[1].read_bytes()
        assert [Manifest.load(file).ids for file in rest] == [left, left]


def test_the_call_of_an_import_makes_the_weights_that_the_command_makes(tmp_path: Path, cxr: Callable) -> None:
    torch.manual_seed(0)
    file = tmp_path / "theirs.pth"
    torch.save({"state_dict": torchvision.models.resnet18(num_classes=2).state_dict()}, file)
    words = ["weights", "import", file, "--classes", "left, right,", "--task", "single-label", "--size", "224"]
    words += ["--mean", "imagenet", "--std", "0.2,0.3,0.4", "--licence", "MIT", "--origin", "a friend"]
    assert cxr(*words, "--name", "by-command")[0] == 0
    printed = done_by_call(*words, "--name", "by-call")
    by_command, by_call = (load_model(f"{name}") for name in ("by-command", "by-call"))
    assert Path(printed.strip()) == weights_root() / "by-call.safetensors"
    own = {"name": "by-call", "created": by_call.card.created}
    assert by_call.card.to_dict() == by_command.card.to_dict() | own
    state = by_command.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in by_call.state_dict().items())
    with pytest.raises(WeightsError, match="exists"):
        done_by_call(*words, "--name", "by-call")
    done_by_call(*words, "--name", "by-call", "--force")


def test_a_checklist_and_a_notebook_are_written_by_their_calls_too(
    trained: Run, demo: Manifest, tmp_path: Path, cxr: Callable
) -> None:
    for words in (("checklist", trained.id, "--which", "claim", "--which", "card"), ("report", trained.id)):
        ending = ".md" if words[0] == "checklist" else ".ipynb"
        files = [tmp_path / f"command{ending}", tmp_path / f"call{ending}"]
        assert cxr(*words, "--out", files[0])[0] == 0
        done_by_call(*words, "--out", files[1])
        by_command, by_call = (without_time(file.read_text()) for file in files)
        assert by_command == by_call


def test_a_plan_alone_has_no_call_since_its_lines_would_train(demo: Manifest) -> None:
    assert python_call(["cxr", "train", "demo", "--data", "demo"])
    assert python_call(["cxr", "train", "demo", "--data", "demo", "--plan"]) == ""


def test_nothing_is_started_or_written_while_a_call_is_made(trained: Run, demo: Manifest, tmp_path: Path) -> None:
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    for line in (*RUNS, *DONE_HERE):
        python_call(filled(line, trained, demo, tmp_path / "files"))
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before
    with nothing_started(), pytest.raises(NotStarted) as asked:
        start("explain", {"model": "demo", "manifest": demo.path}, shards=2)
    assert (asked.value.call.kind, asked.value.call.shards) == ("explain", 2)


def test_a_command_that_cannot_be_read_has_no_call() -> None:
    for line in ("cxr evaluate nobody --data nowhere", "cxr nothing", "cxr data split", "cxr dashboard"):
        assert python_call(shlex.split(line)) == ""


@pytest.mark.parametrize(("page", "query"), ADDRESSES, ids=lambda value: str(value))
def test_every_page_that_shows_a_command_shows_its_call(
    page: str, query: dict[str, str], trained: Run, demo: Manifest
) -> None:
    asks_for_a_network = page in ("explorer", "text", "trust")
    app = opened(page, **({"model": trained.id} if asks_for_a_network else {}), **query)
    assert not app.exception, app.exception
    blocks = codes(app)
    commands = [block for block in blocks if block.startswith("cxr ")]
    assert commands
    for command in commands:
        assert python_call(shlex.split(command)) in blocks, command
        compile(python_call(shlex.split(command)) or "no call", command, "exec")
