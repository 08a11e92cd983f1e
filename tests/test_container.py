"""The container: what its image is made of suffices, and its first process ends everything with nothing lost."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from cxr.data.phantom import write_demo

PROJECT = Path(__file__).resolve().parents[1]
DOCKERFILE = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
IN_A_NAMESPACE = ["unshare", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"]
IMPORT_ALL = """
import importlib, pkgutil, sys
import cxr
assert cxr.__file__.startswith(sys.argv[1]), cxr.__file__
for module in pkgutil.walk_packages(cxr.__path__, "cxr."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from cxr.paths import shipped_weights
assert (shipped_weights() / "demo.safetensors").is_file()
"""


def copied() -> list[tuple[str, str]]:
    """Return source and target of everything that the Dockerfile copies from the checkout."""
    pairs = []
    for line in re.findall(r"^COPY (.+)$", DOCKERFILE, flags=re.MULTILINE):
        *sources, target = [word for word in shlex.split(line) if not word.startswith("--")]
        pairs += [(source, target) for source in sources]
    return pairs


def ignored(path: str) -> bool:
    """Return whether .dockerignore keeps a file out, by its last line that fits."""
    answer = False
    for line in (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        parts = Path(path).parts
        heads = ["/".join(parts[: k + 1]) for k in range(len(parts))]
        names = [*heads, *parts] if "**/" in line else heads
        if any(fnmatch.fnmatch(name, pattern) and name.count("/") == pattern.count("/") for name in names):
            answer = not line.startswith("!")
    return answer


def test_everything_that_the_image_takes_is_there_and_not_ignored():
    sources = {source for source, _ in copied()}
    assert {"requirements.txt", "cxr", "dashboard", "weights", "container.sh", "docs/glossary.md"} <= sources
    for source in sources:
        path = PROJECT / source
        assert path.exists(), source
        assert path.is_dir() or not ignored(source), source
    for kept in ("cxr/data/manifest.py", "cxr/runs/folder.py", "weights/demo.safetensors", "dashboard/views/data.py"):
        assert (PROJECT / kept).exists(), kept
        assert not ignored(kept), kept
    for kept_out in (".git/HEAD", "cxr/__pycache__/x.pyc", "data/real/a.png", "runs/a", "weights/mine.safetensors"):
        assert ignored(kept_out), kept_out


@pytest.mark.slow
def test_what_the_image_copies_suffices_to_import_every_module(tmp_path: Path):
    skipped = shutil.ignore_patterns("__pycache__", ".*_cache")
    for source, target in copied():
        if target.startswith("/usr"):
            continue
        place = tmp_path / (source if target.endswith("/") or target == "." else target)
        if (PROJECT / source).is_dir():
            shutil.copytree(PROJECT / source, place, ignore=skipped)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / source, place)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", IMPORT_ALL, str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_compose_and_image_agree_on_volumes_and_port():
    service = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))["services"]["dashboard"]
    volumes = re.search(r"^VOLUME (\[.+\])$", DOCKERFILE, flags=re.MULTILINE)
    assert volumes
    assert sorted(line.partition(":")[2] for line in service["volumes"]) == sorted(json.loads(volumes[1]))
    assert service["ports"] == ["127.0.0.1:8501:8501"]
    assert service["hostname"]
    assert not service.get("init"), "the signal to end goes to the first process, which must be container.sh"


def test_the_build_takes_only_what_is_locked():
    """A build in isolation would fetch the newest setuptools, which no lock names."""
    installs = re.findall(r"pip install (.+)$", DOCKERFILE, flags=re.MULTILINE)
    assert len(installs) == 2
    assert all({"--no-cache-dir", "--no-deps"} <= set(words.split()) for words in installs)
    assert "-r requirements.txt" in installs[0]
    assert "--no-build-isolation" in installs[1]
    locked = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (PROJECT / "requirements.txt").read_text(), flags=re.MULTILINE))
    build = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    for requirement in map(Requirement, build):
        assert requirement.specifier.contains(locked[requirement.name]), requirement


def test_the_container_starts_with_a_program_that_it_has():
    (command,) = json.loads(re.search(r"^CMD (\[.+\])$", DOCKERFILE, flags=re.MULTILINE)[1])
    (source,) = [source for source, target in copied() if target == f"/usr/local/bin/{command}"]
    assert os.access(PROJECT / source, os.X_OK)


@pytest.mark.parametrize("file", ["Dockerfile", "README.md"])
def test_what_is_told_of_starting_the_image_agrees_with_compose(file: str):
    text = re.sub(r"\\\n#?", " ", (PROJECT / file).read_text(encoding="utf-8"))
    (line,) = re.findall(r"^[# ]*(docker run .+)$", text, flags=re.MULTILINE)
    words = shlex.split(line)
    given = [(words[k], words[k + 1]) for k in range(len(words) - 1)]
    compose = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))
    service = compose["services"]["dashboard"]
    assert ("--hostname", service["hostname"]) in given
    assert ("--stop-timeout", service["stop_grace_period"].removesuffix("s")) in given
    assert [("-p", port) for port in service["ports"]] == [pair for pair in given if pair[0] == "-p"]
    assert [("-v", f"cxr-{volume}") for volume in service["volumes"]] == [pair for pair in given if pair[0] == "-v"]
    assert set(compose["volumes"]) == {volume.partition(":")[0] for volume in service["volumes"]}
    assert words[-1] == service["image"]


@pytest.fixture
def namespace() -> list[str]:
    """Words before a command that make it the first process of a world of its own."""
    try:
        done = subprocess.run([*IN_A_NAMESPACE, "sh", "-c", "echo $$"], capture_output=True, text=True, timeout=30)
    except OSError:
        pytest.skip("needs unshare, which Linux has")
    if done.stdout.strip() != "1":
        pytest.skip("this system makes no namespaces")
    return IN_A_NAMESPACE


@pytest.mark.slow
def test_stopping_the_container_ends_the_dashboard_and_leaves_a_training_stopped(namespace, tmp_path: Path):
    """As `docker stop` does, which tells the first process alone."""
    write_demo(tmp_path / "data" / "demo", n=60, size=96, seed=3)
    (tmp_path / "bin").mkdir()
    (tmp_path / "runs").mkdir()
    train = f"{sys.executable} -m cxr train demo --data demo --set stages.-1.epochs=500 --set size=32"
    for name, text in {
        "cxr": f'exec {sys.executable} -m cxr "$@"',
        # a training that the dashboard starts, and then the dashboard; its port is any that is free
        "streamlit": f'{train} & exec {sys.executable} -m streamlit "$@" --server.port=0',
    }.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(PROJECT),
        **{f"CXR_{name.upper()}": str(tmp_path / name) for name in ("data", "runs", "weights")},
    }
    with (tmp_path / "log.txt").open("w") as log:
        outside = subprocess.Popen(
            [*namespace, "./container.sh"], cwd=PROJECT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _wait(lambda: any(path.stat().st_size for path in tmp_path.glob("runs/*/metrics.jsonl")), outside, tmp_path)
        _wait(lambda: "You can now view" in (tmp_path / "log.txt").read_text(), outside, tmp_path)
        first = int(Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()[0])
        os.kill(first, signal.SIGTERM)
        assert outside.wait(120) == 0
    finally:
        outside.kill()
        outside.wait()
    (status,) = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/status.json")]
    assert (status["state"], status["error"]) == ("stopped", None)
    assert len(list(tmp_path.glob("runs/*/checkpoints/last.json"))) == 1


def _wait(condition, process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert process.poll() is None, (folder / "log.txt").read_text()
        assert time.monotonic() < deadline, (folder / "log.txt").read_text()
        time.sleep(0.1)
