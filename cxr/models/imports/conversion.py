"""Weights of others become ours: looked at, matched tensor by tensor, given a card, written as safetensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cxr import permission
from cxr.errors import WeightsError, wrong_use
from cxr.models.backbones import BackboneArgs, make_network
from cxr.models.card import LIMITS, ModelCard
from cxr.models.checksums import Checked, verify
from cxr.models.classifier import XrayClassifier
from cxr.models.imports import recognise
from cxr.models.imports.key_mapping import THRESHOLDS, Renamed
from cxr.models.imports.recognise import Recognised
from cxr.models.licences import UNKNOWN, licence_beside
from cxr.models.load_state import LoadReport, compare, matters
from cxr.models.pickles.file_kinds import SAFETENSORS, is_safetensors
from cxr.models.safe_load import Opened, open_weights
from cxr.models.weights import read_card, read_seen, save_model
from cxr.paths import weights_root

# What a person must add where the file does not say it: the option of `cxr weights import` and what it means.
NEEDED = {
    "classes": "names of the outputs in their order, such as covid19,normal,pneumonia",
    "task": "single-label (softmax) or multi-label (a sigmoid for each class)",
    "size": "side of the input in pixels, such as 224",
    "mean": "what is subtracted from grey values in [0, 1], such as 0.5, or three numbers, or imagenet",
    "std": "what the difference is divided by, such as 0.25, or three numbers, or imagenet",
}


_FRAMEWORKS = {"tf": "TensorFlow", "flax": "Flax", "jax": "JAX", "mlx": "MLX", "paddle": "PaddlePaddle"}


class Misfit(WeightsError):
    """Weights that fit in part or not at all; ``report`` says which tensors."""

    def __init__(self, text: str, report: LoadReport) -> None:
        super().__init__(text)
        self.report = report


@dataclass(frozen=True)
class InspectedWeights:
    """What a file holds, before it is imported.

    Attributes
    ----------
    backbone, backbone_args
        Of the network that its tensors belong to.
    channels, outputs
        Of its first and of its last layer.
    known
        What its layout says about classes and input.
    report
        How its tensors fit the backbone.
    class_name
        Of a whole pickled model; empty for tensors alone.
    licence, licence_from
        What is known of the licence, and what says it: the publisher, or a file beside this one. Empty where nothing
        does.
    """

    path: Path
    backbone: str
    backbone_args: BackboneArgs
    channels: int
    outputs: int
    known: Recognised
    report: LoadReport
    checked: Checked
    renamed: Renamed = dataclasses.field(repr=False)
    class_name: str = ""
    licence: str = ""
    licence_from: str = ""

    @property
    def unknown(self) -> tuple[str, ...]:
        """Keys of :data:`NEEDED` that the file does not say."""
        return tuple(name for name in NEEDED if getattr(self.known, name) is None)

    def described(self) -> list[str]:
        """Return in sentences what was done with the file's tensors and names, for people."""
        lines = []
        if self.class_name:
            lines.append(f"a whole pickled model ({self.class_name}): its tensors were read, none of its code was run")
        if joined := {name: parts for name, parts in self.renamed.since.items() if ", " in parts}:
            parts = next(iter(joined.values()))
            lines.append(f"the outputs of {self.outputs} layers are joined to one, in this order: {parts}")
        changes = [f"prefix {name}." for name in self.renamed.wrappers]
        changes += sorted(self.renamed.marks - {"joined head"})
        if changes:
            lines.append(f"names mapped from: {', '.join(changes)}")
        return lines

    def rows(self) -> list[dict[str, str]]:
        """Return the table of all tensors, with their names in the file where these differ."""
        since = self.renamed.since
        rows = self.report.rows()
        return [row | {"name in the file": _other(since.get(row["tensor"]), row["tensor"])} for row in rows]

    def check(self) -> None:
        """Raise a :class:`Misfit` unless every tensor fits."""
        if not self.report.complete:
            raise Misfit(f"{self.path} does not fit {self.backbone}, nothing was written: {self.report}", self.report)


def _other(name: str | None, tensor_name: str) -> str:
    return name if name is not None and name != tensor_name else ""


def look_at(path: str | Path, backbone: str | None = None) -> InspectedWeights:
    """Open a file (or a folder of timm) safely and return what it holds, writing nothing.

    Raises
    ------
    WeightsError
        If the file cannot be read, was changed, or belongs to no known network.
    """
    file = _file_of(Path(path).expanduser())
    if is_safetensors(file) and (card := read_card(file)) is not None:
        raise WeightsError(f"{file} has a card already ({card.backbone}): copy it with its card to {weights_root()}")
    checked = verify(file, remember=False)
    opened = open_weights(file)
    _check_finite(opened.state, file)
    config = recognise.timm_config(file)
    renamed, name, arguments = _identified(file, opened, backbone, config)
    channels = recognise.input_channels(renamed.state)
    outputs = recognise.outputs_of(renamed.state, name, arguments)
    target = recognise.skeleton(name, outputs, channels, arguments).state_dict()
    tensors, ignored = renamed.split(target)
    compared = {n: tensor for n, tensor in tensors.items() if n in target or matters(n)}
    clues = recognise.Clues(file.name, checked.sha256, opened.class_name, opened.class_lists)
    recognised = recognise.recognise(renamed, name, outputs, config, clues)
    licence_file = licence_beside(file) if not recognised.licence else None
    return InspectedWeights(
        path=file,
        backbone=name,
        backbone_args=arguments,
        channels=channels,
        outputs=outputs,
        known=recognised,
        report=dataclasses.replace(compare(compared, target), ignored=ignored),
        checked=checked,
        renamed=renamed,
        class_name=opened.class_name,
        licence=licence_file.licence if licence_file else recognised.licence,
        licence_from=licence_file.file if licence_file else recognised.origin if recognised.licence else "",
    )


def _identified(
    file: Path, opened: Opened, backbone: str | None, config: Mapping[str, Any] | None
) -> tuple[Renamed, str, BackboneArgs]:
    """Return what :func:`cxr.models.imports.recognise.identify` does; a refusal names the file and who wrote it."""
    try:
        return recognise.identify(opened.state, backbone, config)
    except WeightsError as error:
        if opened.framework in _FRAMEWORKS:
            raise WeightsError(
                f"{file} was written by {_FRAMEWORKS[opened.framework]}, whose tensors lie in another order: convert "
                "it to PyTorch and save its state_dict()"
            ) from None
        kind = recognise.UnknownBackboneError if isinstance(error, recognise.UnknownBackboneError) else WeightsError
        raise kind(f"{file}: {error}") from None


def _file_of(path: Path) -> Path:
    if path.is_dir():
        inside = [path / name for name in ("model.safetensors", "pytorch_model.bin")]
        path = next((file for file in inside if file.is_file()), inside[0])
    if not path.is_file():
        raise WeightsError(
            f"{path} is not a file: a .pth, .pt, .bin or .safetensors file, or a folder of timm, is needed"
        )
    return path


def _check_finite(state: Mapping[str, torch.Tensor], path: Path) -> None:
    for name, tensor in state.items():
        if name.endswith(THRESHOLDS) or not tensor.is_floating_point():  # NaN marks an output without one
            continue
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path} is refused: its tensor {name} holds values that are not finite")


def card_of(inspected: InspectedWeights, **card_values: Any) -> ModelCard:
    """Return the card of inspected weights; ``card_values`` of a person go before what the layout says.

    Parameters
    ----------
    card_values
        ``classes``, ``task``, ``size``, ``mean``, ``std``, ``channels``; ``name``, ``licence``, ``origin``.

    Raises
    ------
    WeightsError
        If something but the licence is still unknown (the options are named), or does not fit the file's tensors.
    """
    card_values = {key: value for key, value in card_values.items() if value not in (None, "", ())}
    recognised = inspected.known
    lacking = [name for name in inspected.unknown if name not in card_values]
    if lacking:
        options = "; ".join(f"--{name} ({NEEDED[name]})" for name in lacking)
        file = f"{inspected.path.name} ({recognised.title}, {inspected.outputs} outputs)"
        raise wrong_use(WeightsError(f"{file} does not say everything: give {options}"))
    classes = tuple(card_values.get("classes") or recognised.classes or ())
    if len(classes) != inspected.outputs:
        raise WeightsError(_wrong_classes(inspected, classes))
    channels = _integer(card_values.get("channels", inspected.channels), "channels")
    if channels != inspected.channels:
        raise WeightsError(
            f"channels {channels} does not fit: the first layer of {inspected.path} takes {inspected.channels}"
        )
    return ModelCard(
        backbone=inspected.backbone,
        backbone_args=inspected.backbone_args,
        classes=classes,
        task=card_values.get("task") or recognised.task or "",
        size=_integer(card_values.get("size", recognised.size), "size"),
        channels=channels,
        mean=per_channel(card_values.get("mean") or recognised.mean, channels, recognise.IMAGENET_MEAN, "mean"),
        std=per_channel(card_values.get("std") or recognised.std, channels, recognise.IMAGENET_STD, "std"),
        name=str(card_values.get("name") or inspected.path.stem),
        licence=_one_line(card_values.get("licence") or inspected.licence or UNKNOWN),
        origin=_one_line(
            card_values.get("origin") or f"{recognised.origin or recognised.title}, file {inspected.path.name}"
        ),
        checksum=str(inspected.checked),
        thresholds=recognised.thresholds if classes == recognised.classes else {},
        limits=" ".join(filter(None, (recognised.limits, LIMITS))),
    )


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())


def _integer(value: Any, key: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise wrong_use(WeightsError(f"{key} {value!r} is not usable: a whole number is needed")) from None


def _wrong_classes(inspected: InspectedWeights, classes: Sequence[str]) -> str:
    text = f"the head of {inspected.path.name} has {inspected.outputs} outputs, but {len(classes)} classes are named"
    text += f" ({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}): name every output, in its order"
    if inspected.outputs == 1000:
        target = weights_root() / f"{inspected.backbone}.imagenet{inspected.path.suffix}"
        text += f". It looks like ImageNet weights: put the file at {target} and give `weights: imagenet` in a recipe"
    return text


def per_channel(value: Any, channels: int, imagenet: Sequence[float], key: str) -> tuple[float, ...]:
    """Return a normalisation as one number per channel from numbers, text (``0.5``, ``a,b,c``) or ``imagenet``."""
    if isinstance(value, str) and value.strip() == "imagenet":
        return tuple(imagenet) if channels == 3 else (sum(imagenet) / 3,)
    parts = value.split(",") if isinstance(value, str) else value
    try:
        numbers = [float(part) for part in ([parts] if isinstance(parts, int | float) else parts)]
    except (TypeError, ValueError):
        raise wrong_use(
            WeightsError(f"{key} {value!r} is not usable: numbers separated by commas, or imagenet")
        ) from None
    return tuple(numbers * channels) if len(numbers) == 1 else tuple(numbers)


def import_weights(
    source: InspectedWeights | str | Path, *, out: str | Path | None = None, force: bool = False, **card_values: Any
) -> tuple[Path, XrayClassifier]:
    """Write inspected weights, or those of a file, as safetensors with a card and return the file and the network.

    Parameters
    ----------
    out
        The file; by default ``<name>.safetensors`` in the folder of weights.
    force
        Whether a file of that name is replaced.
    card_values
        See :func:`card_of`.

    Raises
    ------
    WeightsError
        If a tensor does not fit, something is unknown, or the file already exists.
    """
    permission.ask("import weights")
    inspected = source if isinstance(source, InspectedWeights) else look_at(source)
    inspected.check()
    card = card_of(inspected, **card_values)
    target = Path(out).expanduser() if out else weights_root() / f"{_file_name(card.name)}{SAFETENSORS}"
    if target.suffix != SAFETENSORS:
        raise wrong_use(WeightsError(f"{target} cannot hold weights: the name must end in {SAFETENSORS}"))
    if target.exists() and not force:
        raise WeightsError(f"{target} already exists: give --force to replace it, or another --name")
    network = make_network(card.backbone, len(card.classes), card.channels, card.backbone_args)
    network.load_state_dict({name: inspected.renamed.state[name] for name in inspected.report.matched}, strict=False)
    model = XrayClassifier(network, card).eval()
    return save_model(model, target, read_seen(inspected.path)), model


def _file_name(name: str) -> str:
    if not name or Path(name).name != name or name.startswith("."):
        raise wrong_use(WeightsError(f"name {name!r} is not usable: a plain file name without folders is needed"))
    return name
