"""Small networks and models for explaining."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from timm.models.densenet import DenseNet
from torch import nn

CLASSES = ("covid19", "normal", "pneumonia")


def shaken_densenet(seed: int = 0, lowest: float = -0.3, in_chans: int = 1, **arguments) -> DenseNet:
    """A small DenseNet whose batch norms are not the identity: scales from ``lowest`` to 1.5, some exactly zero."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    settings = {"growth_rate": 6, "block_config": (2, 3, 2), "bn_size": 2, "num_classes": 3, "in_chans": in_chans}
    network = DenseNet(**(settings | arguments))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2.0, generator=generator)
            module.weight.data.uniform_(lowest, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
            if lowest < 0:
                module.weight.data[0] = 0.0
    return network.eval()


class Model:
    """The least that can be explained: preprocess, network and classes."""

    def __init__(self, network: nn.Module, classes: tuple[str, ...] = CLASSES) -> None:
        self.network = network
        self.classes = classes

    def preprocess(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Return the images as floats, as they are."""
        return torch.as_tensor(np.asarray(images), dtype=torch.float32)


def pictures(n: int = 2, size: int = 64, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Random network inputs (n, channels, size, size)."""
    return np.random.default_rng(seed).normal(size=(n, channels, size, size)).astype(np.float32)


def hooks_of(network: nn.Module) -> list:
    """All hooks that hang on a network."""
    return [
        hook
        for module in network.modules()
        for hooks in (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        for hook in hooks
    ]


def on_threads(work: Callable[[Any], Any], jobs: Sequence, n: int = 4) -> dict:
    """Do every job on one of ``n`` threads that run at once; return job -> result."""
    done = {}

    def some(mine):
        for job in mine:
            done[job] = work(job)

    threads = [threading.Thread(target=some, args=(jobs[k::n],)) for k in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done
