"""Studies under the name that they had before :mod:`cxr.experiments.study`, so that older scripts go on."""

import importlib
from types import ModuleType

from cxr.experiments.study import *  # noqa: F403
from cxr.experiments.study import __all__ as __all__


def __getattr__(name: str) -> ModuleType:
    """Give a module of the package, such as ``cxr.study.statistics``."""
    try:
        return importlib.import_module(f"cxr.experiments.study.{name}")
    except ModuleNotFoundError:
        raise AttributeError(f"module 'cxr.study' has no attribute {name!r}") from None
