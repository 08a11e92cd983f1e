"""Classifiers: networks that own their input, transfer between tasks by class name, weights with their card."""

from cxr.models.backbone import XrayClassifier, backbones, build
from cxr.models.card import ModelCard
from cxr.models.matching import LoadReport
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
