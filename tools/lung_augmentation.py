"""Changes that X-rays of other hospitals, machines and diseases may show, for training the segmentation of lungs.

Every function takes and returns a square uint8 X-ray; only :func:`moved` changes the mask with it.
"""

from __future__ import annotations

import string

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def augmented(image: Image, mask: Image, side: int, rng: np.random.Generator) -> tuple[Image, Image]:
    """Return a changed picture and its mask (0 or 255), both (side, side)."""
    if rng.random() < 0.5:
        image, mask = np.fliplr(image), np.fliplr(mask)
    image, mask = moved(image, mask, side, rng)
    if rng.random() < 0.6:
        image = opacified(image, mask, rng)
    image = exposed(image, rng)
    if rng.random() < 0.5:
        image = with_things(image, rng)
    if rng.random() < 0.3:
        image = framed(image, rng)
    return degraded(image, rng), mask


def moved(image: Image, mask: Image, side: int, rng: np.random.Generator) -> tuple[Image, Image]:
    """Turn, scale, stretch, shift and bend: patients stand, lie and turn; pictures are cut close or wide."""
    size = image.shape[0]
    middle = _middle(mask)
    zoom = side / size * np.exp(rng.uniform(-0.2, 0.5))
    stretch = np.exp(rng.normal(0, 0.12))
    angle = np.deg2rad(rng.normal(0, 7))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1, rng.normal(0, 0.05)], [0, 1]])
    matrix = zoom * turn @ shear @ np.diag([stretch, 1 / stretch])
    goal = side * (0.5 + rng.uniform(-0.13, 0.13, 2))
    inverse = np.linalg.inv(matrix)
    ys, xs = np.mgrid[:side, :side].astype(np.float32)
    places = np.stack([xs - goal[0], ys - goal[1]], -1) @ inverse.T + middle
    if rng.random() < 0.6:
        bend = rng.normal(0, size * 0.02, (5, 5, 2)).astype(np.float32)
        places += cv2.resize(bend, (side, side), interpolation=cv2.INTER_CUBIC)
    places = places.astype(np.float32)
    # Beyond the film there is black, or more of the body.
    edge = cv2.BORDER_CONSTANT if rng.random() < 0.6 else cv2.BORDER_REPLICATE
    blurred = cv2.GaussianBlur(image, (0, 0), 0.35 / zoom) if zoom < 0.8 else image
    picture = cv2.remap(blurred, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=edge)
    area = cv2.remap(mask, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return picture.astype(np.uint8), np.where(area > 127, np.uint8(255), np.uint8(0))


def opacified(image: Image, mask: Image, rng: np.random.Generator) -> Image:
    """Lay soft or dense clouds over the lungs, lower parts most often: consolidation, effusion, ground glass."""
    side = image.shape[0]
    inside = mask > 127
    if not inside.any():
        return image
    ys, xs = np.nonzero(inside)
    cloud = np.zeros(image.shape, np.float32)
    grid_y, grid_x = np.mgrid[:side, :side].astype(np.float32)
    for _ in range(rng.integers(1, 5)):
        pick = rng.integers(len(ys), size=2)
        place = pick[np.argmax(ys[pick])] if rng.random() < 0.7 else pick[0]
        width, height = side * rng.uniform(0.06, 0.25, 2)
        blob = np.exp(-(((grid_x - xs[place]) / width) ** 2) - ((grid_y - ys[place]) / height) ** 2)
        cloud = np.maximum(cloud, blob * rng.uniform(0.3, 1.1))
    texture = cv2.resize(rng.uniform(0.6, 1.2, (12, 12)).astype(np.float32), (side, side))
    share = np.clip(cloud * texture, 0, 0.92)
    tissue = np.percentile(image[~inside] if (~inside).any() else image, rng.uniform(55, 80))
    bright = np.maximum(image, tissue)
    return (image * (1 - share) + bright * share).astype(np.uint8)


def exposed(image: Image, rng: np.random.Generator) -> Image:
    """Change exposure and processing: gamma, contrast, a gradient over the film, local equalisation."""
    unit = image.astype(np.float32) / 255
    unit = unit ** np.exp(rng.normal(0, 0.35))
    unit = (unit - 0.5) * np.exp(rng.normal(0, 0.25)) + 0.5 + rng.normal(0, 0.08)
    if rng.random() < 0.3:
        ramp = cv2.resize(rng.normal(0, 0.12, (2, 2)).astype(np.float32), image.shape[::-1])
        unit += ramp
    changed = (np.clip(unit, 0, 1) * 255).astype(np.uint8)
    return cv2.createCLAHE(rng.uniform(1, 4), (8, 8)).apply(changed) if rng.random() < 0.2 else changed


def with_things(image: Image, rng: np.random.Generator) -> Image:
    """Draw text, wires and electrodes."""
    out, side = image.copy(), image.shape[0]
    for _ in range(rng.integers(1, 4)):
        x, y = (int(v) for v in rng.integers(0, side, 2))
        kind = rng.integers(3)
        grey = int(rng.choice([255, 255, 230, 0]))
        if kind == 0:
            word = "".join(rng.choice(list(string.ascii_uppercase + string.digits), rng.integers(1, 8)))
            if rng.random() < 0.3:
                cv2.rectangle(
                    out, (x, y), (x + int(rng.integers(10, 60)), y - int(rng.integers(8, 20))), 255 - grey, -1
                )
            cv2.putText(
                out, word, (x, y), cv2.FONT_HERSHEY_SIMPLEX, rng.uniform(0.2, 0.8), grey, int(rng.integers(1, 3))
            )
        elif kind == 1:
            points = np.cumsum(rng.normal(0, side / 12, (8, 2)), 0) + np.array([x, y])
            smooth = cv2.resize(points.astype(np.float32), (2, 60), interpolation=cv2.INTER_CUBIC)
            cv2.polylines(out, [np.rint(smooth).astype(np.int32)], False, 235, 1, cv2.LINE_AA)
        else:
            cv2.circle(out, (x, y), int(rng.integers(2, 9)), 245, int(rng.choice([-1, 1, 2])), cv2.LINE_AA)
    return out


def framed(image: Image, rng: np.random.Generator) -> Image:
    """Put a black or white bar on one or two sides, as films and screenshots have."""
    out, side = image.copy(), image.shape[0]
    for turn in rng.choice(4, rng.integers(1, 3), replace=False):
        view = np.rot90(out, turn)
        view[: rng.integers(1, side // 10)] = rng.choice([0, 0, 255])
    return out


def degraded(image: Image, rng: np.random.Generator) -> Image:
    """Blur, add noise, or compress."""
    kind = rng.integers(5)
    if kind == 0:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.6)).astype(np.uint8)
    if kind == 1:
        noisy = image + rng.normal(0, rng.uniform(2, 12), image.shape)
        return np.clip(noisy, 0, 255).astype(np.uint8)
    if kind == 2:
        data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))])[1]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
    return image


def _middle(mask: Image) -> NDArray[np.float64]:
    ys, xs = np.nonzero(mask > 127)
    if not len(xs):
        return np.array(mask.shape[::-1]) / 2
    return np.array([(xs.min() + xs.max()) / 2, (ys.min() + ys.max()) / 2])
