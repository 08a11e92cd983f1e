"""Names of a package that are imported when they are first used, so that a light part does not load a heavy one."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any


def attach(package: str, names: Mapping[str, Collection[str]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package whose public names stand in its modules (PEP 562).

    A public name must not be that of a module of the package: once such a module is imported, Python puts it in the
    name's place. Import such a name as usual and keep its module light.

    Parameters
    ----------
    package
        The package's ``__name__``.
    names
        ``{module: its public names}``, modules relative to the package.
    """
    module_of = {name: module for module, public in names.items() for name in public}

    def get(name: str) -> Any:
        if name in module_of:
            return getattr(importlib.import_module(f"{package}.{module_of[name]}"), name)
        if name in names:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get, lambda: sorted({*vars(sys.modules[package]), *module_of, *names})
