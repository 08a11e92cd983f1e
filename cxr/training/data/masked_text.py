"""Training on X-rays whose burned-in text is masked: a network that never saw the text cannot have learnt it.

Tokens are found on the original files (a person's corrected boxes go before the detector's), masked there, and only
then are the X-rays brought to the network's size. The decoded pixels lie in a cache of their own, whose key carries
the way of masking, the detector's version and every image's boxes, so that masked and unmasked pixels never mix.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np

from cxr.data import Manifest
from cxr.data.digests import file_digests
from cxr.data.images.base import Refusal
from cxr.data.images.decode import DECODER_VERSION
from cxr.data.images.image_cache import Treatment
from cxr.files import replacing
from cxr.locks import FileLock
from cxr.paths import cache_root
from cxr.text.boxes import BoxValues, TextBox
from cxr.text.corrections import Reviews
from cxr.text.detection.detector import DETECTOR_VERSION
from cxr.text.mask import mask_text
from cxr.text.search import search
from cxr.training.recipe import Text
from cxr.training.report import Progress

log = logging.getLogger(__name__)


class TextSummary(TypedDict):
    """What was masked on the images of a stage and how; results and checkpoints keep it.

    Attributes
    ----------
    text
        ``masked``.
    mode, margin, measured_on
        As in the recipe.
    detector
        Version of the text detector.
    n_images, n_with_text, n_by_hand, n_not_searched
        Images: all, those with text, those whose boxes a person set, those that could not be searched.
    n_tokens
        Tokens on all of them.
    """

    text: str
    mode: str
    margin: float
    detector: str
    measured_on: str
    n_images: int
    n_with_text: int
    n_tokens: int
    n_by_hand: int
    n_not_searched: int


@dataclass(frozen=True)
class ImageTokens:
    """The tokens of images, as JSON takes them.

    Attributes
    ----------
    boxes
        Boxes by image id, for images with text only; a sentence instead where an image could not be searched.
        Those are left out of the training: they may have text.
    by_hand
        Number of images whose boxes a person set.
    """

    boxes: dict[str, list[BoxValues] | str]
    by_hand: int

    @property
    def left_out(self) -> int:
        """Number of images without an answer."""
        return sum(isinstance(boxes, str) for boxes in self.boxes.values())


def without_text(manifest: Manifest, text: Text, progress: Progress) -> tuple[Treatment, TextSummary]:
    """Search all images of a manifest for text and return how it is masked, and what was done, for results and logs.

    What was found before is not searched for again; two processes that want the same images search them once.

    Parameters
    ----------
    progress
        Called with the share done and a message; may raise to end the search, after which all that was found is kept.

    Raises
    ------
    TextError
        If the file of corrected boxes cannot be read, or none of the images.
    """
    tokens = _search(manifest, progress)
    about: dict[str, str | float] = {
        "text": "masked",
        "mode": text.mode,
        "margin": text.margin,
        "detector": DETECTOR_VERSION,
    }
    lists = [boxes for boxes in tokens.boxes.values() if isinstance(boxes, list)]
    summary: TextSummary = {
        "text": "masked",
        "mode": text.mode,
        "margin": text.margin,
        "detector": DETECTOR_VERSION,
        "measured_on": text.measure_on,
        "n_images": len(manifest),
        "n_with_text": len(lists),
        "n_tokens": sum(map(len, lists)),
        "n_by_hand": tokens.by_hand,
        "n_not_searched": tokens.left_out,
    }
    log.info("text masked: %d tokens on %d of %d images", summary["n_tokens"], summary["n_with_text"], len(manifest))
    return Treatment(about, partial(mask, mode=text.mode, margin=text.margin), tokens.boxes), summary


def mask(image: np.ndarray, boxes: list[BoxValues] | str, *, mode: str, margin: float) -> np.ndarray:
    """Return an image (H, W) with boxes (as :meth:`TextBox.to_dict` gives them) masked.

    Raises
    ------
    Refusal
        With the sentence that stands for the boxes of an image that was not searched: it may have text.
    """
    if isinstance(boxes, str):
        raise Refusal(boxes)
    return mask_text(image, [TextBox(**box) for box in boxes], mode, margin)


def _search(manifest: Manifest, progress: Progress) -> ImageTokens:
    """Return the tokens, from the last search of just these images or found now."""
    answer = cache_root() / "text" / DETECTOR_VERSION / "searches" / f"{_key(manifest)}.json"
    with _alone(answer.with_suffix(".lock"), progress):
        tokens = _read(answer)
        if tokens is None:
            tokens = _search_files(manifest, progress)
            if not tokens.left_out:
                with replacing(answer) as draft:
                    draft.write_text(json.dumps(asdict(tokens)), encoding="utf-8")
    return tokens


def _key(manifest: Manifest) -> str:
    paths = manifest.image_paths()
    digests = file_digests(paths.values(), cache_root() / "digests.sqlite")
    reviews = Reviews.beside(manifest.path) if manifest.path is not None else None
    digest = hashlib.blake2b(f"decoder {DECODER_VERSION}".encode(), digest_size=16)
    for image_id, path in paths.items():
        review = reviews.entry(image_id) if reviews else None
        digest.update(json.dumps([image_id, digests[path], review and asdict(review)]).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def _alone(path: Path, progress: Progress) -> Iterator[None]:
    """Hold a lock; wait for whoever searches the same images, ready to be stopped."""
    lock = FileLock(path)
    while not lock.acquire(timeout=0.5):
        progress(0.0, "another training searches these images for text")
    try:
        yield
    finally:
        lock.release()


def _read(answer: Path) -> ImageTokens | None:
    with contextlib.suppress(OSError, ValueError, TypeError):
        return ImageTokens(**json.loads(answer.read_text(encoding="utf-8")))
    return None


def _search_files(manifest: Manifest, progress: Progress) -> ImageTokens:
    files, left_out = search(manifest, progress)
    boxes: dict[str, list[BoxValues] | str] = {
        i: [box.to_dict() for box in file.boxes] for i, file in files.items() if file.boxes
    }
    for image in left_out:
        log.warning("%s: %s; it is left out", image["image_id"], image["reason"])
        boxes[image["image_id"]] = image["reason"]
    return ImageTokens(boxes, sum(file.reviewed for file in files.values()))
