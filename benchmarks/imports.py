"""CPU time and peak memory of what should answer at once: short commands and the dashboard's first pages.

Each is a process of its own, run ``--rounds`` times; the medians are printed. The pages are run without a browser, by
Streamlit's own test driver, in a folder without runs; the form is the Train page on the synthetic X-rays.

    python benchmarks/imports.py [--rounds 5] [--before CHECKOUT] [--out FILE.md]
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
COMMANDS = {
    "cxr --help": ["--help"],
    "cxr recipe list": ["recipe", "list"],
    "cxr runs list": ["runs", "list"],
}
_PAGE = """
import sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("dashboard/every_page.py", default_timeout=120).run()
if sys.argv[1:]:
    app.switch_page(sys.argv[1]).run()
assert not app.exception and not app.error
"""


def measure(command: list[str], checkout: Path, folder: Path) -> tuple[float, float]:
    """Return CPU seconds and peak MB of a process that ends well, the package and the pages being those of a checkout.

    The process is started by one of its own, of whose children the system counts time and memory.
    """
    environment = dict(os.environ, PYTHONPATH=str(checkout), CXR_DATA=f"{folder}/data", CXR_RUNS=f"{folder}/runs")
    counted = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--counted", *command],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
    )
    if counted.returncode:
        raise SystemExit(f"{shlex.join(command)} failed: {counted.stderr[-2000:]}")
    seconds, megabytes = counted.stdout.split()[-2:]
    return float(seconds), float(megabytes)


def _counted(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def commands() -> dict[str, list[str]]:
    """Return ``{title: command}``."""
    listed = {title: [sys.executable, "-m", "cxr", *words] for title, words in COMMANDS.items()}
    listed["import streamlit, pandas"] = [sys.executable, "-c", "import streamlit, pandas, plotly.graph_objects"]
    listed["the first page"] = [sys.executable, "-c", _PAGE]
    listed["the Train page's form"] = [sys.executable, "-c", _PAGE, "views/train.py"]
    return listed


def medians(checkout: Path, rounds: int) -> dict[str, tuple[float, float]]:
    """Return ``{title: (CPU seconds, peak MB)}``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure([sys.executable, "-m", "cxr", "demo"], checkout, folder)
        measured = {}
        for title, command in commands().items():
            pairs = [measure(command, checkout, folder) for _ in range(rounds)]
            measured[title] = (statistics.median(s for s, _ in pairs), statistics.median(m for _, m in pairs))
        return measured


def main() -> None:
    """Print the table, and write it as Markdown if a file is named."""
    if sys.argv[1:2] == ["--counted"]:
        _counted(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path, help="another checkout, measured too")
    parser.add_argument("--out", type=Path, help="a Markdown file for the results")
    given = parser.parse_args()
    checkouts = ({"before": given.before.resolve()} if given.before else {}) | {"now": PROJECT}
    results = {name: medians(checkout, given.rounds) for name, checkout in checkouts.items()}
    lines = [
        f"| process | {' | '.join(f'CPU s, {name} | MB, {name}' for name in results)} |",
        f"|---|{'---:|' * 2 * len(results)}",
    ]
    for title in results["now"]:
        cells = [f"{seconds:.2f} | {megabytes:.0f}" for seconds, megabytes in (row[title] for row in results.values())]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    page = [
        "# CPU time and memory until an answer",
        f"Command: `python benchmarks/imports.py --rounds {given.rounds}{' --before CHECKOUT' if given.before else ''}"
        f"`; {platform.machine()}, Python {platform.python_version()}, files in the system's cache. Medians of "
        f"{given.rounds} processes each.",
        "\n".join(lines),
    ]
    print("\n\n".join(page))
    if given.out:
        given.out.write_text("\n\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
