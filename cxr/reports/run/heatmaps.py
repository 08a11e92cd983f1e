"""The heatmaps of a run's report: which X-rays, and how each is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd

from cxr.data import read_xray
from cxr.data.images.resize import fit_square
from cxr.errors import ImageError, RunError
from cxr.evaluation import predict
from cxr.evaluation.metrics import probabilities
from cxr.evaluation.truth import finding_names
from cxr.explain import legend, render
from cxr.explain.heatmap import Heatmap, Method, heatmaps_of
from cxr.models.card import MULTI_LABEL
from cxr.networks import compute_on_free_device, load_network
from cxr.reports.checklist.subject import Subject
from cxr.reports.identities import Identities
from cxr.reports.run.choices import Choices
from cxr.reports.run.document import Block, Picture, Section, Text
from cxr.reports.run.metrics import measured_table

if TYPE_CHECKING:  # it brings torch, and a page offers the report before anybody asks for it
    from cxr.models import XrayClassifier

RULE = (
    "Chosen by a rule, not by hand: by turns of each predicted class (of findings: the most probable one) the most "
    "certain right answer and the most certain wrong one of the split."
)
_HEIGHT = 256


def heatmaps(subject: Subject, choices: Choices, identities: Identities) -> Section | None:
    """Return the heatmaps that were asked for; None where none were."""
    if not (choices.heatmaps or choices.images):
        return None
    if subject.card is None or subject.manifest is None:
        raise RunError(f"{subject.run.id} has no network or no X-rays at hand, so nothing can be explained")
    network, _ = load_network(subject.network_ref)
    method = Method.of(choices.composite)
    chosen = most_certain(measured_table(subject, choices.split), network.classes, choices.heatmaps)
    ids = list(dict.fromkeys([*choices.images, *chosen]))
    blocks: list[Block] = [Text(f"{_intro(choices)} Red speaks for the explained class, blue against it.")]
    for image_id in ids:
        try:
            blocks.append(_picture(subject, network, method, image_id, choices, identities))
        except (ImageError, OSError):
            if image_id in choices.images:
                raise
            blocks.append(Text(f"{identities.name(image_id)} could not be read any more."))
    return Section("Heatmaps", blocks)


def _intro(choices: Choices) -> str:
    own = "Asked for by id. " if choices.images else ""
    return own + (RULE if choices.heatmaps else "")


def most_certain(table: pd.DataFrame | None, classes: Sequence[str], n: int) -> list[str]:
    """Return ids of ``n`` X-rays of a table of predictions by :data:`RULE`; fewer where there are no more."""
    if table is None or not len(table) or not n:
        return []
    chances = table[[f"prob_{name}" for name in classes]].to_numpy(np.float64)
    names = [classes[k] for k in chances.argmax(1)]
    rows = pd.DataFrame({"image_id": table["image_id"].to_numpy(), "name": names, "chance": chances.max(1)})
    rows["wrong"] = [not _right(row, name) for (_, row), name in zip(table.iterrows(), names, strict=True)]
    rows["name"] = pd.Categorical(rows["name"], categories=list(classes))
    rows = rows.sort_values("chance", ascending=False, kind="stable")
    rows["turn"] = rows.groupby(["name", "wrong"], observed=True).cumcount()
    return rows.sort_values(["turn", "name", "wrong"], kind="stable")["image_id"].head(n).astype(str).tolist()


def _right(row: pd.Series, name: str) -> bool:
    return bool(row[f"target_{name}"] == 1) if f"target_{name}" in row else bool(row["label"] == name)


def _picture(
    subject: Subject,
    network: XrayClassifier,
    method: Method,
    image_id: str,
    choices: Choices,
    identities: Identities,
) -> Picture:
    assert subject.manifest is not None  # heatmaps() has looked
    pixels = read_xray(subject.manifest.image_path(image_id))
    seen = fit_square(pixels, network.card.size)

    def explained(on_device: XrayClassifier) -> tuple[np.ndarray, Heatmap]:
        logits = predict(on_device, seen[None])[0]
        target = network.classes[int(logits.argmax())]
        ((heatmap,),) = heatmaps_of(method.explain(on_device, seen[None], target))
        return logits, heatmap

    logits, heatmap = compute_on_free_device(network, explained).value
    chance = float(probabilities(logits[None], network.card.task)[0].max())
    row = subject.manifest.row(image_id)
    words = [
        f"{identities.name(image_id)}. {_truth(row, network.card.task)}",
        f"{'Most probable' if network.card.task == MULTI_LABEL else 'Predicted'}: {heatmap.target} ({chance:.2f}).",
        *(f"{line.rstrip('.')}." for line in _legend(heatmap)),
    ]
    picture = _drawn(pixels, heatmap, with_image=choices.with_images)
    return Picture(render.to_png(picture), " ".join(words), width=picture.shape[1])


def _truth(row: pd.Series, task: str) -> str:
    if task == MULTI_LABEL:
        return f"Findings: {', '.join(finding_names(row['findings'])) or 'not known'}."
    return f"True label: {row['label'] or 'not known'}."


def _legend(heatmap: Heatmap) -> Iterator[str]:
    yield legend.title(heatmap)
    if heatmap.has_ledger:
        yield legend.ledger_line(heatmap)
    yield render.scale_line(heatmap.relevance, render.colour_scale(heatmap.relevance))


def _drawn(pixels: np.ndarray, heatmap: Heatmap, *, with_image: bool) -> np.ndarray:
    """Return the map with its colour bar, and only where pictures are wanted the X-ray itself beside and under it."""
    scale = render.colour_scale(heatmap.relevance)
    bar = render.colourbar(scale, _HEIGHT)
    gap = np.full((_HEIGHT, 8, 3), 255, np.uint8)
    parts = [_to_height(render.heatmap_rgb(heatmap.relevance, scale))]
    if with_image:
        grey = _to_height(np.repeat(pixels[..., None], 3, axis=2))
        over = _to_height(render.overlay(pixels, heatmap.relevance, scale=scale))
        parts = [grey, *parts, over]
    return np.concatenate([piece for part in (*parts, bar) for piece in (part, gap)][:-1], axis=1)


def _to_height(picture: np.ndarray) -> np.ndarray:
    width = max(1, round(_HEIGHT * picture.shape[1] / picture.shape[0]))
    smaller = picture.shape[0] > _HEIGHT
    return cv2.resize(picture, (width, _HEIGHT), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_NEAREST)
