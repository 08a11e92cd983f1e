"""The example of an experiment: the X-ray whose probabilities the tokens move most, beyond random boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cxr.data import Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.errors import ExplainError
from cxr.explain import DEFAULT_COMPOSITE
from cxr.explain.render import relevance_2d
from cxr.files import replacing
from cxr.text.boxes import TextBox
from cxr.text.corrections import FileTokens
from cxr.text.mask import mask_text

if TYPE_CHECKING:
    from cxr.models import XrayClassifier

FILE = "story.npz"


@dataclass(frozen=True)
class Example:
    """The X-ray ``image_id`` and what speaks for the class ``target`` on it (see :func:`target_of`).

    ``before`` and ``after`` are relevance (h, w) at the network's size, None for a network that cannot be explained.
    """

    image_id: str
    target: str
    before: np.ndarray | None
    after: np.ndarray | None


def choose(table: pd.DataFrame) -> str | None:
    """Return the image's id, of ``predictions.parquet``; None where no X-ray has text."""
    having = table[table["n_boxes"] > 0]
    if having.empty:
        return None
    beyond = having["moved"] - having["moved_control"]
    return str(having.loc[beyond.idxmax(), "image_id"])


def target_of(row: pd.Series, classes: Sequence[str]) -> str:
    """Return the class to explain on an image, a row of ``predictions.parquet``: the one predicted before.

    Of several findings it is the one whose probability masking the text moves most.
    """
    if "predicted_before" in row:
        return str(row["predicted_before"])
    return most_moved(row, classes)[0]


def most_moved(row: Mapping[str, Any] | pd.Series, classes: Sequence[str]) -> list[str]:
    """Return the classes by how far masking the text moves their probability on an image, the farthest first."""
    return sorted(classes, key=lambda c: -abs(row[f"prob_{c}_after"] - row[f"prob_{c}_before"]))


def explain_example(
    model: XrayClassifier,
    manifest: Manifest,
    table: pd.DataFrame,
    file_tokens: Mapping[str, FileTokens],
    mode: str,
    margin: float,
    folder: Path,
) -> None:
    """Explain the chosen image before and after masking and keep it as ``story.npz``; without text do nothing."""
    from cxr.explain import explain

    image_id = choose(table)
    if image_id is None:
        return
    target = target_of(table.set_index("image_id").loc[image_id], model.classes)
    image = read_xray(manifest.image_path(image_id))
    pictures = [image, mask_text(image, file_tokens[image_id].boxes, mode, margin)]
    maps = None
    try:
        explanation = explain(
            model, np.stack([fit_square(p, model.card.size) for p in pictures]), target, DEFAULT_COMPOSITE
        )
        maps = relevance_2d(explanation.relevance)
    except ExplainError:
        pass  # then the example has pictures alone
    with replacing(folder / FILE) as draft, draft.open("wb") as file:
        if maps is None:
            np.savez_compressed(file, image_id=image_id, target=target)
        else:
            np.savez_compressed(file, image_id=image_id, target=target, before=maps[0], after=maps[1])


def read(folder: Path) -> Example | None:
    """Return what :func:`explain_example` kept in a run's folder, None if there is nothing."""
    if not (folder / FILE).is_file():
        return None
    with np.load(folder / FILE) as arrays:
        maps = [arrays.get(name) for name in ("before", "after")]
        return Example(str(arrays["image_id"]), str(arrays["target"]), maps[0], maps[1])


def boxes_of(table: pd.DataFrame) -> dict[str, list[TextBox]]:
    """Return the tokens that an experiment found (its ``boxes.parquet``) by image id."""
    return {
        str(image_id): [TextBox(**entry) for entry in rows.drop(columns="image_id").to_dict("records")]
        for image_id, rows in table.groupby("image_id")
    }
