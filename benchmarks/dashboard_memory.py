"""Memory of the dashboard on a large installation: what its process holds after each opening of a page.

Makes an installation of ``--rows`` rows of metrics in one training, ``--runs`` finished runs and a data set of
``--images`` X-rays (the files are not there: tables are what is measured), opens every page in a browser several
times, each time as a new visitor, and prints the resident memory of the server.

    python benchmarks/dashboard_memory.py
    python benchmarks/dashboard_memory.py --checkout PATH   # the pages of another checkout, on the same installation
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

PROJECT = Path(__file__).resolve().parents[1]
CLASSES = ("covid19", "normal", "pneumonia")
PAGES = ("home", "data?data=large", "live?run={run}", "results?run={run}")
PORT = 8699


def installation(folder: Path, images: int, runs: int, rows: int) -> str:
    """Write data set and runs below ``folder``; return the id of the training with the long metrics."""
    from cxr.data import Manifest
    from cxr.runs.folder import RunFolder

    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "image": [f"images/{n:06d}.png" for n in range(images)],
            "label": [CLASSES[n % 3] for n in range(images)],
            "patient_id": [f"p{n // 3}" for n in range(images)],
            "source": [f"hospital {n % 7}" for n in range(images)],
            "split": [("train", "train", "train", "val", "test")[n // 3 % 5] for n in range(images)],
        }
    )
    manifest = Manifest.from_table(table, folder / "data" / "large").save(folder / "data" / "large" / "manifest.csv")
    logits = rng.normal(size=(images, 3)).astype(np.float32)
    predictions = manifest.table[["image_id", "split", "label", "patient_id", "source"]].copy()
    predictions["predicted"] = [CLASSES[k] for k in logits.argmax(1)]
    predictions["correct"] = predictions["predicted"] == predictions["label"]
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    predictions["confidence"] = chances.max(1)
    for k, name in enumerate(CLASSES):
        predictions[f"logit_{name}"], predictions[f"prob_{name}"] = logits[:, k], chances[:, k]
    ended = {"state": "finished", "progress": 1.0, "message": "finished", "ended": time.time()}
    params = {"manifest": str(manifest.path), "data_name": "large", "recipe": {"stages": [{}]}}
    for n in range(runs - 1):
        RunFolder.create(folder / "runs", "train", params, f"run {n}").update_status(**ended)
    run = RunFolder.create(folder / "runs", "train", params, "long")
    run.write_predictions(predictions[predictions["split"] == "test"])
    run.update_status(**ended)
    _write_metrics(run.path / "metrics.jsonl", rows, rng)
    return run.id


def _write_metrics(path: Path, rows: int, rng: np.random.Generator) -> None:
    losses = 1 / (1 + np.arange(rows) / 5000) + rng.normal(0, 0.05, rows)
    with path.open("w") as file:
        for n in range(rows):
            row = {"kind": "step", "stage": "final", "stage_index": 0, "epoch": n // 3500 + 1, "step": n + 1}
            row |= {"lr": 1e-4, "loss": float(losses[n]), "images_per_s": 612.5, "wait_s": 0.0, "time": 1.7e9 + n / 19}
            file.write(json.dumps(row) + "\n")
            if n % 3500 == 3499:
                scores = {"val_loss": float(losses[n]), "val_accuracy": 0.9, "val_macro_f1": 0.88}
                file.write(json.dumps({**row, "kind": "epoch", **scores}) + "\n")


def resident(process: subprocess.Popen) -> float:
    """Return the memory of a process and its children in MB."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    return sum(one.memory_info().rss for one in family) / 1e6


def openings(checkout: Path, folder: Path, run: str, rounds: int) -> list[tuple[str, float, float]]:
    """Return (page, seconds until it stands still, MB of the server afterwards) of each opening."""
    from playwright.sync_api import sync_playwright

    environment = os.environ | {"CXR_DATA": str(folder / "data"), "CXR_RUNS": str(folder / "runs")}
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/Home.py", f"--server.port={PORT}"]
    server = subprocess.Popen(
        command, cwd=checkout, env=environment | {"PYTHONPATH": str(checkout)}, stdout=subprocess.DEVNULL
    )
    found = []
    try:
        wait_for_server(PORT)
        with sync_playwright() as driver:
            flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
            for _ in range(rounds):
                for page in PAGES:
                    began = time.perf_counter()
                    context = browser.new_context()
                    tab = context.new_page()
                    tab.goto(f"http://127.0.0.1:{PORT}/{page.format(run=run)}", timeout=300_000)
                    tab.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=300_000)
                    found.append((page.partition("?")[0], time.perf_counter() - began, resident(server)))
                    context.close()
    finally:
        server.terminate()
        server.wait()
    return found


def wait_for_server(port: int) -> None:
    """Wait until a dashboard answers, two minutes at the most."""
    for _ in range(480):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1)
            return
        except OSError:
            time.sleep(0.25)
    raise SystemExit("the dashboard did not start")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=112_000)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--checkout", type=Path, action="append", help="whose pages; may be given several times")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        run = installation(folder, args.images, args.runs, args.rows)
        print(f"{args.images:,} X-rays, {args.runs:,} runs, {args.rows:,} rows of metrics\n")
        print("| pages of | opening | page | seconds | MB of the server |\n|---|---|---|---|---|")
        for checkout in args.checkout or [PROJECT]:
            for number, (page, seconds, size) in enumerate(openings(checkout.resolve(), folder, run, args.rounds), 1):
                print(f"| {checkout.name} | {number} | {page} | {seconds:.1f} | {size:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
