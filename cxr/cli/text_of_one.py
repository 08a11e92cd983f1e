"""``cxr text mask``: one X-ray with its text masked, as the page Text tokens shows it."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import numpy as np

from cxr.cli.explaining import image_path
from cxr.cli.models import manifest_of
from cxr.data import read_xray
from cxr.evaluation import predict
from cxr.evaluation.metrics import probabilities
from cxr.experiments.masking.one_image import CONDITIONS, versions_of
from cxr.experiments.masking.settings import Setting
from cxr.networks import compute_on_free_device, load_network
from cxr.text import Reviews, detect_cached, tokens_of
from cxr.text.boxes import BoxValues


class MaskedClass(TypedDict):
    """A class's probability by condition, and by how much its logit moves from the untouched X-ray."""

    probability: dict[str, float]
    logit_moves: dict[str, float]


class MaskedReport(TypedDict):
    """What ``cxr text mask --json`` prints."""

    model: str
    image: str
    by_hand: bool
    boxes: list[BoxValues]
    masked_share: float
    classes: dict[str, MaskedClass]
    computed: str


def mask_one(model: str, image: str, data: str | None, mode: str, margin: float, device: str) -> MaskedReport:
    """Find, or take as corrected by hand, the text of an X-ray, mask it, and predict every version of it.

    Raises
    ------
    CxrError
        For an unknown network, X-ray, mask or margin.
    """
    network, description = load_network(model)
    path = image_path(model, image, data)
    pixels = read_xray(path)
    # A file that is no X-ray of a data set has no boxes corrected by hand.
    manifest = None if Path(image).is_file() else Path(manifest_of(model, data))
    reviews = Reviews.beside(manifest) if manifest is not None else None
    boxes, by_hand = tokens_of(pixels, image, reviews, detect_cached)
    setting = Setting.of({"model": model, "manifest": str(manifest or ""), "modes": [mode], "margin": margin})
    versions = versions_of(pixels, image, boxes, setting, network.card.size)
    # Equal pictures are predicted once: at another place of a batch the last bit of a logit may differ.
    pictures, which = np.unique([versions.images[condition] for condition in CONDITIONS], axis=0, return_inverse=True)
    computed = compute_on_free_device(network, lambda on_device: predict(on_device, pictures), device)
    logits = computed.value[which.ravel()]
    chances = probabilities(logits, network.card.task)
    return {
        "model": description,
        "image": str(path),
        "by_hand": by_hand,
        "boxes": [box.to_dict() for box in boxes],
        "masked_share": versions.masked_share,
        "classes": {
            name: {
                "probability": {condition: float(chances[i, k]) for i, condition in enumerate(CONDITIONS)},
                "logit_moves": {c: float(logits[i, k] - logits[0, k]) for i, c in enumerate(CONDITIONS) if i},
            }
            for k, name in enumerate(network.classes)
        },
        "computed": f"Computed {computed.where}.",
    }
