"""The reference of the Python package in Markdown: what each page takes from the docstrings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).resolve().parents[2]
# {page: (what it answers, its modules)}. A package gives the names in its `__all__`, a module its public ones.
PAGES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "data": ("X-rays as data: the manifest, importing, splits and decoded images.", ("cxr.data",)),
    "models": ("Networks with their cards: building, loading, transfer between tasks.", ("cxr.models",)),
    "networks": ("On which device a network works, and which network a name means.", ("cxr.networks",)),
    "training": ("Recipes, and the training that follows them.", ("cxr.training",)),
    "runs": ("Starting, watching, stopping and resuming runs.", ("cxr.runs",)),
    "evaluation": (
        "Predictions, figures and their intervals.",
        ("cxr.evaluation", "cxr.evaluation.intervals", "cxr.evaluation.slices", "cxr.evaluation.tests"),
    ),
    "explain": (
        "Heatmaps: explaining a network, composites, rules and propagators.",
        (
            "cxr.explain",
            "cxr.explain.composites",
            "cxr.explain.composites.composite",
            "cxr.explain.lrp.rules",
            "cxr.explain.lrp.input_rules",
            "cxr.explain.lrp.propagator",
        ),
    ),
    "text": ("Burned-in text: finding tokens, masking them, controls and stamping.", ("cxr.text",)),
    "regions": ("Lungs, border and text of an X-ray, and X-rays that show one of them only.", ("cxr.regions",)),
    "experiments": (
        "Experiments with text, and studies over several seeds.",
        (
            "cxr.experiments.masking.settings",
            "cxr.experiments.stamping.settings",
            "cxr.experiments.vocabulary.settings",
            "cxr.experiments.data_audit.settings",
            "cxr.experiments.appearance.settings",
            "cxr.experiments.probes.settings",
            "cxr.experiments.probes.probing",
            "cxr.experiments.probes.questions",
            "cxr.experiments.study",
        ),
    ),
}
_EXAMPLE = re.compile(r"^(>>> .*(?:\n.+)*)", re.MULTILINE)
_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?\.?([^`]+)`")


def page(name: str) -> str:
    """Return a page of the reference: each module's public names, which mkdocstrings replaces by their docstrings."""
    answers, modules = PAGES[name]
    return f"# cxr.{name}\n\n{answers}\n\n" + "\n".join(_section(module) for module in modules)


def _section(name: str) -> str:
    module = _package()[name.partition(".")[2]]
    public = module.exports or [name for name, member in module.members.items() if _shown(name, member)]
    entries = "\n".join(f"::: {name}.{member}\n    options:\n      heading_level: 3\n" for member in sorted(public))
    return f"## {name}\n\n{_plain(module.docstring.value if module.docstring else '')}\n\n{entries}"


@cache
def _package() -> Any:
    return griffe.load("cxr", search_paths=[ROOT])


def _shown(name: str, member: Any) -> bool:
    return not name.startswith("_") and not member.is_alias and not member.is_module


def _plain(text: str) -> str:
    """Return a docstring with the roles of reStructuredText and examples as code."""
    return _EXAMPLE.sub(r"```pycon\n\1\n```", _ROLE.sub(r"`\1`", text))


class PlainRoles(griffe.Extension):
    """Shows roles such as ``:func:`` and examples as code in every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object as soon as it is read."""
        if obj.docstring:
            obj.docstring.value = _plain(obj.docstring.value)
