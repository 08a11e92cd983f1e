"""Classifiers: networks that own their input, transfer between tasks by class name, weights with their card."""

from typing import TYPE_CHECKING

from cxr import lazy
from cxr.models.backbones import backbones
from cxr.models.build import build

if TYPE_CHECKING:
    from cxr.models.card import ModelCard
    from cxr.models.classifier import XrayClassifier
    from cxr.models.load_state import LoadReport
    from cxr.models.transfer import keep_output_neurons, kept_neurons, with_classes
    from cxr.models.weights import list_weights, load_model, save_model

__all__ = [
    "LoadReport",
    "ModelCard",
    "XrayClassifier",
    "backbones",
    "build",
    "keep_output_neurons",
    "kept_neurons",
    "list_weights",
    "load_model",
    "save_model",
    "with_classes",
]

# Names of backbones and of weights are listed without torch. `backbones` and `build` are called as their modules are.
__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "card": ("ModelCard",),
        "classifier": ("XrayClassifier",),
        "load_state": ("LoadReport",),
        "transfer": ("keep_output_neurons", "kept_neurons", "with_classes"),
        "weights": ("list_weights", "load_model", "save_model"),
    },
)
