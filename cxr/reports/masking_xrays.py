"""Single X-rays of a text experiment, in words and in pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypedDict

import cv2
import numpy as np
import pandas as pd

from cxr.data import read_xray
from cxr.errors import CxrError
from cxr.evaluation.truth import finding_names
from cxr.experiments.masking import example
from cxr.experiments.masking.settings import Setting
from cxr.experiments.masking.shapes import MaskingResults
from cxr.explain import render
from cxr.reports.identities import Identities, Privacy
from cxr.reports.slider import Pair, pair_of, png_url
from cxr.runs import Run
from cxr.text.boxes import TextBox
from cxr.text.mask import mask_text

_SWAYED, _THUMB, _WIDE = 8, 220, 520
_MOST_CHANCES = 6
_BOX_COLOUR = (255, 176, 32)
_COLOURS = f"linear-gradient(90deg, {', '.join(f'rgb{tuple(stop)}' for stop in render.COLOUR_STOPS['red-blue'])})"
"""The colours of relevance from negative to positive, as CSS writes them."""


class Shown(TypedDict):
    """One X-ray as the report shows it."""

    sentences: str
    sliders: list[Pair]
    explained_class: str
    scale: str
    colours: str


class Affected(TypedDict):
    """One of the most affected X-rays: pictures, where they are wanted, and what changes."""

    pictures: list[str]
    caption: str


def example_of(
    run: Run, results: MaskingResults, table: pd.DataFrame, privacy: Privacy, identities: Identities
) -> Shown | None:
    """Return one X-ray as it is and masked, with its heatmaps; None where no X-ray has text or its file has gone.

    Without pictures of X-rays the heatmaps stand alone, and kinds of tokens stand for what was read.
    """
    shown = example.read(run.folder.path)
    image = _image(run, shown.image_id) if shown else None
    if shown is None or image is None:
        return None
    boxes = _boxes(run).get(shown.image_id, [])
    row = table.set_index("image_id").loc[shown.image_id]
    pictures = [_small(image, _WIDE)]
    sliders = []
    if privacy.with_images:
        pictures.append(_small(mask_text(image, boxes, results["mode"], results["margin"]), _WIDE))
        shown_pictures = [_outlined(picture, boxes, image) for picture in pictures]
        sliders.append(pair_of(shown_pictures[0], shown_pictures[1], ("as it is", "text masked"), _WIDE))
    scale = 0.0
    explained = shown.before is not None and shown.after is not None
    if shown.before is not None and shown.after is not None:
        scale = max(render.colour_scale(relevance, 99.5) for relevance in (shown.before, shown.after))
        if privacy.with_images:
            maps = zip(pictures, (shown.before, shown.after), strict=True)
            before, after = (render.overlay(picture, relevance, 0.8, scale) for picture, relevance in maps)
        else:
            size = pictures[0].shape[1::-1]
            before, after = (
                cv2.resize(render.heatmap_rgb(relevance, scale), size, interpolation=cv2.INTER_NEAREST)
                for relevance in (shown.before, shown.after)
            )
        before, after = (_outlined(picture, boxes, image) for picture in (before, after))
        sliders.append(pair_of(before, after, (f"for {shown.target}: as it is", "text masked"), _WIDE))
    named = boxes if privacy.with_images else [replace(box, text="") for box in boxes]
    return {
        "sentences": in_words(row.rename(identities.name(shown.image_id)), results["classes"], named),
        "sliders": sliders,
        "explained_class": shown.target if explained else "",
        "scale": f"{scale:.2g}",
        "colours": _COLOURS,
    }


def _outlined(picture: np.ndarray, boxes: Sequence[TextBox], image: np.ndarray) -> np.ndarray:
    """Return a picture of ``image`` (H, W), grey or RGB of any size, as RGB with an outline around each box."""
    drawn = cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB) if picture.ndim == 2 else picture.copy()
    across, down = drawn.shape[1] / image.shape[1], drawn.shape[0] / image.shape[0]
    for box in boxes:
        first = (round(box.x0 * across) - 2, round(box.y0 * down) - 2)
        last = (round(box.x1 * across) + 1, round(box.y1 * down) + 1)
        cv2.rectangle(drawn, first, last, _BOX_COLOUR, 2, cv2.LINE_AA)
    return drawn


def in_words(row: pd.Series, classes: Sequence[str], boxes: Sequence[TextBox]) -> str:
    """Return what masking does to one X-ray, a row of ``predictions.parquet`` by image id, in sentences."""
    texts = ", ".join(f"“{box.text}”" if box.text else f"a {box.kind}" for box in boxes)
    if "predicted_before" in row:
        predicted = f" Predicted {row['predicted_before']}, with its text masked {row['predicted_after']}."
    else:
        predicted = ""
    return (
        f"{row.name}, {known_of(row)}, carries {texts}.{predicted} Probabilities: {_chances(row, classes)}. "
        f"Random boxes move them by {row['moved_control']:.3f}, masking the text by {row['moved']:.3f}."
    )


def known_of(row: Mapping[str, Any] | pd.Series) -> str:
    """Return what the data say of an X-ray, a row of ``predictions.parquet``: ``labelled normal``."""
    if "findings" in row:
        names = finding_names(row["findings"] or "")
        return f"with the findings {', '.join(names)}" if names else "whose findings are not known"
    return f"labelled {row['label'] or 'nothing'}"


def change_of(row: Mapping[str, Any] | pd.Series, name: str) -> str:
    """Return a class's probability before and after: ``Effusion 0.31 → 0.12``."""
    return f"{name} {row[f'prob_{name}_before']:.2f} → {row[f'prob_{name}_after']:.2f}"


def _chances(row: pd.Series, classes: Sequence[str]) -> str:
    shown = classes if len(classes) <= _MOST_CHANCES else example.most_moved(row, classes)[:_MOST_CHANCES]
    rest = len(classes) - len(shown)
    more = f"; the other {rest} move less" if rest else ""
    return "; ".join(change_of(row, c) for c in shown) + more


def most_affected(
    run: Run, results: MaskingResults, table: pd.DataFrame, privacy: Privacy, identities: Identities
) -> Iterator[Affected]:
    """Yield the X-rays whose probabilities masking the text moves most, as they are and masked.

    Without pictures of X-rays only what changes.
    """
    boxes = _boxes(run)
    for _, row in table[table["moved"] > 0].sort_values("moved", ascending=False).head(_SWAYED).iterrows():
        image_id = row["image_id"]
        pictures: list[str] = []
        if privacy.with_images:
            image = _image(run, image_id)
            if image is None:
                continue
            masked = mask_text(image, boxes.get(image_id, []), results["mode"], results["margin"])
            pictures = [png_url(_small(picture, _THUMB)) for picture in (image, masked)]
        name = identities.name(image_id)
        words = f"{name}: {_change_of(row, results['classes'])}, {known_of(row)}; moved {row['moved']:.3f}"
        yield {"pictures": pictures, "caption": words}


def _change_of(row: pd.Series, classes: Sequence[str]) -> str:
    if "predicted_before" in row:
        return f"{row['predicted_before']} → {row['predicted_after']}"
    return change_of(row, example.most_moved(row, classes)[0])


def _boxes(run: Run) -> dict[str, list[TextBox]]:
    return example.boxes_of(pd.read_parquet(run.folder.path / "boxes.parquet"))


def _image(run: Run, image_id: str) -> np.ndarray | None:
    try:
        return read_xray(Setting.of(run.params).data.image_path(image_id))
    except (CxrError, KeyError, OSError):
        return None  # the data have gone; the numbers stand without their pictures


def _small(image: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
