"""Loading timm and torchvision without PyTorch's compiler, which no page uses.

Both import it for a decorator each. It brings more than a thousand modules along, of SymPy and Triton too, which a
server would hold. Whoever asks for the compiler later gets it as usual.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
UTILS = f"{COMPILER}.utils"
LIBRARIES = ("torchvision", "timm")
"""What imports the compiler while it is loaded itself."""


@cache
def leave_out() -> None:
    """From now on load :data:`LIBRARIES` without the compiler, in this process."""
    sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in LIBRARIES or COMPILER in sys.modules:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loading(spec.loader)
        return spec


class _Loading(Loader):
    """Loads a module as its own loader does, but while a stand-in takes the compiler's place."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        with _stand_ins():
            self.loader.exec_module(module)


@contextmanager
def _stand_ins() -> Iterator[None]:
    if COMPILER in sys.modules:  # the compiler itself, or timm has begun and loads torchvision
        yield
        return
    parts = {
        COMPILER: _StandIn(COMPILER, disable=_disable),
        UTILS: _StandIn(UTILS, is_compile_supported=_is_compile_supported),
    }
    sys.modules.update(parts)
    try:
        yield
    finally:
        _remove(parts)


def _remove(parts: dict[str, _StandIn]) -> None:
    for name, part in parts.items():
        if sys.modules.get(name) is part:
            del sys.modules[name]


class _StandIn(ModuleType):
    """Answers what is known to be asked while libraries are loaded; for anything else the compiler is loaded."""

    def __init__(self, name: str, **answers: Callable[..., Any]) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self.__dict__.update(answers)

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        _remove({key: part for key in (COMPILER, UTILS) if isinstance(part := sys.modules.get(key), _StandIn)})
        return getattr(importlib.import_module(self.__name__), name)


def _disable(fn: Callable[..., Any] | None = None, *_: object, **__: object) -> Callable[..., Any]:
    """Mark a function as not to be compiled: nothing is, here."""
    return fn if fn is not None else lambda function: function


def _is_compile_supported(device_type: str) -> bool:
    return bool(importlib.import_module(UTILS).is_compile_supported(device_type))
