"""Which tensors of a file go where in a model, and what does not fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from cxr.models.card import ModelCard
from cxr.models.classifier import XrayClassifier, head_of
from cxr.models.imports.key_mapping import our_names
from cxr.models.safe_load import State
from cxr.models.transfer import keep_output_neurons

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LoadReport:
    """What became of the tensors of a file.

    Attributes
    ----------
    matched
        Names that were loaded.
    missing
        Names of the model that the file lacks.
    unexpected
        Names of the file that the model lacks.
    mismatched
        Name, shape in the file, shape in the model.
    ignored
        Name in the file and shape of tensors that belong to no network and were left aside, such as those of a loss.
    head
        ``loaded``, or why the head starts from random values.
    shapes
        Of every name above, in the file (or in the model, where the file lacks it).
    """

    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, Shape, Shape], ...] = ()
    ignored: tuple[tuple[str, Shape], ...] = ()
    head: str = "loaded"
    shapes: Mapping[str, Shape] = dataclasses.field(default_factory=dict, repr=False)

    @property
    def aside(self) -> tuple[tuple[str, Shape], ...]:
        """The earlier name of ``ignored``."""
        return self.ignored

    @property
    def complete(self) -> bool:
        """Whether everything but the head fitted."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        shapes = [f"{name} ({old} in the file, {new} in the model)" for name, old, new in self.mismatched]
        parts = [f"{len(self.matched)} tensors matched", f"head {self.head}"]
        kinds = (
            ("missing", self.missing),
            ("unexpected", self.unexpected),
            ("of another shape", shapes),
            ("left aside", [name for name, _ in self.ignored]),
        )
        for verdict, names in kinds:
            if names:
                parts.append(f"{len(names)} {verdict}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}")
        return "; ".join(parts)

    def rows(self) -> list[dict[str, str]]:
        """Return a table of all tensors: ``tensor``, ``verdict``, shapes ``in the file`` and ``in the model``."""
        verdicts = dict.fromkeys(self.matched, "matched") | dict.fromkeys(self.missing, "missing")
        verdicts |= dict.fromkeys(self.unexpected, "unexpected")
        rows = []
        for name, verdict in verdicts.items():
            shape = shape_text(self.shapes.get(name, ()))
            sides = ("" if verdict == "missing" else shape, "" if verdict == "unexpected" else shape)
            rows.append(_row(name, verdict, *sides))
        rows += [_row(n, "other shape", shape_text(old), shape_text(new)) for n, old, new in self.mismatched]
        return rows + [_row(name, "left aside", shape_text(shape), "") for name, shape in self.ignored]


def _row(name: str, verdict: str, in_file: str, in_model: str) -> dict[str, str]:
    return {"tensor": name, "verdict": verdict, "in the file": in_file, "in the model": in_model}


def shape_text(shape: Shape) -> str:
    """Return ``64x1x7x7``; ``number`` for no dimensions."""
    return "x".join(map(str, shape)) or "number"


def load_state(model: XrayClassifier, state: Mapping[str, torch.Tensor], card: ModelCard | None) -> LoadReport:
    """Load what fits of ``state`` into the model and return the report.

    The head: with a card of the same classes its neurons are matched by class name; with a card of other classes it
    starts from random values. Without a card it is loaded if its shape fits, else it starts from random values.
    """
    target = model.network.state_dict()
    head_path, head = head_of(model.network)
    tensors, ignored = our_names(state).with_head(head_path, head.in_features, target).split(target)
    compared = {name: tensor for name, tensor in tensors.items() if name in target or matters(name)}
    compared, verdict = _fit_head(model, compared, card, f"{head_path}.", head)
    report = compare(compared, target)
    model.network.load_state_dict({name: compared[name] for name in report.matched}, strict=False)
    if verdict != "loaded":
        report = dataclasses.replace(
            report, missing=tuple(name for name in report.missing if not name.startswith(f"{head_path}."))
        )
    return dataclasses.replace(report, head=verdict, ignored=ignored)


def compare(state: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor]) -> LoadReport:
    """Return which tensors of ``state`` have the name and shape of one of the model's, loading nothing."""
    shapes = {name: (tuple(t.shape), tuple(target[name].shape)) for name, t in state.items() if name in target}
    missing = tuple(name for name in target if matters(name) and name not in state)
    return LoadReport(
        matched=tuple(name for name, (old, new) in shapes.items() if old == new),
        missing=missing,
        unexpected=tuple(name for name in state if name not in target),
        mismatched=tuple((name, old, new) for name, (old, new) in shapes.items() if old != new),
        shapes={name: tuple(t.shape) for name, t in state.items()} | {n: tuple(target[n].shape) for n in missing},
    )


def matters(name: str) -> bool:
    """Return whether a model lacks something without this tensor."""
    # Counters of batches, which some savers leave out, change nothing.
    return not name.endswith("num_batches_tracked")


def _fit_head(
    model: XrayClassifier, state: State, card: ModelCard | None, prefix: str, head: torch.nn.Linear
) -> tuple[State, str]:
    """Return the state with head tensors that belong to the model's classes, or without any, and what was done."""
    body = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
    weight, bias = state.get(f"{prefix}weight"), state.get(f"{prefix}bias")
    if card is None:
        fits = weight is not None and weight.shape == head.weight.shape
        return (
            (state, "loaded")
            if fits
            else (body, "starts from random values (absent from the file, or of another shape)")
        )
    if set(card.classes) != set(model.classes):
        return body, f"starts from random values (the file's classes are {', '.join(card.classes)})"
    if weight is None or weight.shape != head.weight.shape:
        return body, "starts from random values (the file's head does not fit its own card)"
    old = torch.nn.Linear(head.in_features, len(card.classes), bias=bias is not None, dtype=weight.dtype)
    old.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    new = keep_output_neurons(old, card.classes, model.classes)
    return body | {prefix + name: tensor for name, tensor in new.state_dict().items()}, "loaded"
