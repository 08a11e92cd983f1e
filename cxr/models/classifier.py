"""Networks from timm behind one interface that owns its input.

A :class:`XrayClassifier` takes grey X-rays as they come from the cache and does the rest (resizing, repeating to
three channels, normalisation) by its card, so nobody can feed it wrong pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cxr.errors import ImageError, WeightsError
from cxr.models.card import ModelCard
from cxr.models.image_batch import as_batch

if TYPE_CHECKING:
    pass


class XrayClassifier(nn.Module):
    """A network with its card.

    Parameters
    ----------
    network
        Takes (N, ``card.channels``, H, W) normalised floats, returns logits (N, ``len(card.classes)``).
    card
        What the network takes and what its outputs mean.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, card: ModelCard) -> None:
        super().__init__()
        self.network = network
        self.card = card
        self.register_buffer("mean", torch.tensor(card.mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(card.std).view(1, -1, 1, 1), persistent=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the outputs, in their order."""
        return self.card.classes

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self.mean.device

    def preprocess(self, images: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Return what the network itself takes.

        Parameters
        ----------
        images
            (N, H, W) or (N, 1, H, W): uint8 in 0 to 255, or floats in [0, 1]. Or a list of N images of one shape.

        Returns
        -------
        (N, channels, size, size) float32 on the network's device, resized (bilinear, antialiased) and normalised.

        Raises
        ------
        ImageError
            For another shape or type, images of several sizes, or floats outside [0, 1].
        """
        grey = _grey(images, self.device)
        if grey.shape[-2:] != (self.card.size, self.card.size):
            grey = F.interpolate(grey, size=(self.card.size, self.card.size), mode="bilinear", antialias=True)
        return self.normalise(grey)

    def normalise(self, grey: torch.Tensor) -> torch.Tensor:
        """Return the network's own input from grey floats (N, 1, size, size) in [0, 1], which are not checked."""
        return (grey.expand(-1, self.card.channels, -1, -1) - self.mean) / self.std

    def forward(self, images: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Return logits (N, K) of X-rays as :meth:`preprocess` takes them."""
        return self.network(self.preprocess(images))


def _grey(images: torch.Tensor | np.ndarray, device: torch.device) -> torch.Tensor:
    """Return (N, 1, H, W) float32 in [0, 1]."""
    array = as_batch(images)
    shape = tuple(array.shape)
    if isinstance(array, np.ndarray) and array.dtype.kind not in "biufc":
        raise ImageError(f"images are {array.dtype}: uint8 or floats are needed")
    batch = torch.from_numpy(np.array(array)) if isinstance(array, np.ndarray) else array
    if batch.ndim == 3:
        batch = batch[:, None]
    if batch.ndim != 4 or batch.shape[1] != 1 or 0 in batch.shape:
        raise ImageError(f"images have the shape {shape}: (N, H, W) or (N, 1, H, W) is needed")
    if batch.dtype == torch.uint8:
        return batch.to(device).to(torch.float32) / 255
    if not batch.is_floating_point():
        raise ImageError(f"images are {str(batch.dtype).removeprefix('torch.')}: uint8 or floats are needed")
    _check_range(batch)
    return batch.to(device, torch.float32)


def _check_range(batch: torch.Tensor) -> None:
    # Resizing and augmenting round a little beyond the ends. A NaN fails the comparison too.
    low, high = (value.item() for value in torch.aminmax(batch.detach()))
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ImageError(f"float images reach from {low:.4g} to {high:.4g}: values in [0, 1] are needed (or uint8)")


def head_of(network: Any) -> tuple[str, nn.Linear]:
    """Return the path and the module of the last, linear layer.

    Raises
    ------
    WeightsError
        If the network's classifier is no linear layer.
    """
    head = network.get_classifier()
    if not isinstance(head, nn.Linear):
        raise WeightsError(f"{type(network).__name__} ends in {type(head).__name__}: a linear last layer is needed")
    return next(path for path, module in network.named_modules() if module is head), head


def replace_head(network: Any, head: nn.Linear) -> None:
    """Put ``head`` in the place of the network's last layer."""
    path, _ = head_of(network)
    parent, _, name = path.rpartition(".")
    setattr(network.get_submodule(parent), name, head)
    network.num_classes = head.out_features
