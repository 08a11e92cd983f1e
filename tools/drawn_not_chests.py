"""Pictures that are no frontal chest X-ray, drawn from a random generator: for the model of appearance to learn from.

Sides, sections, parts, textures, things and pages. They resemble real ones only in what a look from afar tells; how
the model does on real ones is measured on others (``benchmarks/appearance.py``).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

SIDE = 128
Picture = np.ndarray
_Y, _X = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE


def lateral(rng: np.random.Generator) -> Picture:
    """Return a chest from the side: a dark area between breastbone and spine, the heart in front, diaphragms below."""
    grey = np.full((SIDE, SIDE), rng.uniform(0.02, 0.15), np.float32)
    front, back = rng.uniform(0.08, 0.22), rng.uniform(0.80, 0.95)
    lean, bulge = rng.uniform(-0.10, 0.10), rng.uniform(0.0, 0.12)
    left = front + lean * (0.5 - _Y) + bulge * (2 * _Y - 1) ** 2
    right = back + 0.06 * np.sin(np.pi * (_Y + rng.uniform(-0.2, 0.2)))
    body = _soft(np.minimum(_X - left, right - _X), 0.01)
    grey += body * rng.uniform(0.45, 0.65)
    top, bottom = rng.uniform(0.05, 0.25), rng.uniform(0.7, 0.95)
    dome = bottom - rng.uniform(0.0, 0.12) * np.sin(np.pi * np.clip((_X - front) / (back - front), 0, 1))
    dome += rng.uniform(-0.1, 0.25) * (_X - 0.5)
    inner = np.minimum(_X - left - rng.uniform(0.02, 0.08), right - rng.uniform(0.02, 0.12) - _X)
    lung = _soft(
        np.minimum(np.minimum(inner, dome - _Y), _Y - top + 0.3 * (0.5 - np.abs(_X - 0.55))), rng.uniform(0.01, 0.04)
    )
    grey -= lung * rng.uniform(0.25, 0.5)
    heart = _ellipse(
        rng.uniform(0.3, 0.48), rng.uniform(0.55, 0.72), rng.uniform(0.1, 0.2), rng.uniform(0.12, 0.22), rng
    )
    grey += heart * lung * rng.uniform(0.12, 0.35)
    spine = np.exp(-(((_X - (right - rng.uniform(0.1, 0.2))) / rng.uniform(0.03, 0.07)) ** 2))
    period, phase = rng.uniform(0.05, 0.09), rng.uniform(0, 1)
    grey += spine * body * (0.15 + 0.08 * np.sin(2 * np.pi * (_Y / period + phase))) * rng.uniform(0.3, 1.2)
    slope, spacing = rng.uniform(-0.2, 0.7), rng.uniform(0.06, 0.1)
    ribs = np.clip(np.sin(2 * np.pi * (_Y - slope * (1 - _X)) / spacing) - 0.3, 0, 1)
    grey += ribs * lung * rng.uniform(0.02, 0.12)
    arms = _soft(rng.uniform(0.12, 0.3) - _Y + rng.uniform(-0.2, 0.2) * (_X - 0.5), 0.03)
    grey += arms * body * rng.uniform(0.0, 0.3)
    return _finish(grey if rng.random() < 0.5 else grey[:, ::-1], rng)


def section(rng: np.random.Generator) -> Picture:
    """Return a section as of computed tomography: a bright ring of body on black, two dark areas, a bright spine."""
    grey = np.full((SIDE, SIDE), rng.uniform(0, 0.08), np.float32)
    wide, tall = rng.uniform(0.36, 0.52), rng.uniform(0.26, 0.5)
    body = _ellipse(0.5, 0.5, wide, tall, rng)
    grey += body * rng.uniform(0.4, 0.8)
    lungs = np.zeros_like(grey)
    if rng.random() < 0.8:
        for side in (-1, 1):
            lungs = np.maximum(
                lungs,
                _ellipse(
                    0.5 + side * wide * rng.uniform(0.4, 0.5),
                    rng.uniform(0.44, 0.56),
                    wide * rng.uniform(0.3, 0.45),
                    tall * rng.uniform(0.5, 0.8),
                    rng,
                ),
            )
    grey -= lungs * body * rng.uniform(0.3, 0.6)
    if rng.random() < 0.7:  # the heart or the great vessels
        heart = _ellipse(
            0.5 + rng.uniform(-0.06, 0.1),
            0.5 - rng.uniform(0, 0.6) * tall,
            rng.uniform(0.05, 0.16),
            rng.uniform(0.05, 0.16),
            rng,
        )
        grey += heart * body * rng.uniform(0.2, 0.6)
    for _ in range(int(rng.integers(0, 12))):
        place = rng.uniform(0.2, 0.8, 2)
        grey += _ellipse(place[0], place[1], 0.015, 0.015, rng) * lungs * 0.4
    grey += _ellipse(0.5, 0.5 + tall * rng.uniform(0.5, 0.7), 0.06, 0.06, rng) * rng.uniform(0.1, 0.5)
    grey += lungs * np.clip(_cloud(rng, 1.0), 0.5, 1) * rng.uniform(0, 0.4)
    if rng.random() < 0.6:
        grey += _ellipse(0.5, 0.98, 0.45, 0.06, rng) * 0.2
    return _finish(grey, rng)


def texture(rng: np.random.Generator) -> Picture:
    """Return clouds of any coarseness, as of natural pictures."""
    return _finish(_cloud(rng, rng.uniform(0.3, 1.6)), rng)


def things(rng: np.random.Generator) -> Picture:
    """Return a few discs, bars and polygons in front of each other, on a gradient."""
    grey = np.ascontiguousarray(_X * rng.uniform(-0.5, 0.5) + _Y * rng.uniform(-0.5, 0.5) + 0.5, np.float32)
    for _ in range(int(rng.integers(1, 9))):
        points = (rng.uniform(-0.1, 1.1, (int(rng.integers(3, 7)), 2)) * SIDE).astype(np.int32)
        value, kind = float(rng.uniform(0, 1)), rng.integers(0, 3)
        if kind == 0:
            cv2.fillPoly(grey, [points], value)
        elif kind == 1:
            cv2.circle(grey, tuple(map(int, points[0])), int(rng.integers(5, 50)), value, -1)
        else:
            cv2.line(grey, tuple(map(int, points[0])), tuple(map(int, points[1])), value, int(rng.integers(2, 20)))
    return _finish(cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(0.3, 3))) + 0.2 * _cloud(rng, 1.0), rng)


def limbs(rng: np.random.Generator) -> Picture:
    """Return bright bones in grey limbs on black: a hand, an arm, a leg."""
    grey = np.zeros((SIDE, SIDE), np.float32)
    n, spread, base = (
        int(rng.integers(1, 6)),
        rng.uniform(0.1, 0.9),
        np.array([rng.uniform(0.35, 0.65), rng.uniform(0.8, 1.2)]),
    )
    for k in range(n):
        angle = (k - (n - 1) / 2) * spread / max(n - 1, 1) + rng.normal(0, 0.05)
        tip = base + rng.uniform(0.6, 1.3) * np.array([np.sin(angle), -np.cos(angle)])
        thick = rng.uniform(0.06, 0.14) if n > 2 else rng.uniform(0.15, 0.4)
        for width, value in ((thick, rng.uniform(0.3, 0.5)), (thick * rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.4))):
            layer = np.zeros_like(grey)
            ends = [tuple(int(v) for v in point * SIDE) for point in (base, tip)]
            cv2.line(layer, ends[0], ends[1], value, max(1, int(width * SIDE)))
            grey = np.maximum(grey, layer) if value > 0.4 else grey + layer
    return _finish(cv2.GaussianBlur(grey, (0, 0), float(rng.uniform(0.8, 2.5))), rng)


def abdomen(rng: np.random.Generator) -> Picture:
    """Return a trunk without lungs: a spine in the middle, a pelvis below, gas here and there."""
    grey = _soft(rng.uniform(0.36, 0.6) - np.abs(_X - 0.5) + 0.05 * np.sin(5 * _Y), 0.02) * rng.uniform(0.4, 0.6)
    grey += np.exp(-(((_X - rng.uniform(0.46, 0.54)) / 0.06) ** 2)) * rng.uniform(0.1, 0.35)
    if rng.random() < 0.7:
        for side in (-1, 1):
            grey += _ellipse(0.5 + side * 0.27, rng.uniform(0.75, 0.95), 0.17, 0.2, rng) * rng.uniform(0.1, 0.3)
    for _ in range(int(rng.integers(1, 9))):
        place = rng.uniform(0.15, 0.85, 2)
        grey -= _ellipse(place[0], place[1], rng.uniform(0.03, 0.12), rng.uniform(0.03, 0.08), rng) * rng.uniform(
            0.1, 0.3
        )
    return _finish(grey, rng)


def page(rng: np.random.Generator) -> Picture:
    """Return a page of text or a plot: dark lines on white."""
    grey = np.ones((SIDE, SIDE), np.float32)
    for y in np.arange(rng.uniform(4, 20), SIDE - 6, rng.uniform(5, 14)):
        x = rng.uniform(4, 20)
        while x < SIDE - 20 and rng.random() < 0.93:
            width = rng.uniform(3, 18)
            cv2.rectangle(
                grey, (int(x), int(y)), (int(x + width), int(y + rng.uniform(2, 4))), float(rng.uniform(0, 0.5)), -1
            )
            x += width + 3
    return _finish(grey, rng)


DRAWN: dict[str, Callable[[np.random.Generator], Picture]] = {
    "section": section,
    "texture": texture,
    "things": things,
    "limbs": limbs,
    "abdomen": abdomen,
    "page": page,
}
"""What is no chest, by name; each takes a generator and gives uint8 (128, 128)."""


def shuffled(image: Picture, rng: np.random.Generator) -> Picture:
    """Return the parts of an X-ray at other places, each turned."""
    n = int(rng.integers(2, 4))
    side = SIDE // n
    parts = [image[i * side : (i + 1) * side, j * side : (j + 1) * side] for i in range(n) for j in range(n)]
    order = rng.permutation(len(parts))
    if (order == np.arange(len(parts))).all():
        order = order[::-1]
    rows = [
        np.hstack([np.rot90(parts[k], int(rng.integers(0, 4))) for k in order[i * n : (i + 1) * n]]) for i in range(n)
    ]
    return cv2.resize(np.vstack(rows), (SIDE, SIDE))


def detail(image: Picture, rng: np.random.Generator) -> Picture:
    """Return a small part of an X-ray, enlarged."""
    side = int(SIDE * rng.uniform(0.2, 0.4))
    y, x = rng.integers(0, SIDE - side, 2)
    return cv2.resize(image[y : y + side, x : x + side], (SIDE, SIDE))


def several(image: Picture, other: Picture, rng: np.random.Generator) -> Picture:
    """Return two X-rays or the same ones four times in one picture, as figures of papers have them."""
    if rng.random() < 0.5:
        pair = np.hstack([image, other])
        return cv2.resize(pair if rng.random() < 0.5 else np.vstack([image, other]), (SIDE, SIDE))
    return cv2.resize(np.vstack([np.hstack([image, other]), np.hstack([other, image])]), (SIDE, SIDE))


def cut(image: Picture, rng: np.random.Generator, keeps: tuple[float, float] = (0.35, 0.62)) -> Picture:
    """Return what is left of an X-ray of which one side was cut off, enlarged; ``keeps`` is the share that is left."""
    keep = int(SIDE * rng.uniform(*keeps))
    turned = np.rot90(image, int(rng.integers(0, 4)))
    return cv2.resize(np.ascontiguousarray(turned[:, :keep]), (SIDE, SIDE))


def _soft(distance: np.ndarray, softness: float) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(distance / softness, -30, 30))), np.float32)


def _ellipse(x: float, y: float, wide: float, tall: float, rng: np.random.Generator) -> np.ndarray:
    angle = rng.normal(0, 0.25)
    across, down = (
        (_X - x) * np.cos(angle) + (_Y - y) * np.sin(angle),
        (_Y - y) * np.cos(angle) - (_X - x) * np.sin(angle),
    )
    return _soft(1 - np.hypot(across / wide, down / tall), rng.uniform(0.03, 0.12))


def _cloud(rng: np.random.Generator, power: float) -> np.ndarray:
    """Return noise whose spectrum falls with ``power``, 0 to 1."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.normal(size=(SIDE, SIDE))) / frequency**power
    field = np.fft.irfft2(spectrum, (SIDE, SIDE))
    return np.asarray((field - field.min()) / (np.ptp(field) + 1e-9), np.float32)


def _finish(grey: np.ndarray, rng: np.random.Generator) -> Picture:
    grey = cv2.GaussianBlur(np.ascontiguousarray(grey, np.float32), (0, 0), float(rng.uniform(0.5, 1.5)))
    grey = grey + 0.06 * _cloud(rng, 1.2) + rng.normal(0, 0.015, grey.shape)
    low, high = np.percentile(grey, (1, 99))
    return np.asarray(np.clip((grey - low) / max(high - low, 1e-3), 0, 1) ** rng.uniform(0.6, 1.6) * 255, np.uint8)
