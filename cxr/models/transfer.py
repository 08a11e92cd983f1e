"""From one task to the next: a new head that may keep the output neurons of the classes both tasks share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from cxr.errors import WeightsError
from cxr.models.classifier import XrayClassifier, head_of, replace_head


def kept_neurons(
    old_classes: Sequence[str], new_classes: Sequence[str], aliases: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return ``{new class: old class}`` for the classes that both tasks have.

    Parameters
    ----------
    aliases
        Names that mean the same, such as ``{"No Finding": "normal"}``; they hold for both lists.

    Raises
    ------
    WeightsError
        If two classes of one list mean the same, so that it is open which neuron is meant.
    """
    old, new = (_by_meaning(classes, aliases or {}) for classes in (old_classes, new_classes))
    return {name: old[meaning] for meaning, name in new.items() if meaning in old}


def _by_meaning(classes: Sequence[str], aliases: Mapping[str, str]) -> dict[str, str]:
    name_of: dict[str, str] = {}
    for name in classes:
        meaning = aliases.get(name, name)
        if meaning in name_of:
            raise WeightsError(
                f"classes {name_of[meaning]!r} and {name!r} both mean {meaning!r}: one of them may (change `aliases`)"
            )
        name_of[meaning] = name
    return name_of


def keep_output_neurons(
    head: nn.Linear,
    old_classes: Sequence[str],
    new_classes: Sequence[str],
    aliases: Mapping[str, str] | None = None,
) -> nn.Linear:
    """Return a head for ``new_classes`` that keeps the neurons of the classes shared with ``old_classes``.

    Weight rows (n_features,) and biases are copied by class name, whatever the order; the other neurons keep the
    default initialisation (Bassi and Attux 2021, "output neuron keeping").

    Raises
    ------
    WeightsError
        If ``old_classes`` are not the head's outputs, or two names of a list mean the same.
    """
    if head.out_features != len(old_classes):
        raise WeightsError(f"the head has {head.out_features} outputs, but {len(old_classes)} old classes are named")
    pairs = kept_neurons(old_classes, new_classes, aliases)
    new = nn.Linear(
        head.in_features,
        len(new_classes),
        bias=head.bias is not None,
        device=head.weight.device,
        dtype=head.weight.dtype,
    )
    rows = [(list(new_classes).index(to), list(old_classes).index(since)) for to, since in pairs.items()]
    with torch.no_grad():
        for to, since in rows:
            new.weight[to] = head.weight[since]
            if head.bias is not None:
                new.bias[to] = head.bias[since]
    return new


def with_classes(
    model: XrayClassifier,
    classes: Sequence[str],
    *,
    task: str,
    keep: bool = False,
    aliases: Mapping[str, str] | None = None,
) -> tuple[XrayClassifier, dict[str, str]]:
    """Return the same network with a head for other classes, and ``{new: old}`` of the neurons that were kept.

    The network is shared, not copied: ``model`` must not be used any more. With ``keep=False`` the head starts
    from random values.
    """
    _, head = head_of(model.network)
    pairs = kept_neurons(model.classes, classes, aliases) if keep else {}
    old = model.classes if keep else tuple(f"old {name}" for name in model.classes)
    card = dataclasses.replace(model.card, classes=tuple(classes), task=task)
    replace_head(model.network, keep_output_neurons(head, old, classes, aliases))
    return XrayClassifier(model.network, card).to(head.weight.device), pairs
