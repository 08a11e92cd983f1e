"""Record the folders that a version of cxr writes, so that tests can open them with every later version.

    python tools/record_version.py REVISION tests/versions/NAME.tar.xz

The code of ``REVISION`` is taken out of git and works by its own command line, with the libraries of this environment:
it draws X-rays, imports two data sets (one with a label per X-ray, one with several findings), trains, and does a run
of every kind. The archive holds data sets, runs and heatmaps; text files name the folder that they were made in as
``@ROOT@``. Decoded images are left out, since they are made again where they are missed.
"""

from __future__ import annotations

import argparse
import io
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pandas as pd
import yaml

ROOT = "@ROOT@"
TEXT = (".json", ".jsonl", ".yaml", ".txt", ".csv", ".log")
STAGE = {"epochs": 1, "batch": 4, "monitor": "val_loss"}
RECIPE = {
    "name": "recorded",
    "backbone": "densenet-small",
    "backbone_args": {"growth_rate": 4, "block_config": [2, 2]},
    "size": 32,
    "device": "cpu",
    "threads": 1,
    "seed": 7,
}
SINGLE = RECIPE | {"stages": [STAGE | {"name": "first"}, STAGE | {"name": "final", "keep_neurons": True}]}
TWO_TASKS = RECIPE | {
    "name": "recorded-tasks",
    "channels": 3,
    "stages": [STAGE | {"name": "findings", "task": "multi-label", "label": "findings"}, STAGE | {"name": "final"}],
}
FINDINGS = {"covid19": "Opacity", "pneumonia": "Opacity|Effusion", "normal": "No Finding"}
LABELS = {"covid19": "sick", "pneumonia": "sick", "normal": "well"}
SEVERAL_FINDINGS = """
import sys
from pathlib import Path
from tests.configurations import Configuration, write_network
write_network(Configuration(3, "multi-label", ("Effusion", "Opacity")), Path(sys.argv[1]), size=32)
"""


class Version:
    """The command line of the version under ``code``, with folders of its own under ``root``."""

    def __init__(self, code: Path, root: Path) -> None:
        self.root = root
        folders = {"CXR_DATA": "data", "CXR_RUNS": "runs", "CXR_WEIGHTS": "weights"}
        self._environment = {
            **os.environ,
            **{name: str(root / folder) for name, folder in folders.items()},
            "PYTHONPATH": str(code),
            "OMP_NUM_THREADS": "1",
        }
        self._code = code

    def __call__(self, *arguments: object) -> None:
        """Run a command and wait for its end."""
        command = [sys.executable, "-m", "cxr", *map(str, arguments)]
        print("cxr", *arguments, flush=True)
        self.python(*command[1:])

    def python(self, *arguments: object) -> None:
        """Run Python with the version's modules."""
        command = [sys.executable, *map(str, arguments)]
        subprocess.run(command, cwd=self._code, env=self._environment, check=True, stdout=subprocess.DEVNULL)

    def newest_run(self, ending: str) -> str:
        """Return the id of the newest run whose id ends so."""
        return sorted(path.name for path in (self.root / "runs").iterdir() if path.name.endswith(ending))[-1]


def record(cxr: Version) -> None:
    """Have a version do a run of every kind."""
    root = cxr.root
    cxr("demo", "--n", 24, "--size", 96)
    source = root / "source"
    source.mkdir()
    table = pd.read_csv(root / "data" / "demo" / "manifest.csv", keep_default_na=False)
    table["image"] = [str(root / "data" / "demo" / image) for image in table["image"]]
    table["findings"] = table["label"].map(FINDINGS)
    table["label"] = table["label"].map(LABELS)
    columns = ["image", "label", "findings", "patient_id", "split", "source"]
    table[[name for name in columns if name in table]].to_csv(source / "findings.csv", index=False)
    cxr("data", "import", "manifest", source / "findings.csv", "--name", "findings", "--splits", "keep")
    for name, recipe in (("single", SINGLE), ("tasks", TWO_TASKS)):
        (source / f"{name}.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    weights = root / "weights" / "findings.safetensors"
    weights.parent.mkdir()
    cxr.python("-c", SEVERAL_FINDINGS, weights)
    cxr("train", source / "single.yaml", "--data", "demo")
    cxr("train", source / "tasks.yaml", "--data", "findings")
    single, tasks = cxr.newest_run("-recorded"), cxr.newest_run("-recorded-tasks")
    for network in (single, tasks, weights):
        data = ("--data", "findings") if network == weights else ()
        cxr("evaluate", network, *data)
        cxr("explain", network, "--split", "test", "--n", 3, *data)
        cxr("text", "experiment", network, "--explained", 1, "--draws", 2, *data)
    cxr("text", "stamp", single, "--word", "PORTABLE", "--size", 0.1, "--size", 0.2)
    cxr("text", "vocabulary", "demo", "--min-images", 1)
    recipe = {"recipe": str(source / "single.yaml"), "set": {}}
    study = {
        "name": "recorded study",
        "recipes": {"one": recipe, "two": recipe | {"set": {"seed": 9}}},
        "seeds": [0, 1],
    }
    (source / "study.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    cxr("study", "run", source / "study.yaml", "--data", "demo")


def pack(root: Path, archive: Path) -> None:
    """Write the folders below ``root`` but the decoded images to a tar.xz file."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:xz") as packed:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            name = path.relative_to(root)
            if not _is_kept(name):
                continue
            content = path.read_bytes()
            if path.suffix in TEXT:
                content = content.replace(str(root).encode(), ROOT.encode())
                content = content.replace(f'"{socket.gethostname()}"'.encode(), b'"recorded"')
            entry = tarfile.TarInfo(str(name))
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))


def _is_kept(name: Path) -> bool:
    decoded = name.parts[:2] == ("data", ".cache") and name.parts[2] != "heatmaps"
    return not decoded and "previews" not in name.parts and name.name != ".lock"


def main() -> None:
    """Record a version."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision")
    parser.add_argument("archive", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        code, root = Path(folder, "code"), Path(folder, "recorded").resolve()
        code.mkdir()
        root.mkdir()
        packed = Path(folder, "code.tar")
        subprocess.run(["git", "archive", "-o", packed, arguments.revision], check=True)
        with tarfile.open(packed) as files:
            files.extractall(code, filter="data")
        record(Version(code, root))
        pack(root, arguments.archive.resolve())
    print(f"{arguments.archive}: {arguments.archive.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
