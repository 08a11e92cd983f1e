"""The form of a report, by the ending of its file's name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from cxr.errors import CxrError, wrong_use

Form = TypeVar("Form")


def form_for(path: Path, forms: Mapping[str, Form], error: type[CxrError]) -> Form:
    """Return the one of ``forms``, by ending such as ``.html``, that a file's name asks for.

    Raises
    ------
    CxrError
        Of the class ``error``: for another ending, or a folder that is not there.
    """
    form = forms.get(path.suffix.lower())
    if form is None:
        raise wrong_use(
            error(f"{path.name} has no known report format. Accepted: a name that ends in {', '.join(forms)}")
        )
    if not path.parent.is_dir():
        raise error(f"the folder {path.parent} does not exist: make it, or choose another")
    return form
