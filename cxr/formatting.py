"""Estimates with their intervals as people write them: "3.1 % [1.9, 4.6]", "-2.0 points [-4.1, +0.3]".

Each takes ``{value, low, high}`` and returns "–" where the value is None; without limits it leaves the interval out.
"""

from __future__ import annotations

from typing import TypedDict


class Estimate(TypedDict):
    """A figure and its interval; None for what is not defined, or has no interval."""

    value: float | None
    low: float | None
    high: float | None


NOTHING = "–"


def percent(share: Estimate | None) -> str:
    """Return a share: ``3.1 % [1.9, 4.6]``."""
    return _written(share, "z.1f", 100, " %")


def share(value: float, digits: int = 0) -> str:
    """Return a share without an interval: ``81 %``."""
    return f"{100 * value:z.{digits}f} %"


def points(difference: Estimate | None) -> str:
    """Return a difference of shares: ``-2.0 points [-4.1, +0.3]``."""
    return _written(difference, "+z.1f", 100, " points")


def number(estimate: Estimate | None, signed: bool = False) -> str:
    """Return a number with three digits: ``0.912 [0.880, 0.940]``."""
    return _written(estimate, "+z.3f" if signed else "z.3f")


def times(gain: Estimate | None) -> str:
    """Return a ratio: ``3.2 times [2.8, 3.9]``."""
    return _written(gain, ".2g", unit=" times")


def duration(seconds: float | None) -> str:
    """Return seconds as people say them: ``45 s``, ``12 min``, ``1 h 20 min``; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def counted(n: int, noun: str) -> str:
    """Return a count with its noun, in the plural unless it is one: ``25,000 tokens``, ``1 token``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def verb(n: int) -> str:
    """Return ``is`` for one, else ``are``."""
    return "is" if n == 1 else "are"


def xrays(n: int, n_patients: int | None = None, noun: str = "X-ray") -> str:
    """Return what a figure is of: ``1,200 X-rays of 960 patients``, without patients where they were not counted.

    An X-ray without a patient's id counts as a patient of its own, as it does in the intervals.
    """
    return counted(n, noun) + ("" if n_patients is None else f" of {patients(n_patients)}")


def within_sentence(title: str) -> str:
    """Return a title as it stands within a sentence: ``Seen before`` becomes ``seen before``, ``X-rays`` stays."""
    return title[:1].lower() + title[1:] if title[1:2].islower() else title


def patients(n: int) -> str:
    """Return ``96 patients``, or ``1 patient``."""
    return counted(n, "patient")


def p_value(p: float | None) -> str:
    """Return a p value: ``0.0078``."""
    return NOTHING if p is None else f"{p:.2g}"


def point_and_interval(estimate: Estimate | None, *, percent: bool) -> tuple[str, tuple[str, str] | None]:
    """Return a share, or else a number, and the two ends of its interval apart: ``("3.1 %", ("1.9", "4.6"))``."""
    return _parts(estimate, "z.1f", 100, " %") if percent else _parts(estimate, "z.3f")


def _written(estimate: Estimate | None, form: str, scale: float = 1.0, unit: str = "") -> str:
    point, limits = _parts(estimate, form, scale, unit)
    return point if limits is None else f"{point} [{limits[0]}, {limits[1]}]"


def _parts(
    estimate: Estimate | None, form: str, scale: float = 1.0, unit: str = ""
) -> tuple[str, tuple[str, str] | None]:
    value = estimate["value"] if estimate else None
    if estimate is None or value is None:
        return NOTHING, None
    low, high = estimate.get("low"), estimate.get("high")
    point = f"{scale * value:{form}}{unit}"  # z in a form: no minus before a zero
    return point, None if low is None or high is None else (f"{scale * low:{form}}", f"{scale * high:{form}}")
