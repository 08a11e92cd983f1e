"""Take the README's pictures: a dashboard over the demo data and a finished demo training, seen by Chromium.

    python docs/screenshots.py            # trains the demo network first if there is no finished run (minutes)

Writes docs/images/*.png. Needs Chromium and the developers' requirements.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from cxr.data.library import list_data_sets
from cxr.runs import Run, list_runs

PROJECT = Path(__file__).resolve().parent.parent
IMAGES = PROJECT / "docs" / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PAGES = ("home", "data", "train", "live", "results", "explorer", "text")
TALL = {"explorer": 1950, "results": 1350, "text": 1300}
"""Heights of pages whose point lies below the first screen."""


def finished(kind: str) -> Run | None:
    """Return the newest finished run of a kind on the demo data."""
    runs = (r for r in list_runs(kind=kind) if r.status()["state"] == "finished")
    return next((r for r in runs if "demo" in str(r.spec["params"])), None)


def cxr(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "cxr", *words], cwd=PROJECT, check=True)


def prepare() -> Run:
    """Make what the pages need to show something and return the training."""
    if not any(d.name == "demo" for d in list_data_sets()):
        cxr("demo")
    if finished("train") is None:
        cxr("train", "demo", "--data", "demo")
    run = finished("train")
    assert run is not None
    if finished("text-experiment") is None:
        cxr("text", "experiment", run.id)
    return run


def serve(port: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/Home.py", f"--server.port={port}"]
    server = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(120):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1)
            return server
        except OSError:
            time.sleep(0.5)
    raise SystemExit("the dashboard did not start")


def picture(browser: Browser, url: str, file: Path, height: int, wait_s: float) -> None:
    """Open a page, wait until Streamlit has stopped working on it, and save what a person sees."""
    tab = browser.new_page(viewport={"width": 1440, "height": height})
    tab.goto(url)
    tab.wait_for_selector("h1", timeout=120_000)
    time.sleep(wait_s)
    tab.wait_for_selector("[data-test-script-state=notRunning]", timeout=120_000)
    for unfinished in ("stStatusWidget", "stSkeleton"):  # the latter stand where tables and charts are yet to be drawn
        tab.wait_for_function(f"!document.querySelector('[data-testid={unfinished}]')", timeout=120_000)
    tab.screenshot(path=file)
    tab.close()
    with Image.open(file) as screenshot:
        screenshot.save(file, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=IMAGES)
    parser.add_argument("--height", type=int, default=1000)
    parser.add_argument("pages", nargs="*", default=PAGES, help=f"of {', '.join(PAGES)}")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    run = prepare()
    queries = {
        "live": f"run={run.id}",
        "results": f"run={run.id}",
        "explorer": f"model={run.id}",
        "text": f"model={run.id}",
        "data": "data=demo",
        "train": "data=demo&recipe=demo",
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    server = serve(port)
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
            for page in options.pages:
                name = "" if page == "home" else page
                url = f"http://127.0.0.1:{port}/{name}?{queries.get(page, '')}"
                picture(browser, url, options.out / f"{page}.png", TALL.get(page, options.height), wait_s=6)
                print(os.path.relpath(options.out / f"{page}.png"))
            browser.close()
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
