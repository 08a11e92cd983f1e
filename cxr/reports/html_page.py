"""Reports as one HTML file that needs no other: templates of this package, in one style."""

from __future__ import annotations

import functools
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

_CODE = re.compile(r"`([^`\n]+)`")


def page(template: str, **values: Any) -> str:
    """Return a template of ``cxr/reports/templates``, filled in.

    Every value is escaped, and a command in backticks is set as code. Within the value of an attribute a template
    writes ``{{ value | e }}``, which leaves backticks as they are. A value that the template names and nobody gave is
    an error.
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
        finalize=_with_code,
    )


def _with_code(value: Any) -> Any:
    """Return a text whose parts in backticks are code; whatever is no plain text stays as it is."""
    if isinstance(value, Markup) or not isinstance(value, str) or "`" not in value:
        return value
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(value))))
