"""A card as a page in Markdown: what a person asks of a network, in the order in which they ask."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import yaml

from cxr.json_types import JsonObject
from cxr.models.licences import sharing_note

if TYPE_CHECKING:
    from cxr.models.card import ModelCard

_FIGURES = (
    ("accuracy", "accuracy"),
    ("macro_f1", "macro F1"),
    ("auc", "AUC"),
    ("average_precision", "average precision"),
)
_BY_CLASS = ("recall", "precision", "f1", "auc")
_TITLES = {"auc": "AUC", "f1": "F1"}
_BY_FINDING = ("auc", "average_precision", "threshold", "sensitivity", "specificity", "precision")


def markdown(card: ModelCard) -> str:
    """Return the page; sections about which the card says nothing say so in a word, figures have their interval."""
    sections = [
        f"# {card.name or card.backbone}",
        card.intended_use,
        table(("property", "value"), [("backbone", _backbone(card)), *_input(card), *_outputs(card)]),
        "## Where it comes from",
        table(("property", "value"), _history(card)),
        *filter(None, [sharing_note(card.licence)]),
        *_stages(card),
        "## Figures",
        *_figures(card.metrics),
        "## Limits",
        card.limits,
        *_thresholds(card),
        *_recipe(card),
        "## Software",
        ", ".join(f"{name} {version}" for name, version in card.versions.items()) or "unknown",
    ]
    return "\n\n".join(sections) + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table of Markdown; a bar inside a cell is escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def interval(value: Any) -> str:
    """Return ``0.853 [0.801, 0.894]`` of ``{"value", "low", "high"}``, or a bare number as it is."""
    if not isinstance(value, dict):
        return "–" if value is None else f"{value:.3f}"
    if value.get("value") is None:
        return "–"
    low, high = value.get("low"), value.get("high")
    ends = "" if low is None or high is None else f" [{low:.3f}, {high:.3f}]"
    return f"{value['value']:.3f}{ends}"


def _backbone(card: ModelCard) -> str:
    return card.backbone + (f" {json.dumps(card.backbone_args)}" if card.backbone_args else "")


def _input(card: ModelCard) -> list[tuple[str, str]]:
    channels = "grey" if card.channels == 1 else "grey, repeated to 3 channels"
    normalised = f"values in [0, 1], minus {_numbers(card.mean)}, divided by {_numbers(card.std)}"
    return [("input", f"{card.size} x {card.size} pixels, {channels}; {normalised}")]


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)


def _outputs(card: ModelCard) -> list[tuple[str, str]]:
    return [("classes", ", ".join(card.classes)), ("task", card.task)]


def _history(card: ModelCard) -> list[tuple[str, str]]:
    rows = [
        ("trained on", card.trained_on),
        ("manifest hash", card.manifest_hash),
        ("split hash", card.split_hash),
        ("initial weights", card.origin),
        ("their checksum", card.checksum),
        ("licence", card.licence),
        ("made", card.created),
    ]
    return [(name, value or "not stated") for name, value in rows]


def _stages(card: ModelCard) -> list[str]:
    if not card.stages:
        return []
    rows = [
        (
            stage.get("name", ""),
            stage.get("task", ""),
            ", ".join(map(str, stage.get("classes") or ())),
            _kept_neurons(stage.get("kept_neurons")),
            _best(stage.get("best")),
        )
        for stage in card.stages
    ]
    return ["## Stages of the training", table(("stage", "task", "classes", "neurons kept", "best epoch"), rows)]


def _kept_neurons(neurons: Any) -> str:
    if isinstance(neurons, dict):
        return ", ".join(new if new == old else f"{old} as {new}" for new, old in neurons.items()) or "none"
    return ", ".join(map(str, neurons or ())) or "none"


def _best(best: Any) -> str:
    if not isinstance(best, dict):
        return "" if best is None else str(best)
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, int | float) else f"{k} {v}" for k, v in best.items())


def _figures(metrics: JsonObject) -> list[str]:
    splits = {name: values for name, values in metrics.items() if isinstance(values, dict)}
    if not splits:
        return ["None are stated: measure it with `cxr evaluate` on data of your own before you trust it."]
    names = [(key, title) for key, title in _FIGURES if any(key in values for values in splits.values())]
    rows = [(split, _of(values), *(interval(values.get(key)) for key, _ in names)) for split, values in splits.items()]
    parts = [table(("split", "images", *(title for _, title in names)), rows)]
    parts += [part for split, values in splits.items() for part in _per_class(split, values.get("per_class"))]
    return [*parts, "In brackets: the interval of the level that the evaluation states (95 % unless changed)."]


def _of(values: JsonObject) -> str:
    """Return how many images figures are of, and of how many patients where that was counted."""
    patients = values.get("n_patients")
    return f"{values.get('n', '')}" + ("" if patients is None else f" ({patients:,} patients)")


def _per_class(split: str, per_class: Any) -> list[str]:
    if not isinstance(per_class, dict) or not per_class:
        return []
    of_findings = any("known" in values for values in per_class.values())
    names = _BY_FINDING if of_findings else _BY_CLASS
    keys = [key for key in names if any(key in values for values in per_class.values())]
    rows = [(name, _images(values), *(interval(values.get(key)) for key in keys)) for name, values in per_class.items()]
    columns = ("finding", "positive of known images") if of_findings else ("class", "images")
    titles = (_TITLES.get(key, key.replace("_", " ")) for key in keys)
    return [f"By {columns[0]}, {split}:", table((*columns, *titles), rows)]


def _images(values: JsonObject) -> str:
    if "known" in values:
        return f"{values.get('positive', '')} of {values['known']}"
    return str(values.get("support", ""))


def _thresholds(card: ModelCard) -> list[str]:
    if not card.thresholds:
        return []
    rows = [(name, f"{value:.4g}") for name, value in card.thresholds.items()]
    return ["## Operating points of its publisher", table(("class", "called found above"), rows)]


def _recipe(card: ModelCard) -> list[str]:
    if not card.recipe:
        return []
    plain = json.loads(json.dumps(card.recipe, default=str))
    return ["## Recipe", f"```yaml\n{yaml.safe_dump(plain, sort_keys=False).rstrip()}\n```"]
