"""How long a server of the dashboard takes for many small answers on one connection, on uvloop and on asyncio's loop.

A browser keeps its connections, and most of what it fetches is small: the scripts of Streamlit's frontend. The same
server is started on either loop; one client fetches small scripts one after the other, the same ones each time.

    python benchmarks/answers.py [--out FILE.md]
"""

from __future__ import annotations

import argparse
import http.client
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import streamlit
from blocks import write_page
from dashboard_memory import PROJECT, wait_for_server

SCRIPTS = Path(streamlit.__file__).parent / "static" / "static" / "js"
LARGEST = 20_000  # bytes
LOOPS = ("uvloop", "asyncio")


def fetched(port: int, names: list[str]) -> float:
    """Return the seconds that one connection takes to fetch scripts one after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    began = time.perf_counter()
    for name in names:
        connection.request("GET", f"/static/js/{name}")
        connection.getresponse().read()
    seconds = time.perf_counter() - began
    connection.close()
    return seconds


def measured(loop: str, folder: Path, port: int, names: list[str], rounds: int) -> float:
    """Return the median of some rounds with a server on a loop."""
    if loop != "uvloop":  # Streamlit takes it wherever it can be imported
        (folder / "uvloop.py").write_text('raise ImportError("left out")\n')
    command = [sys.executable, "-m", "streamlit", "run", "dashboard/Home.py", f"--server.port={port}"]
    server = subprocess.Popen(
        [*command, "--server.headless=true", "--server.fileWatcherType=none"],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(PROJECT)]), "CXR_WARM_UP": "off"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_server(port)
        fetched(port, names)
        return statistics.median(fetched(port, names) for _ in range(rounds))
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    """Measure both loops, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=110)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--port", type=int, default=8696)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    names = sorted(file.name for file in SCRIPTS.glob("*.js") if file.stat().st_size < LARGEST)[: args.files]
    with tempfile.TemporaryDirectory() as folder:
        took = {loop: measured(loop, Path(folder), args.port, names, args.rounds) for loop in LOOPS}
    lines = [
        "# Small answers of the dashboard's server",
        "",
        f"Command: `python benchmarks/answers.py`; {platform.machine()}, {os.cpu_count()} cores, streamlit "
        f"{version('streamlit')}, uvloop {version('uvloop')}.",
        f"{len(names)} scripts of less than {LARGEST:,} bytes, one after the other on one connection of this machine; "
        f"median of {args.rounds} rounds.",
        "",
        "| loop | all, s | each, ms | times uvloop |",
        "|---|---|---|---|",
    ]
    for loop, seconds in took.items():
        each, times = 1000 * seconds / len(names), seconds / took["uvloop"]
        lines.append(f"| {loop} | {seconds:.2f} | {each:.1f} | {times:.1f} |")
    write_page(lines, args.out)


if __name__ == "__main__":
    main()
