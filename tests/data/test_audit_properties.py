"""What an audit measures of files and pictures."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr.data.audit.properties import SIDES, jpeg_quality, measure, uniform_border
from cxr.data.images.pool import map_in_order


@pytest.fixture
def chest() -> np.ndarray:
    """A picture (200, 300) without any border."""
    return np.random.default_rng(0).integers(20, 200, (200, 300), dtype=np.uint8)


def test_size_greys_and_file_are_measured(tmp_path: Path, chest: np.ndarray):
    chest[:20] = 0
    chest[-10:] = 255
    Image.fromarray(chest).save(tmp_path / "x.png")
    measured = measure(tmp_path / "x.png")
    assert not isinstance(measured, str)
    assert (measured["width"], measured["height"], measured["aspect"]) == (300, 200, 1.5)
    assert (measured["format"], measured["bits"], measured["colour"]) == ("PNG", 8, "grey")
    assert measured["bytes_per_pixel"] == pytest.approx((tmp_path / "x.png").stat().st_size / 60_000, abs=1e-4)
    assert math.isnan(measured["jpeg_quality"])
    assert (measured["black"], measured["white"]) == pytest.approx((0.1, 0.05))
    assert measured["mean"] == pytest.approx(chest.mean())
    assert measured["p50"] == np.percentile(chest, 50)


@pytest.mark.parametrize("grey", [0, 255])
def test_a_border_is_as_wide_as_it_was_drawn_and_no_side_without_one_has_one(chest: np.ndarray, grey: int):
    assert uniform_border(chest)[0] == dict.fromkeys(SIDES, 0.0)
    assert math.isnan(uniform_border(chest)[1])
    chest[:, :30] = grey
    chest[190:] = grey
    noise = np.random.default_rng(1).integers(-3, 4, chest.shape)  # as JPEG leaves it
    noisy = np.clip(chest.astype(int) + noise, 0, 255).astype(np.uint8)
    for picture in (chest, noisy):
        borders, value = uniform_border(picture)
        assert borders == {"top": 0.0, "bottom": 0.05, "left": 0.1, "right": 0.0}
        assert value == pytest.approx(grey, abs=4)
    assert max(uniform_border(np.full((100, 100), grey, np.uint8))[0].values()) == 0.45  # an empty film


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_the_quality_of_a_jpeg_is_that_with_which_it_was_written(tmp_path: Path, chest: np.ndarray, quality: int):
    Image.fromarray(chest).save(tmp_path / "x.jpg", quality=quality)
    measured = measure(tmp_path / "x.jpg")
    assert not isinstance(measured, str)
    assert (measured["format"], measured["jpeg_quality"]) == ("JPEG", pytest.approx(quality, abs=1))
    assert jpeg_quality([1] * 64) == 100 > jpeg_quality([255] * 64) >= 1


def test_bits_and_colour_are_those_of_the_file(tmp_path: Path, chest: np.ndarray):
    Image.fromarray(chest.astype(np.uint16) * 200).save(tmp_path / "deep.png")
    Image.fromarray(np.stack([chest] * 3, -1)).save(tmp_path / "colour.png")
    deep, colour = (measure(tmp_path / f"{name}.png") for name in ("deep", "colour"))
    assert not isinstance(deep, str)
    assert not isinstance(colour, str)
    assert (deep["bits"], deep["colour"]) == (16, "grey")
    assert (colour["bits"], colour["colour"]) == (8, "colour")


def test_a_file_that_cannot_be_read_is_said_so_and_the_others_are_measured(tmp_path: Path, chest: np.ndarray):
    Image.fromarray(chest).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:500])
    paths = [tmp_path / name for name in ("cut.png", "whole.png", "gone.png")]
    cut, whole, gone = map_in_order(measure, paths, 1)
    assert str(cut).startswith("is broken")
    assert isinstance(whole, dict)
    assert gone == "does not exist"
