"""How much of a heatmap lies inside burned-in tokens, held against random boxes of the same sizes.

Relevance in tokens asks what masking cannot: whether the network looks at them at all. It is given as a **gain**, the
share of relevance inside divided by the share of the area inside, so that 1 is what a map without any preference has.
Random boxes are the control: a map may prefer, or shun, places other than text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr.data import Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.errors import ExplainError
from cxr.evaluation.intervals import effective_patients, ratio_intervals, share_intervals
from cxr.evaluation.metrics import patients_of
from cxr.evaluation.predict import predict
from cxr.experiments.masking.conditions import Controls, Masking
from cxr.explain import DEFAULT_COMPOSITE, explain
from cxr.explain.quality.localisation import localise
from cxr.text.boxes import coverage
from cxr.text.corrections import FileTokens
from cxr.text.mask import grown_boxes

if TYPE_CHECKING:
    from cxr.models import XrayClassifier

Progress = Callable[[float, str], None]

_MEASURES = ("positive", "absolute")
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
) -> dict[str, Any]:
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
    results: dict[str, Any] = {"n": 0, "of": len(having), "composite": DEFAULT_COMPOSITE, "note": None, "images": []}
    if not ids:
        return results | {"note": "no X-ray with text was explained"}
    for start in range(0, len(ids), _BATCH):
        if stopped():
            return results | {"note": "it was stopped"}
        try:
            results["images"] += _measured(model, manifest, ids[start : start + _BATCH], file_tokens, controls, masking)
        except ExplainError as error:
            return results | {"note": str(error)}
        done = min(start + _BATCH, len(ids))
        progress(done / len(ids), f"{done} of {len(ids)} heatmaps measured")
    results["n"] = len(results["images"])
    return results | (
        {"note": "no token is left at the network's size"} if not results["n"] else _summed(results, manifest, masking)
    )


def _measured(
    model: XrayClassifier,
    manifest: Manifest,
    ids: list[str],
    file_tokens: Mapping[str, FileTokens],
    controls: Mapping[str, Mapping[str, Controls]],
    masking: Masking,
) -> list[dict[str, Any]]:
    size = model.card.size
    pictures = np.stack([fit_square(read_xray(manifest.image_path(i)), size) for i in ids])
    predicted = [model.classes[k] for k in predict(model, pictures).argmax(1)]
    maps = explain(model, pictures, predicted, DEFAULT_COMPOSITE)
    rows = []
    for k, image_id in enumerate(ids):
        row: dict[str, Any] = {"image_id": image_id}
        control_boxes = controls[image_id][masking.modes[0]].random[0]
        for name, boxes in (("tokens", file_tokens[image_id].boxes), ("random", control_boxes)):
            shape = file_tokens[image_id].shape
            inside = localise(maps.relevance[k], coverage(grown_boxes(boxes, masking.margin, shape), shape))
            row |= {
                f"{name}_area": inside.area,
                f"{name}_positive": inside.mass,
                f"{name}_absolute": inside.absolute_mass,
            }
        if all(np.isfinite(value) for value in row.values() if isinstance(value, float)):  # else no pixel is inside
            rows.append(row)
    return rows


def _summed(results: dict[str, Any], manifest: Manifest, masking: Masking) -> dict[str, Any]:
    ids = [row["image_id"] for row in results["images"]]
    groups = patients_of(manifest.table.set_index("image_id").loc[ids].reset_index())
    summed: dict[str, Any] = {"n_patients": len(set(groups))}
    for name in ("tokens", "random"):
        columns = [f"{name}_area", *(f"{name}_{measure}" for measure in _MEASURES)]
        values = np.array([[row[column] for column in columns] for row in results["images"]])

        def shares(weights: np.ndarray, values: np.ndarray = values) -> np.ndarray:
            return np.asarray(weights @ values[:, 1:] / weights.sum(1, keepdims=True))

        def gains(weights: np.ndarray, values: np.ndarray = values) -> np.ndarray:
            return np.asarray(weights @ values[:, 1:] / (weights @ values[:, :1]))

        whole = np.ones((1, len(ids)))
        point = np.concatenate([shares(whole)[0], gains(whole)[0]])
        limits = share_intervals(shares, groups, [effective_patients(groups)] * len(_MEASURES), masking.seed)
        limits += ratio_intervals(gains, groups, masking.seed)
        entries = [dict(zip(("low", "high"), pair or (None, None), strict=True)) for pair in limits]
        summed[name] = {"area": float(values[:, 0].mean())}
        for k, measure in enumerate(_MEASURES):
            share, gain = k, k + len(_MEASURES)
            summed[name][measure] = {
                "share": {"value": float(point[share]), **entries[share]},
                "gain": {"value": float(point[gain]), **entries[gain]},
            }
    return summed
