"""Where data sets, runs and weights are kept.

Three folders, each overridable by an environment variable (as the Docker image does): ``CXR_DATA`` (imported data
sets and the image cache), ``CXR_RUNS`` and ``CXR_WEIGHTS``. The default is the project's own folder when ``cxr`` runs
from a checkout, otherwise the current directory.
"""

from __future__ import annotations

import os
from pathlib import Path

from cxr.errors import CxrError, system_error

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parent


def home() -> Path:
    """Return the folder that holds ``data``, ``runs`` and ``weights`` by default."""
    return _CHECKOUT if (_CHECKOUT / "pyproject.toml").exists() else Path.cwd()


def _folder(variable: str, name: str) -> Path:
    value = os.environ.get(variable)
    # Not by methods of Path, which fail on links in a circle and on "~nobody": a folder that is wrong is told as such.
    return Path(os.path.realpath(os.path.expanduser(value))) if value else home() / name  # noqa: PTH111


def data_root() -> Path:
    """Return the folder of data sets: ``<data_root>/<name>/manifest.csv``."""
    return _folder("CXR_DATA", "data")


def cache_root() -> Path:
    """Return the folder of decoded images and cached detections; safe to delete."""
    return data_root() / ".cache"


def runs_root() -> Path:
    """Return the folder of runs: ``<runs_root>/<id>/``."""
    return _folder("CXR_RUNS", "runs")


def weights_root() -> Path:
    """Return the folder of shipped and downloaded weights."""
    return _folder("CXR_WEIGHTS", "weights")


def check_root(root: Path, variable: str) -> None:
    """Raise a CxrError if a folder named by ``variable`` is a file or cannot be read: it would look empty.

    A folder that does not exist yet is made when something is put into it.
    """
    try:
        with os.scandir(root):
            return
    except FileNotFoundError:
        return
    except OSError as error:
        is_file = isinstance(error, NotADirectoryError) and root.exists()
        wrong = f"{root} is a file" if is_file else system_error(error)
    raise CxrError(f"{wrong}. {variable} must name a folder that can be read, or one that does not exist yet")


def shipped_weights() -> Path:
    """Return the folder of the weights that come with the project, whatever ``CXR_WEIGHTS`` says."""
    return _shipped("weights")


def pages() -> Path:
    """Return the folder of the dashboard's pages."""
    return _shipped("dashboard")


def glossary() -> Path:
    """Return the file that says what the words on the pages mean."""
    inside = _PACKAGE / "dashboard" / "glossary.md"
    return inside if inside.is_file() else _CHECKOUT / "docs" / "glossary.md"


def _shipped(name: str) -> Path:
    """Return a folder that comes with the package: in it where it is installed, beside it in a checkout."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _CHECKOUT / name
