"""The card tells people everything that belongs to a network, and survives JSON."""

from __future__ import annotations

import dataclasses
import json

import pytest

from cxr.errors import WeightsError
from cxr.models import ModelCard

ESTIMATE = {"value": 0.85, "low": 0.8, "high": 0.89}


def full_card() -> ModelCard:
    return ModelCard(
        backbone="densenet121",
        classes=("covid19", "normal | healthy", "pneumonia"),
        name="twice",
        recipe={"name": "twice-keep", "size": 224, "stages": [{"name": "nih", "epochs": 3}]},
        stages=[
            {"name": "nih", "task": "multi-label", "classes": ["Pneumonia", "Mass"], "kept_neurons": {}},
            {"name": "final", "task": "single-label", "classes": ["pneumonia"],
             "kept_neurons": {"pneumonia": "Pneumonia"}, "best": {"epoch": 4, "val_loss": 0.41239}},
        ],
        metrics={
            "test": {
                "n": 120,
                "accuracy": ESTIMATE,
                "macro_f1": {"value": 0.7, "low": None, "high": None},
                "auc": {"value": None},
                "per_class": {"covid19": {"support": 40, "recall": ESTIMATE}},
            }
        },
        manifest_hash="m" * 8,
        split_hash="s" * 8,
        licence="CC BY 4.0",
        origin="ImageNet weights, timm/densenet121",
        checksum="sha256 abc",
        thresholds={"covid19": 0.25},
        trained_on="my data",
    )  # fmt: skip


def test_the_page_of_a_network_of_findings_has_the_figures_of_each():
    names = ("auc", "average_precision", "sensitivity", "specificity", "precision")
    finding = dict.fromkeys(names, ESTIMATE) | {"known": 90, "positive": 7, "threshold": 0.5, "published": False}
    summary = {"task": "multi-label", "n": 100, "auc": ESTIMATE, "average_precision": ESTIMATE}
    card = dataclasses.replace(full_card(), metrics={"val": summary | {"per_class": {"Mass": finding}}})
    page = card.to_markdown()
    assert "| split | images | AUC | average precision |" in page
    assert "| finding | positive of known images | AUC | average precision | threshold | sensitivity |" in page
    assert "| Mass | 7 of 90 | 0.850 [0.800, 0.890] |" in page
    assert "accuracy" not in page


def test_a_card_comes_back_from_json_with_every_field():
    card = full_card()
    assert ModelCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card


def test_a_card_of_an_older_version_has_no_stages_and_no_origin():
    values = full_card().to_dict()
    for later in ("stages", "origin", "checksum", "thresholds"):
        del values[later]
    card = ModelCard.from_dict(values)
    assert (card.stages, card.origin, card.checksum, card.thresholds) == ([], "", "", {})


def test_the_page_tells_input_stages_figures_with_intervals_licence_use_and_limits():
    page = full_card().to_markdown()
    for part in (
        "# twice\n",
        "Not a medical device",
        "224 x 224 pixels, grey; values in [0, 1], minus 0.5, divided by 0.25",
        "normal \\| healthy",
        "| manifest hash | mmmmmmmm |",
        "| licence | CC BY 4.0 |",
        "| initial weights | ImageNet weights, timm/densenet121 |",
        "| final | single-label | pneumonia | Pneumonia as pneumonia | epoch 4, val_loss 0.4124 |",
        "| test | 120 | 0.850 [0.800, 0.890] | 0.700 | – |",
        "| covid19 | 40 | 0.850 [0.800, 0.890] |",
        "| covid19 | 0.25 |",
        "name: twice-keep",
        "other hospitals and devices must be tested separately",
        "timm ",
    ):
        assert part in page, page


def test_the_page_of_a_card_that_tells_little_says_so():
    page = ModelCard(backbone="densenet121", classes=("a",)).to_markdown()
    assert "| licence | not stated |" in page
    assert "None are stated: measure it with `cxr evaluate`" in page
    assert "## Recipe" not in page


def test_a_card_without_classes_is_incomplete():
    with pytest.raises(WeightsError, match="the card is incomplete"):
        ModelCard.from_dict({"backbone": "densenet121"})
