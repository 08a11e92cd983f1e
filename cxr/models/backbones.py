"""The architectures from timm that can be trained and explained, by name; torch and timm are loaded to make one."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr.errors import WeightsError, wrong_use

if TYPE_CHECKING:
    from torch import nn

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
BackboneArgs = dict[str, Any]
"""Keyword arguments of timm's ``create_model``: every architecture has its own, so that they cannot be listed."""

# A DenseNet of about 170,000 parameters that trains on a processor in minutes.
ALIASES: dict[str, BackboneArgs] = {"densenet-small": {"growth_rate": 12, "block_config": [2, 4, 6, 4]}}


NAMES = Path(__file__).with_name("backbones.txt")
"""timm's convolutional classifiers, a name a line; ``tools/list_backbones.py`` writes it for another timm."""


@lru_cache(maxsize=1)
def backbones() -> tuple[str, ...]:
    """Return the names that :func:`build` takes: our aliases and timm's convolutional classifiers."""
    return (*ALIASES, *NAMES.read_text(encoding="utf-8").split())


@lru_cache(maxsize=1)
def installed_backbones() -> tuple[str, ...]:
    """Return the convolutional classifiers of the timm that is installed, which it takes seconds to load."""
    import timm

    return tuple(sorted({name for family in FAMILIES for name in timm.list_models(module=family)}))


def check_backbone(name: str) -> str:
    """Return ``name`` if :func:`build` knows it (timm's ``.tag`` of pretrained weights is allowed), else raise.

    timm itself is asked only about a name that our list does not have: it may be newer than the list.

    Raises
    ------
    WeightsError
        Naming the closest names that exist.
    """
    plain = name.partition(".")[0]
    if plain in backbones() or plain in installed_backbones():
        return name
    import timm

    available = (*ALIASES, *installed_backbones())
    close = difflib.get_close_matches(name, available, n=4, cutoff=0.5) or ["densenet121", "densenet-small"]
    kind = "is not a convolutional classifier" if timm.is_model(name) else "is not known"
    suggested = f"Did you mean {', '.join(close)}? ({len(available)} names of timm are available)"
    raise wrong_use(WeightsError(f"backbone {name!r} {kind}. {suggested}"))


def make_network(backbone: str, n_classes: int, channels: int, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the bare network with random weights (the global torch generator decides them).

    Raises
    ------
    WeightsError
        For arguments that it does not take, or a backbone that the installed timm does not have.
    """
    import timm
    from timm.models.densenet import DenseNet

    if backbone not in ALIASES and not timm.is_model(backbone):
        raise WeightsError(f"backbone {backbone!r} is not in timm {timm.__version__}, which is installed")
    try:
        if backbone in ALIASES:
            return DenseNet(num_classes=n_classes, in_chans=channels, **{**ALIASES[backbone], **arguments})
        return timm.create_model(backbone, pretrained=False, num_classes=n_classes, in_chans=channels, **arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise WeightsError(f"{backbone} cannot be made with backbone_args {dict(arguments)}: {error}") from None
