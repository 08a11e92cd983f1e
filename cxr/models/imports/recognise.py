"""What a stranger's state dict is: the backbone from its tensors, and what its publisher says about the input.

Known beside plain timm and torchvision files: CheXNet (DenseNet121 for the 14 findings of NIH ChestX-ray14),
torchxrayvision (grey DenseNet121 for 18 findings), the networks of the paper's authors (three outputs).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import timm
import torch

from cxr.errors import WeightsError
from cxr.json_types import JsonObject
from cxr.models.backbones import ALIASES, BackboneArgs, check_backbone, make_network
from cxr.models.card import MULTI_LABEL, TASKS
from cxr.models.checksums import AUTHORS_LICENCE, AUTHORS_ORIGIN, publication_of
from cxr.models.classifier import head_of
from cxr.models.imports.key_mapping import Renamed, our_names
from cxr.models.pickles.file_kinds import first_line
from cxr.models.safe_load import State


class UnknownBackboneError(WeightsError):
    """Tensors that do not show of which backbone they are: a person has to name it."""


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# In the order of the outputs, as their publishers give it.
NIH14 = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
XRV18 = (
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
)

_DENSENETS: dict[tuple[tuple[int, ...], int], str] = {
    ((6, 12, 24, 16), 32): "densenet121",
    ((6, 12, 32, 32), 32): "densenet169",
    ((6, 12, 48, 32), 32): "densenet201",
    ((6, 12, 36, 24), 48): "densenet161",
}
_RESNETS = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2"),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
)
_VGGS = ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")
# What create_model takes beside a network's own arguments: told by the tensors, or files that nobody asked to open.
_NOT_OF_A_NETWORK = ("in_chans", "num_classes", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay",
                     "checkpoint_path", "cache_dir", "features_only")  # fmt: skip
_AUTHORS_FILE = re.compile(r"Net([A-E])\.(?:pt|pth|safetensors)")
_LAYER = re.compile(r"features\.denseblock(\d+)\.denselayer(\d+)\.conv2\.weight")


@dataclass(frozen=True)
class Recognised:
    """What the layout of a file says about its network; None where it says nothing and a person must."""

    title: str
    classes: tuple[str, ...] | None = None
    task: str | None = None
    size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    limits: str = ""
    thresholds: dict[str, float] = field(default_factory=dict)
    licence: str = ""
    origin: str = ""


def backbone_of(state: State) -> tuple[str, BackboneArgs]:
    """Return timm's name (or our alias) and the arguments of the network that has these tensors, in our names.

    Raises
    ------
    WeightsError
        If no known network has them.
    """
    if densenet := _densenet(state):
        return densenet
    candidates = _RESNETS if "layer1.0.conv1.weight" in state else _VGGS if "features.0.weight" in state else ()
    for name in candidates:
        if _has_body_of(state, name):
            return name, {}
    raise UnknownBackboneError(
        f"the backbone cannot be recognised from {len(state)} tensors ({_groups(state)}): "
        "give it with --backbone (DenseNets, ResNets and VGGs are recognised)"
    )


def _groups(names: Iterable[str]) -> str:
    """Return what the names of tensors begin with, and how many begin so."""
    firsts = Counter(name.partition(".")[0][:40] for name in names)
    groups = ", ".join(f"{first}. {count}" for first, count in firsts.most_common(4))
    return groups + (", ..." if len(firsts) > 4 else "")


def _densenet(state: State) -> tuple[str, BackboneArgs] | None:
    layers: dict[int, int] = {}
    growth = 0
    for name, tensor in state.items():
        if match := _LAYER.fullmatch(name):
            layers[int(match[1])] = max(layers.get(int(match[1]), 0), int(match[2]))
            growth = tensor.shape[0]
    if not layers or "features.conv0.weight" not in state or "features.conv1.weight" in state:  # a deep stem
        return None
    blocks = tuple(layers.get(index, 0) for index in range(1, max(layers) + 1))
    variant = _DENSENETS.get((blocks, growth))
    if variant is not None:
        return variant, {}
    return "densenet-small", {"growth_rate": growth, "block_config": list(blocks)}


def skeleton(backbone: str, n_classes: int, channels: int, arguments: Mapping[str, Any]) -> torch.nn.Module:
    """Return a network whose tensors have shapes and no values, which costs no memory."""
    with torch.device("meta"):
        return make_network(backbone, n_classes, channels, arguments)


def _has_body_of(state: State, name: str) -> bool:
    network = skeleton(name, 1, input_channels(state), {})
    head, _ = head_of(network)
    body = {n: t.shape for n, t in network.state_dict().items() if not n.startswith(head) and "num_batches" not in n}
    return all(n in state and state[n].shape == shape for n, shape in body.items())


def input_channels(state: Mapping[str, torch.Tensor]) -> int:
    """Return the input channels of the first convolution, 1 if it is neither 1 nor 3."""
    channels = next((tensor.shape[1] for tensor in state.values() if tensor.ndim == 4), 1)
    return channels if channels in (1, 3) else 1


def outputs_of(state: State, backbone: str, arguments: Mapping[str, Any]) -> int:
    """Return the number of outputs in the file's head.

    Raises
    ------
    WeightsError
        If the file has no head where the backbone's is.
    """
    path, _ = head_of(skeleton(backbone, 1, 1, arguments))
    weight = state.get(f"{path}.weight")
    if weight is None or weight.ndim != 2:
        dense = [f"{name} ({t.shape[0]} x {t.shape[1]})" for name, t in state.items() if t.ndim == 2]
        raise WeightsError(
            f"the file has no head {path}.weight of two dimensions: a body alone serves as `weights` of a recipe"
            + (f"; a head of several layers ({', '.join(dense[:3])}) cannot be taken over" if len(dense) > 1 else "")
        )
    return int(weight.shape[0])


@dataclass(frozen=True)
class Clues:
    """What is known of a file besides its tensors: its name, its sum, and what else a pickle in it holds."""

    file_name: str = ""
    sha256: str = ""
    class_name: str = ""
    class_lists: tuple[tuple[str, ...], ...] = ()


def recognise(
    renamed: Renamed,
    backbone: str,
    outputs: int,
    config: Mapping[str, Any] | None = None,
    clues: Clues = Clues(),
) -> Recognised:
    """Return what is known about a file of this layout; ``config`` is a timm folder's ``config.json``."""
    if config is not None:
        return _timm_folder(config)
    published = publication_of(clues.sha256)
    recognised = _by_layout(renamed, backbone.partition(".")[0], outputs, clues)
    if published is not None:
        return dataclasses.replace(
            recognised,
            title=f"{published.file} of the paper's authors",
            licence=published.licence,
            origin=published.origin,
        )
    if recognised.classes is None and (
        classes := next((n for n in clues.class_lists if _may_be_classes(n, outputs)), None)
    ):
        recognised = dataclasses.replace(recognised, classes=classes)
    return recognised


def _may_be_classes(names: Sequence[str], outputs: int) -> bool:
    return len(names) == outputs == len(set(names)) and all(name.strip() for name in names)


def _by_layout(renamed: Renamed, backbone: str, outputs: int, clues: Clues) -> Recognised:
    grey = input_channels(renamed.state) == 1
    is_121 = backbone == "densenet121"
    is_xrv = clues.class_name.startswith("torchxrayvision.") or renamed.thresholds is not None
    if is_xrv or (is_121 and grey and outputs == len(XRV18)):
        return _torchxrayvision(renamed.thresholds, outputs, clues.class_lists)
    chexnet_marks = "densenet121" in renamed.wrappers or "sequential head" in renamed.marks
    if is_121 and chexnet_marks and outputs == len(NIH14):
        return Recognised("CheXNet", NIH14, MULTI_LABEL, 224, IMAGENET_MEAN, IMAGENET_STD)
    if outputs == 3 and backbone in ("densenet121", "densenet201") and not grey:
        return _three_outputs(renamed, backbone, clues)
    title = f"A whole pickled {clues.class_name}" if clues.class_name else "Plain timm or torchvision"
    return Recognised("Torchvision" if renamed.marks and not clues.class_name else title)


def _three_outputs(renamed: Renamed, backbone: str, clues: Clues) -> Recognised:
    """Tell the networks of the paper's authors, perhaps saved again, from others of their shape."""
    called = _AUTHORS_FILE.fullmatch(clues.file_name)
    named_so = called is not None and backbone == ("densenet201" if called[1] in "ABC" else "densenet121")
    if named_so or "joined head" in renamed.marks:
        why = f"by its {'name' if named_so else 'three joined outputs'} and shape; its checksum is not a published one"
        return Recognised(
            "A three-output DenseNet of the paper's authors, class order unknown",
            licence=AUTHORS_LICENCE,
            origin=f"{AUTHORS_ORIGIN} ({why})",
        )
    return Recognised("A three-output DenseNet like those of the paper's authors, class order unknown")


def _torchxrayvision(thresholds: torch.Tensor | None, outputs: int, lists: Sequence[Sequence[str]] = ()) -> Recognised:
    """Grey values of 0 to 1 reach these networks as -1024 to 1024: x * 2048 - 1024, which is (x - 0.5) / (1 / 2048)."""
    usual = XRV18 if outputs == len(XRV18) else ("",) * outputs
    listed = next((names for names in lists if len(names) == outputs), usual)
    blank = {index for index, name in enumerate(listed) if not name.strip()}  # outputs that were not trained
    filled = tuple(usual[index] if index in blank else name for index, name in enumerate(listed))
    classes = filled if _may_be_classes(filled, outputs) else None
    values = [] if thresholds is None else thresholds.flatten().tolist()
    pairs = dict(zip(classes or (), values, strict=False))
    thresholds_by_class = {
        name: value for name, value in pairs.items() if value == value
    }  # a NaN is not equal to itself
    untrained = [
        name
        for index, name in enumerate(classes or ())
        if index in blank or (name in pairs and name not in thresholds_by_class)
    ]
    limits = f"Outputs that its publisher did not train: {', '.join(untrained)}." if untrained else ""
    return Recognised("torchxrayvision", classes, MULTI_LABEL, 224, (0.5,), (1 / 2048,), limits, thresholds_by_class)


def _timm_folder(config: Mapping[str, Any]) -> Recognised:
    pretrained = config.get("pretrained_cfg") or config
    labels = config.get("label_names") or pretrained.get("label_names")
    size = pretrained.get("input_size") or (None,)
    return Recognised(
        "A folder of timm",
        tuple(labels) if isinstance(labels, list) else None,
        task if (task := config.get("task")) in TASKS else None,
        size[-1],
        tuple(pretrained["mean"]) if pretrained.get("mean") else None,
        tuple(pretrained["std"]) if pretrained.get("std") else None,
        licence=str(pretrained.get("license") or ""),
        origin=str(config.get("origin") or ""),
    )


def timm_config(path: Path) -> JsonObject | None:
    """Return the ``config.json`` beside a file ``model.safetensors`` (or .bin) of timm's folders, or None."""
    beside = path.with_name("config.json")
    if path.stem not in ("model", "pytorch_model") or not beside.is_file():
        return None
    try:
        config = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{beside} cannot be read: {first_line(error)}") from None
    return config if isinstance(config, dict) and timm.is_model(str(config.get("architecture"))) else None


def identify(
    state: Mapping[str, torch.Tensor], backbone: str | None, config: Mapping[str, Any] | None
) -> tuple[Renamed, str, BackboneArgs]:
    """Return the tensors in our names, the backbone and its arguments; a given backbone goes before what is found."""
    renamed = our_names(state)
    if backbone is not None:
        name, arguments = check_backbone(backbone), dict(ALIASES.get(backbone, {}))
    elif config is not None:
        name = check_backbone(str(config["architecture"]))
        arguments = {key: v for key, v in dict(config.get("model_args") or {}).items() if key not in _NOT_OF_A_NETWORK}
    else:
        name, arguments = backbone_of(renamed.state)
    network = skeleton(name, 1, input_channels(renamed.state), arguments)
    path, head = head_of(network)
    return renamed.with_head(path, head.in_features, network.state_dict()), name, arguments
