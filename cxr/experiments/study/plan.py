"""Plans of studies: which recipes are compared over which seeds and by what, as YAML that is checked first."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cxr.errors import RecipeError, unknown, wrong_use
from cxr.experiments.study.examples import EXAMPLES
from cxr.json_types import JsonObject
from cxr.validation import one_line, why_not_yaml

METRICS = ("val_accuracy", "val_macro_f1", "val_auc", "val_loss")
MOST_SEEDS = 20  # all 2^n flips of signs are counted for the p values
MOST_RECIPES = 12

_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,39}")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Entry(_Part):
    """A recipe of a study: a preset's name, a file or plain values, and what is changed in it (dotted keys)."""

    recipe: Any
    changes: JsonObject = Field(default_factory=dict, alias="set")

    @field_validator("recipe")
    @classmethod
    def _is_recipe(cls, value: Any) -> Any:
        if not isinstance(value, str | dict) or not value:
            raise ValueError(f"{value!r} is not a recipe. Allowed: a preset's name, a YAML file, keys and values")
        return value


class Plan(_Part):
    """What a study does.

    Members, one training each, are all pairs of a recipe and a seed. A seed is the same for all recipes, so that
    differences between recipes are paired: same seed, same order of images. The last stage is what is compared.
    """

    name: str = Field(default="study", min_length=1, max_length=60)
    description: str = ""
    data: str | None = Field(default=None, description="a data set's name or a manifest; null: given at the start")
    recipes: dict[str, Entry]
    changes: JsonObject = Field(default_factory=dict, alias="set", description="for all recipes")
    seeds: list[int] = [0, 1, 2]
    metric: Literal["val_accuracy", "val_macro_f1", "val_auc", "val_loss"] = "val_accuracy"
    accuracy: list[float] = Field(
        default=[0.7], description=("levels of the metric: the epoch that first reaches each is reported")
    )
    first_epochs: list[int] = Field(default=[5], description="number of first epochs that count as the beginning")
    baseline: str | None = Field(default=None, description="null: the first recipe")
    parallel: int = Field(default=1, ge=1, le=64, description="trainings at once")
    on_failure: Literal["go-on", "stop"] = "go-on"

    @field_validator("recipes", mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        if isinstance(value, list) and all(isinstance(name, str) for name in value):
            value = {name: name for name in value}
        if not isinstance(value, dict) or not 1 <= len(value) <= MOST_RECIPES:
            raise ValueError(f"1 to {MOST_RECIPES} recipes are needed, each with a label: `twice: {{recipe: twice}}`")
        for label in value:
            if not _LABEL.fullmatch(str(label)):
                raise ValueError(
                    f"{label!r} is not a valid label. Allowed: letters, digits, '.', '_', '+', '-', 40 at most"
                )
        entries = value.items()
        return {str(label): {"recipe": entry} if isinstance(entry, str) else entry for label, entry in entries}

    @field_validator("seeds", mode="before")
    @classmethod
    def _seeds(cls, value: Any) -> list[int]:
        seeds = list(range(value)) if _is_whole(value) and value <= MOST_SEEDS else value
        right = isinstance(seeds, list) and all(_is_whole(seed) and 0 <= seed < 2**32 for seed in seeds)
        if not right or not 1 <= len(seeds) <= MOST_SEEDS or len(set(seeds)) < len(seeds):
            raise ValueError(f"{value!r} is not allowed. Allowed: 1 to {MOST_SEEDS}, or a list of as many seeds")
        return seeds

    @field_validator("first_epochs", mode="before")
    @classmethod
    def _first_epochs(cls, value: Any) -> list[int]:
        epochs = value if isinstance(value, list) else [value]
        if not epochs or len(epochs) > 5 or not all(_is_whole(k) and 1 <= k <= 10000 for k in epochs):
            raise ValueError(f"{value!r} is not allowed. Allowed: a number of epochs, or up to five of them")
        return sorted(set(epochs))

    @field_validator("accuracy", mode="before")
    @classmethod
    def _levels(cls, value: Any) -> list[float]:
        levels = value if isinstance(value, list) else [value]
        if not levels or len(levels) > 5 or not all(_is_number(level) and level > 0 for level in levels):
            raise ValueError(f"{value!r} is not allowed. Allowed: a level above 0, or up to five of them")
        return sorted({float(level) for level in levels})

    @model_validator(mode="after")
    def _fits(self) -> Plan:
        if self.baseline is not None and self.baseline not in self.recipes:
            raise ValueError(f"baseline: {self.baseline!r} is not allowed. Allowed: {', '.join(self.recipes)}")
        if not self.lower_is_better and max(self.accuracy) > 1:
            raise ValueError(f"accuracy: {max(self.accuracy)} is not allowed. Allowed with {self.metric}: at most 1")
        return self

    @property
    def labels(self) -> list[str]:
        """The recipes' labels, the baseline first."""
        first = self.baseline or next(iter(self.recipes))
        return [first, *(label for label in self.recipes if label != first)]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """All pairs (recipe, the one that it is compared with), those with the baseline first."""
        return [(other, base) for base, other in itertools.combinations(self.labels, 2)]

    @property
    def lower_is_better(self) -> bool:
        """Whether small values of the metric are good."""
        return self.metric == "val_loss"

    def to_dict(self) -> JsonObject:
        """Return plain values that :func:`parse_plan` reads back to an equal plan."""
        return self.model_dump(mode="json", by_alias=True)

    def to_yaml(self) -> str:
        """Return YAML that :func:`load_plan` reads back to an equal plan."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=120)


def load_plan(source: str | Path | Mapping[str, Any] | Plan) -> Plan:
    """Return the plan that an example's name, a YAML file or plain values mean.

    Recipes' files are looked for beside the study's file first.

    Raises
    ------
    RecipeError
        One line: the key, its value, and what is allowed.
    """
    if isinstance(source, Plan):
        return source
    if isinstance(source, Mapping):
        return parse_plan(source)
    if str(source) in EXAMPLES:
        return parse_text(EXAMPLES[str(source)])
    path = Path(source).expanduser()
    if not path.is_file():
        raise wrong_use(RecipeError(f"{unknown('study', str(source), EXAMPLES)}, or a YAML file"))
    try:
        text = path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path} cannot be read as text: {error}") from None
    return _beside(parse_text(text, str(path)), path.parent)


def parse_text(text: str, where: str = "the study") -> Plan:
    """Return the plan in a text of YAML, or raise a RecipeError about the first thing that is wrong."""
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{where} is not YAML: {why_not_yaml(error)}") from None
    return parse_plan(values)


def parse_plan(values: Any) -> Plan:
    """Return the plan in plain values, or raise a RecipeError about the first thing that is wrong."""
    if not isinstance(values, Mapping):
        raise RecipeError(f"a study is a {type(values).__name__}: keys and values are needed (`cxr study show claim`)")
    try:
        return Plan.model_validate(dict(values))
    except ValidationError as error:
        raise RecipeError(one_line(error, Plan)) from None


def _beside(plan: Plan, folder: Path) -> Plan:
    for entry in plan.recipes.values():
        if isinstance(entry.recipe, str) and (folder / entry.recipe).is_file():
            entry.recipe = str((folder / entry.recipe).resolve())
    return plan


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
