"""Which modules a file imports, read from its text: for the rules of the layers, their drawing and the figures of the
house.
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator


def imported(source: str, modules: Container[str] = ()) -> Iterator[str]:
    """Yield every module that a source imports at run time, also inside functions; not what only type checkers read.

    ``from a import b`` yields ``a.b`` where that is one of ``modules``, else ``a``.
    """
    tree = ast.parse(source)
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in modules else node.module for name in names)
