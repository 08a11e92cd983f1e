"""Nothing is decided by reading a sentence that was made for people: a field or the type of an error says it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
FILES = sorted(file for folder in ("cxr", "dashboard") for file in (PROJECT / folder).rglob("*.py"))
# Errors of libraries that have no type of their own for what they mean.
LIBRARIES = {
    "cxr/runs/storage.py": "safetensors and torch raise a full disk without a number",
    "cxr/data/images/dicom.py": "pydicom raises the same for a missing decoder and for a damaged file",
    "cxr/data/tables/text_table.py": "csv.Error has no number; the text is only put in plainer words",
}


def decisions_on_errors(tree: ast.AST) -> Iterator[int]:
    """Lines that look for words in the text of an error: ``"x" in str(error)``, ``str(error).startswith("x")``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(map(_is_text_of_an_error, (node.left, *node.comparators))):
            yield node.lineno
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            asks = node.func.attr in ("startswith", "endswith") and _is_text_of_an_error(node.func.value)
            searches = node.func.attr in ("search", "match", "fullmatch") and any(map(_is_text_of_an_error, node.args))
            if asks or searches:
                yield node.lineno


def _is_text_of_an_error(node: ast.AST) -> bool:
    is_str = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "str"
    return is_str and any(isinstance(arg, ast.Name) and "err" in arg.id for arg in node.args)


@pytest.mark.parametrize(
    "code",
    ["'--backbone' in str(error)", "str(error) == 'gone'", "str(err).startswith('x')", "re.search('a|b', str(error))"],
)
def test_a_decision_on_words_is_found(code):
    assert list(decisions_on_errors(ast.parse(code))) == [1]


def test_no_decision_rests_on_the_words_of_an_error():
    found = {}
    for file in FILES:
        lines = list(decisions_on_errors(ast.parse(file.read_text(encoding="utf-8"))))
        if lines:
            found[str(file.relative_to(PROJECT))] = lines
    assert found.keys() == LIBRARIES.keys(), found
