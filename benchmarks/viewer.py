"""Speed of the viewer in Chromium: milliseconds a frame, while the view moves and the window changes at each frame.

The panes are an X-ray of ``--size`` pixels, a heatmap and four overlays of 224 x 224 values. Processor time is that of
the browser's main thread, which does all the drawing here: other programs on the same cores do not add to it.

    python benchmarks/viewer.py
"""

from __future__ import annotations

import argparse
import base64
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import CDPSession, Page, sync_playwright

from cxr.explain.render import COLOUR_STOPS

PANES = Path(__file__).resolve().parents[1] / "dashboard" / "widgets" / "panes"
SCRIPTS = ("colours", "raster", "panes", "controls", "export", "hearing", "elements", "viewer")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
SCREENS = {"laptop": (1280, 720), "desktop": (1920, 1080)}
LOOK = {"opacity": 0.8, "percentile": 99.5, "threshold": 0, "colours": "red-blue", "scale": "row", "fixed": 0}
LOOK |= {"centre": 127.5, "width": 255, "invert": False, "shown": ["xray", "heatmap", "overlay"], "outlines": []}
MOUNT = (
    "(root, data) => globalThis.mount({parentElement: root, data: data, setStateValue: Boolean, "
    "setTriggerValue: Boolean})"
)


def address(content: bytes, mimetype: str) -> str:
    return f"data:{mimetype};base64,{base64.b64encode(content).decode()}"


def scene(size: int) -> dict[str, object]:
    """Return what the viewer is given: a smooth random X-ray, and six panes of it."""
    rng = np.random.default_rng(0)
    pixels = cv2.GaussianBlur(rng.integers(0, 256, (size, size), np.uint8), (0, 0), 4)
    maps = rng.normal(size=(5, 224, 224)).astype("<f4")
    kinds = ["xray", "heatmap", *["overlay"] * 4]
    return {
        "arrival": "once",
        "subject": "one",
        "look": LOOK,
        "defaults": LOOK,
        "stops": COLOUR_STOPS,
        "images": [{"url": address(cv2.imencode(".png", pixels)[1].tobytes(), "image/png")}],
        "maps": [
            {"url": address(flat.tobytes(), "application/octet-stream"), "width": 224, "height": 224, "group": "first"}
            for flat in maps
        ],
        "panes": [
            {"kind": kind, "title": f"{kind} {k}", "image": 0, "map": k - 1 if k else None, "base": False}
            for k, kind in enumerate(kinds)
        ],
        "outlines": [],
        "prediction": None,
        "list": {"position": 0, "total": 0},
        "strip": [],
        "extras": [],
        "sentence": "",
        "legend": [],
        "name": "figure",
        "region": None,
        "regions": False,
    }


def script_seconds(session: CDPSession) -> float:
    """Return the processor time that scripts of the page have taken."""
    found = session.send("Performance.getMetrics")["metrics"]
    return float(next(metric["value"] for metric in found if metric["name"] == "ScriptDuration"))


def frames(tab: Page, session: CDPSession, count: int) -> tuple[list[float], list[float]]:
    """Return milliseconds of each frame, by the clock and of the processor; the first ones compile the scripts."""
    viewer = tab.locator(".viewer")
    clock, processor = [], []
    for k in range(count + 20):
        before = script_seconds(session)
        clock.append(float(viewer.evaluate(f"root => root.viewer.walk({k})")))
        processor.append(1000 * (script_seconds(session) - before))
    return clock[20:], processor[20:]


def row(what: str, times: Sequence[float]) -> str:
    middle, late = np.percentile(times, [50, 95])
    return f"| {what} | {len(times)} | {middle:.1f} | {late:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=2048, help="side of the X-ray in pixels")
    parser.add_argument("--frames", type=int, default=200)
    args = parser.parse_args()
    script = "\n".join((PANES / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    script = script.replace("export default function", "globalThis.mount = function")
    print("| panes | frames | median, ms | 95th percentile, ms |\n|---|---|---|---|")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for name, (width, height) in SCREENS.items():
            tab = browser.new_page(viewport={"width": width, "height": height})
            tab.add_style_tag(path=PANES / "viewer.css")
            tab.add_script_tag(content=script, type="module")
            tab.locator("body").evaluate(MOUNT, scene(args.size))
            tab.locator(".pane").nth(5).wait_for()
            box = tab.locator(".pane").first.bounding_box()
            assert box is not None
            session = tab.context.new_cdp_session(tab)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            clock, processor = frames(tab, session, args.frames)
            size = f"6 of {box['width']:.0f} x {box['height']:.0f}, {name} {width} x {height}"
            print(row(f"{size}, processor", processor), flush=True)
            print(row(f"{size}, clock", clock), flush=True)
        browser.close()


if __name__ == "__main__":
    main()
