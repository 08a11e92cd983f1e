"""The report of an audit as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cxr.reports.audit.contents import PART_COLUMNS, Contents


def in_markdown(contents: Contents) -> str:
    """Return the contents of an audit's report as Markdown."""
    return "\n".join(_lines(contents)) + "\n"


def _lines(contents: Contents) -> Iterator[str]:
    yield from (f"# {_plain(contents.title)}", "", _plain(contents.finding), "", _plain(contents.how), "")
    yield from (_plain(contents.basis), "", "## Findings", "")
    if not contents.rows:
        yield from ("None. What was looked at is listed below.", "")
    for row in contents.rows:
        yield from (f"### {row.number}. {row.weight.capitalize()}", "", _plain(row.sentence), "")
        about = (("Figure", row.figure), ("Of", row.of), ("More", row.detail), ("Not shown", row.not_shown))
        for title, text in about:
            if text:
                yield f"- {title}: {_plain(text)}"
        if row.next_step:
            command = f" `{row.command}`" if row.command else ""
            yield f"- Next: {_plain(row.next_step)}{command}"
        yield ""
    if contents.looked:
        yield from ("## Looked at, nothing shown", "")
        yield from (f"- {_plain(sentence)}" for sentence in contents.looked)
        yield ""
    yield from ("## Parts", "")
    yield from _table(PART_COLUMNS, contents.parts)
    for section in contents.sections:
        yield from ("", f"## {_plain(section.title)}", "", _plain(section.lead), "")
        yield from _table(section.columns, section.rows)
    yield from ("", "## How to read this", "")
    yield from (f"- {note}" for note in contents.notes)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(_plain(cell).replace('|', '&#124;') for cell in row)} |"


def _plain(text: str) -> str:
    """Return text on one line whose marks Markdown leaves as they are, outside of `code`."""
    parts = " ".join(text.split()).split("`")
    if len(parts) % 2 == 0:
        return _escaped("'".join(parts))
    return "`".join(part if index % 2 else _escaped(part) for index, part in enumerate(parts))


def _escaped(text: str) -> str:
    return "".join(f"\\{mark}" if mark in r"\*_[]<>#" else mark for mark in text)
