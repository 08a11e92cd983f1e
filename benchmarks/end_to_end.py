"""The whole way on a manifest of real X-rays, unattended, and a summary of what came out.

    python benchmarks/end_to_end.py --data ../shared/data/manifest.csv

import -> split -> cache -> train densenet121 from scratch at 128 px -> evaluate -> explain 20 test images -> mask the
text and evaluate again. Every step is the command that a researcher would type; each one's time is printed. Data sets
and runs go to a folder of their own (``--work``), so nothing of yours is touched.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
RECIPE = """\
name: scratch-128
description: densenet121 from scratch at 128 pixels for a few epochs, to prove the way, not to be good
backbone: densenet121
size: 128
seed: 0
stages:
  - name: covid
    epochs: {epochs}
    batch: 32
    class_weights: balanced
    optimiser: {{name: adamw, lr: 0.001, weight_decay: 0.01}}
    schedule: {{name: cosine, warmup_epochs: 0.5}}
    augment: {{rotate: 7, translate: 0.05, scale: 0.05, brightness: 0.1, contrast: 0.1}}
"""


class Way:
    """Runs ``cxr`` commands in a folder of their own and keeps their times."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.times: dict[str, float] = {}
        self.environment = {**os.environ, "CXR_DATA": str(work / "data"), "CXR_RUNS": str(work / "runs")}

    def cxr(self, step: str, *words: str) -> Any:
        """Run one command with ``--json`` and return what it printed."""
        print(f"$ cxr {' '.join(words)}", flush=True)
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "cxr", *words, "--json"],
            env=self.environment,
            cwd=PROJECT,
            capture_output=True,
            text=True,
        )
        self.times[step] = time.perf_counter() - begin
        if done.returncode:
            raise SystemExit(f"{step} failed: {done.stderr[-2000:]}{done.stdout[-2000:]}")
        return json.loads(done.stdout)


def percent(estimate: dict) -> str:
    return f"{estimate['value']:.1%} [{estimate['low']:.1%}, {estimate['high']:.1%}]"


def print_split(name: str, summary: dict) -> None:
    print(f"\n{name}: n = {summary['n']}, accuracy {percent(summary['accuracy'])}")
    width = max(map(len, summary["classes"])) + 2
    print(" " * (width + 6) + "".join(f"{c:>{width}}" for c in summary["classes"]) + "   (predicted)")
    for label, row in zip(summary["classes"], summary["confusion"], strict=True):
        print(f"  true {label:<{width}}" + "".join(f"{n:>{width}}" for n in row))


def results_of(run_id: str) -> dict[str, Any]:
    """Return a finished run's results."""
    from cxr.runs import get_run

    results = get_run(run_id).results()
    if results is None:
        raise SystemExit(f"{run_id} has left no results")
    return results


def summary(way: Way, run_id: str, experiment_id: str) -> None:
    """Print what the run folders hold; nothing here is computed anew."""
    import pandas as pd

    sys.path.insert(0, str(PROJECT))
    os.environ.update(CXR_DATA=way.environment["CXR_DATA"], CXR_RUNS=way.environment["CXR_RUNS"])
    from cxr.data.library import open_data_set

    table = open_data_set("real").table
    print("\nclass by split")
    print(pd.crosstab(table["label"].replace("", "(none)"), table["split"].replace("", "(none)"), margins=True))
    results = results_of(run_id)
    for split, found in results["splits"].items():
        print_split(split, found)
    text = results_of(experiment_id)
    print(f"\ntext: {text['n_with_text']} of {text['n_images']} test images have text, {text['n_tokens']} boxes")
    for key in ("before", "after", "control"):
        print(f"  accuracy {key:<8} {percent(text[key]['accuracy'])}")
    print(f"  predictions changed: {text['n_changed']} by masking text, {text['n_changed_control']} by the control")
    print(f"  {text['finding']}")
    print("\nseconds per step on", platform.processor() or platform.machine(), f"with {os.cpu_count()} cores")
    for step, seconds in way.times.items():
        print(f"  {step:<10} {seconds:8.1f}")
    print(f"  {'all':<10} {sum(way.times.values()):8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a manifest of X-rays (CSV or Parquet)")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--work", type=Path, help="folder for data sets and runs (default: a new temporary one)")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp(prefix="cxr-end-to-end-"))
    work.mkdir(parents=True, exist_ok=True)
    recipe = work / "recipe.yaml"
    recipe.write_text(RECIPE.format(epochs=options.epochs))
    way = Way(work)
    way.cxr("import", "data", "import", "manifest", str(Path(options.data).resolve()), "--name", "real")
    way.cxr("split", "data", "split", "real", "--seed", "0")
    run_id = way.cxr("train", "train", str(recipe), "--data", "real")["id"]
    way.cxr("evaluate", "evaluate", run_id, "--split", "test")
    way.cxr("explain", "explain", run_id, "--split", "test", "--n", "20")
    experiment_id = way.cxr("text", "text", "experiment", run_id, "--split", "test", "--mode", "mean")["id"]
    summary(way, run_id, experiment_id)
    print(f"\nfolder: {work}")


if __name__ == "__main__":
    main()
