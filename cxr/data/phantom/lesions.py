"""Lesions: lobar consolidation for pneumonia, bilateral peripheral ground-glass patches for COVID-19.

A lesion replaces air by fluid: it adds attenuation where the lung is aerated and nowhere else. Consolidation is dense,
fills a part of one lobe, ends sharply at a fissure, hides the vessels and may show dark air bronchograms. Ground glass
is faint, patchy, lies along the pleura of both lungs, mostly low, and leaves the vessels visible. The pattern follows
the radiological descriptions in words; it is not fitted to patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxr.data.phantom.anatomy import LEFT, RIGHT, SIDES, Chest
from cxr.data.phantom.canvas import Canvas, Layer, Points, ellipse, noise, spline
from cxr.data.phantom.film import CHEST_AIR, Tissue

MASK_LEVEL = 0.25  # a pixel belongs to the lesion where its density exceeds this share of the lesion's peak


@dataclass(frozen=True)
class Lobe:
    """A lobe as seen from the front: where its consolidation starts and the fissure that it cannot cross."""

    name: str
    side: int
    centre: tuple[float, float]
    radii: tuple[float, float]
    fissure: Points  # outline of the part of the chest on this lobe's side of the fissure
    weight: float


def _below(y_medial: float, y_lateral: float) -> Points:
    return np.array([[-0.05, y_medial], [0.5, y_lateral], [0.5, 1.1], [-0.05, 1.1]])


def _above(y_medial: float, y_lateral: float) -> Points:
    return np.array([[-0.05, y_medial], [0.5, y_lateral], [0.5, 0.0], [-0.05, 0.0]])


LOBES = (
    Lobe("right upper", RIGHT, (0.17, 0.315), (0.130, 0.120), _above(0.425, 0.46), 0.15),
    Lobe("right middle", RIGHT, (0.17, 0.535), (0.125, 0.105), _below(0.425, 0.46), 0.27),
    Lobe("right lower", RIGHT, (0.22, 0.650), (0.115, 0.120), _below(0.50, 0.60), 0.26),
    Lobe("left upper", LEFT, (0.19, 0.370), (0.110, 0.125), _above(0.50, 0.56), 0.10),
    Lobe("left lower", LEFT, (0.23, 0.640), (0.105, 0.130), _below(0.46, 0.56), 0.22),
)


def add_consolidation(
    tissue: Tissue, chest: Chest, canvas: Canvas, rng: np.random.Generator
) -> tuple[Layer, np.ndarray]:
    """Return the attenuation with a pneumonia in one lobe, and its mask (H, W) bool."""
    lobe = LOBES[rng.choice(len(LOBES), p=[lobe.weight for lobe in LOBES])]
    extent = rng.uniform(0.72, 1.08)
    centre = np.array(lobe.centre) + rng.normal(0, 0.016, 2)
    outline = ellipse((centre[0], centre[1]), (lobe.radii[0] * extent, lobe.radii[1] * extent), rng.uniform(-25, 25))
    ragged = outline + 0.016 * _wave(rng, len(outline))
    cloud = canvas.fill(chest.place(lobe.side, ragged), soft=0.02)
    cloud *= canvas.fill(chest.place(lobe.side, lobe.fissure), soft=0.003)
    patchy = 0.85 + 0.17 * noise(rng, canvas.size, canvas.unit / 22)
    alpha = np.clip(1.15 * cloud * patchy, 0, 1) * tissue.lungs[lobe.side]
    bronchi = _bronchogram(chest, canvas, lobe, rng)
    density = rng.uniform(0.32, 0.62)
    dense = density * alpha * (1 - 0.45 * bronchi)
    out = tissue.body + CHEST_AIR * tissue.air * dense + tissue.vessels * (1 - 0.75 * alpha)
    return out.astype(np.float32), alpha > MASK_LEVEL


def add_ground_glass(
    tissue: Tissue, chest: Chest, canvas: Canvas, rng: np.random.Generator
) -> tuple[Layer, np.ndarray]:
    """Return the attenuation with hazy patches at the pleura of both lungs, and their mask (H, W) bool."""
    alpha = np.zeros((canvas.size, canvas.size), np.float32)
    for side in SIDES:
        haze = np.zeros_like(alpha)
        for _ in range(int(rng.integers(2, 5))):
            height = 0.26 + 0.47 * rng.beta(2.6, 1.5)
            radii = (rng.uniform(0.040, 0.070), rng.uniform(0.050, 0.095))
            depth = float(chest.wall(height)) - radii[0] * rng.uniform(0.35, 0.9)
            outline = ellipse((depth, height), radii, rng.uniform(-20, 20))
            patch = canvas.fill(chest.place(side, outline + 0.012 * _wave(rng, len(outline))), soft=0.016)
            haze = np.maximum(haze, patch * rng.uniform(0.7, 1.0))
        alpha = np.maximum(alpha, haze * tissue.lungs[side])
    coarse, fine = noise(rng, canvas.size, canvas.unit / 26), noise(rng, canvas.size, canvas.unit / 75)
    alpha = np.clip(alpha * (0.9 + 0.16 * coarse), 0, 1)
    density = rng.uniform(0.22, 0.40)
    haze = CHEST_AIR * tissue.air * density * alpha * np.clip(1 + 0.22 * fine, 0, 2)
    return (tissue.body + haze + tissue.vessels).astype(np.float32), alpha > MASK_LEVEL


def _wave(rng: np.random.Generator, n: int) -> Points:
    """Return a smooth closed random displacement (n, 2) of about unit size."""
    knots = rng.normal(0, 1, (7, 2))
    curve = spline(knots, closed=True, n=4)
    return curve[np.linspace(0, len(curve) - 1, n).astype(int)]


def _bronchogram(chest: Chest, canvas: Canvas, lobe: Lobe, rng: np.random.Generator) -> Layer:
    """Return the air-filled bronchi that stand out dark in a consolidated lobe; none in a third of the patients."""
    lines = canvas.blank()
    if rng.random() < 0.66:
        start = np.array([0.09, 0.42])
        for _ in range(int(rng.integers(2, 5))):
            end = np.array(lobe.centre) + rng.normal(0, 0.05, 2)
            middle = (start + end) / 2 + rng.normal(0, 0.015, 2)
            canvas.trace(lines, chest.place(lobe.side, spline([start, middle, end])), 255, 0.006)
    return canvas.layer(lines, 0.002)
