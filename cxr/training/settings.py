"""The parameters of a training's run: the recipe, the data, and the study that it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from cxr.data.settings import OnManifest
from cxr.training.recipe import Recipe, load_recipe


def _read_recipe(value: Any) -> Recipe:
    """Return the recipe that a preset's name, a file or plain values mean; a file of weights by its whole path."""
    recipe = load_recipe(value)
    path = Path(recipe.weights).expanduser() if recipe.weights else None
    if path is None or not path.is_file():
        return recipe
    return recipe.model_copy(update={"weights": str(path.resolve())})


WholeRecipe = Annotated[
    Recipe, BeforeValidator(_read_recipe), PlainSerializer(lambda recipe: recipe.model_dump(mode="json"))
]
"""A recipe, kept with all its values whatever they were made of."""


class TrainingParams(OnManifest):
    """The parameters of a training.

    Attributes
    ----------
    data_name
        What the card of the network calls the data.
    study, study_recipe
        Of a member of a study: the study's run and the label of its recipe.
    """

    recipe: WholeRecipe
    data_name: str = ""
    study: str | None = None
    study_recipe: str | None = None

    def default_name(self) -> str:
        """Return the run's name."""
        return self.recipe.name

    def check(self) -> list[str]:
        """Raise a CxrError for data or weights that do not fit the recipe; return a sentence for what is left out."""
        from cxr.training.data.stages import check, check_weights

        warnings = check(self.recipe, self.data)
        check_weights(self.recipe)
        return warnings
