"""A patient's anatomy and pose as outlines in chest coordinates (see :mod:`cxr.data.phantom.canvas`).

Lateral positions are distances from the midline; ``side`` is -1 for the patient's right, which is on the image's
left, and +1 for the patient's left. Proportions are drawn by eye after frontal radiographs, not measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cxr.data.phantom.canvas import Canvas, Points, ellipse, ribbon, spline

RIGHT, LEFT = -1, 1
SIDES = (RIGHT, LEFT)

# Distances from the midline and heights; the lungs reach behind the heart, which is laid over them.
_LUNG_LATERAL = np.array(
    [[0.140, 0.116], [0.203, 0.144], [0.260, 0.218], [0.300, 0.335], [0.324, 0.470], [0.338, 0.600], [0.345, 0.720]]
)
_LUNG_MEDIAL = np.array(
    [[0.062, 0.640], [0.068, 0.520], [0.063, 0.420], [0.060, 0.330], [0.063, 0.240], [0.085, 0.158]]
)
_ANGLE = np.array([0.346, 0.812])  # costophrenic angle
_DOME = np.array([[0.305, 0.752], [0.235, 0.712], [0.160, 0.705], [0.095, 0.725]])
_HILUM = {RIGHT: (0.085, 0.425), LEFT: (0.085, 0.400)}
N_RIBS = 10


@dataclass(frozen=True)
class Vessel:
    """A short piece of a pulmonary vessel: end points (4,) beside the midline and its width."""

    x0: float
    y0: float
    x1: float
    y1: float
    width: float


@dataclass(frozen=True)
class Anatomy:
    """What stays the same in every X-ray of one patient."""

    sex: str
    age: int
    width: float  # of the chest, 1 is average
    height: float  # of the lungs
    fat: float  # 0 lean to 1 obese
    breast: float  # size, 0 for none
    heart: float  # size
    heart_tilt: float  # degrees
    aorta: float  # prominence of the knob, grows with age
    dome: dict[int, float]  # height of each half of the diaphragm, positive is lower
    rib_tilt: float
    rib_width: float
    bone: float  # attenuation of bone
    clavicle: float  # slope
    bubble: float  # size of the gastric bubble, 0 for none
    wobble: dict[int, Points]  # irregularity of the lungs' outline
    vessels: dict[int, tuple[Vessel, ...]]
    calibre: float  # prominence of the vessels


@dataclass(frozen=True)
class Pose:
    """How the patient stood and the tube was set, drawn for every X-ray."""

    degrees: float
    scale: float
    shift: tuple[float, float]
    breath: float  # depth of inspiration, positive lowers the diaphragm
    yaw: float  # turn about the long axis: moves the front of the chest sideways
    arms: float  # abduction
    scapula: float  # how far the shoulder blades lie over the lungs

    def canvas(self, size: int) -> Canvas:
        """Return a canvas of ``size`` pixels that draws in this pose."""
        return Canvas(size, self.degrees, self.scale, self.shift)


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Return a random patient."""
    sex = "F" if rng.random() < 0.48 else "M"
    age = int(np.clip(rng.normal(54, 17), 18, 92))
    female = sex == "F"
    width = rng.normal(1.0 if female else 1.05, 0.045)
    vessels = {side: _vessel_tree(rng, side) for side in SIDES}
    return Anatomy(
        sex=sex,
        age=age,
        width=float(np.clip(width, 0.88, 1.16)),
        height=float(np.clip(rng.normal(0.92 if female else 0.96, 0.06), 0.78, 1.1)),
        fat=float(np.clip(rng.beta(2, 3), 0, 1)),
        breast=float(rng.uniform(0.5, 1.2)) if female and rng.random() < 0.85 else 0.0,
        heart=float(np.clip(rng.normal(1.02, 0.13), 0.76, 1.4)),
        heart_tilt=float(rng.normal(33, 5)),
        aorta=float(np.clip(rng.normal(0.55 + 0.012 * (age - 50), 0.2), 0.1, 1.3)),
        dome={RIGHT: float(rng.normal(-0.008, 0.012)), LEFT: float(rng.normal(0.014, 0.012))},
        rib_tilt=float(rng.normal(1.0, 0.12)),
        rib_width=float(rng.normal(1.0, 0.08)),
        bone=float(np.clip(rng.normal(1.0 - 0.004 * (age - 50), 0.15), 0.55, 1.5)),
        clavicle=float(rng.normal(0.0, 0.02)),
        bubble=float(rng.uniform(0.5, 1.3)) if rng.random() < 0.6 else 0.0,
        wobble={side: rng.normal(0, 0.005, (18, 2)) for side in SIDES},
        vessels=vessels,
        calibre=float(rng.uniform(0.75, 1.3)),
    )


def draw_pose(rng: np.random.Generator) -> Pose:
    """Return a random pose: slight turn, zoom and shift."""
    return Pose(
        degrees=float(np.clip(rng.normal(0, 2.2), -6, 6)),
        scale=float(np.clip(rng.normal(1.12, 0.065), 0.94, 1.3)),
        shift=(float(rng.normal(0, 0.015)), float(rng.normal(0.015, 0.022))),
        breath=float(rng.normal(0, 0.022)),
        yaw=float(np.clip(rng.normal(0, 0.007), -0.02, 0.02)),
        arms=float(rng.uniform(0, 1)),
        scapula=float(rng.beta(1.5, 2)),
    )


def _vessel_tree(rng: np.random.Generator, side: int) -> tuple[Vessel, ...]:
    """Return the pulmonary vessels of one lung: branches that leave the hilum, taper, bend and fork."""
    bend, fork = iter(rng.standard_normal(1400).tolist()), iter(rng.random(1400).tolist())
    hx, hy = _HILUM[side]
    roots = np.deg2rad(np.linspace(-82, 88, 10)) + rng.normal(0, 0.09, 10)
    lower = np.linspace(0.010, 0.017, 10)  # vessels of the bases are wider in an upright patient
    stack = [(hx + 0.012 * np.cos(a), hy + 0.04 * np.sin(a), a, w) for a, w in zip(roots, lower, strict=True)]
    out: list[Vessel] = []
    while stack and len(out) < 420:
        x, y, angle, width = stack.pop(0)
        for _ in range(16):
            angle += 0.24 * next(bend, 0.0)
            nx, ny = x + 0.021 * np.cos(angle), y + 0.021 * np.sin(angle)
            if nx < 0.02 or nx > 0.33 or ny > 0.76:
                break
            out.append(Vessel(float(x), float(y), float(nx), float(ny), width))
            x, y, width = nx, ny, width * 0.87
            if width < 0.0016:
                break
            if next(fork, 1.0) < 0.33:
                turn = 0.55 if next(fork, 0.0) < 0.5 else -0.55
                stack.append((x, y, angle + turn, width * 0.8))
                angle -= 0.25 * turn
    return tuple(out)


class Chest:
    """The outlines of one patient in one pose; every method returns points in chest coordinates."""

    def __init__(self, anatomy: Anatomy, pose: Pose) -> None:
        self.anatomy, self.pose = anatomy, pose
        self.lungs = {side: self._lung(side) for side in SIDES}

    def place(self, side: int, points: ArrayLike, front: float = 0.0) -> Points:
        """Return points given beside the midline (distance, height) where this patient has them.

        ``front`` is 1 for what lies at the breastbone, -1 at the spine: a turned patient shows them shifted apart.
        """
        p = np.array(points, dtype=np.float64)
        x = 0.5 + side * p[..., 0] * self.anatomy.width + front * self.pose.yaw
        return np.stack([x, self._stretch(p[..., 1])], axis=-1)

    def _stretch(self, y: np.ndarray) -> np.ndarray:
        """Lengthen the chest below the apices by the patient's build and depth of breath."""
        depth = np.clip((y - 0.12) / 0.6, 0, 1.2)
        return 0.12 + (y - 0.12) * self.anatomy.height + self.pose.breath * depth

    def wall(self, y: ArrayLike) -> np.ndarray:
        """Return the distance of the chest wall's inside from the midline at heights ``y`` (unplaced)."""
        return np.interp(np.asarray(y, dtype=np.float64), _LUNG_LATERAL[:, 1], _LUNG_LATERAL[:, 0])

    def _lung(self, side: int) -> Points:
        drop = self.anatomy.dome[side]
        dome = _DOME + np.array([0.0, drop])
        angle = _ANGLE + np.array([0.0, 0.4 * drop])
        points = np.concatenate([_LUNG_MEDIAL, _LUNG_LATERAL, angle[None], dome])
        points = points + self.anatomy.wobble[side][: len(points)]
        # The angle is sharp: straight pieces meet there instead of one smooth curve.
        corner = len(_LUNG_MEDIAL) + len(_LUNG_LATERAL)
        upper = spline(points[: corner + 1])
        lower = spline(np.concatenate([points[corner:], points[:1]]))
        return self.place(side, np.concatenate([upper, lower[1:]]))

    def hilum(self, side: int) -> Points:
        """Return the centre (2,) of a hilum."""
        return self.place(side, _HILUM[side])

    def torso(self) -> Points:
        """Return the body's outline without the arms."""
        fat = self.anatomy.fat
        half = np.array(
            [[0.110, -0.2], [0.115, -0.06], [0.150, 0.000], [0.24, 0.045], [0.33, 0.070], [0.43, 0.105], [0.475, 0.20],
             [0.437, 0.33], [0.408, 0.42], [0.402, 0.55], [0.405, 0.70], [0.405, 0.85], [0.41, 1.1]]
        )  # fmt: skip
        half = half + np.clip((half[:, 1:] - 0.1) / 0.25, 0, 1) * [0.075 * fat, 0]
        sides = [self.place(side, half) for side in SIDES]
        return spline(np.concatenate([sides[0], sides[1][::-1]]), closed=True, n=5)

    def arm(self, side: int) -> Points:
        """Return the outline of an upper arm."""
        out = 0.05 * self.pose.arms + 0.045 * self.anatomy.fat
        line = np.array([[0.44, 0.17], [0.475 + out, 0.30], [0.50 + 1.6 * out, 0.50], [0.515 + 2.2 * out, 0.75]])
        thick = np.array([0.11, 0.13, 0.115, 0.10]) * (0.85 + 0.35 * self.anatomy.fat)
        return ribbon(self.place(side, spline(line)), np.interp(np.linspace(0, 3, 25), range(4), thick))

    def heart(self) -> list[Points]:
        """Return the outlines of the heart: its body with the apex to the patient's left, and the right atrium."""
        size, y = self.anatomy.heart, 0.600
        base = 0.705 + 0.5 * self.anatomy.dome[LEFT]
        main = ellipse((0.066 * size, base - 0.075 * size), (0.172 * size, 0.112 * size), self.anatomy.heart_tilt)
        atrium = ellipse((-0.030, y + 0.01), (0.078 * size, 0.100 * size), 10)
        waist = spline([[-0.058, 0.30], [-0.064, 0.45], [-0.07, 0.58], [0.07, 0.60], [0.104, 0.47], [0.078, 0.39],
                        [0.064, 0.33], [0.05, 0.24], [-0.045, 0.24]], closed=True)  # fmt: skip
        return [self.place(LEFT, shape, front=0.6) for shape in (main, atrium, waist)]

    def aortic_knob(self) -> Points:
        """Return the outline of the arch of the aorta where it bulges to the left."""
        size = 0.030 + 0.012 * self.anatomy.aorta
        return self.place(LEFT, ellipse((0.040 + 0.012 * self.anatomy.aorta, 0.300), (size, size * 1.15)))

    def descending_aorta(self) -> Points:
        """Return the band of the descending aorta behind the heart."""
        return self.place(LEFT, ribbon(spline([[0.045, 0.30], [0.052, 0.48], [0.042, 0.66], [0.02, 0.8]]), 0.055), -0.5)

    def trachea(self) -> list[Points]:
        """Return the outlines of the windpipe and of both main bronchi."""
        pipe = ribbon(spline([[0.0, -0.06], [-0.002, 0.12], [-0.006, 0.25], [-0.008, 0.335]]), 0.038)
        right = ribbon(spline([[0.0, 0.32], [0.035, 0.365], [0.075, 0.41]]), [0.024] * 16 + [0.018])
        left = ribbon(spline([[0.0, 0.32], [0.05, 0.362], [0.095, 0.385]]), [0.021] * 16 + [0.015])
        return [self.place(LEFT, pipe), self.place(RIGHT, right), self.place(LEFT, left)]

    def vertebrae(self) -> list[Points]:
        """Return the outlines of the vertebral bodies from the neck to the upper abdomen."""
        y, out = -0.03, []
        while y < 1.02:
            height = 0.036 + 0.022 * np.clip(y, 0, 1)
            half = 0.030 + 0.016 * np.clip(y, 0, 1)
            body = [[-half, y], [-half * 0.9, y + height / 2], [-half, y + height], [0, y + height * 1.02],
                    [half, y + height], [half * 0.9, y + height / 2], [half, y], [0, y - height * 0.02]]  # fmt: skip
            out.append(self.place(LEFT, spline(body, closed=True, n=3), front=-1.0))
            y += height * 1.16
        return out

    def ribs(self, side: int) -> tuple[list[Points], list[Points]]:
        """Return the centre lines of the posterior and of the anterior ribs of a side.

        A rib is a tilted loop around the chest, hence an arc of an ellipse in the projection: its back runs from the
        spine outwards, its front comes back lower down and ends where the cartilage begins.
        """
        back, front = [], []
        for k in range(N_RIBS):
            tilt = (0.058 + 0.0125 * k) * self.anatomy.rib_tilt
            height = 0.082 + 0.0645 * k
            reach = float(self.wall(height + tilt)) + 0.012
            phi = np.deg2rad(np.linspace(-84, 2, 22))
            back.append(self._arc(side, reach, height + tilt, tilt, phi, -0.6))
            if k < 8:
                phi = np.deg2rad(np.linspace(-2, 66 - 3.0 * k, 16))
                front.append(self._arc(side, reach, height + tilt, tilt * 1.55, phi, 0.6))
        return back, front

    def _arc(self, side: int, reach: float, y: float, tilt: float, phi: np.ndarray, front: float) -> Points:
        return self.place(side, np.stack([reach * np.cos(phi) ** 0.8, y + tilt * np.sin(phi)], axis=1), front)

    def clavicle(self, side: int) -> Points:
        """Return the outline of a collar bone."""
        slope = self.anatomy.clavicle * side + 0.04 * self.pose.arms
        line = np.array([[0.040, 0.208], [0.10, 0.194], [0.18, 0.174], [0.27, 0.148], [0.36, 0.132], [0.405, 0.130]])
        line = line - np.outer((line[:, 0] - 0.04) / 0.36, [0, slope])
        width = np.interp(np.linspace(0, 5, 41), range(6), [0.034, 0.025, 0.021, 0.022, 0.025, 0.022])
        return ribbon(self.place(side, spline(line), front=1.0), width)

    def scapula(self, side: int) -> tuple[Points, Points]:
        """Return the outline of a shoulder blade and the line of its dense lateral border."""
        inwards = 0.07 * self.pose.scapula
        blade = np.array([[0.29, 0.17], [0.36, 0.150], [0.415, 0.165], [0.42, 0.235], [0.385, 0.33], [0.355, 0.415],
                          [0.325, 0.40], [0.295, 0.29]]) - [inwards, 0]  # fmt: skip
        return self.place(side, spline(blade, closed=True)), self.place(side, spline(blade[3:6]))

    def humerus(self, side: int) -> list[Points]:
        """Return the head and the shaft of an upper arm's bone."""
        out = 0.05 * self.pose.arms
        head = ellipse((0.452, 0.190), (0.040, 0.044))
        shaft = ribbon(spline([[0.463, 0.20], [0.487 + out, 0.33], [0.51 + 2 * out, 0.62]]), 0.040)
        return [self.place(side, head), self.place(side, shaft)]

    def breast(self, side: int) -> Points:
        """Return the outline of a breast's shadow."""
        size = self.anatomy.breast
        return self.place(
            side, ellipse((0.215, 0.60 + 0.035 * size), (0.135 * size**0.4, 0.135 * size**0.5)), front=0.8
        )

    def abdomen(self) -> list[Points]:
        """Return the outlines of what lies below each dome of the diaphragm."""
        out = []
        for side in SIDES:
            drop = [0.0, self.anatomy.dome[side]]
            rim = np.concatenate([_ANGLE[None] + [0.006, 0.0], _DOME + drop, [[0.04, 0.74], [-0.02, 0.745]]])
            out.append(self.place(side, np.concatenate([spline(rim), [[-0.02, 1.3], [0.6, 1.3], [0.6, 0.84]]])))
        return out

    def gastric_bubble(self) -> Points:
        """Return the gas in the stomach under the left dome: round above, level below."""
        size, top = self.anatomy.bubble, 0.748 + self.anatomy.dome[LEFT]
        phi = np.linspace(np.pi, 2 * np.pi, 16)
        arch = np.stack([0.19 + 0.062 * size * np.cos(phi), top + 0.046 * size + 0.04 * size * np.sin(phi)], axis=1)
        return self.place(LEFT, arch)
