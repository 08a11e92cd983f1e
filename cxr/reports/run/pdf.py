"""A report as PDF: pages of A4 with an outline, text that can be selected, tables, and drawn figures."""

from __future__ import annotations

import io
import logging
import re
import textwrap
from collections.abc import Iterator, Sequence
from functools import singledispatchmethod
from itertools import zip_longest
from pathlib import Path

import matplotlib
from fpdf import FPDF, TextStyle, XPos, YPos
from fpdf.fonts import FontFace
from matplotlib import font_manager

from cxr import __version__
from cxr.reports.figures import OTHER_SCRIPTS
from cxr.reports.run.document import Bullets, Document, Figure, Picture, Section, Table, Text

_FONT = "DejaVu Sans"  # it comes with matplotlib, and is the one that figures are drawn with
_TO_MM = 25.4 / 96  # pixels of a figure
_MARGIN, _LINE = 18.0, 4.9
_PADDING, _MOST_LINES = 1, 40  # of cells; a page has 70 of their lines
_SIZES = {"title": 17.0, "heading": 12.5, "text": 9.2, "small": 7.6, "cell": 7.2}
_INK, _SMALL_INK = (36, 41, 47), (87, 96, 106)
_LETTERS = 110
"""So many letters of cells fit a line of the page."""
_PX = re.compile(r"(font: (?:[\w ]* )?[\d.]+)px")


def pdf_of(document: Document) -> bytes:
    """Return a report as the bytes of a PDF."""
    pages = _Pages(document.title)
    pages.head(document)
    for section in document.sections:
        pages.section(section)
    return bytes(pages.output())


class _Pages(FPDF):
    def __init__(self, title: str) -> None:
        super().__init__(format="A4")
        self.set_margins(_MARGIN, _MARGIN)
        self.set_auto_page_break(True, _MARGIN)
        self.set_title(title)
        self.set_creator(f"cxr {__version__}")
        self.set_lang("en")
        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        for style, file in (("", "DejaVuSans.ttf"), ("B", "DejaVuSans-Bold.ttf")):
            self.add_font(_FONT, style, folder / file)
        self._add_other_scripts()
        heading = TextStyle(_FONT, "B", _SIZES["heading"], _INK, t_margin=4, b_margin=1.5)
        self.set_section_title_styles(heading)
        self._title = title
        self.add_page()

    def _add_other_scripts(self) -> None:
        """Take letters that the font lacks from those installed, as figures do; without them they are boxes."""
        installed = {font.name: font.fname for font in font_manager.fontManager.ttflist if font.name in OTHER_SCRIPTS}
        for name, file in installed.items():
            self.add_font(name, "", file)
        if installed:
            self.set_fallback_fonts(list(installed), exact_match=False)
        else:
            logging.getLogger("fpdf").setLevel(logging.ERROR)  # one line a letter is no help to anybody

    def footer(self) -> None:
        self.set_y(-_MARGIN + 4)
        self.set_font(_FONT, "", _SIZES["small"])
        self.set_text_color(*_SMALL_INK)
        self.cell(0, 5, f"{self._title} · page {self.page_no()}", align="R")

    def head(self, document: Document) -> None:
        self.set_font(_FONT, "B", _SIZES["title"])
        self.set_text_color(*_INK)
        self._paragraph(document.title, 8)
        self.ln(1)
        self.set_font(_FONT, "", _SIZES["text"] + 1)
        self._paragraph(document.finding, _LINE + 0.4)
        self.block(Text(document.basis, small=True))

    def section(self, section: Section) -> None:
        first = next(iter(section.blocks), None)
        drawn = self._size_of(first)[1] + 2 * _LINE if isinstance(first, Figure) else 0.0
        if self.will_page_break(30 + drawn):  # a heading stands with what follows it
            self.add_page()
        self.start_section(section.title)
        for block in section.blocks:
            self.block(block)

    @singledispatchmethod
    def block(self, block: object) -> None:
        raise TypeError(f"a report has no {type(block).__name__}")

    @block.register
    def _(self, block: Text) -> None:
        self.set_font(_FONT, "", _SIZES["small" if block.small else "text"])
        self.set_text_color(*(_SMALL_INK if block.small else _INK))
        self._paragraph(block.text, _LINE - 1 if block.small else _LINE)
        self.ln(1.5)

    @block.register
    def _(self, block: Bullets) -> None:
        self.set_font(_FONT, "", _SIZES["text"])
        self.set_text_color(*_INK)
        for sentence in block.sentences:
            self.set_x(_MARGIN)
            self.cell(5, _LINE, "•")
            self.multi_cell(0, _LINE, sentence, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.ln(1.5)

    @block.register
    def _(self, block: Table) -> None:
        if not block.rows:
            return
        if block.title:
            if self.will_page_break(25):  # so that it does not stand alone at the end of a page
                self.add_page()
            self.set_font(_FONT, "B", _SIZES["text"])
            self.set_text_color(*_INK)
            self._paragraph(block.title, _LINE)
        self.set_font(_FONT, "", _SIZES["cell"])
        self.set_text_color(*_INK)
        self.set_draw_color(208, 215, 222)
        widths = column_widths(block)
        with self.table(
            col_widths=widths,
            text_align="LEFT",
            line_height=3.7,
            padding=(0.7, _PADDING),
            borders_layout="HORIZONTAL_LINES",
            headings_style=FontFace(emphasis="BOLD"),
        ) as table:
            for cells in (block.columns, *(part for row in block.rows for part in self._parts_of_row(row, widths))):
                row = table.row()
                for cell in cells:
                    row.cell(cell)
        self.ln(3)

    def _parts_of_row(self, cells: Sequence[str], widths: Sequence[int]) -> Iterator[tuple[str, ...]]:
        """Yield a row as rows of which each has its place on a page; what is long goes on in the next one."""
        share = self.epw / sum(widths)
        parts = [self._parts_of_cell(cell, share * width) for cell, width in zip(cells, widths, strict=True)]
        yield from zip_longest(*parts, fillvalue="")

    def _parts_of_cell(self, text: str, width: float) -> list[str]:
        inner = 0.8 * (width - 2 * _PADDING - 2 * self.c_margin)  # lines break at words, and so are not full
        letters = max(1, int(inner / (self.get_string_width(text) / max(1, len(text)) or inner)))
        lines = [part for line in text.split("\n") for part in textwrap.wrap(line, letters) or [""]]
        if len(lines) <= _MOST_LINES:
            return [text]
        between = "\n" if "\n" in text else " "
        return [between.join(lines[start : start + _MOST_LINES]) for start in range(0, len(lines), _MOST_LINES)]

    @block.register
    def _(self, block: Figure) -> None:
        drawing = block.drawing
        width, height = self._size_of(block)
        # Letters of matplotlib's SVG are in its points, which it calls px.
        svg = _PX.sub(r"\1pt", drawing.to_bytes("svg").decode()).encode()
        self._placed(svg, width, height, drawing.title)
        self.block(Text(f"{drawing.title}. {drawing.caption}".rstrip(), small=True))

    def _size_of(self, figure: Figure) -> tuple[float, float]:
        """Return width and height of a figure on the page."""
        drawing = figure.drawing
        width = min(drawing.width * _TO_MM, self.epw)
        return width, width * drawing.height / drawing.width

    @block.register
    def _(self, block: Picture) -> None:
        width = min(block.width * _TO_MM, self.epw)
        self._placed(block.png, width, width * _aspect(block.png), block.caption)
        self.block(Text(block.caption, small=True))

    def _placed(self, content: bytes, width: float, height: float, alt: str) -> None:
        if self.will_page_break(height + 2 * _LINE):
            self.add_page()
        self.image(io.BytesIO(content), w=width, alt_text=alt)
        self.ln(1)

    def _paragraph(self, text: str, height: float) -> None:
        self.multi_cell(0, height, text, align="L", new_x=XPos.LMARGIN, new_y=YPos.NEXT)


def column_widths(table: Table) -> Sequence[int]:
    """Return widths of columns by the length of their texts, within limits: long ones break into lines.

    A column whose texts are long on the whole gets more of the page, but no word of the others is broken for it.
    """
    columns = list(zip(table.columns, *table.rows, strict=True))
    widths = []
    for column in columns:
        longest, mean = max(map(len, column)), sum(map(len, column)) // len(column)
        widths.append(min(46, max(7, longest)) + (min(60, mean // 2) if longest > 46 else 0))
    words = [min(20, max(len(word) for text in column for word in text.split() or [""])) for column in columns]
    whole = sum(widths)
    return [max(width, (word + 3) * whole // _LETTERS) for width, word in zip(widths, words, strict=True)]


def _aspect(png: bytes) -> float:
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))  # of its header
    return height / width
