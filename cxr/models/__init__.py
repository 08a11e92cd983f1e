"""Classifiers: networks that own their input, transfer between tasks by class name, weights with their card."""

from cxr.models.backbones import backbones
from cxr.models.build import build
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
