"""Imports run downwards and never in a circle, and the package knows nothing of the dashboard."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "cxr"
LAYERS = (
    {"errors", "paths", "files", "validation", "formatting", "lazy"},
    {"locks"},
    {"models", "runs"},
    {"data"},
    {"networks"},
    {"text"},
    {"evaluation"},
    {"explain"},
    {"training"},
    {"experiments"},
    {"reports"},
    {"cli", "worker"},
    {"__main__"},
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports at run time, also inside functions; not what only type checkers read."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in FILES else node.module for name in names)


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_of(file): file for file in PACKAGE.rglob("*.py")}


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = {name: set(imported(file)) & FILES.keys() for name, file in FILES.items()}
    assert graph["cxr.runs.worker"] >= {"cxr.runs.local", "cxr.runs.folder"}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the modules of a circle


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_a_module_imports_only_what_lies_below_it(file: Path) -> None:
    part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    modules = list(imported(file))
    assert not [m for m in modules if m.split(".")[0] == "streamlit"], "the package must work without the dashboard"
    if part == "data":
        assert not [m for m in modules if m.split(".")[0] in ("timm", "torchvision", "zennit")]
    parts = {m.split(".")[1] for m in modules if m.startswith("cxr.")} - {part, "__version__"}
    above = {p for p in parts if RANK[p] >= RANK.get(part, 0)}
    assert not above, f"{part} imports {above}, which lie above or beside it"
