"""Decoded X-rays that pages share: decoded once, by file and time, within a limit of bytes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cxr.data import Manifest, read_xray

from services import load
from services.pixels import Pixels


def test_an_x_ray_is_decoded_once_until_its_file_changes_and_the_oldest_go_first():
    read: list[str] = []

    def decode(path: str) -> np.ndarray:
        read.append(path)
        return np.full((10, int(path)), 7, np.uint8)

    pixels = Pixels(limit=250, read=decode)
    assert pixels.get("10", 1) is pixels.get("10", 1)
    pixels.get("10", 2)
    assert read == ["10", "10"]
    assert pixels.bytes == 200
    pixels.get("10", 1)  # looked at again: the other goes
    pixels.get("11", 1)
    assert pixels.bytes == 210
    pixels.get("10", 1)
    assert read == ["10", "10", "11"]
    assert pixels.get("30", 1).shape == (10, 30)  # larger than the limit: given, and nothing is kept beyond it
    assert pixels.bytes <= 250
    with pytest.raises(ValueError, match="read-only"):
        pixels.get("10", 1)[0] = 0


@pytest.mark.parametrize("side", [48, 200])
def test_pages_get_the_pixels_of_the_file_and_cannot_change_them(tmp_path: Path, side: int):
    image = np.random.default_rng(0).integers(0, 255, (side, 60), np.uint8)
    cv2.imwrite(str(tmp_path / "cat.png"), image)
    (tmp_path / "t.csv").write_text("image,label\ncat.png,cats\n")
    data = Manifest.load(tmp_path / "t.csv")
    xray = load.xray(data, data.ids[0])
    np.testing.assert_array_equal(xray, read_xray(tmp_path / "cat.png"))
    assert xray is load.xray(data, data.ids[0])
    assert not xray.flags.writeable
    assert load.thumbnail(data, data.ids[0]).shape == (192, 192)
