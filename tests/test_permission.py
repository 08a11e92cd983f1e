"""A guard decides wherever something is changed: runs, their queue, data, text boxes, names of clusters, weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxr import permission
from cxr.data import Manifest
from cxr.data.jobs import split_data_set
from cxr.data.library import save_data_set, update_data_set
from cxr.data.openings import set_locked
from cxr.data.phantom import write_demo
from cxr.errors import CxrError
from cxr.experiments.clusters.names import name_cluster
from cxr.models.imports.conversion import import_weights
from cxr.paths import data_root, runs_root
from cxr.permission import NotAllowedError
from cxr.runs import DeviceQueue, Run, RunFolder, start
from cxr.text import Reviews


@pytest.fixture
def asked(private_folders: None, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked for, everything of it refused."""
    asked: list[str] = []

    def refuse(what: str) -> None:
        asked.append(what)
        raise NotAllowedError(f"not {what}")

    monkeypatch.setattr(permission, "_guards", [])
    permission.guard_with(refuse)
    permission.guard_with(refuse)
    return asked


@pytest.fixture
def manifest(private_folders: None) -> Manifest:
    write_demo(data_root() / "films", n=12, size=96, seed=1)
    return Manifest.load(data_root() / "films" / "manifest.csv")


def run_of(state: str) -> Run:
    folder = RunFolder.create(runs_root(), "audit-data", {"manifest": "m.csv"}, state)
    folder.update_status(state=state)
    return Run(folder)


CHANGES: dict[str, tuple[str, Callable[[Manifest, Path], Any]]] = {
    "start": ("start a run", lambda data, _: start("audit-data", {"manifest": data.path})),
    "stop": ("stop a run", lambda *_: run_of("queued").stop()),
    "kill": ("stop a run", lambda *_: run_of("queued").kill()),
    "resume": ("resume a run", lambda *_: run_of("stopped").resume()),
    "delete": ("delete a run", lambda *_: run_of("finished").delete()),
    "move": ("change the order of waiting runs", lambda *_: DeviceQueue().move("a")),
    "split": ("change a data set", lambda *_: split_data_set("films")),
    "split anew": ("keep a data set", lambda *_: split_data_set("films", name="others")),
    "save": ("keep a data set", lambda data, _: save_data_set("new", data)),
    "overwrite": ("change a data set", lambda data, _: update_data_set("films", data)),
    "lock": ("lock or unlock a split", lambda *_: set_locked("films", ["test"])),
    "boxes": (
        "change text boxes",
        lambda data, _: Reviews.beside(data.path).save("x", [], shape=(8, 8), content_hash="0"),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_guard_refuses_is_not_done(name: str, manifest: Manifest, asked: list[str], tmp_path: Path) -> None:
    what, act = CHANGES[name]
    before = {path: path.read_bytes() for path in data_root().rglob("*") if path.is_file()}
    with pytest.raises(NotAllowedError, match=f"not {what}"):
        act(manifest, tmp_path)
    assert asked == [what], "asked once, before anything else"
    states = [run.folder.read_status().state for run in map(Run, filter(Path.is_dir, runs_root().glob("[!.]*")))]
    assert states in ([], ["queued"], ["stopped"], ["finished"])
    assert {path: path.read_bytes() for path in data_root().rglob("*") if path.is_file()} == before


def test_weights_and_names_ask_as_well(asked: list[str], tmp_path: Path) -> None:
    with pytest.raises(NotAllowedError, match="not import weights"):
        import_weights(tmp_path / "nothing.pth")
    with pytest.raises(NotAllowedError, match="not name a cluster"):
        name_cluster(run_of("finished"), 1, "corner")


def test_without_a_guard_everything_is_allowed(private_folders: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(permission, "_guards", [])
    permission.ask("start a run")
    run_of("finished").delete()
    with pytest.raises(CxrError, match="nothing to stop"):
        run_of("finished").stop()
