"""Options of the command line in sentences that a page shows too: there they are called as the page's own fields."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from types import MappingProxyType

_OPTION = r"(--[a-z][a-z-]*)(?: ((?:[\w|-]+=)?'[^']*'|[\w|-]+=[\w|-]+|[A-Z]+\b|[\w-]+(?=`|\))))?"
_NAMED = re.compile(rf"`{_OPTION}`|{_OPTION}|`cxr [^`]*`")
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
        "--column": "“Columns with other names”: {value}",
        **{
            f"--{role}-column": f"“Columns with other names”: {role}={{value}}"
            for role in ("image", "label", "patient", "split")
        },
        "--alias": "“Labels that mean a class”: {value}",
        "--ignore-label": "“Labels to leave out”: {value}",
        "--positive": "“Class of the only column”: {value}",
    }
)
"""What the form of somebody else's predictions calls its fields."""
TEXT_EXPERIMENT: Mapping[str, str] = MappingProxyType(
    {"--include-seen": "“Include X-rays that the network has seen”"},
)
"""What the forms of experiments with text call options of ``cxr text``."""
WITHOUT_FIELD: Mapping[str, str] = MappingProxyType(
    {"--include-seen": "`--include-seen` on the command line"},
)
"""What pages say for options that their forms do not offer: where these are."""
AUDIT: Mapping[str, str] = MappingProxyType({"--external": "“X-rays from elsewhere” (under “Options”)"})
"""What the page of trust calls options of ``cxr audit``."""
SLICES: Mapping[str, str] = MappingProxyType({"--by": "`cxr slices --by`"})
"""What the page of results says for an option of ``cxr slices`` that it has no field for."""
SPLITTING: Mapping[str, str] = MappingProxyType({"--keep": "“Splits that stay as they are”: {value}"})
"""What the form that makes splits calls options of ``cxr data split``."""
WEIGHTS: Mapping[str, str] = MappingProxyType(
    {
        "--backbone": "“Backbone (timm's name)”",
        "--force": "“Replace weights of this name”",
        "--name": "“Name”",
        "--classes": "“Names of the outputs”",
        "--task": "“Task”",
        "--size": "“Image size (pixels)”",
        "--mean": "“Mean”",
        "--std": "“Std”",
    }
)
"""What the import of weights calls options of ``cxr weights import``."""
EVERYWHERE: Mapping[str, str] = MappingProxyType(
    {"--open-locked": "“Open the locked split”", "--slurm": "“Where it runs”: Slurm"}
)
"""What the forms that start a run call options of every such command."""


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
        return {**of_import(), **EVERYWHERE}
    return {**_OF_KINDS.get(kind, {}), **EVERYWHERE}


def of_page(name: str) -> Mapping[str, str]:
    """Return what a page, by its name in the address, calls the options in the errors of what it starts."""
    if name == "data":
        return {**of_import(), **SPLITTING, **EVERYWHERE}
    return {**_OF_PAGES.get(name, {}), **EVERYWHERE}


_OF_KINDS: Mapping[str, Mapping[str, str]] = {
    "evaluate": EVALUATION,
    "train": EVALUATION,
    "evaluate-predictions": PREDICTIONS,
    "text-experiment": TEXT_EXPERIMENT,
    "text-stamping": TEXT_EXPERIMENT,
    "explain": WITHOUT_FIELD,
    "relevance-regions": WITHOUT_FIELD,
    "audit-network": AUDIT,
}
_OF_PAGES: Mapping[str, Mapping[str, str]] = {
    "results": PREDICTIONS,
    "text": TEXT_EXPERIMENT,
    "trust": AUDIT,
    "weights": WEIGHTS,
}


def on_page(text: str, names: Mapping[str, str]) -> str:
    """Return a sentence with the names of fields in place of the options among ``names``.

    Other options stay, and so do whole commands in backticks.
    """

    def name(found: re.Match[str]) -> str:
        if found[0].startswith("`cxr "):
            return found[0]
        option, value = (found[1], found[2]) if found[1] else (found[3], found[4])
        template = names.get(option)
        if template is None:
            return found[0]
        first, _, second = (value or "").replace("'", "").partition("=")
        return template.format(value=value or "", first=first, second=second).removesuffix(": ")

    return _NAMED.sub(name, text)
