"""Training: recipes say what to do, :func:`train` does it in a run's folder and never loses work."""

from typing import TYPE_CHECKING

from cxr import lazy

if TYPE_CHECKING:
    from cxr.training.data.stages import check, check_labels, check_weights
    from cxr.training.job import train
    from cxr.training.recipe import PRESETS, Recipe, Stage, load_recipe

__all__ = ["PRESETS", "Recipe", "Stage", "check", "check_labels", "check_weights", "load_recipe", "train"]

# A recipe is read without torch.
__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "data.stages": ("check", "check_labels", "check_weights"),
        "job": ("train",),
        "recipe": ("PRESETS", "Recipe", "Stage", "load_recipe"),
    },
)
