"""Errors for people: one line that names what was wrong, the offending value, and what would be accepted.

Everything that a user can cause is a :class:`CxrError`. The command line prints its text and exits with 1, or with 2
where a name or value that was given is not accepted (:func:`wrong_use`); a page shows it in a box. Any other exception
is a fault of the program and keeps its traceback for the log.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
from collections.abc import Iterable
from typing import TypeVar


class CxrError(Exception):
    """Base of every error that a user can cause and mend.

    Attributes
    ----------
    wrong_use
        Whether a name or value that was given is none of those accepted. Commands then exit with 2, else with 1.
    """

    wrong_use = False


class ManifestError(CxrError, ValueError):
    """A manifest that cannot be used: missing column, unknown label, double id, group across splits."""


class ImageError(CxrError, ValueError):
    """A file that does not decode to an X-ray; the text names the file and the reason."""


class RecipeError(CxrError, ValueError):
    """A recipe with an unknown key or a value out of range; the text names the key and what is allowed.

    Attributes
    ----------
    reason
        What is wrong without the key, for a page whose form has no keys; the whole text where nothing shorter is given.
    """

    def __init__(self, text: str, *, reason: str = "") -> None:
        super().__init__(text)
        self.reason = reason or text


class WeightsError(CxrError, ValueError):
    """Weights that cannot be found, read safely, or matched to the model."""


class RunError(CxrError, RuntimeError):
    """A run that does not exist or cannot do what was requested in its present state."""


class ExplainError(CxrError, ValueError):
    """An explanation that was refused: unknown composite or target, or a network it is not right for."""


class TextError(CxrError, ValueError):
    """A text operation with an unknown mode or an unusable image."""


class RegionError(CxrError, ValueError):
    """A region of an X-ray with an unknown name, or a mask that does not fit its X-ray."""


class MissingPackageError(CxrError, ImportError):
    """A package that is not installed; the text names it and the extra of ours that brings it."""


def require(*packages: str, extra: str) -> None:
    """Say in one line which package is missing and how to get it, before it is imported.

    Parameters
    ----------
    packages
        Names as they are imported.
    extra
        The optional dependencies in pyproject.toml that hold them.

    Raises
    ------
    MissingPackageError
        If one of them is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingPackageError(f"{package} is not installed: pip install 'cxr[{extra}]' brings it")


def unknown(kind: str, value: object, available: Iterable[object]) -> str:
    """Return the standard sentence for a name that is not in a registry."""
    return f"unknown {kind} {value!r}. Available: {', '.join(map(str, available))}"


Error = TypeVar("Error", bound=CxrError)


def wrong_use(error: Error) -> Error:
    """Return an error as one about a name or value that was given and is none of those accepted.

    A name that does not exist (of a data set, run, network, split, class, option, ...), or a value out of range; not a
    file that cannot be read, nor a thing that cannot be done in the present state.
    """
    error.wrong_use = True
    return error


_REASONS = {
    errno.EACCES: "permission denied",
    errno.EPERM: "not permitted",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "the disk is full: free some space there",
    errno.EDQUOT: "the disk quota is used up: free some space there",
    errno.ENOENT: "no such file or folder",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EISDIR: "this is a folder, not a file",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EMFILE: "too many files are open (raise the limit with `ulimit -n`)",
    errno.EIO: "the disk reports an error (input/output error)",
    errno.ESTALE: "the network file system lost this file: try again",
}


def system_error(error: OSError) -> str:
    """Return one line for an error of the operating system: the file it concerns, then the reason."""
    reason = _REASONS.get(error.errno or 0) or " ".join((error.strerror or str(error)).split()) or type(error).__name__
    return f"{os.fspath(error.filename)}: {reason}" if isinstance(error.filename, str | os.PathLike) else reason


def unsupported_system() -> str | None:
    """Return why the program cannot run on this operating system, None where it can."""
    if sys.platform != "win32":
        return None
    return "cxr runs on Linux, on macOS, and on Windows inside WSL2 (`wsl --install`, then install cxr there)"
