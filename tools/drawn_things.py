"""Draw what a detector of burned-in text takes for text: leads, clips, wires, tubes, devices, borders, rulers.

Every function draws on a uint8 image (H, W) in place and returns boxes of parts that a detector may pick.
"""

from __future__ import annotations

import cv2
import numpy as np

from cxr.text.boxes import TextBox, clip


def draw_things(rng: np.random.Generator, image: np.ndarray, n: int) -> list[TextBox]:
    """Draw ``n`` random things and return their boxes."""
    out: list[TextBox] = []
    for _ in range(n):
        out += _THINGS[int(rng.integers(len(_THINGS)))](rng, image)
    return [box for box in (clip(b, image.shape) for b in out) if min(box.width, box.height) >= 4]


def _lay(rng: np.random.Generator, image: np.ndarray, layer: np.ndarray, strength: float | None = None) -> None:
    """Brighten the image under a layer in 0..1, softly, as metal or plastic in the beam does."""
    strength = rng.uniform(30, 130) if strength is None else strength
    rows, columns = np.flatnonzero(layer.any(axis=1)), np.flatnonzero(layer.any(axis=0))
    if not len(rows):
        return
    y0, y1 = max(0, rows[0] - 6), rows[-1] + 7
    x0, x1 = max(0, columns[0] - 6), columns[-1] + 7
    soft = cv2.GaussianBlur(layer[y0:y1, x0:x1], (0, 0), rng.uniform(0.5, 1.6))
    ground = image[y0:y1, x0:x1]
    image[y0:y1, x0:x1] = np.clip(ground + strength * soft * rng.uniform(0.8, 1.0), 0, 255).round()


def _centre(rng: np.random.Generator, image: np.ndarray) -> tuple[int, int]:
    return int(rng.uniform(0.08, 0.92) * image.shape[1]), int(rng.uniform(0.08, 0.95) * image.shape[0])


def _around(x: float, y: float, rx: float, ry: float) -> TextBox:
    return TextBox(int(x - rx), int(y - ry), int(x + rx) + 1, int(y + ry) + 1)


def _curve(rng: np.random.Generator, image: np.ndarray, sharp: float = 1.0) -> np.ndarray:
    h, w = image.shape
    points = rng.uniform(-0.1, 1.1, (4, 2)) * (w, h)
    points[1:3] = points[[0, 3]].mean(axis=0) + rng.normal(0, 0.25 * sharp, (2, 2)) * (w, h)
    t = np.linspace(0, 1, 60)[:, None]
    a, b, c, d = points
    return (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t * t * (1 - t) * c + t**3 * d


def lead(rng: np.random.Generator, image: np.ndarray) -> list[TextBox]:
    """An electrode with its wire: a disc or ring, a snap in it, a clip beside it."""
    x, y = _centre(rng, image)
    r = max(4, round(max(image.shape) * rng.uniform(0.006, 0.02)))
    layer = np.zeros(image.shape, np.float32)
    line = _curve(rng, image)
    line = line - line[0] + (x, y)
    strength, thick = float(rng.uniform(0.3, 1)), int(rng.integers(1, 4))
    cv2.polylines(layer, [line.astype(np.int32)], False, strength, thick, cv2.LINE_AA)
    cv2.circle(layer, (x, y), r, 1.0, -1 if rng.random() < 0.5 else max(1, r // 4), cv2.LINE_AA)
    if rng.random() < 0.6:
        cv2.circle(layer, (x, y), max(1, r // 3), 0.4, -1, cv2.LINE_AA)
    if rng.random() < 0.6:
        away = rng.uniform(-1, 1, 2) * 2.2 * r
        corner = ((x + away[0], y + away[1]), (r * rng.uniform(1, 2.5), r * rng.uniform(0.5, 1)), rng.uniform(0, 180))
        cv2.polylines(layer, [cv2.boxPoints(corner).astype(np.int32)], True, 1.0, max(1, r // 4), cv2.LINE_AA)
    _lay(rng, image, layer)
    return [_around(x, y, r + 2, r + 2), _around(x, y, 2.6 * r, 2.4 * r)]


def clips(rng: np.random.Generator, image: np.ndarray) -> list[TextBox]:
    """Outlines like a paper clip, or wire frames with inner bars: an ECG clip seen flat or from its side."""
    x, y = _centre(rng, image)
    r = max(image.shape) * rng.uniform(0.008, 0.025)
    turn = rng.uniform(0, np.pi)
    layer = np.zeros(image.shape, np.float32)
    thick = max(1, round(r * rng.uniform(0.1, 0.3)))
    for k in range(int(rng.integers(1, 4))):
        shrink = 1 - 0.3 * k
        shape = ((x + rng.normal(0, 0.1 * r), y), (2 * r * shrink, r * shrink * rng.uniform(0.5, 1)), np.rad2deg(turn))
        if rng.random() < 0.5:
            cv2.ellipse(layer, shape, 1.0, thick, cv2.LINE_AA)
        else:
            cv2.polylines(layer, [cv2.boxPoints(shape).astype(np.int32)], True, 1.0, thick, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 4))):
        a, b = rng.normal((x, y), 0.7 * r, (2, 2)).astype(int)
        cv2.line(layer, a.tolist(), b.tolist(), 1.0, thick, cv2.LINE_AA)
    _lay(rng, image, layer, rng.uniform(50, 170))
    return [_around(x, y, 1.15 * r, 1.15 * r), _around(x, y, 1.1 * r, 0.7 * r)]


def wire(rng: np.random.Generator, image: np.ndarray) -> list[TextBox]:
    """A wire or a tube of two walls with dashes; the boxes lie on pieces of it and where it crosses another."""
    layer = np.zeros(image.shape, np.float32)
    out = []
    for _ in range(int(rng.integers(1, 4))):
        line = _curve(rng, image, rng.uniform(0.2, 1.5))
        thick = int(rng.integers(1, 6))
        cv2.polylines(layer, [line.astype(np.int32)], False, 1.0, thick, cv2.LINE_AA)
        if rng.random() < 0.4:
            cv2.polylines(layer, [line.astype(np.int32)], False, 0.2, max(1, thick - 2), cv2.LINE_AA)
        for i in rng.integers(0, 55, 2):
            part = line[i : i + int(rng.integers(2, 6))]
            low, high = part.min(axis=0) - 3, part.max(axis=0) + 3
            out.append(TextBox(int(low[0]), int(low[1]), int(high[0]), int(high[1])))
    _lay(rng, image, layer, rng.uniform(25, 110))
    return [b for b in out if max(b.width, b.height) < 0.15 * max(image.shape)]


def surgical(rng: np.random.Generator, image: np.ndarray) -> list[TextBox]:
    """Surgical clips, sternal wires, staples: short bright strokes and twisted loops, several together."""
    x, y = _centre(rng, image)
    unit = max(image.shape) * rng.uniform(0.006, 0.016)
    layer, out = np.zeros(image.shape, np.float32), []
    loops = rng.random() < 0.4
    for _ in range(int(rng.integers(1, 7))):
        at = rng.normal((x, y), 4 * unit, 2)
        if loops:
            cv2.ellipse(layer, (at.tolist(), (1.6 * unit, 1.0 * unit), float(rng.uniform(0, 180))), 1.0, 2, cv2.LINE_AA)
            end = (at + rng.normal(0, unit, 2)).astype(int).tolist()
            cv2.line(layer, at.astype(int).tolist(), end, 1.0, 2, cv2.LINE_AA)
        else:
            step = rng.normal(0, 1, 2)
            step *= unit / max(1e-3, np.hypot(*step))
            a, b = (at - step).astype(int).tolist(), (at + step).astype(int).tolist()
            cv2.line(layer, a, b, 1.0, max(1, round(0.4 * unit)), cv2.LINE_AA)
        out.append(_around(at[0], at[1], 1.1 * unit, 1.1 * unit))
    _lay(rng, image, layer, rng.uniform(60, 200))
    return out


def device(rng: np.random.Generator, image: np.ndarray) -> list[TextBox]:
    """A pacemaker, port or plate: a filled rounded body with inner parts and a wire."""
    x, y = _centre(rng, image)
    r = max(image.shape) * rng.uniform(0.02, 0.06)
    layer = np.zeros(image.shape, np.float32)
    body = ((x, y), (2 * r, 1.6 * r), float(rng.uniform(0, 180)))
    cv2.ellipse(layer, body, float(rng.uniform(0.4, 1)), -1, cv2.LINE_AA)
    out = [_around(x, y, 1.1 * r, 1.1 * r)]
    for _ in range(int(rng.integers(2, 7))):
        at, size = rng.normal((x, y), 0.4 * r, 2), rng.uniform(0.1, 0.4, 2) * r
        shape = (at.tolist(), (2 * size).tolist(), float(rng.uniform(0, 180)))
        cv2.ellipse(layer, shape, float(rng.uniform(0, 1)), -1 if rng.random() < 0.5 else 2, cv2.LINE_AA)
        out.append(_around(*at, *(1.2 * size)))
    _lay(rng, image, layer, rng.uniform(50, 160))
    return out


def border(rng: np.random.Generator, image: np.ndarray) -> list[TextBox]:
    """A film's edge: a bright or dark band with a slanted or ragged side, along one border or across a corner."""
    h, w = image.shape
    along = int(rng.integers(4))
    depth = rng.uniform(0.003, 0.06, 2) * max(h, w)
    quad = np.array(
        [
            [(0, 0), (w, 0), (w, depth[0]), (0, depth[1])],
            [(0, h), (w, h), (w, h - depth[0]), (0, h - depth[1])],
            [(0, 0), (0, h), (depth[0], h), (depth[1], 0)],
            [(w, 0), (w, h), (w - depth[0], h), (w - depth[1], 0)],
        ][along]
    )
    mask = np.zeros(image.shape, np.uint8)
    cv2.fillPoly(mask, [quad.astype(np.int32)], 255)
    image[mask > 0] = int(rng.choice([0, 4, 20, 235, 252, 255]))
    out = []
    for _ in range(3):
        t, long, short = rng.random(), rng.uniform(0.01, 0.06) * max(h, w), rng.uniform(0.006, 0.02) * max(h, w)
        d = float(depth.mean())
        x, y = ((t * w, d), (t * w, h - d), (d, t * h), (w - d, t * h))[along]
        out.append(_around(x, y, long, short) if along < 2 else _around(x, y, short, long))
    return out


def beads(rng: np.random.Generator, image: np.ndarray) -> list[TextBox]:
    """Buttons, beads, a chain or a zipper: round or square bits in a row along a curve."""
    line = _curve(rng, image, 0.5)
    line = line[int(rng.integers(0, 30)) :][: int(rng.integers(3, 16)) * 2 : 2]
    layer, r = np.zeros(image.shape, np.float32), max(2, round(max(image.shape) * rng.uniform(0.003, 0.009)))
    filled, out = rng.random() < 0.5, []
    for at in line:
        cv2.circle(layer, at.astype(int).tolist(), r, 1.0, -1 if filled else max(1, r // 3), cv2.LINE_AA)
        out.append(_around(at[0], at[1], r + 1, r + 1))
    _lay(rng, image, layer, rng.uniform(40, 160))
    return out[:4]


_THINGS = (lead, clips, clips, wire, surgical, device, border, beads)
