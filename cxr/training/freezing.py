"""Which part of a network is trained: all of it, its head, or everything from a block on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from timm.models import group_parameters
from torch import nn

from cxr.errors import RecipeError, wrong_use
from cxr.models.classifier import XrayClassifier, head_of
from cxr.training.recipe import ALL, HEAD


def parameters_of(model: XrayClassifier, part: str) -> list[nn.Parameter]:
    """Return the parameters that ``all``, ``head`` or ``block-N`` means.

    Blocks are timm's coarse groups: of a DenseNet dense block N with the transition after it, of a ResNet ``layerN``.
    ``block-N`` are those from N on, and whatever follows them.

    Raises
    ------
    RecipeError
        If the network has no such block.
    """
    if part == HEAD:
        return list(head_of(model.network)[1].parameters())
    if part == ALL:
        return list(model.network.parameters())
    number = int(part.removeprefix("block-"))
    groups = _groups(model)
    last = max(groups.values()) - 1  # the last group is the head with the norm before it
    if number > last:
        backbone = model.card.backbone
        raise wrong_use(
            RecipeError(f"train: {part!r} is not a part of {backbone}. Allowed: all, head, block-1 to {last}")
        )
    return [parameter for name, parameter in model.network.named_parameters() if groups[name] >= number]


def _groups(model: XrayClassifier) -> dict[str, int]:
    network: Any = model.network
    if not hasattr(network, "group_matcher"):
        raise RecipeError(f"train: {model.card.backbone} has no blocks that timm names. Allowed: all, head")
    names = group_parameters(network, network.group_matcher(coarse=True))
    return {name: group for group, members in names.items() for name in members}


def ever_trained(model: XrayClassifier, parts: Iterable[str]) -> list[nn.Parameter]:
    """Return the parameters that are trained in any of the ``parts``, in the network's order."""
    chosen = {id(parameter) for part in set(parts) for parameter in parameters_of(model, part)}
    return [parameter for parameter in model.network.parameters() if id(parameter) in chosen]


def thaw(model: XrayClassifier, part: str) -> None:
    """Let ``part`` move and hold everything else."""
    moving = {id(parameter) for parameter in parameters_of(model, part)}
    for parameter in model.network.parameters():
        parameter.requires_grad_(id(parameter) in moving)


def set_training_mode(model: XrayClassifier) -> None:
    """Set training mode where something moves; elsewhere dropout is off and the statistics of norms hold still too."""
    model.train()
    for module in model.network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()
