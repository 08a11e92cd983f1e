"""What evaluating, explaining and searching for text cost in shards, and what 112,000 X-rays would take.

    python benchmarks/shards.py --data MANIFEST [--n 200] [--shards 2] [--merged 2000] [--measured PAGE] [--out PAGE]

Each kind is a real run of its own processes on X-rays drawn from the manifest, in one piece and in shards in turn, each
time with empty caches: what is measured is all of a run, from its start to its results. A few X-rays alone give what a
process costs before its first X-ray; the rest is what an X-ray costs. The network is a densenet121 of 224 pixels with
random weights. Memory is the largest resident set of a process of the run.

Merging is the time from the end of the last shard to that of the run. It is measured on more X-rays, links to those
drawn, with a network of a few layers, since what is merged depends on neither; and on a few, which gives what does not
grow with their number. The time on the processor is what it takes on a machine that does nothing else. The plan is a
calculation from these figures; no cluster was used.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import cxr
from cxr.data import Manifest
from cxr.models import build, save_model
from cxr.runs import Run, start
from cxr.runs.shards.folders import shards_of

CLASSES = ("covid19", "normal", "pneumonia")
SIZE = 224
FEW = 10
ALL = 112_000
PLANS = ((1, 2), (32, 8))
"""Machines and cores of each, one shard on each core."""


@dataclass(frozen=True)
class Cost:
    """A run's time in seconds and the memory of its largest process in MB."""

    seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Kind:
    """A kind of run, how it is called here, and its parameters beside the X-rays."""

    name: str
    title: str
    params: dict[str, Any]


def kinds(network: Path) -> list[Kind]:
    """Return what is measured."""
    return [
        Kind("evaluate", "evaluate", {"weights": str(network), "splits": ["test"], "device": "cpu"}),
        Kind("explain", "explain", {"model": str(network), "split": "test", "previews": 0, "device": "cpu"}),
        Kind("text-vocabulary", "search for text", {"split": "test"}),
    ]


def drawn(manifest: Manifest, n: int, path: Path) -> Path:
    """Write a manifest of ``n`` X-rays drawn from another one, all in the split test."""
    table = manifest.table.sample(n, random_state=0)
    files = manifest.image_paths()
    rows = {
        "image": [str(Path(files[image_id]).resolve()) for image_id in table["image_id"]],
        "label": [CLASSES[k % len(CLASSES)] for k in range(n)],
        "split": "test",
        "patient_id": [f"p{k}" for k in range(n)],
    }
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def measured(kind: Kind, manifest: Path, shards: int) -> Cost:
    """Do a run with empty caches and return what it cost."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(CXR_DATA=f"{folder}/data", CXR_RUNS=f"{folder}/runs")
        begin = time.perf_counter()
        run = start(kind.name, {**kind.params, "manifest": str(manifest)}, shards=shards)
        peak = _Peak(run)
        status = run.wait()
        seconds = time.perf_counter() - begin
        if status.state != "finished":
            raise SystemExit(f"{kind.name} failed: {status.error}")
        return Cost(seconds, peak.stop())


class _Peak:
    """The largest memory of the processes of a run, looked at while it works."""

    def __init__(self, run: Run) -> None:
        self._run, self._over, self.mb = run, threading.Event(), 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            folders = [self._run.folder, *(shard for shard in shards_of(self._run.folder) if shard.path.is_dir())]
            for folder in folders:
                pid = folder.read_status().pid
                for process in _family(pid) if pid else ():
                    self.mb = max(self.mb, _peak_mb(process))

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self.mb


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _family(int(child))


def _peak_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


@dataclass(frozen=True)
class Merging:
    """How long shards take to be merged, and the part of it on the processor, in seconds."""

    wall: float
    processor: float


def linked(manifest: Manifest, n: int, folder: Path) -> Path:
    """Write a manifest of ``n`` X-rays that are links to those of another one, over and over."""
    folder.mkdir()
    files = list(manifest.image_paths().values())
    for k in range(n):
        (folder / f"{k}{files[k % len(files)].suffix}").symlink_to(files[k % len(files)])
    rows = {
        "image": [f"{k}{files[k % len(files)].suffix}" for k in range(n)],
        "label": [CLASSES[k % len(CLASSES)] for k in range(n)],
        "split": "test",
        "patient_id": [f"p{k}" for k in range(n)],
    }
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def merging_seconds(kind: Kind, manifest: Path, shards: int) -> Merging:
    """Do a run in shards with empty caches and return how long it took to merge them."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(CXR_DATA=f"{folder}/data", CXR_RUNS=f"{folder}/runs")
        run = start(kind.name, {**kind.params, "manifest": str(manifest)}, shards=shards)
        before = last = 0.0
        while (status := run.folder.read_status()).active:
            last = max(last, _processor_seconds(status.pid) if status.pid else 0.0)
            if not all(shard.read_status().state == "finished" for shard in shards_of(run.folder)):
                before = last
            time.sleep(0.05)
        if status.state != "finished":
            raise SystemExit(f"{kind.name} failed: {status.error}")
        end_of_shards = max(shard.read_status().ended or 0.0 for shard in shards_of(run.folder))
        return Merging((status.ended or 0.0) - end_of_shards, last - before)


def _processor_seconds(pid: int) -> float:
    """Return the time that a process, without its children, has had on the processor."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def merging(n: int, shards: int, many: Manifest, work: Path) -> dict[str, tuple[Merging, Merging]]:
    """Return by kind what merging takes of few X-rays and of ``n``."""
    small = build("densenet-small", CLASSES, size=SIZE, backbone_args={"growth_rate": 4, "block_config": [1, 1]})
    network = save_model(small, work / "small.safetensors")
    few, more = (linked(many, size, work / f"linked-{size}") for size in (FEW, n))
    costs = {}
    for kind in kinds(network):
        costs[kind.title] = merging_seconds(kind, few, shards), merging_seconds(kind, more, shards)
        print(f"merging, {kind.title}: {costs[kind.title]}", flush=True)
    return costs


def merging_all(few: Merging, more: Merging, n: int) -> float:
    """Return what merging all X-rays takes on the processor: what few take, and the rest in proportion."""
    return few.processor + (ALL - FEW) * max(0.0, more.processor - few.processor) / (n - FEW)


def in_words(seconds: float) -> str:
    """Return a time in hours, minutes or seconds."""
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


@dataclass(frozen=True)
class Measured:
    """The first table of a page: its command and X-rays in words, its lines, and by kind what the plan needs of it.

    ``costs`` are seconds before the first X-ray and seconds for each.
    """

    command: str
    title: str
    lines: list[str]
    costs: dict[str, tuple[float, float]]


def measured_now(arguments: argparse.Namespace, network: Path, many: Path, few: Path, total: int) -> Measured:
    """Do the runs of the first table."""
    lines = [
        f"| kind | in one piece, s | in {arguments.shards} shards, s | ratio | before the first X-ray, s "
        "| per 100 X-rays, s | memory of a process, MB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    costs: dict[str, tuple[float, float]] = {}
    for kind in kinds(network):
        short, whole, cut = (measured(kind, *how) for how in ((few, 1), (many, 1), (many, arguments.shards)))
        rate = (whole.seconds - short.seconds) / (arguments.n - FEW)
        before = max(0.0, short.seconds - FEW * rate)
        costs[kind.title] = before, rate
        lines.append(
            f"| {kind.title} | {whole.seconds:.0f} | {cut.seconds:.0f} | {cut.seconds / whole.seconds:.2f} "
            f"| {before:.1f} | {100 * rate:.1f} | {max(whole.memory_mb, cut.memory_mb):.0f} |"
        )
        print(lines[-1], flush=True)
    command = f"python benchmarks/shards.py --data MANIFEST --n {arguments.n}"
    return Measured(f"Command: `{command}`{machine()}.", f"{arguments.n} of {total} X-rays", lines, costs)


def measured_before(page: str) -> Measured:
    """Return the first table of a page that was written before."""
    lines = page.splitlines()
    command = next(line for line in lines if line.startswith("Command: "))
    title = next(line for line in lines if line.startswith("## Measured, on ")).removeprefix("## Measured, on ")
    start = next(k for k, line in enumerate(lines) if line.startswith("| kind |"))
    table = [line for line in lines[start : start + 2 + len(kinds(Path()))] if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    costs = {row[0]: (float(row[4]), float(row[5]) / 100) for row in cells}
    return Measured(command, title, table, costs)


def machine() -> str:
    """Return what a time was measured on and with."""
    cores = f"{os.cpu_count()} cores, no GPU"
    return f"; {platform.machine()}, {cores}, cxr {cxr.__version__}, torch {torch.__version__}"


def report(arguments: argparse.Namespace, work: Path) -> str:
    """Measure, and return the page."""
    torch.manual_seed(0)
    network = save_model(build("densenet121", CLASSES, size=SIZE), work / "network.safetensors")
    manifest = Manifest.load(arguments.data)
    many, few = (drawn(manifest, n, work / f"{n}.csv") for n in (arguments.n, FEW))
    if arguments.measured:
        table = measured_before(arguments.measured.read_text(encoding="utf-8"))
    else:
        table = measured_now(arguments, network, many, few, len(manifest))
    merged = merging(arguments.merged, arguments.shards, Manifest.load(many), work)
    merging_command = (
        f"python benchmarks/shards.py --data MANIFEST --n {arguments.n} --merged {arguments.merged}"
        f"{' --measured benchmarks/results/shards.md' if arguments.measured else ''}"
    )
    lines = [
        "# Work in shards, and 112,000 X-rays on paper",
        "",
        table.command,
        "",
        *(" ".join(part.split()) for part in (__doc__ or "").split("\n\n")[2:]),
        "",
        f"## Measured, on {table.title}",
        "",
        *table.lines,
        "",
        "In one piece a run uses both cores already, by threads of PyTorch or processes that read and search; shards "
        "on one machine keep what is done slice by slice, and gain only what threads waste. On a cluster they are what "
        "makes a run use more than one machine. Each shard loads the network and starts a process of its own, which "
        "the ratio shows.",
        "",
        f"## Merging, measured on {arguments.merged} X-rays",
        "",
        f"Command: `{merging_command}`{machine()}; load average {os.getloadavg()[2]:.0f}.",
        "",
        "No image is opened or decoded again: a file counts as the same by its size and time of change.",
        "",
        f"| kind | {FEW} X-rays, s | of it on the processor | {arguments.merged} X-rays, s | of it on the processor |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {title} | {few.wall:.1f} | {few.processor:.1f} | {more.wall:.1f} | {more.processor:.1f} |"
            for title, (few, more) in merged.items()
        ),
        "",
        f"## {ALL:,} X-rays on paper",
        "",
        "A shard works on one core with half of the speed that both cores have here. Merging comes after the shards, "
        "in one process, whatever their number; the time is that on the processor.",
        "",
        f"| kind | {' | '.join(f'{nodes} x {cores} cores: shards, time' for nodes, cores in PLANS)} | merging |",
        "|---|" + "---:|" * (len(PLANS) + 1),
    ]
    cores_here = os.cpu_count() or 1
    for title, (before, rate) in table.costs.items():
        numbers = [nodes * cores for nodes, cores in PLANS]
        cells = [f"{shards}: {in_words(before + ALL / shards * rate * cores_here)}" for shards in numbers]
        lines.append(f"| {title} | {' | '.join(cells)} | {in_words(merging_all(*merged[title], arguments.merged))} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, and print or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a manifest")
    parser.add_argument("--n", type=int, default=200, help="X-rays of each run")
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--merged", type=int, default=2000, help="X-rays of the runs whose merging is measured")
    parser.add_argument("--measured", type=Path, help="a page of before: its first table stays, merging is measured")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        page = report(arguments, Path(folder))
    if arguments.out:
        arguments.out.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
