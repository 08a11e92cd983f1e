"""Which engine runs the three networks of text detection best: OpenVINO, ONNX Runtime, or each what it is better at.

Each choice is a process of its own on one thread. It detects tokens on X-rays whose tokens are known (see
``text_detection.py`` for ``--data``), then transcribes every known token, and says how many it reads as they were
written down (case and blanks aside). CPU seconds are of detecting and reading; models are loaded before.

    python benchmarks/text_engines.py --data FOLDER [--out FILE.md]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

ENGINES = {
    "OpenVINO and ONNX Runtime (shipped)": ("openvino", "onnxruntime", "onnxruntime"),
    "OpenVINO alone": ("openvino", "openvino", "openvino"),
    "ONNX Runtime alone": ("onnxruntime", "onnxruntime", "onnxruntime"),
}
"""Engine of the detector, of the recogniser and of the token classifier."""
ROWS = ("recall (no arrows)", "precision", "boxes", "clean images hit")


class OpenVinoSession:
    """Runs an ONNX file on one thread, called as ONNX Runtime's session is."""

    def __init__(self, path: Path, threads: int) -> None:
        from openvino import Core

        core = Core()
        options = {"INFERENCE_NUM_THREADS": threads or 1, "PERFORMANCE_HINT": "LATENCY"}
        self._request = core.compile_model(core.read_model(str(path)), "CPU", options).create_infer_request()

    def run(self, _: None, inputs: dict[str, Any]) -> list[Any]:
        """Return the first output."""
        self._request.infer(inputs)
        return [self._request.get_output_tensor().data.copy()]


def measure_engines(data: Path, engines: tuple[str, str, str]) -> dict[str, float]:
    """Return what one choice of engines finds and costs, in this process."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import cv2
    import numpy as np
    import pandas as pd
    from rapidocr import EngineType, RapidOCR
    from text_detection import labelled, measure

    from cxr.text.detection import ocr, token_classifier
    from cxr.text.detection.detector import Detector

    cv2.setNumThreads(1)
    detector, recogniser, judge = engines
    shipped = ocr._parameters

    def engine_of(threads: int | None) -> RapidOCR:
        own = {"Det": detector, "Rec": recogniser, "Cls": recogniser}
        types = {f"{part}.engine_type": EngineType(name) for part, name in own.items()}
        return RapidOCR(params=shipped(threads) | types)

    ocr._new_engine = engine_of
    if judge == "openvino":
        token_classifier._new_session = OpenVinoSession
    rows = pd.read_csv(data / "boxes.csv")
    names = sorted(rows["image"].unique())
    rows = rows.dropna(subset=["x0", "y0", "x1", "y1"])
    detect, reader = Detector(1, operating_point="careful"), ocr.Engine(1)
    detect(np.zeros((64, 64), np.uint8))
    images = list(labelled(data, names))
    began = time.process_time()
    found = measure(detect, images)
    detected = time.process_time()
    texts = {
        name: reader.read(image, [box for box, _, _ in tokens])
        for name, (image, tokens) in zip(names, images, strict=True)
    }
    read = time.process_time()
    right = total = 0
    for name, group in rows.groupby("image"):
        for text, row in zip(texts[str(name)], group.itertuples(), strict=True):
            if row.kind in ("word", "number", "letter"):
                total += 1
                right += _plain(text) == _plain(row.transcription)
    values = {title: found[key] for title in ROWS for key in found if key.startswith(title)}
    return values | {
        f"tokens read as written (of {total})": right,
        "CPU s, detecting": detected - began,
        "CPU s, reading": read - detected,
        "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _plain(text: object) -> str:
    return "".join(str(text).lower().split())


def main() -> None:
    """Print one column per choice, and write it as Markdown if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with boxes.csv and its images")
    parser.add_argument("--engines", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="a Markdown file for the results")
    given = parser.parse_args()
    if given.engines:
        print(json.dumps(measure_engines(given.data, ENGINES[given.engines])))
        return
    columns = {}
    for name in ENGINES:
        command = [sys.executable, __file__, "--data", str(given.data), "--engines", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        columns[name] = json.loads(done.stdout.splitlines()[-1])
    lines = [f"| | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for row in next(iter(columns.values())):
        lines.append(f"| {row} | {' | '.join(f'{values[row]:.4g}' for values in columns.values())} |")
    versions = ", ".join(f"{name} {version(name)}" for name in ("openvino", "onnxruntime", "rapidocr"))
    page = [
        "# Engines of text detection",
        f"Command: `python benchmarks/text_engines.py --data FOLDER`; {platform.machine()}, one thread, {versions}.",
        "\n".join(lines),
    ]
    print("\n\n".join(page))
    if given.out:
        given.out.write_text("\n\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
