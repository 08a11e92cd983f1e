"""Counts and figures as sentences write them."""

import ast
import re
from pathlib import Path

import pytest

import cxr
from cxr.formatting import counted, patients, share, within_sentence, xrays

ROOT = Path(cxr.__file__).parents[1]
COUNTED = re.compile(
    r"^ (?:(?:more|other|new|different|stable|synthetic) )*(?:X-rays?|images|patients|tokens|heatmaps)\b"
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (counted(25_000, "token"), "25,000 tokens"),
        (counted(1, "token"), "1 token"),
        (xrays(25_000, 12_345), "25,000 X-rays of 12,345 patients"),
        (xrays(1_200, noun="image"), "1,200 images"),
        (patients(999), "999 patients"),
        (share(0.814), "81 %"),
        (share(0.0121, 1), "1.2 %"),
        (share(-0.0001), "0 %"),
    ],
)
def test_a_count_has_a_thousands_separator_and_its_noun(written, expected):
    assert written == expected


def _bare_counts(text):
    """Yield the counts that an f-string of a module puts before what it counts without saying how they are written."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            for value, after in zip(node.values, node.values[1:], strict=False):
                if isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant):
                    name = value.value.id if isinstance(value.value, ast.Name) else ""
                    if value.format_spec is None and COUNTED.search(after.value) and not name.isupper():
                        yield ast.unparse(value.value), after.value


@pytest.mark.parametrize(
    ("title", "expected"),
    [("Seen before", "seen before"), ("X-rays from elsewhere", "X-rays from elsewhere"), ("AUC", "AUC"), ("", "")],
)
def test_a_title_within_a_sentence_keeps_the_capitals_of_an_abbreviation(title, expected):
    assert within_sentence(title) == expected


def test_counts_in_the_sentences_of_every_module_have_a_thousands_separator():
    modules = [path for name in ("cxr", "dashboard") for path in sorted((ROOT / name).rglob("*.py"))]
    bare = [(str(path), *found) for path in modules for found in _bare_counts(path.read_text(encoding="utf-8"))]
    words = ("has", "_has")  # "3 patients have X-rays of ..."
    assert [entry for entry in bare if not entry[1].startswith(words) and "'has'" not in entry[1]] == []
    assert list(_bare_counts("f'{n} X-rays'")) == [("n", " X-rays")]


def _bare_shares(text):
    """Yield the shares that an f-string writes without a space before the sign."""
    for node in ast.walk(ast.parse(text)):
        form = ast.unparse(node.format_spec) if isinstance(node, ast.FormattedValue) and node.format_spec else ""
        if form.rstrip("'\"").endswith("%"):
            yield ast.unparse(node.value)


def test_shares_of_every_module_are_written_in_one_way():
    modules = [path for name in ("cxr", "dashboard") for path in sorted((ROOT / name).rglob("*.py"))]
    bare = [(str(path), found) for path in modules for found in _bare_shares(path.read_text(encoding="utf-8"))]
    assert bare == []
    assert list(_bare_shares("f'{n:.1%} of them'")) == ["n"]
