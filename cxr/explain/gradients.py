"""Ways of explaining that propagation is compared with: gradients, occlusion and, given feature maps, Grad-CAM.

Each works on a private copy under its lock (:mod:`cxr.explain.frozen`), so the network stays as it is. Every image is
explained on its own: alone or in a batch it gets the same map, but for rounding.

The methods are written out here because those of the library that the rules come from are not what is needed: its
integrated gradients take the right ends of 20 steps (on the demo network they miss 9 % of the logit's change in the
median and 32 % at worst, where the middles of 64 miss 1 % and 6 %, of 128 half a percent and 2 %), its SmoothGrad draws
noise per batch from the global generator, and its occlusion keeps a window instead of covering it and lets windows
leave one edge and enter at the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cxr.errors import ExplainError, unknown, wrong_use
from cxr.explain.composites import COMPARISON, InputValue, composite_of, names_of
from cxr.explain.composites.composite import Settings
from cxr.explain.frozen import borrowed, itself
from cxr.explain.lrp.input_rules import as_picture

Maps = tuple[torch.Tensor, torch.Tensor]
Part = Callable[[torch.Tensor], torch.Tensor]

BATCH = 4
"""Pictures that go through the network at once; what a method needs beyond that goes through one after the other."""


def attribute(
    network: nn.Module, inputs: torch.Tensor, columns: np.ndarray, name: str, *, batch: int = BATCH, **options: Any
) -> Maps:
    """Explain logits of ``network``.

    Parameters
    ----------
    network
        Takes ``inputs``, returns logits (N, K). Its type and device must be those of ``inputs``.
    inputs
        The network's own (normalised) input, float (N, C, H, W).
    columns
        The explained logits of every image, int (N, T).
    name, options
        A method of :data:`OPTIONS` and its options. ``baseline`` and ``fill`` are numbers, one number per channel, or
        tensors that broadcast to ``inputs``; 0 is the mean grey of a normalised picture, not black.
    batch
        Pictures that go through the network at once.

    Returns
    -------
    relevance, logits
        (N, T, C, H, W) and (N, K), detached, of the type and on the device of ``inputs``. What the values add up to:

        - ``gradient``, ``smoothgrad``: nothing, they are sensitivities
        - ``gradient-x-input``: the logit, if the network has no biases
        - ``integrated-gradients``: logit minus the baseline's logit, but for a few percent (less with more steps)
        - ``grad-cam``: nothing; values are 0 or more, and the sum over channels is the map at the input's size
        - ``occlusion``: the drops of the logit under all patches, if the patches tile the picture

    Raises
    ------
    ExplainError
        Unknown method or option, an option out of range, or a network without a feature map for Grad-CAM.
    """
    settings = _settings(name, inputs, options)
    targets = torch.as_tensor(np.asarray(columns), dtype=torch.long, device=inputs.device)
    method = _METHODS[name]
    with borrowed(network, itself, "copy") as twin:
        parts = []
        for rows in torch.arange(len(inputs), device=inputs.device).split(max(1, batch)):
            batch_settings = {
                key: value[rows] if isinstance(value, torch.Tensor) else value for key, value in settings.items()
            }
            parts.append(method(twin, inputs.detach()[rows], targets[rows], batch=max(1, batch), **batch_settings))
    maps, logits = zip(*parts, strict=True)
    return torch.cat(maps), torch.cat(logits)


OPTIONS: dict[str, Settings] = {name: composite_of(name).defaults for name in names_of(COMPARISON)}
"""Methods by name, with their options' defaults."""


def gradient(network: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, *, batch: int = BATCH) -> Maps:
    """Return the derivative of each logit by each input value."""
    leaf = inputs.clone().requires_grad_()
    logits = _logits(network, leaf)
    return _derivatives(logits, leaf, targets), logits.detach()


def gradient_x_input(network: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, *, batch: int = BATCH) -> Maps:
    """Return the derivative times the input value."""
    slopes, logits = gradient(network, inputs, targets)
    return slopes * inputs[:, None], logits


def integrated_gradients(
    network: nn.Module,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    batch: int = BATCH,
    steps: int,
    baseline: torch.Tensor,
) -> Maps:
    """Return input minus baseline times the mean derivative on the line between them (Sundararajan et al. 2017).

    Derivatives are taken in the middles of ``steps`` equal pieces: of the usual choices this has the smallest error on
    networks of ReLUs, whose derivatives jump.
    """
    differences = inputs - baseline
    middles = (torch.arange(steps, device=inputs.device, dtype=inputs.dtype) + 0.5) / steps
    maps = []
    for start, difference, columns in zip(baseline, differences, targets, strict=True):
        pictures = (start + at[:, None, None, None] * difference for at in middles.split(batch))
        maps.append(_mean_gradient(network, pictures, columns, steps) * difference)
    return torch.stack(maps), _plain_logits(network, inputs)


def smoothgrad(
    network: nn.Module,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    batch: int = BATCH,
    samples: int,
    noise: float,
    seed: int,
) -> Maps:
    """Return the mean derivative over noisy copies of the picture (Smilkov et al. 2017).

    Normal noise of ``noise`` times the picture's own range; each picture gets the noise that ``seed`` gives.
    """
    maps = []
    for picture, columns in zip(inputs, targets, strict=True):
        noisy = _noisy(picture, samples, noise, seed, batch)
        maps.append(_mean_gradient(network, noisy, columns, samples))
    return torch.stack(maps), _plain_logits(network, inputs)


def grad_cam(network: nn.Module, inputs: torch.Tensor, targets: torch.Tensor, *, batch: int = BATCH) -> Maps:
    """Return Grad-CAM (Selvaraju et al. 2017) of the last feature map before global pooling.

    The channels of the feature map, weighted by their mean derivatives, added and cut off below 0, then enlarged
    bilinearly to the input's size. Each of the C input channels carries 1/C of it.
    """
    body, head = _body_and_head(network, inputs)
    with torch.no_grad():
        features = body(inputs)
    features.requires_grad_()
    logits = head(features)
    slopes, features = _channels_first(network, _derivatives(logits, features, targets), features.detach())
    weights = slopes.mean(dim=(-2, -1), keepdim=True)
    coarse = (weights * features[:, None]).sum(dim=2).clamp(min=0)
    fine = F.interpolate(coarse, size=inputs.shape[-2:], mode="bilinear", align_corners=False)
    channels = inputs.shape[1]
    return (fine / channels)[:, :, None].repeat(1, 1, channels, 1, 1), logits.detach()


@torch.no_grad()
def occlusion(
    network: nn.Module,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    batch: int = BATCH,
    patch: int,
    stride: int,
    fill: torch.Tensor,
) -> Maps:
    """Return how much the logit drops when a patch is covered by ``fill`` (Zeiler and Fergus 2014).

    A square of ``patch`` pixels moves by ``stride``; the last of a row or column ends at the picture's edge. A drop is
    shared evenly over the patch's values (channels included); a pixel takes the mean over the patches that cover it.
    """
    logits = _plain_logits(network, inputs)
    maps = []
    for picture, cover, columns, whole in zip(inputs, fill, targets, logits, strict=True):
        windows = list(_windows(picture.shape[-2:], patch, stride))
        drops = whole[columns] - _covered_logits(network, picture, cover, windows, batch)[:, columns]
        maps.append(_spread(drops, windows, picture))
    return torch.stack(maps), logits


_METHODS: dict[str, Callable[..., Maps]] = {
    "gradient": gradient,
    "gradient-x-input": gradient_x_input,
    "integrated-gradients": integrated_gradients,
    "smoothgrad": smoothgrad,
    "grad-cam": grad_cam,
    "occlusion": occlusion,
}


def _logits(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = network(inputs)
    if logits.ndim != 2:
        raise ExplainError(
            f"{type(network).__name__} returns the shape {tuple(logits.shape)}. Accepted: logits (images, classes)"
        )
    return logits


@torch.no_grad()
def _plain_logits(network: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    return _logits(network, inputs)


def _derivatives(logits: torch.Tensor, leaf: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return (n, T, *leaf.shape[1:]) of the logits (n, K) at the columns ``targets`` (n, T)."""
    chosen = logits.gather(1, targets).sum(dim=0)
    last = len(chosen) - 1
    return torch.stack([torch.autograd.grad(y, leaf, retain_graph=t < last)[0] for t, y in enumerate(chosen)], dim=1)


def _mean_gradient(
    network: nn.Module, pictures: Iterator[torch.Tensor], columns: torch.Tensor, count: int
) -> torch.Tensor:
    """Return the mean derivative, (T, C, H, W), over ``count`` variants of one picture in parts (n, C, H, W)."""
    sums = (gradient(network, part, columns.expand(len(part), -1))[0].sum(dim=0) for part in pictures)
    return reduce(torch.add, sums) / count


def _noisy(picture: torch.Tensor, samples: int, noise: float, seed: int, batch: int) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    spread = noise * (picture.max() - picture.min())
    for count in torch.ones(samples).split(batch):
        # Drawn one by one in double precision: the same noise for every batch size, type and device.
        drawn = [torch.randn(picture.shape, generator=generator, dtype=torch.float64) for _ in count]
        yield picture + spread * torch.stack(drawn).to(picture)


def _body_and_head(network: nn.Module, inputs: torch.Tensor) -> tuple[Part, Part]:
    """Return what leads to the last feature map, and what leads from it to the logits."""
    timm_parts = getattr(network, "forward_features", None), getattr(network, "forward_head", None)
    if all(map(callable, timm_parts)):
        return cast(tuple[Part, Part], timm_parts)
    if isinstance(network, nn.Sequential):
        end = _last_map(network, inputs[:1])
        layers = list(network)  # a slice of a class derived from nn.Sequential would be made by its own __init__
        return nn.Sequential(*layers[:end]), nn.Sequential(*layers[end:])
    raise ExplainError(f"grad-cam knows no last feature map of {type(network).__name__}. {_WITH_MAPS}")


_WITH_MAPS = f"Accepted: {composite_of('grad-cam').networks}"


@torch.no_grad()
def _last_map(chain: nn.Sequential, inputs: torch.Tensor) -> int:
    """Return how many layers lead to the last output (N, C, h, w) of more than one pixel."""
    end = 0
    for i, layer in enumerate(chain, start=1):
        inputs = layer(inputs)
        if inputs.ndim == 4 and inputs.shape[-2:].numel() > 1:
            end = i
    if not end:
        raise ExplainError(f"grad-cam finds no feature map in this chain of {len(chain)} layers. {_WITH_MAPS}")
    return end


def _channels_first(network: nn.Module, slopes: torch.Tensor, features: torch.Tensor) -> Maps:
    if features.ndim != 4:
        raise ExplainError(
            f"grad-cam needs a feature map: {type(network).__name__} ends in the shape {tuple(features.shape)}. "
            f"{_WITH_MAPS}"
        )
    if getattr(network, "output_fmt", "NCHW") == "NHWC":
        return slopes.movedim(-1, -3), features.movedim(-1, -3)
    return slopes, features


def _windows(size: torch.Size, patch: int, stride: int) -> Iterator[tuple[slice, slice]]:
    for top in _starts(size[0], patch, stride):
        for left in _starts(size[1], patch, stride):
            yield slice(top, top + patch), slice(left, left + patch)


def _starts(length: int, patch: int, stride: int) -> list[int]:
    last = max(0, length - patch)
    return [*range(0, last, stride), last]


def _covered_logits(
    network: nn.Module, picture: torch.Tensor, cover: torch.Tensor, windows: list[tuple[slice, slice]], batch: int
) -> torch.Tensor:
    """Return logits (windows, K) of the picture with each window covered."""
    parts = []
    for first in range(0, len(windows), batch):
        batch_windows = windows[first : first + batch]
        covered = picture.repeat(len(batch_windows), 1, 1, 1)
        for row, (high, wide) in zip(covered, batch_windows, strict=True):
            row[:, high, wide] = cover[:, high, wide]
        parts.append(_logits(network, covered))
    return torch.cat(parts)


def _spread(drops: torch.Tensor, windows: list[tuple[slice, slice]], picture: torch.Tensor) -> torch.Tensor:
    """Return (T, C, H, W) of the drops (windows, T)."""
    total = picture.new_zeros(drops.shape[1], *picture.shape)
    times = picture.new_zeros(picture.shape[-2:])
    for drop, (high, wide) in zip(drops, windows, strict=True):
        share = drop / picture[:, high, wide].numel()
        total[:, :, high, wide] += share[:, None, None, None]
        times[high, wide] += 1
    return total / times


def _settings(name: str, inputs: torch.Tensor, options: Settings) -> Settings:
    """Return a method's options, checked; pictures among them of the shape of ``inputs``."""
    if name not in OPTIONS:
        raise wrong_use(ExplainError(unknown("method", name, OPTIONS)))
    for option in options:
        if option not in OPTIONS[name]:
            raise wrong_use(ExplainError(unknown(f"option of {name!r}:", option, OPTIONS[name] or ["none"])))
    settings = dict(composite_of(name).settings(name, options))
    for key, declaration in composite_of(name).options.items():
        if isinstance(declaration, InputValue):
            settings[key] = as_picture(key, settings[key], inputs)
    if name == "occlusion" and settings["stride"] > settings["patch"]:
        raise ExplainError(
            f"stride {settings['stride']} leaves pixels uncovered. Accepted: 1 to {settings['patch']} (the patch)"
        )
    return settings
