from __future__ import annotations

import os
import struct
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from data_samples import chest, write_png
from PIL import Image

from cxr.data import read_xray
from cxr.data.images.base import PLATEAU_LEFT_OUT
from cxr.data.images.decode import decode_with_notes
from cxr.errors import ImageError

GREY = chest()


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_a_grey_png_comes_back_bit_for_bit(tmp_path: Path):
    pixels = read_xray(saved(tmp_path / "a.png", Image.fromarray(GREY)))
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_array_equal(pixels, GREY)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "CMYK", "P", "1"])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_grey_stored_in_another_mode_is_read_as_the_same_grey(tmp_path: Path, mode: str, ending: str):
    if (mode, ending) == ("CMYK", "png"):
        pytest.skip("PNG has no CMYK")
    image = Image.fromarray(GREY)
    converted = (
        image.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else image.convert(mode)
    )
    expected = np.asarray(image.convert("1").convert("L")) if mode == "1" else GREY
    pixels = read_xray(saved(tmp_path / f"a.{ending}", converted))
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_colour_becomes_luminance(tmp_path: Path):
    red = np.zeros((40, 40, 3), np.uint8)
    red[..., 0] = 200
    assert (read_xray(saved(tmp_path / "a.png", Image.fromarray(red))) == round(0.299 * 200)).all()


def test_transparent_pixels_lie_on_black_whatever_colour_they_hide(tmp_path: Path):
    rgba = np.full((40, 40, 4), 200, np.uint8)
    rgba[:20, :, 3], rgba[20:, :, 3] = 0, 255
    pixels = read_xray(saved(tmp_path / "a.png", Image.fromarray(rgba)))
    assert (pixels[:20] == 0).all()
    assert (pixels[20:] == 200).all()
    palette = Image.fromarray(GREY).convert("P")
    palette.putpixel((0, 0), 7)
    assert read_xray(saved(tmp_path / "p.png", palette, transparency=7))[0, 0] == 0


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_twelve_bits_stored_in_sixteen_use_the_whole_range(tmp_path: Path, ending: str):
    deep = (GREY.astype(np.uint16) * 16) + 300
    pixels = read_xray(saved(tmp_path / f"a.{ending}", Image.fromarray(deep)))
    low, high = np.percentile(deep, (0.1, 99.9))
    expected = np.clip((deep - low) / (high - low), 0, 1) * 255
    assert np.abs(pixels - expected).max() <= 0.51
    assert pixels.max() == 255
    assert pixels.min() == 0


def test_one_hot_pixel_does_not_darken_a_sixteen_bit_image(tmp_path: Path):
    deep = chest(height=100, width=100).astype(np.uint16) * 16
    deep[5, 5] = 65535
    assert np.median(read_xray(saved(tmp_path / "a.png", Image.fromarray(deep)))) > 60


def test_floating_point_tiff_is_stretched_and_nan_refused(tmp_path: Path):
    values = GREY.astype(np.float32) / 255
    pixels = read_xray(saved(tmp_path / "a.tif", Image.fromarray(values)))
    assert np.corrcoef(pixels.ravel(), GREY.ravel())[0, 1] > 0.999
    values[0, 0] = np.nan
    with pytest.raises(ImageError, match="not numbers"):
        read_xray(saved(tmp_path / "b.tif", Image.fromarray(values)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone_as_pillow_does(tmp_path: Path, orientation: int):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", Image.fromarray(GREY), exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(read_xray(path), expected)


def test_the_content_decides_not_the_ending(tmp_path: Path):
    path = saved(tmp_path / "really_a_png.jpg", Image.fromarray(GREY), format="PNG")
    np.testing.assert_array_equal(read_xray(path), GREY)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("side", [8_000, 12_000, 60_000])
def test_too_many_pixels_are_refused_from_the_header_without_a_warning(tmp_path: Path, side: int):
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="pixels"):
            read_xray(tmp_path / "bomb.png")


def test_the_limit_of_pixels_can_be_set(tmp_path: Path):
    path = write_png(tmp_path / "a.png", height=100, width=100)
    assert read_xray(path, max_pixels=10_000).shape == (100, 100)
    with pytest.raises(ImageError, match="100 x 100 pixels, more than the 9,999 allowed"):
        read_xray(path, max_pixels=9_999)


def test_what_is_no_single_xray_is_refused_by_name_and_reason(tmp_path: Path):
    grey = Image.fromarray(GREY)
    whole = write_png(tmp_path / "whole.png").read_bytes()
    jpeg = saved(tmp_path / "whole.jpg", grey).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "text.png").write_text("this is no image\n")
    (tmp_path / "page.png").write_text("<!DOCTYPE html><html>404</html>")
    (tmp_path / "zip.png").write_bytes(b"PK\x03\x04\0\0")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    os.mkfifo(tmp_path / "pipe.png")
    saved(tmp_path / "tiny.png", grey.resize((20, 300)))
    saved(tmp_path / "moving.gif", grey, save_all=True, append_images=[Image.fromarray(255 - GREY)])
    saved(tmp_path / "pages.tif", grey, save_all=True, append_images=[grey])
    reasons = {
        "cut.png": "is broken",
        "cut.jpg": "is broken",
        "text.png": "is text, not an image",
        "page.png": "is a web page",
        "zip.png": "not an image of a known kind",
        "empty.png": "is empty",
        "folder.png": "is a folder",
        "dangling.png": "is a link to nothing",
        "loop.png": "cannot be opened",
        "pipe.png": "is not a regular file",
        "tiny.png": "20 x 300 pixels, fewer than 32",
        "moving.gif": "holds 2 images",
        "pages.tif": "holds 2 images",
        "absent.png": "does not exist",
    }
    for name, reason in reasons.items():
        with pytest.raises(ImageError) as caught:
            read_xray(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert reason in str(caught.value), caught.value
        assert "\n" not in str(caught.value)


def test_a_file_cut_or_spoiled_anywhere_gives_pixels_or_an_image_error(tmp_path: Path):
    rng = np.random.default_rng(0)
    for ending in ("png", "jpg", "tif", "gif", "bmp", "webp", "jp2"):
        whole = saved(tmp_path / f"a.{ending}", Image.fromarray(GREY)).read_bytes()
        for _ in range(25):
            spoiled = bytearray(whole[: rng.integers(1, len(whole))])
            for position in rng.integers(0, len(spoiled), 3):
                spoiled[position] = rng.integers(0, 256)
            path = tmp_path / f"spoiled.{ending}"
            path.write_bytes(spoiled)
            with suppress(ImageError):
                assert read_xray(path).dtype == np.uint8


def test_real_files_of_every_mode_decode(shared_data: Path):
    modes = set()
    for path in sorted((shared_data / "layouts").rglob("*")):
        if path.suffix in {".png", ".jpg", ".jpeg"} and "masks" not in path.parts:
            pixels = read_xray(path)
            with Image.open(path) as image:
                modes.add(image.mode)
                assert pixels.shape in {image.size[::-1], image.size}
            assert pixels.std() > 10
    assert {"L", "RGB", "RGBA"} <= modes


def film(low: int, high: int) -> np.ndarray:
    """A 16-bit film, 240 x 200, whose picture lies between two values."""
    picture = np.asarray(Image.fromarray(GREY).convert("F").resize((200, 240), Image.Resampling.BICUBIC))
    picture = (picture - picture.min()) / np.ptp(picture)
    return np.rint(low + picture * (high - low)).astype(np.uint16)


@pytest.mark.parametrize("share", [0.0005, 0.001, 0.01, 0.05])
@pytest.mark.parametrize(
    ("low", "high", "label"),
    [(0, 4095, 65535), (300, 4000, 65535), (100, 1000, 4095), (0, 1023, 65535), (30000, 50000, 0), (61000, 65000, 0)],
)
def test_a_burned_in_label_leaves_the_greys_of_the_rest_as_they_are(
    tmp_path: Path, low: int, high: int, label: int, share: float
):
    plain = film(low, high)
    labelled = plain.copy()
    height = max(round((share * plain.size / 4) ** 0.5), 2)
    corner = np.s_[5 : 5 + height, 5 : 5 + 4 * height]
    labelled[corner] = label
    expected = read_xray(saved(tmp_path / "a.png", Image.fromarray(plain))).astype(int)
    pixels, notes = decode_with_notes(saved(tmp_path / "b.png", Image.fromarray(labelled)))
    assert (pixels[corner] == (255 if label else 0)).all()
    outside = np.ones(plain.shape, bool)
    outside[corner] = False
    assert np.abs(pixels.astype(int) - expected)[outside].max() <= 5
    assert notes == ((PLATEAU_LEFT_OUT,) if share > 0.0005 else ())


@pytest.mark.parametrize(
    "ends", [(0, 65535), (65535, 0)], ids=["black border, white label", "white border, black label"]
)
def test_a_border_and_a_soft_label_at_both_ends_leave_the_picture_its_greys(tmp_path: Path, ends: tuple[int, int]):
    border, label = ends
    soft = film(28_000, 32_000).astype(float)
    letters = np.zeros(soft.shape)
    letters[10:22, 60:160] = np.arange(100) % 10 < 6
    letters = (letters + np.roll(letters, 1, 1) + np.roll(letters, 1, 0)) / 3
    soft = soft * (1 - letters) + label * letters
    soft[:, :50] = border
    pixels, notes = decode_with_notes(saved(tmp_path / "a.png", Image.fromarray(np.rint(soft).astype(np.uint16))))
    assert len(np.unique(pixels[40:, 50:])) > 180
    assert notes == (PLATEAU_LEFT_OUT,)


def test_eight_bits_with_a_white_label_and_masks_of_sixteen_bits_stay_as_they_are(tmp_path: Path):
    labelled = GREY // 4
    labelled[:6, :20] = 255
    np.testing.assert_array_equal(read_xray(saved(tmp_path / "a.png", Image.fromarray(labelled))), labelled)
    mask = np.zeros((200, 200), np.uint16)
    mask[5:8, 5:8] = 65535
    pixels, notes = decode_with_notes(saved(tmp_path / "b.png", Image.fromarray(mask)))
    np.testing.assert_array_equal(pixels, mask // 257)
    assert notes == ()


@pytest.mark.parametrize("gamma", [0.5, 1, 2])
@pytest.mark.parametrize("saturated", [0, 0.02, 0.2])
def test_a_film_whose_values_are_spread_over_its_range_is_stretched_between_its_percentiles(
    tmp_path: Path, gamma: float, saturated: float
):
    noise = np.random.default_rng(0).normal(0, 0.01, (240, 200))
    values = (film(0, 1000) / 1000 + noise).clip(0, 1 - saturated / 2) ** gamma * 4000
    deep = np.rint(values / values.max() * 4000).astype(np.uint16)
    low, high = np.percentile(deep, (0.1, 99.9))
    pixels, notes = decode_with_notes(saved(tmp_path / "a.png", Image.fromarray(deep)))
    assert np.abs(pixels - np.clip((deep - low) / (high - low), 0, 1) * 255).max() <= 0.51
    assert notes == ()
