"""How fast the pages are on a large installation, and what the server's memory grows by.

An installation of ``--runs`` runs, one of them with ``--rows`` rows of metrics, a data set of ``--images`` X-rays (the
files are not there), 120 synthetic X-rays for the shipped network, and two tables of 25,000 predictions. Chromium
opens each page as a new visitor, then works in one tab, then many visitors stay. The floor is what Streamlit itself
takes for an app of a title, a table and a button, plain_app.py.

    python benchmarks/pages.py                       # tables of the floor, openings, interactions and memory
    python benchmarks/pages.py --checkout PATH       # the pages of another checkout
    python benchmarks/pages.py --soak 10             # minutes of one tab on a running training
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from dashboard_memory import PROJECT, installation, wait_for_server

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

EAGER = "--js-flags=--no-enable-lazy-source-positions"
"""Without it a driven browser takes twice the time of others for Plotly's script: driven_browser.py."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--enable-precise-memory-info", EAGER]
WAIT_MS = 240_000
PAGES = (
    "",
    "data?data=large",
    "train?data=large",
    "live?run={run}",
    "results?run={run}",
    "compare?runs={first},{second}",
    "explorer?data=pictures&model=demo",
    "text?data=pictures&model=demo",
    "data?data=pictures",
)
PREDICTIONS = 25_000
IDLE_S = 60.0
"""Seconds after which the server has given back what reads text in X-rays."""
IN_THE_PAGE = PROJECT / "benchmarks" / "pages.js"


class Server:
    """The dashboard of a checkout on an installation, or another ``script`` with the same options."""

    def __init__(self, checkout: Path, folder: Path, port: int, script: Path = Path("dashboard", "Home.py")) -> None:
        environment = os.environ | {"CXR_DATA": str(folder / "data"), "CXR_RUNS": str(folder / "runs")}
        command = [sys.executable, "-m", "streamlit", "run", str(script), f"--server.port={port}"]
        self.url = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [*command, "--server.headless=true", "--server.fileWatcherType=none", "--browser.gatherUsageStats=false"],
            cwd=checkout,
            env=environment | {"PYTHONPATH": str(checkout)},
            stdout=subprocess.DEVNULL,
        )
        wait_for_server(port)

    def megabytes(self, what: str = "Rss") -> float:
        """Return the memory that is in use: ``Rss`` with the libraries' files, ``Anonymous`` without."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:")) * 1024 / 1e6

    def wait_for_torch(self, longest_s: float = 120.0) -> float:
        """Return the seconds until torch has been loaded in the background: no work for a second, torch in memory."""
        began = time.perf_counter()
        while time.perf_counter() - began < longest_s:
            before = self.cpu_s()
            time.sleep(1.0)
            if self.cpu_s() - before < 0.05 and "libtorch" in Path(f"/proc/{self.process.pid}/maps").read_text():
                break
        return time.perf_counter() - began

    def cpu_s(self) -> float:
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@contextmanager
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield opened
        opened.close()


def new_tab(opened: Browser) -> tuple[BrowserContext, Page]:
    context = opened.new_context(viewport={"width": 1280, "height": 720})
    context.add_init_script(path=IN_THE_PAGE)
    return context, context.new_page()


def visit(server: Server, tab: Page, address: str) -> float:
    """Open an address and return the seconds until the page stands."""
    began = time.perf_counter()
    tab.goto(f"{server.url}/{address}", timeout=WAIT_MS)
    tab.wait_for_function("cxrPages.settled()", timeout=WAIT_MS)
    return time.perf_counter() - began


def further_runs(folder: Path) -> dict[str, str]:
    """Make X-rays that can be shown, and two tables of predictions of several X-rays a patient; return the runs."""
    import numpy as np
    import pandas as pd

    from cxr.data.phantom import write_demo
    from cxr.runs import start

    write_demo(folder / "data" / "pictures", n=120, size=512, correlation=1.0, seed=5)
    rng, names, ids = np.random.default_rng(0), ("cats", "dogs", "birds"), {}
    truth = rng.integers(0, 3, PREDICTIONS)
    about = {"image": [f"{k}.png" for k in range(PREDICTIONS)], "patient": [f"p{k // 3}" for k in range(PREDICTIONS)]}
    for place in ("first", "second"):
        scores = np.exp(rng.normal(size=(PREDICTIONS, 3)) + 1.2 * (truth[:, None] == np.arange(3)))
        table = pd.DataFrame(about | {"split": "test", "label": np.array(names)[truth]})
        table[list(names)] = scores / scores.sum(1, keepdims=True)
        file = folder / f"{place}.csv"
        table.to_csv(file, index=False)
        ids[place] = start("evaluate-predictions", {"predictions": file}, name=place, detached=False).id
    return ids


def installed(folder: Path, images: int, runs: int, rows: int) -> dict[str, str]:
    """Make the installation where there is none yet, say how large it is, and return its runs by their part in it."""
    known = folder / "installation.json"
    if not known.is_file():
        os.environ |= {"CXR_DATA": str(folder / "data"), "CXR_RUNS": str(folder / "runs")}
        run = installation(folder, images, runs, rows)
        known.write_text(json.dumps({"run": run} | further_runs(folder)))
    print(f"{images:,} X-rays, {runs:,} runs, {rows:,} rows of metrics.")
    return dict(json.loads(known.read_text()))


def floor(opened: Browser, folder: Path, port: int, rounds: int) -> None:
    """Print the same of the smallest app: what Streamlit and the browser take of the figures below."""
    server = Server(PROJECT, folder, port, PROJECT / "benchmarks" / "plain_app.py")
    paints, stands, answers = [], [], []
    try:
        for _ in range(rounds + 1):
            context, tab = new_tab(opened)
            stands.append(visit(server, tab, ""))
            paints.append((tab.evaluate("cxrPages.paint()") or 0) / 1000)
            answers += [interaction(tab, button("Press")) for _ in range(4)]
            context.close()
    finally:
        server.stop()
    print(
        "| a plain app | first visit, s | first paint, s | stands, s | its button, median, ms | 95th percentile, ms |"
    )
    print("|---|---|---|---|---|---|")
    opening = f"{stands[0]:.1f} | {statistics.median(paints[1:]):.2f} | {statistics.median(stands[1:]):.2f}"
    print(
        f"| title, table, button | {opening} | {statistics.median(answers):.0f} | {_p95(answers):.0f} |\n", flush=True
    )


def openings(opened: Browser, server: Server, ids: dict[str, str], rounds: int) -> None:
    """Print of each page the first paint and when it stands, as a new visitor; the first visit by itself."""
    print("| page | first visit, s | first paint, s | stands, s | processor of the server, s | of the browser, s |")
    print("|---|---|---|---|---|---|")
    ready = 0.0
    for page in PAGES:
        rows = []
        for _ in range(rounds + 1):
            before = server.cpu_s(), browser_cpu_s(server)
            context, tab = new_tab(opened)
            stands = visit(server, tab, page.format(**ids))
            paint = (tab.evaluate("cxrPages.paint()") or 0) / 1000
            rows.append((paint, stands, server.cpu_s() - before[0], browser_cpu_s(server) - before[1]))
            context.close()
            if not ready:  # what the first visit started is none of the others' work
                ready = server.wait_for_torch()
        medians = [statistics.median(column) for column in zip(*rows[1:], strict=True)]
        numbers = f"{rows[0][1]:.1f} | " + " | ".join(f"{median:.2f}" for median in medians)
        print(f"| {named(page)} | {numbers} |", flush=True)
    print(f"\ntorch was loaded {ready:.0f} s after the first page.")


def in_known_browser(opened: Browser, server: Server, ids: dict[str, str], rounds: int) -> None:
    """Print when each page stands in a browser that has had it twice: it keeps the scripts, and compiled ones too."""
    took: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as profile:
        for number in range(rounds + 2):
            context = opened.browser_type.launch_persistent_context(
                profile, executable_path=shutil.which("chromium"), args=FLAGS, viewport={"width": 1280, "height": 720}
            )
            context.add_init_script(path=IN_THE_PAGE)
            for page in PAGES[:-1]:
                tab = context.new_page()
                seconds = visit(server, tab, page.format(**ids))
                tab.wait_for_timeout(2000)  # it keeps what it has compiled once the page has stood for a moment
                tab.close()
                if number >= 2:
                    took.setdefault(named(page), []).append(seconds)
            context.close()
    print("\n| page | stands in a browser that has had it twice, s |\n|---|---|")
    for name, values in took.items():
        print(f"| {name} | {statistics.median(values):.2f} |", flush=True)


def loop_s() -> float:
    """Return the seconds of a loop that tells how fast the machine is at this moment."""
    began, total = time.perf_counter(), 0
    for number in range(10_000_000):
        total += number
    return time.perf_counter() - began


def browser_cpu_s(server: Server) -> float:
    """Return the processor time that the browser's processes have taken."""
    seconds = 0.0
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.pid != server.process.pid:
                times = process.cpu_times()
                seconds += times.user + times.system
    return seconds


def named(page: str) -> str:
    return page.partition("?")[0] or "home"


def sidebar(name: str) -> Callable[[Page], None]:
    return lambda tab: tab.get_by_test_id("stSidebar").get_by_role("link", name=name, exact=True).click()


def text(words: str) -> Callable[[Page], None]:
    return lambda tab: tab.get_by_text(words, exact=True).first.click()


def button(name: str) -> Callable[[Page], None]:
    return lambda tab: tab.get_by_role("button", name=name).first.click()


@dataclass(frozen=True)
class Step:
    """A key that leads to another X-ray of the list, which the browser has fetched by then if it ever does."""

    by: int

    def __call__(self, tab: Page) -> None:
        tab.keyboard.press("ArrowRight" if self.by > 0 else "ArrowLeft")


def tile(place: int) -> Callable[[Page], None]:
    return lambda tab: tab.locator(".viewer .thumb").nth(place).click()


def explained_class(place: int) -> Callable[[Page], None]:
    return lambda tab: tab.locator(".viewer button.class").nth(place).click()


@dataclass(frozen=True)
class Option:
    """A click on an option of a picker whose list is open."""

    picker: str
    place: int

    def open(self, tab: Page) -> None:
        tab.locator(f".st-key-pick-{self.picker} input").click()
        tab.get_by_role("option").nth(self.place).wait_for()

    def __call__(self, tab: Page) -> None:
        tab.get_by_role("option").nth(self.place).click()


def next_page(tab: Page) -> None:
    tab.locator("[class*='-page'] [data-testid=stNumberInputStepUp]:not([inert] *)").first.click()


def smoother(tab: Page) -> None:
    slider = tab.get_by_role("slider").first
    slider.focus()
    slider.press("ArrowRight")


ACTIONS: dict[str, Sequence[tuple[str, Callable[[Page], None]]]] = {
    "": [("next page of the runs", next_page)] * 4,
    "live?run={run}": [
        ("axis of the curves", text("Epochs")),
        ("axis of the curves", text("Time")),
        ("axis of the curves", text("Steps")),
        ("log scale", text("Log scale")),
        ("log scale", text("Log scale")),
        ("smoothing", smoother),
        ("smoothing", smoother),
    ],
    "data?data=large": [("next page of the X-rays", next_page)] * 4,
    "results?run={run}": [("next page of the X-rays", next_page)] * 4,
    "explorer?data=pictures&model=demo": [
        ("next X-ray, its heatmap is stored", Step(1)),
        ("next X-ray, its heatmap is stored", Step(1)),
        ("the X-ray before", Step(-1)),
        ("another X-ray of the strip, its heatmap is stored", tile(6)),
        ("another X-ray of the strip, its heatmap is stored", tile(1)),
        ("another class, its heatmap is stored", explained_class(1)),
        ("another class, its heatmap is stored", explained_class(2)),
        ("another composite, its heatmap is stored", Option("composite", 1)),
        ("another composite, its heatmap is stored", Option("composite", 0)),
    ],
    "weights": [("another page by the sidebar", sidebar(name)) for name in ("Home", "Live", "Studies", "Home", "Live")],
}


def interactions(opened: Browser, server: Server, ids: dict[str, str], rounds: int) -> None:
    """Print how long the page takes to answer a user who is there already."""
    took: dict[str, list[float]] = {}
    pictures: dict[str, list[float]] = {}
    context, tab = new_tab(opened)
    for page, actions in ACTIONS.items():
        for number in range(rounds + 1):
            visit(server, tab, page.format(**ids))
            for name, act in actions:
                if isinstance(act, Step):  # in the first round heatmaps are not stored: the X-ray that is shown will do
                    tab.wait_for_function("by => cxrPages.holds(by)", arg=act.by if number else 0, timeout=WAIT_MS)
                    tab.wait_for_function("cxrPages.settled()", timeout=WAIT_MS)
                elif isinstance(act, Option):
                    act.open(tab)
                milliseconds = interaction(tab, act)
                if number:  # the first round reads what is then kept
                    took.setdefault(f"{named(page)}: {name}", []).append(milliseconds)
                    if (picture := tab.evaluate("cxrPages.picture")) is not None:
                        pictures.setdefault(f"{named(page)}: {name}, picture", []).append(picture)
    context.close()
    print("\n| interaction | times | median, ms | 95th percentile, ms |\n|---|---|---|---|")
    took["all"] = [value for values in took.values() for value in values]
    for name, values in [*took.items(), *pictures.items()]:
        print(f"| {name} | {len(values)} | {statistics.median(values):.0f} | {_p95(values):.0f} |", flush=True)


def interaction(tab: Page, act: Callable[[Page], None]) -> float:
    """Do something on a page and return the milliseconds until it has answered."""
    tab.evaluate("cxrPages.listen()")
    act(tab)
    tab.wait_for_function("cxrPages.took !== null", timeout=WAIT_MS)
    milliseconds = tab.evaluate("cxrPages.took")
    tab.wait_for_function("cxrPages.settled()", timeout=WAIT_MS)
    return float(milliseconds)


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, int(0.95 * len(values)))]


def memory(opened: Browser, server: Server, ids: dict[str, str], sessions: int) -> None:
    """Print the server's memory while one visitor after the other opens every page and stays."""
    print("\n| visitors who stay | MB of the server | without the files of libraries |\n|---|---|---|")
    cells = f"{server.megabytes():,.0f} | {server.megabytes('Anonymous'):,.0f}"
    print(f"| 0, after the openings above | {cells} |", flush=True)
    sizes, contexts = [], []
    for number in range(1, sessions + 1):
        context, tab = new_tab(opened)
        contexts.append(context)
        for page in PAGES:
            visit(server, tab, page.format(**ids))
        sizes.append(server.megabytes())
        print(f"| {number} | {sizes[-1]:,.0f} | {server.megabytes('Anonymous'):,.0f} |", flush=True)
    time.sleep(IDLE_S)
    print(f"| {sessions}, {IDLE_S:.0f} s later | {server.megabytes():,.0f} | {server.megabytes('Anonymous'):,.0f} |")
    if sessions > 1:
        print(f"\nGrowth: {(sizes[-1] - sizes[0]) / (sessions - 1):.1f} MB a visitor.")
    for context in contexts:
        context.close()


def soak(opened: Browser, server: Server, folder: Path, minutes: float, faster: int = 12) -> None:
    """Print what one tab on a running training takes, while rows come ``faster`` times as fast as one a 0.2 s."""
    from cxr.runs import RunFolder

    params = {"manifest": str(folder / "data" / "large" / "manifest.csv"), "recipe": {"stages": [{}]}}
    run = RunFolder.create(folder / "runs", "train", params, "soak")
    running = {"state": "running", "pid": 1, "pid_started": 1.0, "host": "elsewhere", "started": time.time()}
    done = threading.Event()

    def train() -> None:
        step = 0
        while not done.wait(1.0):
            rows = []
            for _ in range(5 * faster):
                step += 1
                row = {"kind": "step", "stage": "final", "stage_index": 0, "epoch": step // 600 + 1, "step": step}
                row |= {"lr": 1e-3, "loss": 1 / step, "images_per_s": 80.0, "wait_s": 0.0, "time": time.time()}
                rows.append(row)
                if step % 600 == 0:
                    rows.append(row | {"kind": "epoch", "val_loss": 1 / step, "val_accuracy": 0.9})
            run.append_metrics(rows)
            run.update_status(**running, heartbeat=time.time(), progress=0.5, message=f"step {step}", eta_s=60.0)

    run.update_status(**running, heartbeat=time.time())
    thread = threading.Thread(target=train, daemon=True)
    thread.start()
    context, tab = new_tab(opened)
    visit(server, tab, f"live?run={run.id}")
    tools = context.new_cdp_session(tab)
    tools.send("Performance.enable")
    print(f"\n{minutes:g} minutes, rows {faster} times as fast as in a training of five steps a second\n")
    print("| minute | rows | MB of the server | MB of JavaScript | nodes of the page |\n|---|---|---|---|---|")
    began = time.monotonic()
    while (passed := (time.monotonic() - began) / 60) < minutes:
        tab.wait_for_timeout(60_000)
        tools.send("HeapProfiler.collectGarbage")
        found = {entry["name"]: entry["value"] for entry in tools.send("Performance.getMetrics")["metrics"]}
        rows = (run.path / "metrics.jsonl").read_bytes().count(b"\n")
        numbers = f"{server.megabytes():,.0f} | {found['JSHeapUsedSize'] / 1e6:.1f} | {found['Nodes']:.0f}"
        print(f"| {passed + 1:.0f} | {rows:,} | {numbers} |", flush=True)
    done.set()
    thread.join()
    run.update_status(state="finished", ended=time.time())
    context.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=112_000)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--soak", type=float, default=0, help="minutes of one tab on a running training, alone")
    parser.add_argument("--checkout", type=Path, default=PROJECT, help="whose pages")
    parser.add_argument("--folder", type=Path, help="an installation that is there, or where to make one that stays")
    parser.add_argument("--port", type=int, default=8697)
    parser.add_argument("--only", default="floor,openings,known,interactions,memory")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = args.folder or Path(work)
        ids = installed(folder, args.images, args.runs, args.rows)
        print(f"Load {os.getloadavg()[0]:.1f} at the start; {loop_s():.2f} s for ten million additions in Python.\n")
        if "floor" in args.only and not args.soak:
            with browser() as opened:
                floor(opened, folder, args.port, args.rounds)
        server = Server(args.checkout.resolve(), folder, args.port)
        try:
            with browser() as opened:
                if args.soak:
                    soak(opened, server, folder, args.soak)
                    return
                if "openings" in args.only:
                    openings(opened, server, ids, args.rounds)
                if "known" in args.only:
                    in_known_browser(opened, server, ids, args.rounds)
                if "interactions" in args.only:
                    interactions(opened, server, ids, args.rounds)
                if "memory" in args.only:
                    memory(opened, server, ids, args.sessions)
        finally:
            print(f"\nLoad {os.getloadavg()[0]:.1f} at the end, {loop_s():.2f} s; {os.cpu_count()} cores.")
            server.stop()


if __name__ == "__main__":
    main()
