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


# What these refuse stands in a file, so the command itself was right: see cxr.errors.wrong_use.
OF_STORED_FILES = {"cxr/text/corrections.py"}


def unmarked_refusals(tree: ast.AST) -> Iterator[int]:
    """Lines that raise an error of ours with the sentence of ``unknown()`` and do not mark it as wrong use."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name):
            inside = [part.func.id for part in ast.walk(node.exc) if _calls_a_name(part)]
            if "unknown" in inside and inside[0] not in ("wrong_use", "WrongUse", "ValueError"):
                yield node.lineno


def _calls_a_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def test_the_rule_sees_a_refusal_that_is_not_marked():
    assert list(unmarked_refusals(ast.parse("raise TextError(unknown('mode', mode, MODES))"))) == [1]
    assert not list(unmarked_refusals(ast.parse("raise wrong_use(TextError(unknown('mode', mode, MODES)))")))


def test_every_unknown_name_is_marked_as_wrong_use_so_that_commands_exit_with_2():
    unmarked = {
        str(file.relative_to(PROJECT)): lines
        for file in FILES
        if (lines := list(unmarked_refusals(ast.parse(file.read_text(encoding="utf-8")))))
    }
    assert unmarked.keys() == OF_STORED_FILES, unmarked
