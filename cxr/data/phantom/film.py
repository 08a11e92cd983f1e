"""From outlines to an X-ray: attenuation of the tissues, scatter, quantum noise, tone curve, collimation.

The layers hold thickness times attenuation, so that they add and the transmitted share of the rays is
``exp(-sum)``. The values are set by eye so that lungs, soft tissue and bone stand to each other as on a processed
digital radiograph.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cxr.data.phantom.anatomy import LEFT, RIGHT, SIDES, Chest
from cxr.data.phantom.canvas import Canvas, Layer, blur, noise, ribbon

CHEST_AIR = 1.08  # what the air of the lungs takes away


@dataclass(frozen=True)
class Tissue:
    """The attenuating layers of one chest, kept apart so that a lesion can hide vessels."""

    body: Layer  # everything that is not in the lungs, heart included
    vessels: Layer  # vessels and bronchi inside the lungs
    lungs: dict[int, Layer]  # aerated area of each lung, without the heart, in [0, 1]
    air: Layer  # aerated volume along the ray in [0, 1]


@dataclass(frozen=True)
class Exposure:
    """How the picture was taken and processed, drawn for every X-ray and never from its class."""

    centre: float  # attenuation shown as middle grey
    latitude: float  # range of attenuation between black and white
    gamma: float
    sharpen: float  # share of local contrast enhancement
    scatter: float
    quanta: float  # noise
    black: float
    white: float
    softness: float  # blur of the detector in pixels of a 256 image
    borders: tuple[float, float, float, float]  # collimated share: left, top, right, bottom
    tilt: float  # of the collimator in degrees


def draw_exposure(rng: np.random.Generator) -> Exposure:
    """Return random settings of exposure and processing."""
    borders = np.where(rng.random(4) < 0.5, rng.uniform(0.01, 0.075, 4), 0.0) * (rng.random() < 0.35)
    return Exposure(
        centre=float(rng.normal(1.46, 0.13)),
        latitude=float(0.40 + 0.3 * rng.beta(1.2, 2)),
        gamma=float(rng.uniform(0.68, 1.05)),
        sharpen=float(rng.uniform(0.15, 0.7)),
        scatter=float(rng.uniform(0.03, 0.16)),
        quanta=float(rng.uniform(0.003, 0.014)),
        black=float(rng.uniform(0.0, 0.06)),
        white=float(rng.uniform(0.9, 1.0)),
        softness=float(rng.uniform(0.3, 0.75)),
        borders=(float(borders[0]), float(borders[1]), float(borders[2]), float(borders[3])),
        tilt=float(rng.normal(0, 1.0)),
    )


def tissue(chest: Chest, canvas: Canvas, rng: np.random.Generator) -> Tissue:
    """Return the attenuating layers of a healthy chest; ``rng`` adds the irregularity of soft tissue."""
    heart = canvas.fill(*chest.heart(), chest.aortic_knob(), soft=0.006)
    lungs = {side: canvas.fill(chest.lungs[side], soft=0.0045) for side in SIDES}
    volume = np.maximum(lungs[RIGHT], lungs[LEFT])
    # A lung is thin at its edge: the profile rises inwards.
    profile = volume * (0.42 + 0.58 * blur(volume, 0.035 * canvas.unit))

    body = _soft_tissue(chest, canvas)
    body -= CHEST_AIR * profile
    # Blood replaces nearly all the air in its way; elsewhere it differs little from what surrounds it.
    body += heart * (0.93 * CHEST_AIR * profile + 0.10 + 0.14 * blur(heart, 0.05 * canvas.unit))
    body += _mediastinum(chest, canvas)
    body += _abdomen(chest, canvas) * np.minimum(body, 1)
    # Processing flattens dense regions, bones stand out over air.
    body += _bones(chest, canvas) * (0.5 + 0.5 * volume * (1 - 0.7 * heart))
    outline = np.clip(body, 0, 1)
    body += outline * (
        0.035 * noise(rng, canvas.size, canvas.unit / 12) + 0.02 * noise(rng, canvas.size, canvas.unit / 40)
    )
    free = {side: lungs[side] * (1 - heart) for side in SIDES}
    return Tissue(body, _vessels(chest, canvas, rng) * volume * (1 - 0.75 * heart), free, profile)


def _soft_tissue(chest: Chest, canvas: Canvas) -> Layer:
    """Return muscles, fat and skin: the body gets thinner towards its outline."""
    torso = canvas.blank()
    canvas.paint(torso, [chest.torso()])
    arms = canvas.blank()
    canvas.paint(arms, [chest.arm(side) for side in SIDES])
    fat = chest.anatomy.fat
    trunk = (1.88 + 0.3 * fat) * _rounded(torso, 0.072 * canvas.unit)
    limbs = (1.35 + 0.3 * fat) * _rounded(arms, 0.028 * canvas.unit)
    out = trunk + limbs * (1 - 0.8 * canvas.layer(torso, 0.012))
    if chest.anatomy.breast:
        out += 0.17 * chest.anatomy.breast * _breasts(chest, canvas)
    return out


def _texture(canvas: Canvas, rng: np.random.Generator) -> Layer:
    """Return the unevenness of muscle and fat, and the slope from the tube's heel effect and a tilted patient."""
    lumps = 0.05 * noise(rng, canvas.size, canvas.size / 7) + 0.022 * noise(rng, canvas.size, canvas.size / 30)
    slope = rng.normal(0, 0.09, 2).astype(np.float32)
    ramp = np.linspace(-1, 1, canvas.size, dtype=np.float32)
    return lumps + slope[0] * ramp[:, None] + 0.6 * slope[1] * ramp[None]


def _rounded(shape: np.ndarray, depth: float) -> Layer:
    """Return the thickness of a body of circular section: 0 at its outline, 1 from some ``depth`` in pixels inwards."""
    padded = cv2.copyMakeBorder(shape, 24, 24, 24, 24, cv2.BORDER_REPLICATE)
    distance = cv2.distanceTransform((padded > 127).astype(np.uint8), cv2.DIST_L2, 3)[24:-24, 24:-24]
    edge = np.clip(1 - distance / (3 * depth), 0, 1)
    return cv2.GaussianBlur(np.sqrt(1 - edge * edge) * (shape > 127), (0, 0), 0.8)


def _breasts(chest: Chest, canvas: Canvas) -> Layer:
    shape = canvas.blank()
    canvas.paint(shape, [chest.breast(side) for side in SIDES])
    top = float(canvas.pixels([0.5, 0.48])[1])
    bottom = float(canvas.pixels([0.5, 0.70])[1])
    ramp = np.clip((np.arange(canvas.size, dtype=np.float32) - top) / max(bottom - top, 1), 0, 1)
    return canvas.layer(shape, 0.006) * ramp[:, None]


def _mediastinum(chest: Chest, canvas: Canvas) -> Layer:
    """Return what lies in the middle beside the heart: spine, aorta, windpipe."""
    vertebrae = canvas.blank()
    canvas.paint(vertebrae, chest.vertebrae())
    spine = canvas.layer(vertebrae, 0.002)
    edge = np.clip(spine - canvas.layer(vertebrae, 0.008), 0, 1)
    aorta = canvas.fill(chest.descending_aorta(), soft=0.005)
    pipe = canvas.fill(*chest.trachea(), soft=0.006)
    bone = chest.anatomy.bone
    return 0.13 * bone * spine + 0.16 * bone * edge + 0.10 * chest.anatomy.aorta * aorta - 0.30 * pipe


def _abdomen(chest: Chest, canvas: Canvas) -> Layer:
    """Return what the organs below the diaphragm add, fading towards the flanks."""
    right, left = (canvas.fill(shape, soft=0.002) for shape in chest.abdomen())
    x = (np.arange(canvas.size, dtype=np.float32) - float(canvas.pixels([0.5, 0.8])[0])) / canvas.unit
    flank = 1 / (1 + np.exp((np.abs(x) - 0.36 * chest.anatomy.width) / 0.014))
    # The liver is denser than stomach and spleen; they meet without an edge.
    out = np.maximum(right, left) * ((0.54 - 0.06 * np.tanh(x / 0.12)) * (0.15 + 0.85 * flank))
    if chest.anatomy.bubble:
        out -= 0.5 * canvas.fill(chest.gastric_bubble(), soft=0.004)
    return out


def _bones(chest: Chest, canvas: Canvas) -> Layer:
    anatomy = chest.anatomy
    out = np.zeros((canvas.size, canvas.size), np.float32)
    for side in SIDES:
        back, front = chest.ribs(side)
        out += 0.30 * _rib_layer(back, 0.024 * anatomy.rib_width, canvas)
        out += 0.16 * _rib_layer(front, 0.029 * anatomy.rib_width, canvas)
    clavicles = canvas.blank()
    canvas.paint(clavicles, [chest.clavicle(side) for side in SIDES])
    shell = canvas.layer(clavicles, 0.0015)
    out += 0.30 * shell + 0.30 * np.clip(shell - canvas.layer(clavicles, 0.006), 0, 1)
    blades, humeri = canvas.blank(), canvas.blank()
    for side in SIDES:
        blade, border = chest.scapula(side)
        canvas.paint(blades, [blade], 110)
        canvas.paint(blades, [ribbon(border, 0.014)], 255)
        canvas.paint(humeri, chest.humerus(side))
    arm = canvas.layer(humeri, 0.002)
    out += 0.30 * canvas.layer(blades, 0.003) + 0.26 * arm + 0.3 * np.clip(arm - canvas.layer(humeri, 0.009), 0, 1)
    return out * anatomy.bone


def _rib_layer(lines: list[np.ndarray], width: float, canvas: Canvas) -> Layer:
    """Return ribs of one side: a faint marrow between denser rims, the lower one denser."""
    ribs = canvas.blank()
    bands = [ribbon(line, width) for line in lines]
    canvas.paint(ribs, bands, 150)
    for band, line in zip(bands, lines, strict=True):
        n = len(line)
        canvas.trace(ribs, band[:n], 225)
        canvas.trace(ribs, band[n:], 205)
    return canvas.layer(ribs, 0.0022)


def _vessels(chest: Chest, canvas: Canvas, rng: np.random.Generator) -> Layer:
    """Return the vascular markings, the hila and the fine grain of the lungs."""
    thin, thick = canvas.blank(), canvas.blank()
    for side in SIDES:
        tree = chest.anatomy.vessels[side]
        ends = np.array([[v.x0, v.y0, v.x1, v.y1] for v in tree]).reshape(-1, 2, 2)
        placed = canvas.pixels(chest.place(side, ends))
        fixed = np.rint(placed * 16).astype(np.int32)
        for vessel, (a, b) in zip(tree, fixed, strict=True):
            wide = vessel.width * canvas.unit
            target, value = (thick, min(90 + 14000 * vessel.width, 255)) if wide > 1.4 else (thin, min(160 * wide, 255))
            cv2.line(target, a, b, int(value), max(round(wide), 1), cv2.LINE_AA, 4)
    hila = canvas.layer(thick, 0.02)
    markings = 0.25 * canvas.layer(thick, 0.003) + 0.16 * canvas.layer(thin, 0.0016) + 0.24 * hila
    grain = 0.022 * noise(rng, canvas.size, canvas.unit / 90)
    return chest.anatomy.calibre * markings + grain


def expose(attenuation: Layer, settings: Exposure, rng: np.random.Generator) -> np.ndarray:
    """Return the X-ray (H, W) uint8 of an attenuation map, bright where little passes."""
    size = attenuation.shape[0]
    passed: Layer = np.exp(-np.maximum(attenuation, 0)).astype(np.float32)
    passed = (1 - settings.scatter) * passed + settings.scatter * blur(passed, 0.1 * size)
    grain = cv2.GaussianBlur(noise(rng, size, 1), (0, 0), 0.6) * 1.6 + 0.5 * noise(rng, size, size / 110)
    # Few rays pass dense tissue, so its logarithm is noisier (Poisson).
    noisy = -np.log(passed) + settings.quanta * grain / np.sqrt(passed)
    dense = blur(noisy.astype(np.float32), settings.softness * size / 256)
    wide = blur(dense, 0.05 * size)
    dense = dense + settings.sharpen * 0.5 * (dense - wide) * (attenuation > 0.2)
    tone = 1 / (1 + np.exp(-(dense - settings.centre) / settings.latitude))
    floor = 1 / (1 + np.exp(settings.centre / settings.latitude))
    tone = np.clip((tone - floor) / (0.965 - floor), 0, 1) ** settings.gamma
    tone = settings.black + (settings.white - settings.black) * tone
    tone *= field(size, settings)
    return np.clip(tone * 255 + 0.5, 0, 255).astype(np.uint8)


def field(size: int, settings: Exposure) -> Layer:
    """Return the exposed field in [0, 1]: 0 under the collimator's leaves."""
    left, top, right, bottom = settings.borders
    if not any(settings.borders):
        return np.ones((size, size), np.float32)
    # A side that is not collimated reaches beyond the frame, also after the tilt.
    x0, y0 = (v if v else -0.2 for v in (left, top))
    x1, y1 = (1 - v if v else 1.2 for v in (right, bottom))
    canvas = Canvas(size, settings.tilt)
    return canvas.fill(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), soft=0.002)
