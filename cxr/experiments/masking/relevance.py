"""How much of a heatmap lies inside burned-in tokens, held against random boxes of the same sizes.

Relevance in tokens asks what masking cannot: whether the network looks at them at all. It is given as a **gain**, the
share of relevance inside divided by the share of the area inside, so that 1 is what a map without any preference has.
Random boxes are the control: a map may prefer, or shun, places other than text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cxr.data import Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.errors import ExplainError
from cxr.evaluation.metrics import patients_of
from cxr.evaluation.predict import predict
from cxr.experiments.masking.conditions import Controls, Masking
from cxr.experiments.masking.shapes import InsideMeasure, Relevance, RelevanceInside, RelevanceRow
from cxr.explain import DEFAULT_COMPOSITE
from cxr.explain.quality.localisation import localise
from cxr.explain.quality.region_shares import MEASURES, mean_gains, mean_shares
from cxr.text.boxes import coverage
from cxr.text.corrections import FileTokens
from cxr.text.mask import grown_boxes

if TYPE_CHECKING:
    from cxr.models import XrayClassifier

Progress = Callable[[float, str], None]

_BATCH = 8


def relevance_in_tokens(
    model: XrayClassifier,
    manifest: Manifest,
    file_tokens: Mapping[str, FileTokens],
    controls: Mapping[str, Mapping[str, Controls]],
    masking: Masking,
    limit: int,
    progress: Progress = lambda fraction, text: None,
    stopped: Callable[[], bool] = lambda: False,
) -> Relevance:
    """Explain the predicted class of up to ``limit`` X-rays with text, drawn by the seed, and add up what is inside.

    Of several findings the one with the highest probability is explained.

    Returns
    -------
    ``n`` images measured and ``n_patients``, ``composite``, ``of`` (how many have text), ``note`` (why there is no
    number, or None); for ``tokens`` and ``random`` (first draw) ``area`` (mean share of the pixels) and for
    ``positive`` and ``absolute`` relevance ``share`` and ``gain`` (mean share divided by mean area) as ``{value, low,
    high}`` over patients; ``images``, one row each.
    """
    having = [image_id for image_id, of in file_tokens.items() if of.boxes]
    chosen = np.random.default_rng(masking.seed).permutation(len(having))[:limit]
    ids = [having[k] for k in sorted(chosen)]
    results: Relevance = {"n": 0, "of": len(having), "composite": DEFAULT_COMPOSITE, "note": None, "images": []}
    if not ids:
        return {**results, "note": "no X-ray with text was explained"}
    for start in range(0, len(ids), _BATCH):
        if stopped():
            return {**results, "note": "it was stopped"}
        try:
            results["images"] += _measured(model, manifest, ids[start : start + _BATCH], file_tokens, controls, masking)
        except ExplainError as error:
            return {**results, "note": str(error)}
        done = min(start + _BATCH, len(ids))
        progress(done / len(ids), f"{done:,} of {len(ids):,} heatmaps measured")
    results["n"] = len(results["images"])
    if not results["n"]:
        return {**results, "note": "no token is left at the network's size"}
    return _summed(results, manifest, masking)


def _measured(
    model: XrayClassifier,
    manifest: Manifest,
    ids: list[str],
    file_tokens: Mapping[str, FileTokens],
    controls: Mapping[str, Mapping[str, Controls]],
    masking: Masking,
) -> list[RelevanceRow]:
    from cxr.explain import explain

    size = model.card.size
    pictures = np.stack([fit_square(read_xray(manifest.image_path(i)), size) for i in ids])
    predicted = [model.classes[k] for k in predict(model, pictures).argmax(1)]
    maps = explain(model, pictures, predicted, DEFAULT_COMPOSITE)
    rows: list[RelevanceRow] = []
    for k, image_id in enumerate(ids):
        control_boxes = controls[image_id][masking.modes[0]].random[0]
        shape = file_tokens[image_id].shape
        tokens, random = (
            localise(maps.relevance[k], coverage(grown_boxes(boxes, masking.margin, shape), shape))
            for boxes in (file_tokens[image_id].boxes, control_boxes)
        )
        row: RelevanceRow = {
            "image_id": image_id,
            "tokens_area": tokens.area,
            "tokens_positive": tokens.mass,
            "tokens_absolute": tokens.absolute_mass,
            "random_area": random.area,
            "random_positive": random.mass,
            "random_absolute": random.absolute_mass,
        }
        if all(np.isfinite(value) for value in row.values() if isinstance(value, float)):  # else no pixel is inside
            rows.append(row)
    return rows


def _summed(results: Relevance, manifest: Manifest, masking: Masking) -> Relevance:
    ids = [row["image_id"] for row in results["images"]]
    groups = patients_of(manifest.table.set_index("image_id").loc[ids].reset_index())
    values = pd.DataFrame(results["images"])

    def inside(name: str) -> RelevanceInside:
        columns = [f"{name}_area", *(f"{name}_{measure}" for measure in MEASURES)]
        return _inside(values[columns].to_numpy(np.float64), groups, masking.seed)

    return {**results, "n_patients": len(set(groups)), "tokens": inside("tokens"), "random": inside("random")}


def _inside(values: np.ndarray, groups: list[str], seed: int) -> RelevanceInside:
    """Return the means of columns (N, 3): the area, positive and absolute relevance inside boxes."""
    share = mean_shares(values[:, 1:], groups, seed)
    gain = mean_gains(values[:, 0], values[:, 1:], groups, seed)
    positive, absolute = (InsideMeasure(share=share[k], gain=gain[k]) for k in range(len(MEASURES)))
    return {"area": float(values[:, 0].mean()), "positive": positive, "absolute": absolute}
