"""How the dashboard answers when several people work at once, and what its memory grows by.

Each visitor has a browser of their own, as far as cookies and storage go, and for a minute opens pages and works on
them, with a pause to look after each step: steps of the explorer, the runs on the home page, options of the live
curves, pages of X-rays of the results. Nobody may meet an error or see what another one has chosen. The browsers run
on the same machine, which a server for ten people would not do: the processor time of both is told apart. Python runs
one thing at a time, so that a second holds 1,000 divided by the server's milliseconds for each step or opening, on
however many cores; a second core is for what is computed outside of Python, and for runs.

    python benchmarks/people.py                      # tables of 1, 3 and 10 people, and of memory
    python benchmarks/people.py --people 20          # another number than 10
    python benchmarks/people.py --checkout PATH      # the pages of another checkout
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dashboard_memory import PROJECT
from pages import FLAGS, IDLE_S, IN_THE_PAGE, WAIT_MS, Server, browser_cpu_s, installed

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Page, Response

COLUMNS = (
    "people",
    *("steps", "median, ms", "95th percentile, ms"),
    *("pages opened", "median, ms", "95th percentile, ms"),
    *("processor of the server for each, ms", "cores taken by the server", "by the browsers"),
    *("MB before", "MB at the end", "MB more a visitor", "errors"),
)
Act = Callable[["Page"], Awaitable[None]]
NEXT = "[class*='-page'] [data-testid=stNumberInputStepUp]:not([inert] *):not(:disabled)"
SAYS_ERROR = "[data-testid=stException], [data-testid=stAlertContentError]"


def key(name: str) -> Act:
    return lambda tab: tab.keyboard.press(name)


def words(label: str) -> Act:
    return lambda tab: tab.get_by_text(label, exact=True).first.click()


def one_of(selector: str, place: int = 0) -> Act:
    return lambda tab: tab.locator(selector).nth(place).click()


STEPS: dict[str, Sequence[Act]] = {
    "explorer?data=pictures&model=demo": [
        key("ArrowRight"),
        key("ArrowRight"),
        one_of(".viewer button.class", 1),
        key("ArrowRight"),
        one_of(".viewer button.class", 2),
        key("ArrowLeft"),
    ],
    "": [one_of(NEXT), one_of(NEXT)],
    "live?run={run}": [words("Epochs"), words("Log scale"), words("Time"), words("Steps")],
    "results?run={run}": [one_of(NEXT), one_of(NEXT)],
}


@dataclass
class Seen:
    """What the visitors have met together.

    Attributes
    ----------
    opened_ms, answered_ms
        Of each opening of a page, and of each step on one.
    wrong
        Errors on pages, of their scripts and of the server, and what another one had chosen.
    megabytes, server_s, browsers_s, took_s
        Memory of the server while all are still there, processor time of the server and of the browsers, and how long
        it lasted.
    """

    opened_ms: list[float] = field(default_factory=list)
    answered_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    megabytes: float = 0.0
    server_s: float = 0.0
    browsers_s: float = 0.0
    took_s: float = 0.0

    def hear(self, tab: Page, who: int) -> None:
        """Note what goes wrong on a page from now on."""

        def said(message: ConsoleMessage) -> None:
            if message.type == "error" and "_stcore/" not in f"{message.location}":  # Streamlit tries where it is
                self.wrong.append(f"visitor {who}: {message.text}")

        def answered(answer: Response) -> None:
            if answer.status >= 500:
                self.wrong.append(f"visitor {who}: {answer.status} of {answer.url}")

        tab.on("console", said)
        tab.on("response", answered)
        tab.on("pageerror", lambda error: self.wrong.append(f"visitor {who}: {error}"))

    async def look(self, tab: Page, who: int) -> None:
        """Note what a page says is wrong, and an X-ray that is not the one of its address."""
        for text in await tab.locator(SAYS_ERROR).all_inner_texts():
            self.wrong.append(f"visitor {who} at {tab.url}: {text}")
        shown = await tab.evaluate("cxrPages.shownAndNamed()")
        if shown and shown[0] != shown[1]:
            self.wrong.append(f"visitor {who} at {tab.url}: shows {shown[0]}")


async def work(server: Server, tab: Page, who: int, until: float, pause_s: float, seen: Seen, ids: Any) -> None:
    """Open pages and work on them until a time of the clock; each visitor begins with another page."""
    turns: Iterator[tuple[str, Sequence[Act]]] = itertools.cycle(STEPS.items())
    for page, acts in itertools.islice(turns, who % len(STEPS), None):
        began = time.perf_counter()
        await tab.goto(f"{server.url}/{page.format(**ids)}", timeout=WAIT_MS)
        await tab.wait_for_function("cxrPages.settled()", timeout=WAIT_MS)
        seen.opened_ms.append(1000 * (time.perf_counter() - began))
        for act in acts:
            await asyncio.sleep(pause_s)
            await tab.evaluate("cxrPages.listen()")
            await act(tab)
            await tab.wait_for_function("cxrPages.took !== null", timeout=WAIT_MS)
            seen.answered_ms.append(float(await tab.evaluate("cxrPages.took")))
            await tab.wait_for_function("cxrPages.settled()", timeout=WAIT_MS)
            await seen.look(tab, who)
            if time.monotonic() > until:
                return


async def together(opened: Browser, server: Server, people: int, seconds: float, pause_s: float, ids: Any) -> Seen:
    """Let visitors work at once; return what they met."""
    seen, contexts, tabs = Seen(), [], []
    for who in range(people):
        context = await opened.new_context(viewport={"width": 1280, "height": 720})
        await context.add_init_script(path=IN_THE_PAGE)
        contexts.append(context)
        tabs.append(await context.new_page())
        seen.hear(tabs[-1], who)
    began, before = time.monotonic(), (server.cpu_s(), browser_cpu_s(server))
    until = began + seconds
    await asyncio.gather(*(work(server, tab, who, until, pause_s, seen, ids) for who, tab in enumerate(tabs)))
    seen.took_s, seen.megabytes = time.monotonic() - began, server.megabytes()
    seen.server_s, seen.browsers_s = server.cpu_s() - before[0], browser_cpu_s(server) - before[1]
    for context in contexts:  # with them their processes go, and the time that those have taken
        await context.close()
    return seen


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    from playwright.async_api import async_playwright

    async with async_playwright() as driver:
        opened = await driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield opened
        await opened.close()


async def measure(server: Server, numbers: Sequence[int], seconds: float, pause_s: float, ids: Any) -> list[str]:
    """Print a row for each number of people; return what went wrong."""
    wrong: list[str] = []
    async with browser() as opened:
        await together(opened, server, 1, seconds / 2, 0.5, ids)  # loads what every later visitor finds loaded
        server.wait_for_torch()
        print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
        for people in numbers:
            before = server.megabytes()
            seen = await together(opened, server, people, seconds, pause_s, ids)
            wrong += seen.wrong
            each_ms = 1000 * seen.server_s / (len(seen.opened_ms) + len(seen.answered_ms))
            cells = [f"{people:,}", *_of(seen.answered_ms), *_of(seen.opened_ms), f"{each_ms:,.0f}"]
            cells += [f"{busy_s / seen.took_s:.2f}" for busy_s in (seen.server_s, seen.browsers_s)]
            cells += [f"{before:,.0f}", f"{seen.megabytes:,.0f}", f"{(seen.megabytes - before) / people:.1f}"]
            print(f"| {' | '.join(cells)} | {len(seen.wrong):,} |", flush=True)
    left = server.megabytes()
    time.sleep(IDLE_S)
    print(f"\nAfter all had gone: {left:,.0f} MB, {IDLE_S:.0f} s later {server.megabytes():,.0f} MB.")
    return wrong


def _of(milliseconds: Sequence[float]) -> tuple[str, str, str]:
    """Return how many, the median and the 95th percentile."""
    late = sorted(milliseconds)[min(len(milliseconds) - 1, int(0.95 * len(milliseconds)))]
    return f"{len(milliseconds):,}", f"{statistics.median(milliseconds):,.0f}", f"{late:,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--people", type=int, default=10, help="most visitors at once")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds that a visitor looks before the next step")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--checkout", type=Path, default=PROJECT, help="whose pages")
    parser.add_argument("--folder", type=Path, help="an installation that is there, or where to make one that stays")
    parser.add_argument("--port", type=int, default=8698)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work_folder:
        folder = args.folder or Path(work_folder)
        ids = installed(folder, args.images, args.runs, args.rows)
        print(f"Load {os.getloadavg()[0]:.1f} at the start, {os.cpu_count()} cores.\n")
        server = Server(args.checkout.resolve(), folder, args.port)
        try:
            numbers = sorted({1, min(3, args.people), args.people})
            wrong = asyncio.run(measure(server, numbers, args.seconds, args.pause, ids))
        finally:
            server.stop()
    for line in wrong:
        print(f"- {line}")
    if wrong:
        raise SystemExit(f"{len(wrong):,} errors")


if __name__ == "__main__":
    main()
