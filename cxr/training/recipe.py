"""Recipes: what a training does, as YAML that is checked before anything starts.

A recipe has one stage or several (intermediate tasks first). Every default is this project's, not the paper's, which
does not give its values. Reading a recipe loads neither torch nor timm.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cxr.errors import RecipeError, unknown, wrong_use
from cxr.json_types import JsonObject
from cxr.models.backbones import BackboneArgs, check_backbone
from cxr.text.mask_modes import DEFAULT_MARGIN, DEFAULT_MODE, MASK_MODES, MOST_MARGIN
from cxr.training.data.augment import Augment
from cxr.validation import one_line, why_not_yaml


@dataclass(frozen=True)
class Preset:
    """A recipe that comes with the package: a YAML file and what it changes there (see :meth:`Recipe.changed`)."""

    file: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """The YAML file."""
        return Path(__file__).with_name("presets") / self.file


# The paper's networks are DenseNet201 and DenseNet121 (CheXNet's); a densenet201 at this batch needs 12 GB on a GPU.
PRESETS: dict[str, Preset] = {
    name: Preset(f"{name}.yaml") for name in ("demo", "scratch", "imagenet", "twice", "twice-keep")
} | {
    f"{name}-densenet201": Preset(f"{name}.yaml", {"name": f"{name}-densenet201", "backbone": "densenet201"})
    for name in ("scratch", "imagenet", "twice", "twice-keep")
}

LOWER_IS_BETTER = ("val_loss",)
# Of findings most are absent, so that the share of right entries is high for any network: no accuracy there.
MONITORS: Mapping[str, tuple[str, ...]] = {
    "single-label": ("val_loss", "val_accuracy", "val_macro_f1"),
    "multi-label": ("val_loss", "val_auc", "val_macro_f1"),
}
ALL, HEAD = "all", "head"
_WHAT_IS_TRAINED = r"^(all|head|block-[1-9]\d?)$"

_FORMS = {
    "device": "auto, cpu, cuda, cuda:<number>",
    "name": "letters, digits, - and _, 40 at most",
    "train": "all, head, block-<number> (from that block of the network on)",
    "unfreeze": "all, head, block-<number> (from that block of the network on)",
    "class_weights": "none, balanced, or a number above 0 for each class by its name",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())


class Optimiser(_Part):
    """How weights follow gradients; ``momentum`` is for sgd alone, ``weight_decay`` is decoupled in adamw."""

    name: Literal["adam", "adamw", "sgd"] = "adamw"
    lr: float = Field(default=1e-3, gt=0, le=100)
    weight_decay: float = Field(default=0.01, ge=0, le=10)
    momentum: float = Field(default=0.9, ge=0, lt=1)


class Schedule(_Part):
    """The learning rate over the steps: a linear warm-up, then constant, cosine to 0, or times ``gamma`` in steps."""

    name: Literal["constant", "cosine", "step"] = "cosine"
    warmup_epochs: float = Field(default=0.0, ge=0, le=1000)
    step_epochs: int = Field(default=10, ge=1, le=10000)
    gamma: float = Field(default=0.1, gt=0, le=1)


class Text(_Part):
    """What becomes of burned-in text before a network sees an image, at the size of its file; ``mask`` is a short form.

    What is masked is masked in every stage and split alike; see :mod:`cxr.training.data.masked_text`.
    """

    handling: Literal["keep", "mask"] = "keep"
    mode: str = DEFAULT_MODE
    margin: float = Field(
        default=DEFAULT_MARGIN,
        ge=0,
        le=MOST_MARGIN,
        description="by which boxes grow: below 1 of the shorter side, else pixels",
    )
    measure_on: Literal["masked", "unmasked"] = Field(
        default="masked", description="the images that predictions and results are of, once a network is trained"
    )

    @field_validator("mode")
    @classmethod
    def _mode_exists(cls, name: str) -> str:
        if name not in MASK_MODES:
            raise ValueError(unknown("mask mode", name, MASK_MODES))
        return name

    @property
    def is_masked(self) -> bool:
        """Whether the network learns from masked images."""
        return self.handling == "mask"


Trained = Annotated[str, Field(pattern=_WHAT_IS_TRAINED)]
Weight = Annotated[float, Field(gt=0, le=1000)]


class Stage(_Part):
    """One task of a recipe.

    The last stage learns ``label`` on the splits of the manifest. Stages before it learn on what shares no patient and
    no duplicate with any held-out split of the last one; a tenth of their patients validates them.
    """

    name: str = Field(default="train", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$")
    data: str | None = Field(default=None, description="a manifest of its own; null: that of the run")
    sources: list[str] | None = Field(
        default=None, description="only these sources; null: see cxr.training.data.stages"
    )
    task: Literal["single-label", "multi-label"] = "single-label"
    label: Literal["label", "findings"] = "label"
    use_splits: bool = Field(
        default=False,
        description="a stage before the last one takes the splits train and val of its manifest as they are; a patient "
        "of theirs whom the last stage holds out is then refused, not left out",
    )
    classes: list[str] | None = Field(default=None, min_length=2, description="null: those found")
    no_finding: bool = Field(default=False, description="'No Finding' is a class of its own among the findings")
    annotated: dict[str, list[str]] = Field(
        default_factory=dict,
        description="source: the findings that it labels; the others are unknown in its images, not absent",
    )
    epochs: int = Field(default=10, ge=1, le=10000)
    batch: int = Field(default=32, ge=2, le=4096, description="images per step, over all devices")
    accumulate: int = Field(default=1, ge=1, le=1024, description="parts of a batch that are computed one by one")
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    augment: Augment = Augment()
    loss: Literal["auto", "cross-entropy", "bce", "focal"] = Field(
        default="auto", description="auto: cross-entropy for single-label, bce for multi-label"
    )
    focal_gamma: float = Field(default=2.0, ge=0, le=10, description="how much focal leaves out what is easy")
    class_weights: Literal["none", "balanced"] | dict[str, Weight] = Field(
        default="balanced", description="or a weight per class by its name, 1 for those not named"
    )
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    clip_gradients: float | None = Field(default=None, gt=0, description="largest norm; null: not clipped")
    train: Trained = Field(default=ALL, description="all, head, or block-N: from block N of the network on")
    unfreeze: dict[int, Trained] = Field(
        default_factory=dict, description="{epoch: what is trained from it on}, epochs counted from 1"
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="decay of the running mean of the weights, which is then validated and saved; null: none",
    )
    early_stop: int | None = Field(default=None, ge=1, description="epochs without a better monitor; null: never")
    keep_neurons: bool = Field(default=False, description="shared classes keep their output neuron")
    aliases: dict[str, str] = Field(default_factory=dict, description="names that mean the same in both tasks")
    monitor: Literal["val_loss", "val_accuracy", "val_macro_f1", "val_auc"] = Field(
        default="val_loss", description="val_accuracy for single-label alone, val_auc for multi-label alone"
    )

    @model_validator(mode="after")
    def _task_fits_label(self) -> Stage:
        task = {"label": "single-label", "findings": "multi-label"}[self.label]
        if self.task != task:
            raise ValueError(f"task {self.task!r} does not fit label {self.label!r}. Allowed: {task}")
        if self.label_smoothing and (self.task == "multi-label" or self.loss == "focal"):
            raise ValueError(f"label_smoothing {self.label_smoothing} is for cross-entropy. Allowed here: 0")
        right = {"single-label": "cross-entropy", "multi-label": "bce"}[self.task]
        if self.loss not in ("auto", "focal", right):
            raise ValueError(f"loss {self.loss!r} does not fit task {self.task!r}. Allowed: auto, {right}, focal")
        return self

    @model_validator(mode="after")
    def _monitor_fits_task(self) -> Stage:
        if self.monitor not in MONITORS[self.task]:
            raise ValueError(
                f"monitor {self.monitor!r} does not fit task {self.task!r}. Allowed: {', '.join(MONITORS[self.task])}"
            )
        return self

    @model_validator(mode="after")
    def _unfreezes_within(self) -> Stage:
        for epoch in self.unfreeze:
            if not 2 <= epoch <= self.epochs:
                raise ValueError(f"unfreeze: {epoch} is not a later epoch. Allowed: 2 to {self.epochs}")
        return self

    def trained_in(self, epoch: int) -> str:
        """Return what is trained in an epoch (counted from 0): ``all``, ``head`` or ``block-N``."""
        begun = [since for since in self.unfreeze if since <= epoch + 1]
        return self.unfreeze[max(begun)] if begun else self.train


class Recipe(_Part):
    """All that decides a training besides its data; see the fields and ``cxr/training/presets`` for examples."""

    name: str = Field(default="recipe", min_length=1, max_length=80)
    description: str = ""
    backbone: str = "densenet121"
    backbone_args: BackboneArgs = Field(default_factory=dict)
    size: int = Field(default=224, ge=32, le=1024)
    channels: Literal[1, 3] | None = Field(default=None, description="null: 1, or 3 with weights that need it")
    weights: str | None = Field(default=None, description="null, imagenet, a file, or a name in the folder of weights")
    text: Text = Field(default=Text(), description="keep, mask, or how it is masked")
    seed: int = Field(default=0, ge=0, lt=2**32)
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    devices: int = Field(
        default=1, ge=1, le=1024, description="GPUs from `device` on (or processes on the CPU) that share each batch"
    )
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    compile: bool = Field(default=False, description="torch.compile: slower to start, faster steps on a GPU")
    deterministic: bool = Field(default=False, description="the same numbers each time on a GPU, at some cost")
    threads: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="of each process on the processor; null: as many as torch takes, by OMP_NUM_THREADS and the cores "
        "that the process may use. Another number gives weights with other last digits",
    )
    checkpoint_every_steps: int | None = Field(default=None, ge=1, description="null: by time alone")
    checkpoint_every_seconds: float = Field(default=60.0, gt=0)
    heatmaps_every: int | None = Field(
        default=None,
        ge=1,
        description="epochs from one drawing of heatmaps to the next, of the X-rays that the validation got most "
        "wrong; null: none",
    )
    stages: list[Stage] = Field(default_factory=lambda: [Stage()], min_length=1, max_length=10)

    @field_validator("text", mode="before")
    @classmethod
    def _text_in_a_word(cls, value: Any) -> Any:
        return {"handling": value} if isinstance(value, str) else value

    @field_validator("backbone")
    @classmethod
    def _backbone_exists(cls, name: str) -> str:
        return check_backbone(name)

    @model_validator(mode="after")
    def _stages_fit(self) -> Recipe:
        for index, stage in enumerate(self.stages):
            parts = self.devices * stage.accumulate
            if stage.batch < 2 * parts:  # the smallest batch of an epoch has half as many images
                raise ValueError(
                    f"stages.{index}.batch: {stage.batch} is too small for devices {self.devices} and accumulate "
                    f"{stage.accumulate}. Allowed: {2 * parts} or more"
                )
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"stages are named {', '.join(names)}. Allowed: different names")
        if self.stages[-1].task != "single-label":
            raise ValueError("the last stage is multi-label. Allowed: single-label last, multi-label before it")
        if self.stages[0].keep_neurons and self.weights in (None, "imagenet"):
            raise ValueError(
                f"stages.0.keep_neurons: true has nothing to keep with weights {self.weights!r}. Allowed: false, or "
                "weights from a file with a card"
            )
        return self

    def to_yaml(self) -> str:
        """Return YAML that :func:`load_recipe` reads back to an equal recipe."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        """Return the recipe with some values replaced, by dotted path: ``{"size": 128, "stages.0.epochs": 3}``.

        ``stages.-1`` is the last stage, ``stages.*`` are all of them.
        """
        values = self.model_dump(mode="json")
        for path, value in changes.items():
            _assign(values, path.split("."), copy.deepcopy(value), path)  # a later change may go into this one
        return parse_recipe(values)


def load_recipe(source: str | Path | Mapping[str, Any] | Recipe) -> Recipe:
    """Return the recipe that a preset's name, a YAML file or plain values mean.

    Raises
    ------
    RecipeError
        One line: the key, its value, and what is allowed.
    """
    if isinstance(source, Recipe):
        return source
    if isinstance(source, Mapping):
        return parse_recipe(source)
    preset = PRESETS.get(str(source))
    path = preset.path if preset else Path(source).expanduser()
    if not path.is_file():
        raise wrong_use(RecipeError(f"{unknown('recipe', str(source), PRESETS)}, or a YAML file"))
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {why_not_yaml(error)}") from None
    except (UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path} cannot be read as text: {error}") from None
    recipe = parse_recipe(values)
    return recipe.changed(preset.changes) if preset and preset.changes else recipe


def parse_recipe(values: Any) -> Recipe:
    """Return the recipe in plain values, or raise a RecipeError about the first thing that is wrong."""
    if not isinstance(values, Mapping):
        raise RecipeError(f"a recipe must have keys and values, as the presets have; this is a {type(values).__name__}")
    try:
        return Recipe.model_validate(_padded_as_recorded(values))
    except ValidationError as error:
        raise RecipeError(one_line(error, Recipe, _FORMS)) from None


# What a recipe that was written in full said of augmentation before one could choose the padding: it was black.
_AUGMENT_BEFORE_PADDING = {
    "rotate", "translate", "scale", "shear", "brightness", "contrast", "gamma", "noise", "hflip",
}  # fmt: skip


def _padded_as_recorded(values: Mapping[str, Any]) -> JsonObject:
    """Return a recipe's values with ``padding: black`` in stages that were recorded before there was a choice.

    So an older run resumes with the images that it began with, and its recipe makes the same network again.
    """
    stages = values.get("stages")
    if not isinstance(stages, list):
        return dict(values)
    return {**values, "stages": [_stage_as_recorded(stage) for stage in stages]}


def _stage_as_recorded(stage: Any) -> Any:
    augment = stage.get("augment") if isinstance(stage, Mapping) else None
    if not isinstance(augment, Mapping) or set(augment) != _AUGMENT_BEFORE_PADDING:
        return stage
    return {**stage, "augment": {**augment, "padding": "black"}}


def _assign(values: Any, keys: list[str], new: Any, path: str) -> None:
    key, *rest = keys
    if isinstance(values, list):
        if key == "*":
            for item in values:
                _assign(item, rest, new, path)
            return
        if not key.lstrip("-").isdigit() or not -len(values) <= int(key) < len(values) or not rest:
            raise wrong_use(RecipeError(f"{path}: {key!r} is not a stage. Allowed: 0 to {len(values) - 1}, -1, *"))
        _assign(values[int(key)], rest, new, path)
    elif not rest:
        values[key] = new
    elif isinstance(values.get(key), dict | list):
        _assign(values[key], rest, new, path)
    else:
        raise RecipeError(f"{path}: {key!r} has no sub-keys. Known keys: {', '.join(values)}")
