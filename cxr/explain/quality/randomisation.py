"""Parameter randomisation: a map that stays as it was when the network forgets what it learnt did not show that.

Cascading, from the classifier downwards (Adebayo et al. 2018, "Sanity Checks for Saliency Maps"). Binder et al. 2023,
"Shortcomings of Top-Down Randomization-Based Sanity Checks", show what to keep in mind: maps of a partly randomised
network still hold what the intact layers below pass on, so that alike maps at the first stages prove little; and noisy
methods do best.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from timm.models.densenet import DenseNet
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from cxr.errors import ExplainError, unknown, wrong_use
from cxr.explain.explainer import Explainable, explain
from cxr.explain.frozen import frozen_copy
from cxr.explain.quality.agreement import cosine, spearman
from cxr.explain.render import relevance_2d

MapsOf = Callable[[Explainable], np.ndarray]
Progress = Callable[[float, str], None]

_NORMS = (_BatchNorm, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Randomisation:
    """Maps of N images after ever more of the network was randomised, and how much of the first maps is left.

    Attributes
    ----------
    stages
        S names, in order: each part named is random from that stage on.
    spearman
        (S, N), rank correlation of the absolute values with the original map; NaN where a map is constant.
    cosine
        (S, N), of the signed values; NaN where a map is zero.
    original, maps
        Relevance (N, H, W) of the network as it is, and (S, N, H, W).
    """

    stages: tuple[str, ...]
    spearman: np.ndarray
    cosine: np.ndarray
    original: np.ndarray
    maps: np.ndarray

    def table(self) -> pd.DataFrame:
        """Return one row per stage: stage, spearman, cosine (means over the images)."""
        columns = {"spearman": self.spearman.mean(axis=1), "cosine": self.cosine.mean(axis=1)}
        return pd.DataFrame({"stage": self.stages} | columns)


def randomise_parameters(
    model: Explainable,
    maps_of: MapsOf,
    *,
    original: np.ndarray | None = None,
    stages: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Randomisation:
    """Randomise a copy of ``model`` part by part, from its classifier downwards, and explain after each.

    Parameters
    ----------
    maps_of
        Takes a model, returns relevance (N, H, W) or (N, C, H, W), such as :func:`explaining` makes.
    original
        What it returns for ``model`` itself, where that is known already.
    stages
        Names of :func:`stages_of` after which to explain; None for all. What lies above is randomised all the same.
    progress
        Called with the share done (0 to 1) and the stage.

    Raises
    ------
    ExplainError
        For an unknown stage, maps of another shape, or what ``maps_of`` raises.
    """
    twin_network = frozen_copy(model.network)
    twin = copy.deepcopy(model, {id(model.network): twin_network})  # around the frozen network, not around another copy
    parts = stages_of(twin_network)
    chosen_stages = _checked_stages(stages, parts)
    first = _per_image(maps_of(model) if original is None else original)
    generator = torch.Generator().manual_seed(seed)
    maps: list[np.ndarray] = []
    for name, modules in parts.items():
        if len(maps) == len(chosen_stages):
            break
        for module in modules:
            randomise(module, generator)
        if name in chosen_stages:
            maps.append(_per_image(maps_of(twin)))
            if progress is not None:
                progress(len(maps) / len(chosen_stages), name)
    pairs = [list(zip(first, later, strict=True)) for later in maps]
    return Randomisation(
        chosen_stages,
        np.array([[spearman(np.abs(a), np.abs(b)) for a, b in pair] for pair in pairs]),
        np.array([[cosine(a, b) for a, b in pair] for pair in pairs]),
        first,
        np.stack(maps),
    )


def explaining(images: Any, targets: Any, composite: str, **options: Any) -> MapsOf:
    """Return a function that explains ``images`` with whatever model it is given, as :func:`cxr.explain.explain`."""

    def maps_of(model: Explainable) -> np.ndarray:
        return explain(model, images, targets, composite, **options).relevance

    return maps_of


def _per_image(maps: np.ndarray) -> np.ndarray:
    if maps.ndim not in (3, 4):
        raise ExplainError(f"maps have the shape {maps.shape}. Accepted: (N, H, W) or (N, C, H, W)")
    return relevance_2d(maps) if maps.ndim == 4 else maps


def stages_of(network: nn.Module) -> dict[str, tuple[nn.Module, ...]]:
    """Return the parts of a network that have parameters by name, the classifier first.

    A timm DenseNet's are its classifier, its blocks (each with the transition after it, the last with the last batch
    norm) and its stem; any other network's are its children in reverse order.
    """
    parts: dict[str, list[nn.Module]] = {}
    for name, module in _children(network):
        if any(True for _ in module.parameters()):
            parts.setdefault(name, []).append(module)
    if not parts:
        raise ExplainError(f"{type(network).__name__} has no parameters to randomise. Accepted: a network with some")
    return {name: tuple(parts[name]) for name in reversed(parts)}


def _children(network: nn.Module) -> Iterable[tuple[str, nn.Module]]:
    if not isinstance(network, DenseNet):
        yield from network.named_children()
        return
    stage = "stem"
    for name, module in network.features.named_children():
        stage = name if name.startswith("denseblock") else stage
        yield stage, module
    yield "classifier", network.classifier


def _checked_stages(stages: Sequence[str] | None, parts: Iterable[str]) -> tuple[str, ...]:
    names = tuple(parts)
    chosen = names if stages is None else tuple(stages)
    for name in chosen:
        if name not in names:
            raise wrong_use(ExplainError(unknown("stage", name, names)))
    if not chosen:
        raise ExplainError(f"no stages given. Accepted: one or more of {', '.join(names)}")
    return tuple(name for name in names if name in chosen)


def randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Give every part of ``module`` random numbers, in place.

    Convolutions and linear layers get normal weights of the width that keeps the size of values behind a ReLU (He et
    al. 2015) and zero biases; norms become the identity, with running mean 0 and variance 1; the values of any other
    parameter are shuffled.
    """
    for part in module.modules():
        weight, bias = getattr(part, "weight", None), getattr(part, "bias", None)
        if isinstance(part, _NORMS):
            _set(weight, 1.0)
            _set(bias, 0.0)
            if isinstance(part, _BatchNorm):
                part.reset_running_stats()
        elif isinstance(part, nn.modules.conv._ConvNd | nn.Linear):
            _set(weight, _normal(part.weight, generator))
            _set(bias, 0.0)
        else:
            for parameter in part.parameters(recurse=False):
                order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                _set(parameter, parameter.flatten()[order].view_as(parameter))


def _normal(weight: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    # Drawn on the processor, so that every device gets the same numbers.
    drawn = torch.randn(weight.shape, generator=generator)
    return drawn * math.sqrt(2 / weight[0].numel())


@torch.no_grad()
def _set(parameter: torch.Tensor | None, values: torch.Tensor | float) -> None:
    if parameter is not None:
        parameter.copy_(torch.as_tensor(values))
