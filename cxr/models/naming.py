"""Other libraries' names of tensors, turned into timm's, which are ours.

DenseNets and ResNets of torchvision already have timm's names; their old files, wrappers of training code and VGGs do
not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch

from cxr.models.opening import State

# What DataParallel, torch.compile, Lightning and classes around a network leave in front of its names.
WRAPPERS = ("module", "_orig_mod", "network", "model", "net", "backbone", "encoder", "densenet121", "densenet169",
            "densenet201", "densenet161", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152")  # fmt: skip
THRESHOLDS = "op_threshs"
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
_HEADS = re.compile(r"(classifier|fc|head\.fc)\.(\d+)\.(weight|bias)")
_VGG = {"classifier.0.": "pre_logits.fc1.", "classifier.3.": "pre_logits.fc2.", "classifier.6.": "head.fc."}


@dataclass(frozen=True)
class Renamed:
    """A state dict in our names.

    Attributes
    ----------
    state
        Our name to tensor.
    since
        Our name to the name in the file.
    wrappers
        Prefixes that were taken off, from the outside in.
    marks
        What was found besides: ``old densenet names``, ``sequential head``, ``torchvision vgg``.
    thresholds
        torchxrayvision's buffer of operating points, which belongs to no layer; None without one.
    """

    state: State
    since: dict[str, str]
    wrappers: tuple[str, ...] = ()
    marks: frozenset[str] = field(default_factory=frozenset)
    thresholds: torch.Tensor | None = None


def our_names(state: Mapping[str, torch.Tensor]) -> Renamed:
    """Return ``state`` in timm's names; tensors of unknown names keep them."""
    since, wrappers = _unwrapped(state)
    marks: set[str] = set()
    thresholds = state[since.pop(THRESHOLDS)] if THRESHOLDS in since else None
    renamed: State = {}
    originals: dict[str, str] = {}
    heads = _sequential_heads(since)
    is_vgg = "features.0.weight" in since and {"classifier.0.weight", "classifier.6.weight"} <= set(since)
    for name, original in since.items():
        new, mark = _renamed(name, heads, is_vgg)
        marks |= {mark} - {""}
        renamed[new] = _reshaped(new, state[original]) if is_vgg else state[original]
        originals[new] = original
    return Renamed(renamed, originals, wrappers, frozenset(marks), thresholds)


def _unwrapped(state: Mapping[str, torch.Tensor]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return ``{name without wrappers: name}`` and the wrappers that stood before every name."""
    since, wrappers = {name: name for name in state}, []
    while (first := _only_first(since)) in WRAPPERS:
        since = {name.partition(".")[2]: original for name, original in since.items()}
        wrappers.append(first)
    return since, tuple(wrappers)


def _only_first(names: Iterable[str]) -> str:
    """Return what stands before the first dot of every name, or nothing if they differ."""
    firsts = {name.partition(".")[0] for name in names}
    return firsts.pop() if len(firsts) == 1 else ""


def _sequential_heads(names: Mapping[str, str]) -> frozenset[str]:
    """Return the paths of heads that are one linear layer in an ``nn.Sequential`` (with a sigmoid or a dropout)."""
    found: dict[str, set[str]] = {}
    for name in names:
        if match := _HEADS.fullmatch(name):
            found.setdefault(match[1], set()).add(match[2])
    return frozenset(path for path, indices in found.items() if len(indices) == 1)


def _renamed(name: str, heads: frozenset[str], is_vgg: bool) -> tuple[str, str]:
    if is_vgg:
        for theirs, ours in _VGG.items():
            if name.startswith(theirs):
                return name.replace(theirs, ours, 1), "torchvision vgg"
    if (match := _HEADS.fullmatch(name)) and match[1] in heads:
        return f"{match[1]}.{match[3]}", "sequential head"
    old = _OLD_DENSENET.sub(r"\1\2.", name)
    return (old, "old densenet names") if old != name else (name, "")


def _reshaped(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return a fully connected layer of torchvision's VGG as the convolution that timm makes of it."""
    if name == "pre_logits.fc1.weight" and tensor.ndim == 2 and tensor.shape[1] == 512 * 7 * 7:
        return tensor.reshape(-1, 512, 7, 7)
    if name == "pre_logits.fc2.weight" and tensor.ndim == 2:
        return tensor[:, :, None, None]
    return tensor
