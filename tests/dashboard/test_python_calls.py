"""The Python calls beside each command: they do what the command does, and every page that shows one shows them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from apps import opened

from cxr.cli.python_calls import python_call
from cxr.data import Manifest
from cxr.runs import Run, list_runs
from cxr.runs.starting import NotStarted, nothing_started, start

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
    script = "\n".join(calls)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    written = {path.name for path in (tmp_path / "files").iterdir()}
    assert {"demo.zip", "report.html", "card.md"} <= written
    assert "finished" in done.stdout


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
    blocks = [block.value for block in app.code]
    commands = [block for block in blocks if block.startswith("cxr ")]
    assert commands
    for command in commands:
        assert python_call(shlex.split(command)) in blocks, command
        compile(python_call(shlex.split(command)) or "no call", command, "exec")
