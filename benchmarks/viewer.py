"""Speed of the viewer in Chromium: milliseconds a frame, and from a key to the next X-ray whose heatmap is stored.

Makes ``--images`` synthetic X-rays of ``--size`` pixels, opens the explorer with the shipped network and six panes
(X-ray, heatmap, overlay, the two other classes, another composite), moves and enlarges the view and changes the window
at each frame, then steps through the X-rays twice: the second time every heatmap is stored.

    python benchmarks/viewer.py
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Page, sync_playwright

PROJECT = Path(__file__).resolve().parents[1]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
SCREENS = {"laptop": (1280, 720), "desktop": (1920, 1080)}
SETTLED = "document.querySelector('[data-testid=stApp]').dataset.testScriptState == 'notRunning'"
QUERY = "model=demo&data=large&split=test&classes=all&beside=gradient"


@contextmanager
def dashboard(folder: Path) -> Iterator[str]:
    """Start a dashboard over a folder's data, and end it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = {"CXR_DATA": str(folder / "data"), "CXR_RUNS": str(folder / "runs"), "CXR_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/Home.py", f"--server.port={port}"]
    environment = os.environ | places | {"PYTHONPATH": str(PROJECT)}
    server = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL)
    try:
        for _ in range(400):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1)
                break
            except OSError:
                time.sleep(0.25)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def enlarge(folder: Path, size: int) -> None:
    """Bring every picture and mask below a folder to ``size`` pixels."""
    for file in folder.rglob("*.png"):
        pixels = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        assert pixels is not None
        cv2.imwrite(str(file), cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR))


def frames(tab: Page, count: int) -> list[float]:
    """Return milliseconds of each frame; the first ones, in which the browser compiles the scripts, are left out."""
    times: list[float] = tab.locator(".viewer").evaluate(f"root => root.viewer.timeFrames({count + 20})")
    return times[20:]


def steps(tab: Page, keys: Sequence[str]) -> list[float]:
    """Return milliseconds from each key to the picture of the X-ray that it leads to."""
    waited = []
    viewer = tab.locator(".viewer")
    for key in keys:
        before = viewer.get_attribute("data-subject")
        tab.keyboard.press(key)
        while viewer.get_attribute("data-subject") == before or viewer.get_attribute("data-busy") == "true":
            tab.wait_for_timeout(20)
        tab.wait_for_function(SETTLED, timeout=300_000)
        tab.wait_for_timeout(200)
        waited.append(float(viewer.get_attribute("data-waited") or "nan"))
    return waited


def row(what: str, times: Sequence[float]) -> str:
    middle, late = np.percentile(times, [50, 95])
    return f"| {what} | {len(times)} | {middle:.1f} | {late:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=2048, help="side of the X-rays in pixels")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--steps", type=int, default=5)
    args = parser.parse_args()
    from cxr.data.phantom import write_demo
    from cxr.data.phantom.phantom import MAX_SIZE

    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        write_demo(folder / "data" / "large", n=args.images, size=min(args.size, MAX_SIZE), seed=0)
        enlarge(folder / "data" / "large", args.size)
        print("| what | n | median, ms | 95th percentile, ms |\n|---|---|---|---|")
        with dashboard(folder) as url, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            for name, (width, height) in SCREENS.items():
                tab = browser.new_page(viewport={"width": width, "height": height})
                tab.set_default_timeout(300_000)
                tab.goto(f"{url}/explorer?{QUERY}")
                tab.locator(".pane").nth(5).wait_for()
                tab.wait_for_function(SETTLED)
                n = tab.locator(".pane").count()
                box = tab.locator(".pane").first.bounding_box()
                assert box is not None
                size = f"{n} panes of {box['width']:.0f} x {box['height']:.0f}, {name} {width} x {height}"
                print(row(f"frame, {size}", frames(tab, args.frames)), flush=True)
                if name == "laptop":
                    fresh = steps(tab, ["ArrowRight"] * args.steps)
                    stored = steps(tab, ["ArrowLeft"] * args.steps + ["ArrowRight"] * args.steps)
                    print(row("key to picture, heatmaps computed", fresh), flush=True)
                    print(row("key to picture, heatmaps stored", stored), flush=True)
                tab.close()
            browser.close()


if __name__ == "__main__":
    main()
