"""What it costs a page that a program drives the browser: processor time of Chromium's main thread for one script.

A program that drives Chromium, as Playwright does, makes it find out at each exception where in the source it was
thrown, for which whole functions are read again. Plotly's script, the largest of a page, throws many while it starts.
The script is evaluated in a browser that nobody drives, in a driven one, and in a driven one that notes all places of
the source from the start, as benchmarks/pages.py has it.

    python benchmarks/driven_browser.py [--rounds 5] [--out FILE.md]
"""

from __future__ import annotations

import argparse
import functools
import http.server
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import psutil
import streamlit
from blocks import write_page
from dashboard_memory import PROJECT
from pages import EAGER, FLAGS

STATIC = Path(streamlit.__file__).parent / "static"
SCRIPT = next((STATIC / "static" / "js").glob("PlotlyChart.*.js"))
WAIT_S = 120.0
PAGE = PROJECT / "benchmarks" / "driven_browser.html"


def page() -> str:
    """Return a page that loads what the script needs, then evaluates it, and says when."""
    needed = re.findall(r'from"\./([^"]+)"', SCRIPT.read_text(encoding="utf-8"))
    return PAGE.read_text(encoding="utf-8").replace("{needed}", str(needed)).replace("{script}", SCRIPT.name)


def main_thread_s(profile: str) -> float:
    """Return the processor time of the main thread of the page's process, the busiest of the browser's."""
    seconds = [0.0]
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "--type=renderer" in words and any(profile in word for word in _of_the_browser(process)):
            seconds.append(int(Path(f"/proc/{process.pid}/task/{process.pid}/schedstat").read_text().split()[0]) / 1e9)
    return max(seconds)


def _of_the_browser(process: psutil.Process) -> list[str]:
    try:
        return [word for parent in process.parents() for word in parent.cmdline()]
    except psutil.Error:
        return []


class Times:
    """What the page has said of the browser with this profile."""

    def __init__(self) -> None:
        self.profile, self.began, self.took = "", 0.0, threading.Event()
        self.seconds = 0.0

    def hear(self, path: str) -> None:
        if path == "/begin":
            self.began = main_thread_s(self.profile)
        else:
            self.seconds = main_thread_s(self.profile) - self.began
            self.took.set()


@contextmanager
def served(times: Times) -> Iterator[str]:
    content = page().encode()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path in ("/begin", "/end"):
                times.hear(self.path)
            elif self.path != "/page":
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(content if self.path == "/page" else b"")

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(STATIC)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/page"
    server.shutdown()


def alone(times: Times, url: str) -> None:
    """Open the page in a browser that nobody drives."""
    words = ["--headless=new", f"--user-data-dir={times.profile}", *FLAGS_OF_ALL, url]
    with subprocess.Popen([str(shutil.which("chromium")), *words], stderr=subprocess.DEVNULL) as process:
        times.took.wait(WAIT_S)
        _end(process)


def driven(times: Times, url: str, flags: Sequence[str] = ()) -> None:
    """Open the page in a browser that Playwright drives."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        context = driver.chromium.launch_persistent_context(
            times.profile, executable_path=shutil.which("chromium"), args=[*FLAGS_OF_ALL, *flags]
        )
        context.pages[0].goto(url)
        deadline = time.monotonic() + WAIT_S
        while not times.took.is_set() and time.monotonic() < deadline:
            context.pages[0].wait_for_timeout(100)
        context.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    for part in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        try:
            part.kill()
        except psutil.Error:
            continue


FLAGS_OF_ALL = [flag for flag in FLAGS if flag != EAGER]
WAYS: dict[str, Callable[[Times, str], None]] = {
    "that nobody drives": alone,
    "driven": driven,
    "driven, places of the source noted from the start": functools.partial(driven, flags=[EAGER]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    took: dict[str, list[float]] = {name: [] for name in WAYS}
    times = Times()
    with served(times) as url:
        for _ in range(args.rounds):
            for name, way in WAYS.items():
                with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as times.profile:
                    times.took.clear()
                    way(times, url)
                if times.took.is_set():
                    took[name].append(times.seconds)
    least = statistics.median(took["that nobody drives"])
    rows = ["| browser | processor time of its main thread, s | times that of the first |", "|---|---|---|"]
    for name, values in took.items():
        middle = statistics.median(values)
        rows.append(f"| {name} | {middle:.2f} ({min(values):.2f} to {max(values):.2f}) | {middle / least:.1f} |")
    machine = f"{platform.machine()}, streamlit {version('streamlit')}, {SCRIPT.stat().st_size / 1e6:.1f} MB of script"
    head = [
        "# A driven browser",
        "",
        f"Command: `python benchmarks/driven_browser.py`; {machine}, median of {args.rounds} (smallest to largest).",
        "Evaluating Plotly's script in a new browser.",
        "",
    ]
    write_page([*head, *rows], args.out)


if __name__ == "__main__":
    main()
