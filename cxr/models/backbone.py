"""Networks from timm behind one interface that owns its input.

A :class:`XrayClassifier` takes grey X-rays as they come from the cache and does the rest (resizing, repeating to
three channels, normalisation) by its card, so nobody can feed it wrong pixels.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from timm.models.densenet import DenseNet
from torch import nn

from cxr.errors import ImageError, WeightsError
from cxr.models.card import SINGLE_LABEL, ModelCard
from cxr.models.image_batch import as_batch

if TYPE_CHECKING:
    from cxr.models.weights import Source

GREY_MEAN, GREY_STD = 0.5, 0.25
CLASSES = ("covid19", "normal", "pneumonia")

# timm's modules of convolutional classifiers: relevance propagation and the recipes are made for these alone.
FAMILIES = (
    "convnext",
    "cspnet",
    "densenet",
    "dla",
    "dpn",
    "efficientnet",
    "ghostnet",
    "hardcorenas",
    "hrnet",
    "inception_next",
    "inception_resnet_v2",
    "inception_v3",
    "inception_v4",
    "mobilenetv3",
    "nasnet",
    "nfnet",
    "pnasnet",
    "regnet",
    "res2net",
    "resnest",
    "resnet",
    "resnetv2",
    "rexnet",
    "selecsls",
    "senet",
    "sknet",
    "tresnet",
    "vgg",
    "vovnet",
    "xception",
    "xception_aligned",
)


# A DenseNet of about 170,000 parameters that trains on a processor in minutes.
ALIASES: dict[str, dict[str, Any]] = {"densenet-small": {"growth_rate": 12, "block_config": [2, 4, 6, 4]}}


@lru_cache(maxsize=1)
def backbones() -> tuple[str, ...]:
    """Return the names that :func:`build` takes: our aliases and timm's convolutional classifiers."""
    return (*ALIASES, *sorted({name for family in FAMILIES for name in timm.list_models(module=family)}))


def check_backbone(name: str) -> str:
    """Return ``name`` if :func:`build` knows it (timm's ``.tag`` of pretrained weights is allowed), else raise.

    Raises
    ------
    WeightsError
        Naming the closest names that exist.
    """
    if name.partition(".")[0] in backbones():
        return name
    close = difflib.get_close_matches(name, backbones(), n=4, cutoff=0.5) or ["densenet121", "densenet-small"]
    kind = "is not a convolutional classifier" if timm.is_model(name) else "is not known"
    raise WeightsError(
        f"backbone {name!r} {kind}. Did you mean {', '.join(close)}? ({len(backbones())} names of timm are available)"
    )


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
    given = as_batch(images)
    shape = tuple(given.shape)
    if isinstance(given, np.ndarray) and given.dtype.kind not in "biufc":
        raise ImageError(f"images are {given.dtype}: uint8 or floats are needed")
    batch = torch.from_numpy(np.array(given)) if isinstance(given, np.ndarray) else given
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


def build(
    backbone: str = "densenet121",
    classes: Sequence[str] = CLASSES,
    *,
    weights: str | Path | None = None,
    size: int | None = None,
    channels: int | None = None,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    task: str = SINGLE_LABEL,
    backbone_args: Mapping[str, Any] | None = None,
) -> XrayClassifier:
    """Make a classifier.

    Parameters
    ----------
    backbone
        One of :func:`backbones`.
    classes
        Names of the outputs.
    weights
        None for random ones, ``imagenet`` for timm's pretrained ones (3 channels and timm's normalisation unless
        given), or a file: ours (safetensors with a card) or a state dict of this backbone. Of a file with a card
        the input (size, channels, mean, std) is taken over unless given, and the output neurons are matched by class
        name if it has the same classes; with other classes the head starts anew (see :mod:`cxr.models.transfer` to
        keep some). A state dict without a card must have a head of the right shape or none that fits: a head of
        another shape starts anew. Anything else that does not match is refused.
    size, channels, mean, std
        The input; by default 224 pixels, one channel, 0.5 and 0.25.
    task
        ``single-label`` or ``multi-label``.
    backbone_args
        Further arguments of timm's model, such as ``drop_rate``.

    Raises
    ------
    WeightsError
        For an unknown backbone, wrong arguments, or weights that cannot be had or do not fit.
    """
    from cxr.models import weights as files  # which makes models itself, to load them

    source = files.source_of(weights, check_backbone(backbone))
    given = source.card
    arguments = ALIASES.get(backbone, {}) | (given.backbone_args if given else {}) | dict(backbone_args or {})
    channels = channels or (given.channels if given else source.channels)
    network = make_network(backbone, len(classes), channels, arguments)
    default_mean, default_std = _normalisation(network, channels, source)
    card = ModelCard(
        backbone=backbone,
        backbone_args=arguments,
        classes=tuple(classes),
        task=task,
        size=size or (given.size if given else 224),
        channels=channels,
        mean=_per_channel(mean, default_mean, channels),
        std=_per_channel(std, default_std, channels),
        trained_on=source.title,
        origin=source.origin,
        checksum=source.checksum,
        licence=source.licence,
    )
    model = XrayClassifier(network, card)
    source.load_into(model)
    return model


def make_network(backbone: str, n_classes: int, channels: int, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the bare network with random weights (the global torch generator decides them)."""
    try:
        if backbone in ALIASES:
            return DenseNet(num_classes=n_classes, in_chans=channels, **{**ALIASES[backbone], **arguments})
        return timm.create_model(backbone, pretrained=False, num_classes=n_classes, in_chans=channels, **arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise WeightsError(f"{backbone} cannot be made with backbone_args {dict(arguments)}: {error}") from None


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


def _normalisation(network: nn.Module, channels: int, source: Source) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if source.card is not None and source.card.channels == channels:
        return source.card.mean, source.card.std
    pretrained = getattr(network, "pretrained_cfg", None) or {}
    if source.imagenet and len(pretrained.get("mean", ())) == 3:
        mean, std = tuple(pretrained["mean"]), tuple(pretrained["std"])
        return (mean, std) if channels == 3 else ((sum(mean) / 3,), (sum(std) / 3,))
    return (GREY_MEAN,) * channels, (GREY_STD,) * channels


def _per_channel(value: Sequence[float] | float | None, default: tuple[float, ...], channels: int) -> tuple[float, ...]:
    if value is None:
        return default
    return (float(value),) * channels if isinstance(value, int | float) else tuple(value)
