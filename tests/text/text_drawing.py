"""Pictures with tokens at known places."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont


def chest_like(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A soft, noisy grey picture (uint8) with dark flanks, as an X-ray has them, and nothing to read."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / [[[height]], [[width]]]
    body = 150 * np.exp(-(((x - 0.5) / 0.35) ** 4)) * (0.7 + 0.3 * np.cos(3 * y))
    coarse = cv2.resize(rng.normal(0, 6, (8, 8)), (width, height), interpolation=cv2.INTER_CUBIC)
    noise = cv2.GaussianBlur(rng.normal(0, 6, (height, width)), (0, 0), 1.0)
    return np.clip(20 + body + coarse + noise, 0, 255).astype(np.uint8)


def write_text(image: np.ndarray, text: str, x: int, y: int, size: int) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Return the picture with white text whose top left corner is at (x, y), and the box of its ink."""
    picture = Image.fromarray(image)
    font = ImageFont.load_default(size=size)
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    draw.text((x - left, y - top), text, fill=235, font=font)
    return np.asarray(picture).copy(), (x, y, int(x + right - left), int(y + bottom - top))
