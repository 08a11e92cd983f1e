"""One synthetic X-ray from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cxr.data.phantom.anatomy import LEFT, RIGHT, Chest, draw_anatomy, draw_pose
from cxr.data.phantom.canvas import Canvas
from cxr.data.phantom.film import Tissue, draw_exposure, expose, tissue
from cxr.data.phantom.film import field as exposed_field
from cxr.data.phantom.lesions import add_consolidation, add_ground_glass
from cxr.data.phantom.token_sets import TOKEN_SETS, Token, TokenSet, burn_in, choose_token_set
from cxr.errors import CxrError, unknown, wrong_use

CLASSES = ("covid19", "normal", "pneumonia")
MIN_SIZE, MAX_SIZE = 96, 1024
Seed = int | np.random.SeedSequence


@dataclass(frozen=True)
class Phantom:
    """A synthetic frontal X-ray and what is known of it.

    ``image`` and the masks are uint8 (H, W); a mask is 0 or 255. ``lung_mask`` holds the lungs without the heart,
    ``lesion_mask`` is empty for a normal chest, ``token_mask`` is the union of the boxes in ``tokens``.
    ``token_set`` is None where no text was drawn.
    """

    image: NDArray[np.uint8]
    lung_mask: NDArray[np.uint8]
    lesion_mask: NDArray[np.uint8]
    token_mask: NDArray[np.uint8]
    tokens: list[Token] = field(default_factory=list)
    label: str = "normal"
    token_set: TokenSet | None = None
    sex: str = ""
    age: int = 0


def make_phantom(
    seed: Seed,
    label: str,
    *,
    size: int = 256,
    correlation: float = 0.0,
    tokens: bool = True,
    token_set: str | None = None,
    patient: Seed | None = None,
) -> Phantom:
    """Return the synthetic X-ray of a seed.

    Parameters
    ----------
    seed : all randomness; patient, pose, exposure, lesion and text use streams of their own, so that the X-ray under
        the text is the same whatever is written, and the patient and exposure are the same whatever the class.
    label : ``covid19``, ``normal`` or ``pneumonia``.
    size : side in pixels, 96 to 1024.
    correlation : how often the text gives away the class, in [0, 1] (:mod:`cxr.data.phantom.token_sets`).
    tokens : False draws no text at all.
    token_set : ``a``, ``b`` or ``c`` to fix the set of tokens in spite of ``correlation``.
    patient : seed of the anatomy, to take another X-ray of the same patient; by default it follows from ``seed``.

    Raises
    ------
    CxrError : an unknown class or token set, or a number out of range.
    """
    check_choices(label, size, correlation, token_set)
    streams = [np.random.default_rng(child(seed, k)) for k in range(1, 7)]
    pose_rng, film_rng, tissue_rng, noise_rng, lesion_rng, token_rng = streams
    anatomy, pose = (
        draw_anatomy(np.random.default_rng(child(seed if patient is None else patient, 0))),
        draw_pose(pose_rng),
    )
    settings = draw_exposure(film_rng)
    chest, canvas = Chest(anatomy, pose), pose.canvas(size)
    healthy = tissue(chest, canvas, tissue_rng)
    attenuation, lesion = _diseased(label, healthy, chest, canvas, lesion_rng)
    image = expose(attenuation, settings, noise_rng)
    exposed = exposed_field(size, settings) > 0.5
    lungs = (np.maximum(healthy.lungs[RIGHT], healthy.lungs[LEFT]) > 0.5) & exposed
    chosen: TokenSet | None = None
    words: list[Token] = []
    token_mask = np.zeros_like(image)
    if tokens:
        chosen = choose_token_set(label, correlation, token_rng)
        chosen = next((s for s in TOKEN_SETS if s.name == token_set), chosen)
        image, token_mask, words = burn_in(image, chosen, token_rng)
    return Phantom(
        image=image,
        lung_mask=_to_mask(lungs),
        lesion_mask=_to_mask(lesion & lungs),
        token_mask=token_mask,
        tokens=words,
        label=label,
        token_set=chosen,
        sex=anatomy.sex,
        age=anatomy.age,
    )


def child(seed: Seed, *key: int) -> np.random.SeedSequence:
    """Return the seed sequence at ``key`` below ``seed``, the same however often it is requested."""
    parent = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return np.random.SeedSequence(parent.entropy, spawn_key=(*parent.spawn_key, *key))


def _diseased(
    label: str, healthy: Tissue, chest: Chest, canvas: Canvas, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    if label == "pneumonia":
        return add_consolidation(healthy, chest, canvas, rng)
    if label == "covid19":
        return add_ground_glass(healthy, chest, canvas, rng)
    return healthy.body + healthy.vessels, np.zeros(healthy.body.shape, bool)


def _to_mask(area: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return area.astype(np.uint8) * 255


def check_choices(label: str, size: int, correlation: float, token_set: str | None = None) -> None:
    """Raise a CxrError for a choice that :func:`make_phantom` does not take."""
    if label not in CLASSES:
        raise wrong_use(CxrError(unknown("class of synthetic X-rays", label, CLASSES)))
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise wrong_use(CxrError(f"size {size} of a synthetic X-ray is out of range: {MIN_SIZE} to {MAX_SIZE} pixels"))
    if not 0 <= correlation <= 1:
        raise wrong_use(CxrError(f"correlation {correlation} of text and class is out of range: 0 to 1"))
    if token_set is not None and token_set not in [s.name for s in TOKEN_SETS]:
        raise wrong_use(CxrError(unknown("token set", token_set, [s.name for s in TOKEN_SETS])))
