"""Options of the command line in sentences that a page shows too: there they are called as the page's own fields."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from types import MappingProxyType

_OPTION = r"(--[a-z][a-z-]*)(?: ((?:[\w|-]+=)?'[^']*'|[\w|-]+=[\w|-]+|[A-Z]+\b|[\w-]+(?=`|\))))?"
_NAMED = re.compile(rf"`{_OPTION}`|{_OPTION}")
EVALUATION: Mapping[str, str] = MappingProxyType(
    {
        "--include-seen": "“Measure also the X-rays seen before”",
        "--split": "“Measure the other X-rays too”",
        "--alias": "“Measure with {first} as {second}”",
    }
)
"""What the page of results calls options of ``cxr evaluate``."""
PREDICTIONS: Mapping[str, str] = MappingProxyType(
    {
        "--scale": "“Values”: {value}",
        "--task": "“Task”: {value}",
        "--data": "“Data set (for labels, patients, pictures)”",
    }
)
"""What the form of somebody else's predictions calls its fields; what it has no field for stays as it is."""


@functools.cache
def of_import() -> Mapping[str, str]:
    """Return what the form of an import calls its fields, by the options of ``cxr data import``."""
    from cxr.data.importers.import_options import all_declarations
    from cxr.data.importers.registry import SOURCES

    options = all_declarations({name: importer.options for name, importer in SOURCES.items()})
    fields = {option.flag: f"“{option.title}”" for option, _ in options.values()}
    of_all = {"--name": "“Name of the data set”", "--splits": "“Splits”"}
    return {flag: f"{title}: {{value}}" for flag, title in (fields | of_all).items()}


def of_kind(kind: str) -> Mapping[str, str]:
    """Return what pages call the options of the command of a kind of run."""
    if kind == "import":
        return of_import()
    return {"evaluate": EVALUATION, "train": EVALUATION, "evaluate-predictions": PREDICTIONS}.get(kind, {})


def on_page(text: str, names: Mapping[str, str]) -> str:
    """Return a sentence with the names of fields in place of the options among ``names``; others stay."""

    def name(found: re.Match[str]) -> str:
        option, value = (found[1], found[2]) if found[1] else (found[3], found[4])
        template = names.get(option)
        if template is None:
            return found[0]
        first, _, second = (value or "").replace("'", "").partition("=")
        return template.format(value=value or "", first=first, second=second).removesuffix(": ")

    return _NAMED.sub(name, text)
