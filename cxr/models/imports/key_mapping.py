"""Other libraries' names of tensors, turned into timm's, which are ours.

DenseNets and ResNets of torchvision already have timm's names; their old files, wrappers of training code and VGGs do
not.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from cxr.errors import WeightsError
from cxr.models.safe_load import State

# What DataParallel, torch.compile, Lightning and classes around a network leave in front of its names.
WRAPPERS = ("module", "_orig_mod", "network", "model", "net", "backbone", "encoder", "cnn", "base", "base_model",
            "body", "feature_extractor", "extractor", "pretrained", "image_encoder", "densenet", "densenet121",
            "densenet169", "densenet201", "densenet161", "resnet", "resnet18", "resnet34", "resnet50", "resnet101",
            "resnet152", "vgg", "vgg16", "vgg19")  # fmt: skip
THRESHOLDS = "op_threshs"
# What training code keeps beside the network under names of its own: losses, their weights, measures.
_BESIDE = re.compile(r"((train|val|valid|test)_)?(criterion|criteria|loss|losses|loss_fn|loss_func|metrics?"
                     r"|accuracy|acc|auc|auroc|f1|f1_score|pos_weight|class_weights?)(_\d+)?")  # fmt: skip
_JOINED = re.compile(r"(?:(.*)\.)?linear(\d+)\.(weight|bias)")
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
        What was found besides: ``old densenet names``, ``sequential head``, ``torchvision vgg``, ``joined head``.
    beside
        Names, in ``state``, of tensors that stand beside the network: outside of the wrapper, or of a loss. They are
        left aside unless the network has a place for them.
    left
        Name in the file and shape of tensors beside the network whose names it has too.
    """

    state: State
    since: dict[str, str]
    wrappers: tuple[str, ...] = ()
    marks: frozenset[str] = field(default_factory=frozenset)
    thresholds: torch.Tensor | None = None
    beside: frozenset[str] = frozenset()
    left: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def split(self, network_names: Collection[str]) -> tuple[State, tuple[tuple[str, tuple[int, ...]], ...]]:
        """Return the tensors of a network that calls its own ``network_names``, and name and shape of the others."""
        ignored = {name: t for name, t in self.state.items() if name in self.beside and name not in network_names}
        network_state = {name: tensor for name, tensor in self.state.items() if name not in ignored}
        return network_state, (*((self.since[name], tuple(t.shape)) for name, t in ignored.items()), *self.left)

    def with_head(self, path: str, in_features: int, body: Collection[str]) -> Renamed:
        """Return the tensors with a single last layer of another name called ``path``, as the network's own.

        ``body`` are the names of the network's tensors; a layer among them is no head.
        """
        dense = [name for name, t in self.state.items() if t.ndim == 2 and name not in body]
        if f"{path}.weight" in self.state or len(dense) != 1 or not dense[0].endswith(".weight"):
            return self
        if self.state[dense[0]].shape[1] != in_features:
            return self
        head_name = dense[0].removesuffix(".weight")
        names = {f"{head_name}.{kind}": f"{path}.{kind}" for kind in ("weight", "bias")}
        return dataclasses.replace(
            self,
            state={names.get(name, name): tensor for name, tensor in self.state.items()},
            since={names.get(name, name): original for name, original in self.since.items()},
            marks=self.marks | {f"head {head_name}"},
        )


def our_names(state: Mapping[str, torch.Tensor]) -> Renamed:
    """Return ``state`` in timm's names; tensors of unknown names keep them.

    Raises
    ------
    WeightsError
        If two networks stand side by side.
    """
    since, wrappers, outside = _unwrapped(state)
    duplicates = tuple((original, tuple(state[original].shape)) for name, original in outside.items() if name in since)
    since |= {name: original for name, original in outside.items() if name not in since}
    marks: set[str] = set()
    thresholds = state[since.pop(THRESHOLDS)] if THRESHOLDS in since else None
    renamed: State = {}
    originals: dict[str, str] = {}
    for name, parts in _joined_heads(since, state).items():
        renamed[name] = torch.cat([state[since[part]] for part in parts])
        originals[name] = ", ".join([since.pop(part) for part in parts])
        marks.add("joined head")
    heads = _sequential_heads(since)
    is_vgg = "features.0.weight" in since and {"classifier.0.weight", "classifier.6.weight"} <= set(since)
    beside: set[str] = set()
    for name, original in since.items():
        new, mark = _renamed(name, heads, is_vgg)
        marks |= {mark} - {""}
        renamed[new] = _reshaped(new, state[original]) if is_vgg else state[original]
        originals[new] = original
        if outside.get(name) == original or _BESIDE.fullmatch(name.partition(".")[0]):
            beside.add(new)
    return Renamed(renamed, originals, wrappers, frozenset(marks), thresholds, frozenset(beside), duplicates)


def _unwrapped(state: Mapping[str, torch.Tensor]) -> tuple[dict[str, str], tuple[str, ...], dict[str, str]]:
    """Return ``{name without wrappers: name}``, the wrappers taken off, and the names that stood outside of them."""
    inside, wrappers = {name: name for name in state}, []
    outside: dict[str, str] = {}
    while first := _wrapper(inside, state):
        begin = f"{first}."
        outside |= {name: original for name, original in inside.items() if not name.startswith(begin)}
        inside = {name.removeprefix(begin): o for name, o in inside.items() if name.startswith(begin)}
        wrappers.append(first)
    return inside, tuple(wrappers), outside


def _wrapper(names: Mapping[str, str], state: Mapping[str, torch.Tensor]) -> str:
    """Return the wrapper before every name, or before those of the one network among them; empty if there is none."""
    if first := _only_first(names):
        return first if first in WRAPPERS else ""
    firsts = {name.partition(".")[0] for name, original in names.items() if state[original].ndim == 4}
    wrapping = sorted(first for first in firsts if first in WRAPPERS)
    if len(wrapping) > 1:
        raise WeightsError(
            f"the file holds {len(wrapping)} networks, under {' and '.join(f'{name}.' for name in wrapping)}: "
            "save the state_dict() of one of them alone"
        )
    return wrapping[0] if wrapping else ""


def _only_first(names: Iterable[str]) -> str:
    """Return what stands before the first dot of every name, or nothing if they differ."""
    firsts = {name.partition(".")[0] for name in names}
    return firsts.pop() if len(firsts) == 1 else ""


def _joined_heads(names: Mapping[str, str], state: Mapping[str, torch.Tensor]) -> dict[str, tuple[str, ...]]:
    """Return ``{name of a joined tensor: its parts}`` of linear layers of one output each that stand side by side.

    The paper's authors have three, ``linear1`` to ``linear3``: row by row they are one layer of three outputs.
    """
    heads: dict[tuple[str, str], dict[int, str]] = {}
    for name in names:
        if match := _JOINED.fullmatch(name):
            heads.setdefault((match[1] or "joined", match[3]), {})[int(match[2])] = name
    joined = {}
    for (path, kind), parts in heads.items():
        rows = [state[names[parts[index]]] for index in sorted(parts)]
        if sorted(parts) == list(range(1, len(parts) + 1)) and len(parts) > 1 and _one_output_each(rows):
            joined[f"{path}.{kind}"] = tuple(parts[index] for index in sorted(parts))
    return joined


def _one_output_each(rows: Sequence[torch.Tensor]) -> bool:
    return all(row.ndim >= 1 and row.shape[0] == 1 and row.shape == rows[0].shape for row in rows)


def _sequential_heads(names: Mapping[str, str]) -> frozenset[str]:
    """Return the paths of heads that are one linear layer in an ``nn.Sequential`` (with a sigmoid or a dropout)."""
    heads: dict[str, set[str]] = {}
    for name in names:
        if match := _HEADS.fullmatch(name):
            heads.setdefault(match[1], set()).add(match[2])
    return frozenset(path for path, indices in heads.items() if len(indices) == 1)


def _renamed(name: str, heads: frozenset[str], is_vgg: bool) -> tuple[str, str]:
    if is_vgg:
        for file_name, timm_name in _VGG.items():
            if name.startswith(file_name):
                return name.replace(file_name, timm_name, 1), "torchvision vgg"
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
