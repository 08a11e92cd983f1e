"""What a report is made of, whatever its form: sections of paragraphs, lists, tables, drawings and pictures."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cxr.reports.figures import Drawing


@dataclass(frozen=True)
class Text:
    """A paragraph; ``small`` for what figures rest on."""

    text: str
    small: bool = False


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    sentences: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows of cells below their columns, with a heading of its own where ``title`` is not empty."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing, which stays lines and letters in every form."""

    drawing: Drawing


@dataclass(frozen=True)
class Picture:
    """A picture of dots: PNG bytes, what it shows, and its width in pixels of 1/96 inch."""

    png: bytes
    caption: str
    width: int

    @property
    def base64(self) -> str:
        """The bytes as pages of HTML hold them."""
        return base64.b64encode(self.png).decode()


Block = Text | Bullets | Table | Figure | Picture


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A report: its title, its conclusion, what it rests on, and its sections."""

    title: str
    finding: str
    basis: str
    sections: Sequence[Section]


def with_words(document: Document, change: Callable[[str], str]) -> Document:
    """Return a report all of whose words went through ``change``, but for those drawn inside of figures."""

    def changed(block: Block) -> Block:
        if isinstance(block, Text):
            return replace(block, text=change(block.text))
        if isinstance(block, Bullets):
            return Bullets([change(sentence) for sentence in block.sentences])
        if isinstance(block, Table):
            rows = [[change(cell) for cell in row] for row in block.rows]
            return Table([change(column) for column in block.columns], rows, change(block.title))
        return replace(block, caption=change(block.caption)) if isinstance(block, Picture) else block

    sections = [Section(change(part.title), [changed(block) for block in part.blocks]) for part in document.sections]
    return Document(change(document.title), change(document.finding), change(document.basis), sections)
