"""Training: recipes say what to do, :func:`train` does it in a run's folder and never loses work."""

from cxr.training.data.stages import check, check_labels, check_weights
from cxr.training.job import train
from cxr.training.recipe import PRESETS, Recipe, Stage, load_recipe

__all__ = ["PRESETS", "Recipe", "Stage", "check", "check_labels", "check_weights", "load_recipe", "train"]
