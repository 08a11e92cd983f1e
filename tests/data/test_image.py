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
        "absent.png": "is not there",
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
