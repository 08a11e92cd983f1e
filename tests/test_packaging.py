"""What is installed away from a checkout: the wheel's files, declared packages, and what is said of a missing one."""

from __future__ import annotations

import ast
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from cxr.data import Manifest
from cxr.errors import MissingPackageError
from cxr.models import load_model
from cxr.models.export import export
from cxr.paths import shipped_weights

PROJECT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
FACTS = PYPROJECT["project"]
EXTRAS: dict[str, list[str]] = FACTS["optional-dependencies"]
GROUPS: dict[str, list[str | dict[str, str]]] = PYPROJECT["dependency-groups"]
SHIPPED = {"cxr": "cxr", "dashboard": "cxr/dashboard"}
HIDDEN = """
import sys
sys.modules[sys.argv[1]] = None
sys.argv = ["cxr", *sys.argv[2:]]
from cxr.__main__ import main
main()
"""


def files_below(folder: Path) -> set[str]:
    """Return the files of a folder, without what Python and its tools leave there."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in paths if not {"__pycache__", ".ruff_cache", ".mypy_cache"} & set(path.parts)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as its wheel installs it, made from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache")
    for name in ("cxr", "dashboard", "weights"):
        shutil.copytree(PROJECT / name, folder / "copy" / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, folder / "copy")
    (folder / "copy" / "docs").mkdir()
    shutil.copy(PROJECT / "docs" / "glossary.md", folder / "copy" / "docs")
    command = ["-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "-q", "-w", folder]
    done = subprocess.run([sys.executable, *command], cwd=folder / "copy", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def away(installed: Path, folder: Path) -> dict[str, str]:
    """Return the environment of a user elsewhere, whose data, runs and weights are nowhere yet."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CXR_", "STREAMLIT_"))}
    return kept | {"PYTHONPATH": str(installed), "HOME": str(folder)}


def test_the_wheel_holds_every_file_of_the_package_the_pages_and_the_demo_weights(installed: Path):
    for source, target in SHIPPED.items():
        within = files_below(installed / target)
        assert files_below(PROJECT / source) <= within, f"{source}: see setup.py and package-data in pyproject.toml"
    glossary = installed / "cxr" / "dashboard" / "glossary.md"
    assert glossary.read_bytes() == (PROJECT / "docs" / "glossary.md").read_bytes()
    assert files_below(installed / "cxr" / "weights") == {"demo.json", "demo.safetensors"}
    tops = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert tops == {"cxr"}, "nothing else may lie among other people's packages"


def test_commands_of_an_installed_package_find_recipes_and_weights(installed: Path, tmp_path: Path):
    for words, wanted in ((["recipe", "list"], "twice-keep"), (["weights", "list", "--json"], str(installed))):
        command = [sys.executable, "-m", "cxr", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=away(installed, tmp_path), capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert wanted in done.stdout


def test_the_dashboard_of_an_installed_package_answers_and_keeps_to_the_users_folder(installed: Path, tmp_path: Path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "cxr", "dashboard", "--port", str(port)]
    with (tmp_path / "log.txt").open("w") as log:
        server = subprocess.Popen(
            command, cwd=tmp_path, env=away(installed, tmp_path), stdout=log, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + 60
        while not _healthy(port):
            assert server.poll() is None, (tmp_path / "log.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        words = Path(f"/proc/{server.pid}/cmdline")
        if words.exists():  # Linux
            assert str(installed / "cxr" / "dashboard" / "Home.py") in words.read_text()
            assert Path(f"/proc/{server.pid}/cwd").resolve() == tmp_path.resolve()
    finally:
        server.terminate()
        server.wait(300)


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2) as answer:
            return answer.read() == b"ok"
    except OSError:
        return False


# --- what is needed


def declared(lines: list[str]) -> dict[str, Requirement]:
    """Return requirements by name."""
    return {canonicalize_name(line.name): line for line in map(Requirement, lines)}


def imported(folder: Path) -> set[str]:
    """Return the packages that the modules below a folder import, but not those of Python."""
    names = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"cxr", "services", "widgets", "sections"}


@pytest.mark.parametrize(
    ("part", "extras"),
    [("cxr", ("text", "slurm", "export", "tracking", "dicom-out")), ("dashboard", ("dashboard", "sign-in"))],
    ids=["cxr", "dashboard"],
)
def test_every_package_that_is_imported_is_declared(part: str, extras: tuple[str, ...]):
    there = packages_distributions()
    known = declared([*FACTS["dependencies"], *(line for extra in extras for line in EXTRAS[extra])])
    missing = {
        name
        for name in imported(PROJECT / part)
        if name in there and not {canonicalize_name(owner) for owner in there[name]} & known.keys()
    }
    assert not missing


def locked(file: str) -> dict[str, set[str]]:
    """Return the exact versions in a lock by package; some packages have one for each range of Python."""
    text = (PROJECT / file).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    versions: dict[str, set[str]] = {}
    for requirement in (Requirement(entry.partition("\\")[0]) for entry in entries):
        (version,) = requirement.specifier
        assert version.operator == "=="
        versions.setdefault(canonicalize_name(requirement.name), set()).add(version.version)
    return versions


RUN_LINES = [
    *FACTS["dependencies"],
    *(line for name in ("text", "slurm", "export", "dashboard") for line in EXTRAS[name]),
]
DEV_LINES = [line for group in GROUPS.values() for line in group if isinstance(line, str)] + EXTRAS["dicom"]


@pytest.mark.parametrize(("file", "lines"), [("requirements.txt", RUN_LINES), ("requirements-dev.txt", DEV_LINES)])
def test_a_lock_holds_a_version_of_each_declared_package_in_its_range_and_a_hash_of_each_file(
    file: str, lines: list[str]
):
    versions = locked(file)
    for wanted in map(Requirement, lines):
        assert all(map(wanted.specifier.contains, versions[canonicalize_name(wanted.name)])), f"{wanted}: `make lock`"


def test_developers_tools_are_locked_in_versions_that_agree_with_those_of_the_package():
    run, dev = locked("requirements.txt"), locked("requirements-dev.txt")
    shared = run.keys() & dev.keys()
    assert "numpy" in shared
    assert not {name: (run[name], dev[name]) for name in shared if not dev[name] <= run[name]}, "`make lock`"


@pytest.mark.parametrize(
    ("package", "extra", "words"),
    [
        ("streamlit", "dashboard", ["dashboard"]),
        ("rapidocr", "text", ["text", "detect", "FOLDER/a.png"]),
        ("onnxruntime", "text", ["text", "detect", "FOLDER/a.png"]),
        ("submitit", "slurm", ["train", "scratch", "--data", "FOLDER/manifest.csv", "--slurm", "time=5"]),
    ],
)
def test_a_package_that_is_missing_is_named_in_one_line_with_the_extra_that_brings_it(
    package: str, extra: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for program in ("sbatch", "srun"):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    _write_xrays(tmp_path)
    command = [sys.executable, "-c", HIDDEN, package, *(word.replace("FOLDER", str(tmp_path)) for word in words)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stdout
    assert done.stderr.splitlines()[-1] == f"error: {package} is not installed: pip install 'cxr[{extra}]' brings it"
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "runs").glob("*/spec.json")), "nothing was started"


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_an_export_that_lacks_a_package_names_it_and_writes_nothing(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, package, None)
    model = load_model(shipped_weights() / "demo.safetensors")
    with pytest.raises(
        MissingPackageError, match=rf"^{package} is not installed: pip install 'cxr\[export\]' brings it$"
    ):
        export(model, tmp_path / "network.onnx", "onnx")
    assert not list(tmp_path.glob("*.onnx"))


def _write_xrays(folder: Path) -> None:
    Image.fromarray(np.full((64, 64), 90, np.uint8)).save(folder / "a.png")
    n = 16
    table = pd.DataFrame(
        {
            "image": [f"{k}.png" for k in range(n)],
            "label": [("left", "right")[k % 2] for k in range(n)],
            "patient_id": [f"p{k}" for k in range(n)],
            "split": [("train", "train", "val", "test")[k // 2 % 4] for k in range(n)],
        }
    )
    Manifest.from_table(table, folder).save(folder / "manifest.csv")
