"""The pictures of the documentation are of pages that there are, small, and at their places once they are there."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr.runs import KINDS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def screenshots(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import screenshots

    return screenshots


def test_every_picture_is_of_a_page_with_parameters_that_it_has(screenshots: Any) -> None:
    from widgets.parameters import PARAMETERS

    for name, shot in screenshots.SHOTS.items():
        if name != screenshots.REPORT:
            assert set(shot.query) <= set(PARAMETERS[shot.page])
        assert set(shot.needs) <= set(screenshots.COMMANDS)
    assert set(screenshots.COMMANDS) <= set(KINDS)
    shot = screenshots.SHOTS["whole-split"]
    url = screenshots.address(shot, "http://x", "ID")
    assert url == "http://x/text?model=ID&data=demo&split=test&look=Whole+split"
    assert screenshots.address(screenshots.SHOTS["home"], "http://x", "") == "http://x/"


def test_the_tour_has_a_place_for_every_picture_and_shows_those_that_are_there(screenshots: Any) -> None:
    page = (ROOT / "docs" / "tour.md").read_text(encoding="utf-8")
    assert set(re.findall(r"<!-- picture ([\w-]+):", page)) == set(screenshots.SHOTS)
    assert screenshots.with_pictures(page, ROOT / "docs" / "images") == page, "run docs/screenshots.py"


def test_a_picture_is_shown_once_and_goes_when_it_is_gone(screenshots: Any, tmp_path: Path) -> None:
    bare = "a\n<!-- picture grid: Many maps -->\n\nb\n"
    assert screenshots.with_pictures(bare, tmp_path) == bare
    (tmp_path / "grid.webp").touch()
    shown = screenshots.with_pictures(bare, tmp_path)
    assert shown == "a\n<!-- picture grid: Many maps -->\n![Many maps](images/grid.webp)\n\nb\n"
    assert screenshots.with_pictures(shown, tmp_path) == shown
    (tmp_path / "grid.webp").unlink()
    assert screenshots.with_pictures(shown, tmp_path) == bare


def test_pictures_are_small(screenshots: Any, tmp_path: Path) -> None:
    blocks = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    png = io.BytesIO()
    Image.fromarray(blocks).resize((1280, 720)).save(png, "PNG")
    file = tmp_path / "dark" / "x.webp"
    assert screenshots.save_small(png.getvalue(), file) == file.stat().st_size <= screenshots.MOST_BYTES
    for picture in (ROOT / "docs" / "images").rglob("*.webp"):
        assert picture.stat().st_size <= screenshots.MOST_BYTES, picture.name


def test_what_a_picture_needs_is_made_once(screenshots: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXR_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("CXR_RUNS", str(tmp_path / "runs"))
    made: list[tuple[str, ...]] = []
    monkeypatch.setattr(screenshots, "cxr", lambda *words: made.append(words))
    assert screenshots.prepare(["home", "import"]) == ""
    assert made == [("demo",)]
    with pytest.raises(SystemExit, match="did not finish"):
        screenshots.prepare(["grid"])
    assert made[-1] == screenshots.COMMANDS["train"]


def test_runs_are_those_of_the_demo_data_and_of_its_network(
    screenshots: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Fake:
        def __init__(self, name: str, state: str, **params: str) -> None:
            self.id, self.state, self.spec = name, state, {"params": params}

        def status(self) -> dict[str, str]:
            return {"state": self.state}

    monkeypatch.setenv("CXR_DATA", str(tmp_path))
    demo, mine = (str(tmp_path / name / "manifest.csv") for name in ("demo", "mine"))
    runs = [
        Fake("a", "running", manifest=demo, run="T"),
        Fake("b", "finished", manifest=mine, run="T"),
        Fake("c", "finished", manifest=demo, run="U"),
        Fake("d", "finished", run="T"),
    ]
    monkeypatch.setattr(screenshots, "list_runs", lambda kind: runs)
    assert screenshots.finished("train").id == "c"
    assert screenshots.finished("explain", "T").id == "d"
    assert screenshots.finished("explain", "V") is None
