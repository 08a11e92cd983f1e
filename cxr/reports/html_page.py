"""Reports as one HTML file that needs no other: templates of this package, in one style."""

from __future__ import annotations

import functools
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def page(template: str, **values: Any) -> str:
    """Return a template of ``cxr/reports/templates``, filled in.

    Every value is escaped. A value that the template names and nobody gave is an error.
    """
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("cxr.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
