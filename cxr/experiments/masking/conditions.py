"""The versions of an X-ray that an experiment asks a network about: as it is, its tokens masked, and the controls.

A **condition** is one of

- ``before``: nothing masked,
- ``tokens``: every token masked,
- ``random``: as many boxes of the same sizes, off the tokens and as deep in the picture, in several draws, where
  masking changes the picture as much as masking the tokens does (:mod:`cxr.experiments.masking.matched_controls`),
- ``other``: the boxes of another X-ray at their places, without those that meet a token of this one,
- ``kept``: every token masked but those of one kind, or one word, which is left in.

All but the first come in every mask mode, ``kept`` in the first mode alone. Each mode has controls of its own: black
boxes change other places than inpainted ones do.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cxr.errors import TextError, unknown, wrong_use
from cxr.experiments.masking.matched_controls import (
    MARKS,
    MaskedChange,
    candidates,
    changed_by,
    enlarged,
    gain_of,
    matched_boxes,
)
from cxr.text.boxes import TextBox, clip
from cxr.text.controls import Place, borrowed_boxes, places_of
from cxr.text.mask import DEFAULT_MARGIN, DEFAULT_MODE, MASK_MODES, grown_boxes, mask_text

NAMES = ("before", "tokens", "random", "other", "kept")
DEFAULT_DRAWS = 5
MOST_DRAWS = 100
_LENDERS, _ALIKE = 20, 6


class Condition(NamedTuple):
    """One version of every X-ray; ``draw`` counts random boxes, ``kept`` names the tokens that are left in."""

    name: str
    mode: str = ""
    draw: int = 0
    kept: str = ""


BEFORE = Condition("before")


@dataclass(frozen=True)
class Masking:
    """How tokens are masked, and how often random boxes are drawn.

    Raises
    ------
    TextError
        For no mode or an unknown one, a negative margin, or draws outside 1 to 100.
    """

    modes: tuple[str, ...] = (DEFAULT_MODE,)
    margin: float = DEFAULT_MARGIN
    draws: int = DEFAULT_DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.modes:
            raise wrong_use(TextError(f"no mask mode was given. Accepted: {', '.join(MASK_MODES)}"))
        for mode in self.modes:
            if mode not in MASK_MODES:
                raise wrong_use(TextError(unknown("mask mode", mode, MASK_MODES)))
        if not 1 <= self.draws <= MOST_DRAWS:
            raise wrong_use(
                TextError(f"draws {self.draws} is not allowed. Accepted: 1 to {MOST_DRAWS} draws of random boxes")
            )
        grown_boxes([], self.margin, (1, 1))

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Every condition but ``kept``, which depends on the tokens that there are."""
        masked = [
            condition
            for mode in self.modes
            for condition in (
                Condition("tokens", mode),
                *(Condition("random", mode, draw) for draw in range(self.draws)),
                Condition("other", mode),
            )
        ]
        return (BEFORE, *masked)


@dataclass(frozen=True)
class Controls:
    """Boxes (in pixels of the X-ray) that are masked in place of its tokens in one mode: random draws, and borrowed."""

    random: tuple[tuple[TextBox, ...], ...]
    other: tuple[TextBox, ...] = ()


def controls_of(
    image_id: str,
    image: np.ndarray,
    boxes: Sequence[TextBox],
    masking: Masking,
    size: int,
    lenders: Sequence[tuple[Sequence[TextBox], Sequence[int]]] = (),
) -> dict[str, Controls]:
    """Return the control boxes of an X-ray by mask mode, the same for the same id and seed.

    Parameters
    ----------
    image
        uint8 (H, W).
    size
        Side of the network's picture, on which the boxes change as much as the tokens do.
    lenders
        (boxes, shape) of other X-rays. Some random boxes are tried at places of their tokens. Of the six whose boxes
        off the tokens come nearest in area, that whose boxes come nearest in the change lends the borrowed ones.
    """
    tokens = [box for box in (clip(b, image.shape) for b in boxes) if box.area]
    if not tokens:
        return dict.fromkeys(masking.modes, Controls(tuple(() for _ in range(masking.draws))))
    key, margin, shape = _key(image_id, masking), masking.margin, image.shape
    places = [place for lent_boxes, their_shape in lenders for place in places_of(lent_boxes, their_shape)]
    pools = {
        elsewhere: _pools(tokens, shape, key, margin, places, elsewhere)
        for elsewhere in {mode not in MARKS for mode in masking.modes}
    }
    lent = [borrowed_boxes(lent_boxes, their_shape, shape, tokens, margin) for lent_boxes, their_shape in lenders]
    area = sum(box.area for box in tokens)
    alike = sorted(lent, key=lambda candidate: abs(sum(box.area for box in candidate) - area))[:_ALIKE]
    controls = {}
    for mode in masking.modes:
        change = MaskedChange(image, size, mode, margin)
        token_change = change.of(tokens)
        draws = [np.random.default_rng([*key, draw]) for draw in range(masking.draws)]
        random = matched_boxes(tokens, pools[mode not in MARKS], change, shape, draws, margin)
        other = min(alike, key=lambda candidate: abs(change.of(candidate) - token_change), default=[])
        controls[mode] = Controls(tuple(map(tuple, random)), tuple(other))
    return controls


def _pools(
    tokens: Sequence[TextBox],
    shape: Sequence[int],
    key: Sequence[int],
    margin: float,
    places: Sequence[Place],
    elsewhere: bool,
) -> list[list[TextBox]]:
    rng = np.random.default_rng(key)
    return [candidates(box, shape, tokens, rng, margin, places, elsewhere) for box in tokens]


def lenders_of(
    image_id: str, patients: Mapping[str, str], boxes_by_id: Mapping[str, Sequence[TextBox]], masking: Masking
) -> list[str]:
    """Return up to 20 ids of other patients' X-rays with tokens, drawn by the id and the seed.

    Parameters
    ----------
    patients
        Patient by id; "" where it is unknown, which counts as a patient of its own.
    found
        Tokens by id.
    """
    own_patient = patients.get(image_id, "")
    candidates = sorted(
        i
        for i, boxes in boxes_by_id.items()
        if boxes and i != image_id and (not own_patient or patients.get(i) != own_patient)
    )
    rng = np.random.default_rng(_key(image_id, masking))
    return [candidates[k] for k in rng.permutation(len(candidates))[:_LENDERS]]


def _key(image_id: str, masking: Masking) -> list[int]:
    return [masking.seed, zlib.crc32(image_id.encode())]


def versions(
    image: np.ndarray,
    boxes: Sequence[TextBox],
    controls: Mapping[str, Controls],
    masking: Masking,
    size: int,
    groups_left_in: Mapping[str, Sequence[TextBox]] | None = None,
) -> Iterator[tuple[Condition, np.ndarray]]:
    """Yield each condition that masks something with its picture, uint8 (H, W) as ``image``; ``before`` is not among.

    Where a control changes the network's picture less than the tokens do, its change is enlarged.

    Parameters
    ----------
    controls
        By mask mode.
    size
        Side of the network's picture.
    kept
        By name the tokens (some of ``boxes``) that are left in while the others are masked.
    """
    for mode in masking.modes:
        of, tokens = controls[mode], mask_text(image, boxes, mode, masking.margin)
        by_tokens = changed_by(image, tokens, size)
        if boxes:
            yield Condition("tokens", mode), tokens
        by_control = {
            Condition("random", mode, draw): boxes_of_control for draw, boxes_of_control in enumerate(of.random)
        }
        by_control[Condition("other", mode)] = of.other
        for condition, boxes_of_control in by_control.items():
            if boxes_of_control:
                picture = mask_text(image, boxes_of_control, mode, masking.margin)
                yield condition, enlarged(image, picture, gain_of(by_tokens, changed_by(image, picture, size)))
        for name, left_in in (groups_left_in or {}).items() if mode == masking.modes[0] else ():
            if masked := [box for box in boxes if box not in left_in]:
                yield Condition("kept", mode, kept=name), mask_text(image, masked, mode, masking.margin)
