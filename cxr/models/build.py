"""A new network: its architecture, its first weights, and how its input is normalised; torch is loaded to make one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr.models.backbones import ALIASES, CLASSES, check_backbone, make_network
from cxr.models.card import SINGLE_LABEL, ModelCard

if TYPE_CHECKING:
    from torch import nn

    from cxr.models.classifier import XrayClassifier
    from cxr.models.weights import Source

GREY_MEAN, GREY_STD = 0.5, 0.25


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
        name if it has the same classes; with other classes the head starts from random values (see
        :mod:`cxr.models.transfer` to keep some). A state dict without a card must have a head of the right shape or
        none that fits: a head of another shape starts from random values. Anything else that does not match is refused.
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
    from cxr.models.classifier import XrayClassifier
    from cxr.models.weights import source_of

    source = source_of(weights, check_backbone(backbone))
    stored_card = source.card
    arguments = (
        ALIASES.get(backbone, {}) | (stored_card.backbone_args if stored_card else {}) | dict(backbone_args or {})
    )
    channels = channels or (stored_card.channels if stored_card else source.channels)
    network = make_network(backbone, len(classes), channels, arguments)
    default_mean, default_std = _normalisation(network, channels, source)
    card = ModelCard(
        backbone=backbone,
        backbone_args=arguments,
        classes=tuple(classes),
        task=task,
        size=size or (stored_card.size if stored_card else 224),
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
