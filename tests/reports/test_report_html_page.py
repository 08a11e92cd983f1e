"""Pages hold their style and pictures, escape what they are given, and refuse to leave something out."""

from __future__ import annotations

import base64
import html
import importlib.resources
import re

import cv2
import numpy as np
import pytest
from jinja2 import UndefinedError

from cxr.reports.html_page import page
from cxr.reports.slider import png_url, slider_html

STUDY = {
    "title": "<script>x</script>",
    "description": "<img src=x> & more",
    "basis": 'a "quoted" name',
    "verdicts": ["</li><b>"],
    "curves": None,
    "bands": "",
    "coloured": "",
    "measures": [],
    "trainings": (["re<cipe"], [["<td>"]]),
    "sentences": [],
    "notes": [],
}


class NoFigure:
    """Stands where a figure does."""

    title, width = "'><script>", 10

    def data_url(self) -> str:
        return "data:,"


def test_whatever_it_is_given_is_text() -> None:
    whole = page("study.html", **STUDY | {"curves": NoFigure()})
    assert "<script" not in whole
    assert "<img src=x" not in whole
    words = html.unescape(re.sub(r"<[^>]+>", "", re.sub(r"<style>.*?</style>", "", whole, flags=re.S)))
    for text in ("<script>x</script>", "<img src=x> & more", 'a "quoted" name', "</li><b>", "re<cipe", "<td>"):
        assert text in words


def test_a_command_in_backticks_is_code_and_an_attribute_is_not() -> None:
    values = STUDY | {"notes": ["`cxr <audit> x` says more; a`b"], "sentences": ["`one` and `two`"]}

    class Named(NoFigure):
        title = "`cxr x`"

    whole = page("study.html", **values | {"curves": Named(), "title": "`t`"})
    assert "<code>cxr &lt;audit&gt; x</code> says more; a`b" in whole
    assert "<code>one</code> and <code>two</code>" in whole
    assert 'alt="`cxr x`"' in whole
    assert "<title>`t`</title>" in whole


def test_a_value_that_nobody_gave_is_an_error() -> None:
    without = {name: value for name, value in STUDY.items() if name != "basis"}
    with pytest.raises(UndefinedError, match="basis"):
        page("study.html", **without | {"curves": NoFigure()})


def test_every_template_is_part_of_the_package_and_carries_the_one_style() -> None:
    templates = importlib.resources.files("cxr.reports") / "templates"
    assert {f.name for f in templates.iterdir()} >= {"base.html", "study.html", "masking.html", "style.css"}
    for name in ("study.html", "masking.html"):
        assert '{% extends "base.html" %}' in (templates / name).read_text(encoding="utf-8")
    assert "<style" not in "".join((templates / n).read_text() for n in ("study.html", "masking.html"))
    assert "border-collapse" in page("study.html", **STUDY | {"curves": NoFigure()})


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3)])
def test_a_picture_comes_back_from_its_address(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = base64.b64decode(png_url(picture).removeprefix("data:image/png;base64,"))
    back = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(back if back.ndim == 2 else back[..., ::-1], picture)


def test_the_slider_needs_nothing_else_and_takes_titles_as_text() -> None:
    grey = np.zeros((4, 4), np.uint8)
    figure = slider_html(grey, grey, ("for <b>: as it is", "text masked"), 300)
    assert figure.count("data:image/png;base64,") == 2
    assert "max-width: 300px" in figure
    assert "◀ for &lt;b&gt;: as it is" in figure
    assert "<style>" in figure
    assert "addEventListener" in figure
