"""Networks as other libraries make and save them: torchvision's classes with statistics that differ from the start."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import nn

CLASSES = ("covid19", "normal", "pneumonia")
IMAGENET = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1), torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)


def perturbed(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give every batch normalisation and every bias values of their own, so that a lost tensor shows in the logits."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.6, 1.6),
                (module.weight.data, 0.8, 1.2),
                (module.bias.data, -0.1, 0.1),
            ):
                tensor.uniform_(low, high, generator=generator)
        elif isinstance(module, nn.Linear):
            module.weight.data.normal_(0, 0.05, generator=generator)
            module.bias.data.normal_(0, 1, generator=generator)
    return network.eval()


def grey(n: int = 2, size: int = 64) -> torch.Tensor:
    """X-rays of noise (n, 1, size, size) in [0, 1]."""
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(7))


def by_imagenet(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits after torchvision's own normalisation of grey repeated to three channels."""
    mean, std = IMAGENET
    with torch.no_grad():
        return network((images.expand(-1, 3, -1, -1) - mean) / std)


def old_names(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Rename as the DenseNets of 2017 were: ``norm.1`` and ``conv.2``, behind a wrapper's prefix."""
    return {prefix + re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", n): t for n, t in state.items()}


def saved(state: object, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, path)
    return path
