"""What the parts of the benchmark of training share: settings, X-rays to train on, and the page of results."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import cxr
from cxr.data import Manifest
from cxr.data.phantom import write_demo
from cxr.training import load_recipe
from cxr.training.recipe import Recipe

VALIDATED = 6  # images that validate: what is timed is training


@dataclass(frozen=True)
class Setting:
    """What is measured and how often; ``data`` is a manifest, None for synthetic X-rays."""

    backbone: str
    size: int
    batch: int
    rounds: int
    device: str
    data: Path | None
    quick: bool

    def recipe(self, epochs: int = 1, **changes: object) -> Recipe:
        """Return the preset ``scratch``, whose augmentation is the default one, changed to this setting."""
        return load_recipe("scratch").changed(
            {
                "backbone": self.backbone,
                "size": self.size,
                "device": self.device,
                "checkpoint_every_seconds": 1e6,
                "stages.0.batch": self.batch,
                "stages.0.epochs": epochs,
                **changes,
            }
        )

    def describe(self) -> str:
        """Return network, size and batch in words."""
        return f"{self.backbone}, {self.size} px, batch {self.batch}"


@dataclass
class Page:
    """Prints lines and keeps those of each section, so that a section of a file can be written anew."""

    sections: dict[str, list[str]] = field(default_factory=dict)

    def section(self, title: str) -> None:
        """Begin a section."""
        self.sections[title] = []
        print(f"\n## {title}\n", flush=True)

    def say(self, line: str = "") -> None:
        """Add a line to the present section."""
        list(self.sections.values())[-1].append(line)
        print(line, flush=True)

    def table(self, header: str) -> None:
        """Begin a table with these cells, divided by ``|``."""
        cells = header.split("|")
        self.say(f"|{'|'.join(f' {cell.strip()} ' for cell in cells)}|")
        self.say("|" + "---|" * len(cells))

    def row(self, *cells: str) -> None:
        """Add a row to the present table."""
        self.say(f"| {' | '.join(cells)} |")

    def write(self, path: Path, command: str) -> None:
        """Write the sections into a Markdown file, in the place of those of the same title; the others stay."""
        kept = _sections_of(path) | {
            title: "\n".join([f"Command: `{command}`; {machine()}.", "", *lines])
            for title, lines in self.sections.items()
        }
        text = "".join(f"\n## {title}\n\n{body.strip()}\n" for title, body in kept.items())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# How fast training is\n" + text, encoding="utf-8")


def _sections_of(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    parts = re.split(r"^## (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def machine() -> str:
    """Return the machine and the versions in words."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{platform.machine()}, {os.cpu_count()} cores, {gpu}, torch {torch.__version__}, cxr {cxr.__version__}"


def quartiles(values: np.ndarray | list[float], digits: int = 2) -> str:
    """Return the quartiles in words."""
    low, high = np.quantile(np.asarray(values, float), [0.25, 0.75])
    return f"{low:.{digits}f} to {high:.{digits}f}"


def median(values: np.ndarray | list[float], digits: int = 2) -> str:
    """Return the median as text."""
    return f"{float(np.median(np.asarray(values, float))):.{digits}f}"


@contextlib.contextmanager
def private_folders() -> Iterator[Path]:
    """Give a new folder in which data sets, caches and runs go, so that nothing of yours is touched; it is deleted."""
    before = {name: os.environ.get(name) for name in ("CXR_DATA", "CXR_RUNS")}
    with tempfile.TemporaryDirectory(prefix="cxr-benchmark-", ignore_cleanup_errors=True) as work:
        os.environ.update(CXR_DATA=f"{work}/data", CXR_RUNS=f"{work}/runs")
        try:
            yield Path(work)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value


def training_set(folder: Path, n: int, side: int, data: Path | None) -> Manifest:
    """Return a manifest in ``folder`` with ``n`` images to train and a few to validate.

    They come from ``data`` (its split ``train``, or every labelled image if there is none; classes in turn, so that
    each is there), or are synthetic X-rays of ``side`` pixels written as PNG.

    Raises
    ------
    SystemExit
        If ``data`` has too few.
    """
    if data is None:
        manifest = write_demo(folder / "phantoms", n=max(12, n + VALIDATED), size=side)
    else:
        manifest = Manifest.load(data)
    table = manifest.table[manifest.table["label"] != ""]
    if data is not None and (table["split"] == "train").any():
        table = table[table["split"] == "train"]
    place = table.groupby("label").cumcount()
    table = table.loc[place.sort_values(kind="stable").index].head(n + VALIDATED)
    if len(table) < n + VALIDATED:
        raise SystemExit(f"{data} has {len(table)} labelled images to train, {n + VALIDATED} are needed")
    splits = ["val"] * VALIDATED + ["train"] * n
    # Patients do not matter here: nothing is concluded from what the network learns.
    chosen = manifest.with_table(table.assign(split=splits, patient_id="", dup_group=""))
    return chosen.save(folder / "manifest.csv")
