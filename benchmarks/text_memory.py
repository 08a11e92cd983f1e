"""What reading the text of an X-ray leaves in a process, and what of it is given back.

Memory is that of the process, with what the libraries' files take, after each step; each time of a call is the median
of three.

    python benchmarks/text_memory.py [--out FILE.md]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import psutil
from blocks import write_page

from cxr.machine import give_back_memory, give_memory_back_at_once
from cxr.text import detect_text
from cxr.text.detection.elsewhere import DetectorElsewhere
from cxr.text.detection.ocr import give_back_idle

SIDE = 1024


class Elsewhere(NamedTuple):
    """Rows of ``what, MB more of this process, MB of the other``, and the seconds of the first and second X-ray."""

    rows: list[tuple[str, float, float]]
    first_s: float
    next_s: float


NEVER_S = 1e9


def megabytes() -> float:
    """Return the memory of this process in MB."""
    return psutil.Process().memory_info().rss / 1e6


def xray() -> np.ndarray:
    """Return a noisy picture with one line of text."""
    image = (np.random.default_rng(0).random((SIDE, SIDE)) * 60).astype(np.uint8)
    cv2.putText(image, "PA 16:12 ERECT", (60, 80), cv2.FONT_HERSHEY_SIMPLEX, 1.5, 255, 3)
    return image


def as_a_server(image: np.ndarray, start: float) -> Elsewhere:
    """Return what an X-ray read in another process takes of this one and of that one, and the seconds."""
    detector, times = DetectorElsewhere(), []
    for _ in range(2):
        began = time.perf_counter()
        detector(image)
        times.append(time.perf_counter() - began)
    (child,) = psutil.Process().children()
    rows = [("one X-ray was read", megabytes() - start, child.memory_info().rss / 1e6)]
    detector.give_back(0, 0)
    give_back_memory()
    rows.append(("nobody asks any more", megabytes() - start, 0.0 if not child.is_running() else float("nan")))
    return Elsewhere(rows, *times)


def seconds(image: np.ndarray, before: float) -> float:
    """Return the seconds of a call after what was not used for ``before`` seconds or more was given back."""
    times = []
    for _ in range(3):
        give_back_idle(0, before)
        began = time.perf_counter()
        detect_text(image)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    give_memory_back_at_once()
    image, start = xray(), megabytes()
    elsewhere = as_a_server(image, start)
    start = megabytes()
    found = detect_text(image)
    steps = [("one X-ray was read", megabytes())]
    for name, models_for_s in (("its buffers are given back", NEVER_S), ("its models are given back", 0.0)):
        give_back_idle(0, models_for_s)
        give_back_memory()
        steps.append((name, megabytes()))
    detect_text(image)
    began = time.perf_counter()
    if detect_text(image) != found:
        raise SystemExit("the boxes differ")
    usual = time.perf_counter() - began
    times = (("at once", usual), ("without buffers", seconds(image, NEVER_S)), ("without models", seconds(image, 0.0)))
    versions = ", ".join(f"{name} {version(name)}" for name in ("openvino", "onnxruntime", "rapidocr"))
    lines = [
        "# Memory of reading text",
        "",
        f"Command: `python benchmarks/text_memory.py`; {platform.machine()}, {os.cpu_count()} cores, {versions}.",
        f"One picture of {SIDE:,} x {SIDE:,} pixels.",
        "",
        "| after | MB more than before |",
        "|---|---|",
        *(f"| {name} | {size - start:,.0f} |" for name, size in steps),
        "",
        "The same as a server does it, in a process of its own (`cxr.text.detection.elsewhere`):",
        "",
        "| after | MB more than before | MB of that process |",
        "|---|---|---|",
        *(f"| {name} | {more:,.0f} | {size:,.0f} |" for name, more, size in elsewhere.rows),
        "",
        f"The first X-ray is read there after {elsewhere.first_s:.2f} s, the next after {elsewhere.next_s:.2f} s.",
        "",
        "| the next X-ray is read here | s |",
        "|---|---|",
        *(f"| {name} | {value:.2f} |" for name, value in times),
    ]
    write_page(lines, args.out)


if __name__ == "__main__":
    main()
