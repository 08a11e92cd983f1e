"""Figures are the same bytes for the same numbers in every form, show any name, and leave matplotlib as it was."""

from __future__ import annotations

import hashlib
import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

import cxr.reports
from cxr.reports.figures import FORMS, Drawing, Series, form_of, legend_above, legend_height

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("_first", "$x_1$ & <b>", "肺炎", "50 % | A_B")


def drawing(caption: str = "", names: tuple[str, ...] = NAMES) -> Drawing:
    """A line for each name."""

    def paint(axes):
        lines = {
            name: axes.plot([0, 1], [k, k + 1], color=Series(k).colour, linestyle=Series(k).line)[0]
            for k, name in enumerate(names)
        }
        legend_above(axes, lines)

    return Drawing("Lines & more", paint, height=200 + legend_height(names), caption=caption)


def texts(svg: bytes) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_every_name_stands_in_the_svg_as_it_is() -> None:
    assert set(NAMES) <= set(texts(drawing().to_bytes("svg")))


def test_each_form_is_written_by_the_ending_with_its_title_and_what_it_rests_on(tmp_path: Path) -> None:
    figure = drawing("Data: a & b (manifest hash 0123456789ab).")
    svg, png, pdf = (figure.write(tmp_path / f"figure.{form}").read_bytes() for form in FORMS)
    assert ET.fromstring(svg).findtext(f"{SVG}title") == "Lines & more"
    assert "Data: a & b (manifest hash 0123456789ab)." in texts(svg)
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.width == round(760 / 96 * 200)
        assert picture.info["Title"] == "Lines & more"
        assert picture.info["Description"].startswith("Data: a & b")
    assert pdf.startswith(b"%PDF")
    assert b"Lines & more" in pdf
    with pytest.raises(
        ValueError, match=r"figure\.gif has no known figure format\. Accepted: a name that ends in \.svg, \.png, \.pdf"
    ):
        figure.write(tmp_path / "figure.gif")
    assert form_of(Path("A.PDF")) == "pdf"


def plain() -> list[str]:
    """What a figure without a legend is in each form."""
    figure = Drawing("Lines", lambda axes: axes.plot([0, 1], label="a"), height=200, caption="caption")
    return [hashlib.sha256(figure.to_bytes(form)).hexdigest() for form in FORMS]


SCRIPT = """
import hashlib, sys
from cxr.reports.figures import FORMS, Drawing
assert "matplotlib" not in sys.modules
figure = Drawing("Lines", lambda axes: axes.plot([0, 1], label="a"), height=200, caption="caption")
print([hashlib.sha256(figure.to_bytes(form)).hexdigest() for form in FORMS])
assert "matplotlib.pyplot" not in sys.modules
"""


def test_another_process_which_imports_matplotlib_only_to_draw_writes_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    drawn = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert (drawn.stdout, drawn.stderr) == (f"{plain()}\n", "")


def test_settings_of_the_user_neither_change_a_figure_nor_are_they_changed() -> None:
    import matplotlib

    usual = drawing().to_bytes("svg")
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "text.parse_math": True}):
        before = dict(matplotlib.rcParams)
        assert drawing().to_bytes("svg") == usual
        assert dict(matplotlib.rcParams) == before


def test_figures_drawn_at_once_by_several_threads_are_as_those_drawn_one_by_one() -> None:
    some = [drawing(names=NAMES[:n]) for n in (1, 2, 3)] * 2
    one_by_one = [one.to_bytes("svg") for one in some]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda one: one.to_bytes("svg"), some)) == one_by_one


def test_many_series_all_differ_and_their_legend_makes_the_figure_higher() -> None:
    assert len({(s.colour, s.line, s.marker) for s in map(Series, range(32))}) == 32
    assert len({(s.line, s.marker) for s in map(Series, range(8))}) == 8, "they must differ without colours"
    assert legend_height([]) == legend_height(["a", "b"]) == 0
    names = [f"a recipe with a name of some length, number {k}" for k in range(9)]
    assert legend_height(names) > legend_height(names[:3]) > 0


def test_no_report_imports_matplotlib_before_it_draws() -> None:
    for file in Path(cxr.reports.__file__).parent.glob("*.py"):
        for line in file.read_text(encoding="utf-8").splitlines():
            assert not re.match(r"(from|import) matplotlib", line), file.name


def test_the_address_of_a_figure_holds_it_whole() -> None:
    assert re.fullmatch(r"data:image/svg\+xml;base64,[A-Za-z0-9+/=]+", drawing().data_url())
