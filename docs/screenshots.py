"""Take the pictures of README and of docs/tour.md: a dashboard over the demo data, seen by Chromium.

    python docs/screenshots.py                # every page, light and dark
    python docs/screenshots.py explorer grid  # some pages

Makes first what a page needs and is not there yet: the demo data, a training of the demo recipe, a text experiment, an
audit, heatmaps (some minutes). Writes docs/images/NAME.webp and docs/images/dark/NAME.webp, and puts each light picture
below its place in docs/tour.md (``<!-- picture NAME: what it shows -->``). Needs Chromium and the developers'
requirements.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from PIL import Image

from cxr.data.library import list_data_sets
from cxr.paths import data_root
from cxr.runs import Run, list_runs

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PROJECT = Path(__file__).resolve().parent.parent
DOCS = PROJECT / "docs"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WIDTH, HEIGHT = 1280, 720
THEMES = ("light", "dark")
MOST_BYTES = 150_000
RUN = "RUN"
"""In an address, the id of the training on the demo data."""
SETTLED = """() => {
    const app = document.querySelector('[data-testid=stApp]');
    const busy = '[data-testid=stStatusWidget], [data-testid=stSkeleton], [data-stale=true]';
    return app && app.getAttribute('data-test-script-state') === 'notRunning'
        && document.querySelector('h1') && !document.querySelector(busy);
}"""
"""Streamlit has run to the end, and no table or chart is yet to be drawn."""


def enter_folder(tab: Page) -> None:
    """Name the folder of the demo data in the import form, without this machine's path to it."""
    tab.get_by_label("Folder or file on this machine").fill(os.path.relpath(data_root() / "demo", PROJECT))
    tab.keyboard.press("Enter")
    tab.get_by_text("Why this").wait_for(timeout=120_000)


@dataclass(frozen=True)
class Shot:
    """A page as its picture shows it: its address, what has to be there, and what is done before.

    ``shows`` is a part of the page that is brought into sight.
    """

    page: str
    query: Mapping[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    before: Callable[[Page], None] | None = None
    shows: str = ""
    height: int = HEIGHT


_ON_DEMO = {"model": RUN, "data": "demo", "split": "test"}
REPORT = "report"
SHOTS: dict[str, Shot] = {
    "home": Shot("home"),
    "data": Shot("data", {"data": "demo"}),
    "explorer": Shot("explorer", _ON_DEMO, ("train",)),
    "grid": Shot("explorer", _ON_DEMO | {"look": "grid"}, ("train", "explain")),
    "text": Shot("text", _ON_DEMO, ("train",)),
    "whole-split": Shot("text", _ON_DEMO | {"look": "Whole split"}, ("train", "text-experiment")),
    "trust": Shot("trust", _ON_DEMO, ("train", "text-experiment", "audit-network")),
    "train": Shot("train", {"data": "demo", "recipe": "demo"}),
    "live": Shot("live", {"run": RUN}, ("train",)),
    "results": Shot("results", {"run": RUN}, ("train",)),
    REPORT: Shot(REPORT, {}, ("train",)),
    "import": Shot("data", {"tab": "Import"}, before=enter_folder, shows="Files:"),
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "train": ("train", "demo", "--data", "demo"),
    "text-experiment": ("text", "experiment", RUN),
    "explain": ("explain", RUN, "--split", "test", "--n", "60"),
    "audit-network": ("audit", RUN, "--quick"),
}
"""What makes a run of each kind that a picture needs, in this order."""


def finished(kind: str, of: str = "") -> Run | None:
    """Return the newest finished run of a kind on the demo data, of the network of run ``of`` where it is given."""
    demo = data_root() / "demo"
    for run in list_runs(kind=kind):
        params = run.spec["params"]
        on_demo = Path(str(params.get("manifest") or "")).parent == demo or (of and "manifest" not in params)
        if run.status()["state"] == "finished" and on_demo and of in str(params):
            return run
    return None


def cxr(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "cxr", *words], cwd=PROJECT, check=True)


def prepare(names: Iterable[str]) -> str:
    """Make what these pictures need, and return the id of the training, empty where none is needed."""
    needed = {kind for name in names for kind in SHOTS[name].needs}
    if not any(data_set.name == "demo" for data_set in list_data_sets()):
        cxr("demo")
    run_id = ""
    for kind, words in COMMANDS.items():
        if kind not in needed:
            continue
        if finished(kind, run_id) is None:
            cxr(*(run_id if word == RUN else word for word in words))
        if kind == "train":
            training = finished(kind)
            if training is None:
                raise SystemExit("the training of the demo network did not finish: see `cxr runs list`")
            run_id = training.id
    return run_id


def serve(port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/Home.py", f"--server.port={port}"]
    quiet = ["--server.headless=true", "--browser.gatherUsageStats=false"]
    server = subprocess.Popen([*command, *quiet], cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=1)
            return server
        except OSError:
            time.sleep(0.5)
    server.terminate()
    raise SystemExit("the dashboard did not start")


def address(shot: Shot, base: str, run_id: str) -> str:
    """Return a page's address below ``base``."""
    query = {name: run_id if value == RUN else value for name, value in shot.query.items()}
    path = "" if shot.page == "home" else shot.page
    return f"{base}/{path}?{urlencode(query)}" if query else f"{base}/{path}"


def picture(browser: Browser, shot: Shot, url: str, theme: str) -> bytes:
    """Open a page, wait until it stands, and return what a person sees, as PNG."""
    tab = browser.new_page(
        viewport={"width": WIDTH, "height": shot.height}, color_scheme="dark" if theme == "dark" else "light"
    )
    try:
        tab.goto(url)
        if shot.page != REPORT:
            _settle(tab)
        if shot.before is not None:
            shot.before(tab)
            _settle(tab)
        if shot.shows:
            tab.get_by_text(shot.shows).first.scroll_into_view_if_needed()
            time.sleep(1)
        return tab.screenshot()
    finally:
        tab.close()


def _settle(tab: Page) -> None:
    tab.wait_for_selector("h1", timeout=120_000)
    # A page that stands for a moment may still draw its charts, or run once more after its first answer.
    for _ in range(3):
        time.sleep(1.5)
        tab.wait_for_function(SETTLED, timeout=120_000)


def save_small(png: bytes, file: Path) -> int:
    """Write a picture as WebP of at most ``MOST_BYTES``, as good as fits; return its size in bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(png)) as screenshot:
        for quality in (90, 80, 70, 55, 40):
            packed = io.BytesIO()
            screenshot.convert("RGB").save(packed, "WEBP", quality=quality, method=6)
            if packed.tell() <= MOST_BYTES:
                break
    file.write_bytes(packed.getvalue())
    return packed.tell()


_PLACE = re.compile(r"^<!-- picture ([\w-]+): (.+?) -->\n(?:!\[[^\n]*\n)?", re.MULTILINE)


def with_pictures(page: str, images: Path) -> str:
    """Return a page with each picture that is in ``images`` below its place, and none that is not."""

    def placed(place: re.Match[str]) -> str:
        name, shows = place[1], place[2]
        comment = f"<!-- picture {name}: {shows} -->\n"
        return f"{comment}![{shows}](images/{name}.webp)\n" if (images / f"{name}.webp").exists() else comment

    return _PLACE.sub(placed, page)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=DOCS / "images")
    parser.add_argument("--theme", choices=THEMES, action="append", help="by default both")
    parser.add_argument("pages", nargs="*", help=f"of {', '.join(SHOTS)}; by default all")
    options = parser.parse_args()
    unknown = [name for name in options.pages if name not in SHOTS]
    if unknown:
        parser.error(f"unknown page {', '.join(unknown)}. Available: {', '.join(SHOTS)}")
    take(options.pages or list(SHOTS), options.theme or THEMES, options.out)
    tour = DOCS / "tour.md"
    tour.write_text(with_pictures(tour.read_text(encoding="utf-8"), DOCS / "images"), encoding="utf-8")


def take(names: Iterable[str], themes: Iterable[str], out: Path) -> None:
    """Take pictures of pages in each theme."""
    from playwright.sync_api import sync_playwright

    names = list(names)
    run_id = prepare(names)
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = serve(port)
    try:
        with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
            report = Path(folder) / "report.html"
            if REPORT in names:
                cxr("report", run_id, "--out", str(report), "--heatmaps", "2", "--with-images")
            browser = driver.chromium.launch(executable_path=chromium, args=FLAGS)
            for theme in themes:
                for name in names:
                    shot = SHOTS[name]
                    is_report = shot.page == REPORT
                    url = report.as_uri() if is_report else address(shot, f"http://127.0.0.1:{port}", run_id)
                    file = (out if theme == "light" else out / theme) / f"{name}.webp"
                    n_bytes = save_small(picture(browser, shot, url, theme), file)
                    print(f"{os.path.relpath(file)}  {n_bytes // 1000} kB", flush=True)
            browser.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
