"""The page on troubleshooting quotes messages that the code gives, and commands that there are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from cxr.cli import app

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
RUNS_FILES = ("study",)
"""Commands with commands below them that also take a file."""


def quoted(page: str) -> list[str]:
    """Return the messages of a page: the first cells of its tables, where `…` stands for what differs."""
    return re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)


def sentences(code: str) -> Iterator[str]:
    """Yield the texts of a module, with `…` for what an f-string fills in."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)


def unknown(messages: list[str], texts: list[str]) -> list[str]:
    return [message for message in messages if not any(message.lower() in text.lower() for text in texts)]


def test_every_quoted_message_is_one_of_the_code() -> None:
    files = [file for folder in ("cxr", "dashboard") for file in (ROOT / folder).rglob("*.py")]
    texts = [text for file in files for text in sentences(file.read_text(encoding="utf-8"))]
    messages = quoted((ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"))
    assert len(messages) > 40
    assert unknown(messages, texts) == []


def test_a_message_that_the_code_does_not_give_is_found() -> None:
    texts = list(sentences('raise ValueError(f"run {run.id} is over" f", so {what}")'))
    assert unknown(["run … is over, so …", "run … has begun"], texts) == ["run … has begun"]
    assert quoted("| `a …` | b | `c` |\n| message | `no` | c |\n") == ["a …"]


def commands(page: str) -> set[tuple[str, ...]]:
    """Return the commands of `cxr` that a page names in code, without their options and values."""
    code = re.findall(r"^```bash\n(.*?)^```|`([^`\n]+)`", page, re.MULTILINE | re.DOTALL)
    lines = [line for block, inline in code for line in (block or inline).splitlines()]
    return {tuple(line.split("#")[0].split()[1:]) for line in lines if line.startswith("cxr ")}


def known(words: tuple[str, ...]) -> bool:
    """Tell whether the command and each of its options exist."""
    command = typer.main.get_command(app)
    for word in words:
        commands = getattr(command, "commands", {})
        subcommand = commands.get(word) or (commands.get("run") if command.name in RUNS_FILES else None)
        if subcommand is None:
            break
        command = subcommand
    accepted = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    options = {word for word in words if word.startswith("--")} - {"--help"}
    runs_alone = getattr(command, "invoke_without_command", True) or {"--version", "--help", "..."} & set(words)
    return bool(runs_alone) and options <= accepted


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_exists_with_its_options(page: Path) -> None:
    named = commands(page.read_text(encoding="utf-8"))
    assert [words for words in sorted(named) if not known(words)] == []


def test_a_command_or_an_option_that_is_not_there_is_found() -> None:
    assert known(("data", "guess", "FOLDER", "--json"))
    assert not known(("data", "gues", "FOLDER"))
    assert not known(("data", "guess", "FOLDER", "--nothing"))
