"""Whether bfloat16 does for a heatmap: a short trial on the first image, beside float32.

bfloat16 holds two to three digits. Its maps may be those of float32 or others: it depends on the network, the rule and
the image, plain epsilon on small networks being the worst. On a processor without units for it, it is slower too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np

PRECISIONS = ("bfloat16",)
"""What may be asked for beside float32."""
LEAST_COSINE = 0.999
"""Between the map in bfloat16 and the one in float32, channels summed: below it the map is another one. A cosine of
0.999 is a difference of 4.5 % of the map's length."""
LARGEST_TIME = 0.9
"""Of float32's time: beyond it bfloat16 does not pay."""

_ROUNDS = 2


class PrecisionRecord(TypedDict):
    """What a run's results tell of its precision; without a trial only what was ``used``.

    ``cosine`` and ``time`` are those of :class:`Trial`, None where they are not finite.
    """

    requested: NotRequired[str]
    used: str
    cosine: NotRequired[float | None]
    time: NotRequired[float | None]
    least_cosine: NotRequired[float]
    note: NotRequired[str]


@dataclass(frozen=True)
class Trial:
    """How bfloat16 did on one image beside float32.

    Attributes
    ----------
    cosine
        The smallest between the maps of a class in the two, -1 to 1.
    time
        bfloat16's share of float32's time; NaN where the maps differ too much for it to matter.
    """

    cosine: float
    time: float = float("nan")

    @classmethod
    def of(cls, record: PrecisionRecord) -> Trial:
        """Return the trial that :meth:`record` tells of."""
        numbers = (record.get("cosine"), record.get("time"))
        return cls(*(float("nan") if number is None else number for number in numbers))

    @property
    def holds(self) -> bool:
        """Whether the map is the same one, in less time."""
        return self.cosine >= LEAST_COSINE and self.time <= LARGEST_TIME

    @property
    def sentence(self) -> str:
        """What was found, for a person."""
        if self.cosine < LEAST_COSINE:
            return (
                f"bfloat16 was asked for, but on the first image its map agrees with float32's only to a cosine of "
                f"{self.cosine:.3f} ({LEAST_COSINE} is needed): propagated in float32."
            )
        if not self.holds:
            return (
                f"bfloat16 was asked for, but on the first image it takes {self.time:.2g} times as long as float32 "
                f"here (at most {LARGEST_TIME} is worth it): propagated in float32."
            )
        return (
            f"Propagated in bfloat16: values hold about two digits, the ledger closes to about a percent. On the first "
            f"image the map agrees with float32's to a cosine of {self.cosine:.4f}, in {self.time:.2g} of its time."
        )

    def record(self) -> PrecisionRecord:
        """Return what a run's results tell of the trial."""
        used = "bfloat16" if self.holds else "float32"
        return {
            "requested": "bfloat16",
            "used": used,
            "cosine": self.cosine if np.isfinite(self.cosine) else None,
            "time": self.time if np.isfinite(self.time) else None,
            "least_cosine": LEAST_COSINE,
            "note": self.sentence,
        }


def try_bfloat16(rough: Callable[[], np.ndarray], fine: Callable[[], np.ndarray]) -> Trial:
    """Compare two ways to make the same maps (T, H, W), in bfloat16 and in float32; each is called up to three times.

    The first call of each warms up. They are timed in turns, and the shortest time of each counts.
    """
    cosine = least_cosine(rough(), fine())
    if cosine < LEAST_COSINE:
        return Trial(cosine)
    seconds = np.array([[seconds_of(rough), seconds_of(fine)] for _ in range(_ROUNDS)]).min(axis=0)
    return Trial(cosine, float(seconds[0] / seconds[1]))


def least_cosine(rough: np.ndarray, fine: np.ndarray) -> float:
    """Return the smallest cosine between maps (T, H, W) of the same classes; 1 for two that are zero everywhere.

    -1 where the rough map has values that are not finite, 0 where only one of the two is zero everywhere.
    """
    a, b = (maps.reshape(len(maps), -1).astype(np.float64) for maps in (rough, fine))
    if not np.isfinite(a).all():
        return -1.0
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.where(lengths > 0, (a * b).sum(axis=1) / lengths, both_zero.astype(float))
    return float(cosines.min())


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
