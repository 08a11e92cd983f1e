"""The card of a network: what it takes in, what its outputs mean, and where it comes from."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from cxr.errors import WeightsError
from cxr.formatting import counted
from cxr.json_types import JsonObject
from cxr.models.backbones import BackboneArgs

SINGLE_LABEL, MULTI_LABEL = TASKS = ("single-label", "multi-label")

INTENDED_USE = "Research on chest X-ray classifiers and what they look at. Not a medical device, not for diagnosis."
LIMITS = "Figures hold for images like those it was trained on; other hospitals and devices must be tested separately."


@dataclass
class ModelCard:
    """Everything that belongs to a network beside its weights; lies in the weights file and, to be read, beside it.

    Attributes
    ----------
    backbone, backbone_args
        timm's name (or an alias of ours) and the arguments that it was made with.
    classes
        Names of the outputs, in their order.
    task
        ``single-label`` (softmax over the classes) or ``multi-label`` (a sigmoid for each).
    size, channels, mean, std
        The input: side in pixels, 1 (grey) or 3 (grey repeated), and the normalisation of values in [0, 1], one
        number per channel.
    metrics
        By split, as ``cxr.evaluation.metrics.summarise`` returns them.
    manifest_hash, split_hash
        Of the manifest that it was trained on.
    stages
        One row for each stage of the training: name, task, classes, the neurons it kept, its best epoch.
    origin, checksum
        Where the weights come from that it was made of or began with, and the sha256 of that file with what the sum
        was compared with.
    thresholds
        By class, the probability above which its publisher calls it found; empty where none was published.
    licence
        Of weights that were imported, ``unknown`` where nobody named it; of a trained network those of the weights that
        it began with and of its data, separated by semicolons.
    """

    backbone: str
    classes: tuple[str, ...]
    backbone_args: BackboneArgs = field(default_factory=dict)
    task: str = SINGLE_LABEL
    size: int = 224
    channels: int = 1
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.25,)
    name: str = ""
    trained_on: str = ""
    recipe: JsonObject = field(default_factory=dict)
    stages: Sequence[Mapping[str, Any]] = field(default_factory=list)
    metrics: JsonObject = field(default_factory=dict)
    manifest_hash: str = ""
    split_hash: str = ""
    licence: str = ""
    origin: str = ""
    checksum: str = ""
    thresholds: dict[str, float] = field(default_factory=dict)
    intended_use: str = INTENDED_USE
    limits: str = LIMITS
    versions: dict[str, str] = field(default_factory=lambda: software_versions())
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def __post_init__(self) -> None:
        self.classes = tuple(str(name) for name in self.classes)
        self.mean = tuple(float(value) for value in self.mean)
        self.std = tuple(float(value) for value in self.std)
        self._check()

    def _check(self) -> None:
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise WeightsError(f"classes {list(self.classes)} are not usable: one or more different names are needed")
        if self.task not in TASKS:
            raise WeightsError(f"task {self.task!r} is not one of {', '.join(TASKS)}")
        if self.channels not in (1, 3):
            raise WeightsError(f"channels {self.channels} is not one of 1 (grey), 3 (grey repeated)")
        if not 16 <= int(self.size) <= 2048:
            raise WeightsError(f"size {self.size} is not a number of pixels from 16 to 2048")
        if len(self.mean) != self.channels or len(self.std) != self.channels or min(self.std) <= 0:
            numbers = counted(self.channels, "number")
            raise WeightsError(f"mean {self.mean} and std {self.std} are not usable: {numbers} each, std above 0")

    def to_dict(self) -> JsonObject:
        """Return plain values that JSON can hold."""
        plain = dataclasses.asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}

    def to_markdown(self) -> str:
        """Return the card as a page for people, as ``cxr weights show`` and the export give it."""
        from cxr.models.card_markdown import markdown

        return markdown(self)

    @classmethod
    def from_dict(cls, values: JsonObject) -> ModelCard:
        """Return the card in ``values``; keys of later versions are ignored, a missing one is a WeightsError."""
        field_names = {f.name for f in dataclasses.fields(cls)}
        try:
            return cls(**{key: value for key, value in values.items() if key in field_names})
        except TypeError as error:
            raise WeightsError(f"the card is incomplete: {error}. Needed at least: backbone, classes") from None


def software_versions() -> dict[str, str]:
    """Return the versions that a network's numbers depend on."""
    packages = ("cxr", "torch", "timm", "numpy")
    return {"python": platform.python_version()} | {name: _version(name) for name in packages}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
