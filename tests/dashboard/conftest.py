"""What page tests share: synthetic X-rays and a finished tiny training, made once and copied for each test."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any, ClassVar

import pytest
import streamlit
from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.scriptrunner.script_cache import ScriptCache

from cxr.data import Manifest
from cxr.data.phantom import write_demo
from cxr.runs import Run, get_run, list_runs, start

DASHBOARD = Path(__file__).resolve().parents[2] / "dashboard"
sys.path.insert(0, str(DASHBOARD))  # as `streamlit run dashboard/Home.py` does

RECIPE: dict[str, Any] = {
    "name": "tiny",
    "backbone": "densenet-small",
    "backbone_args": {"growth_rate": 4, "block_config": [2, 2]},
    "size": 64,
    "device": "cpu",
    "threads": 1,
    "seed": 1,
    "heatmaps_every": 1,
    "stages": [{"name": "final", "epochs": 2, "batch": 16, "augment": {"rotate": 5}, "monitor": "val_loss"}],
}


class KeptScripts(ScriptCache):
    """Pages that are compiled once for all tests, as a running dashboard does, and not at each run of each test."""

    codes: ClassVar[dict[tuple[str, int, int], CodeType]] = {}

    def get_bytecode(self, script_path: str) -> CodeType:
        state = os.stat(script_path)  # noqa: PTH116
        key = (script_path, state.st_mtime_ns, state.st_size)
        if key not in self.codes:
            self.codes[key] = super().get_bytecode(script_path)
        return self.codes[key]


@pytest.fixture(scope="session", autouse=True)
def quick_pages() -> Iterator[None]:
    """Pages are compiled and installed packages searched for components once, as a running dashboard does.

    Streamlit counts nothing for its statistics, as ``dashboard/.streamlit`` says.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        for module in ("app_test", "local_script_runner"):
            patch.setattr(f"streamlit.testing.v1.{module}.ScriptCache", KeptScripts)
        streamlit.config.set_option("browser.gatherUsageStats", False)
        yield


@pytest.fixture(scope="session")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data/demo`` (60 phantoms whose tokens tell the class) and ``runs`` with one finished training."""
    folder = tmp_path_factory.mktemp("master")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXR_DATA", str(folder / "data"))
        patch.setenv("CXR_RUNS", str(folder / "runs"))
        write_demo(folder / "data" / "demo", n=60, size=128, correlation=1.0, seed=5)
        manifest = folder / "data" / "demo" / "manifest.csv"
        run = start("train", {"recipe": RECIPE, "manifest": manifest, "data_name": "demo"}, name="tiny", detached=False)
        assert run.status()["state"] == "finished", "\n".join(run.folder.log_tail())
    return folder


@pytest.fixture
def demo(master: Path, tmp_path: Path) -> Manifest:
    """The synthetic X-rays as the data set ``demo`` of this test's own library."""
    shutil.copytree(master / "data", tmp_path / "data", dirs_exist_ok=True)
    return Manifest.load(tmp_path / "data" / "demo" / "manifest.csv")


@pytest.fixture
def trained(master: Path, demo: Manifest, tmp_path: Path) -> Run:
    """The finished training among this test's own runs, on this test's own copy of the data."""
    shutil.copytree(master / "runs", tmp_path / "runs", dirs_exist_ok=True)
    (run_id,) = (path.name for path in (tmp_path / "runs").iterdir() if (path / "spec.json").exists())
    spec = tmp_path / "runs" / run_id / "spec.json"
    spec.write_text(spec.read_text().replace(str(master), str(tmp_path)))
    return get_run(run_id)


@pytest.fixture(autouse=True)
def no_weights_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of this machine's user are out of sight; those that the project ships stay."""
    monkeypatch.setenv("CXR_WEIGHTS", str(tmp_path / "weights"))


@pytest.fixture(autouse=True)
def end_all_runs(tmp_path: Path) -> Iterator[None]:
    """End the runs of this test, and no others: its folders may not be those of the environment any more."""
    yield
    for run in list_runs(tmp_path / "runs"):
        if run.active:
            run.kill()
