from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
from data_samples import chest, dicom, save_dicom
from pydicom.dataset import Dataset

from cxr.data import read_xray
from cxr.errors import ImageError

GREY = chest()
DEEP = GREY.astype(np.uint16) * 16  # 12 bits


def read(tmp_path: Path, dataset: Dataset, compressed: str = "", name: str = "a.dcm") -> np.ndarray:
    return read_xray(save_dicom(tmp_path / name, dataset, compressed))


def window(values: np.ndarray, centre: float, width: float) -> np.ndarray:
    """The linear window of DICOM PS3.3 C.11.2.1.2, to 0..255."""
    return np.clip(((values - (centre - 0.5)) / (width - 1) + 0.5), 0, 1) * 255


def test_eight_bits_without_a_window_come_back_bit_for_bit(tmp_path: Path):
    np.testing.assert_array_equal(read(tmp_path, dicom(GREY, 8)), GREY)


@pytest.mark.parametrize("bits", [12, 14, 16])
def test_more_bits_without_a_window_are_stretched_over_the_whole_range(tmp_path: Path, bits: int):
    pixels = read(tmp_path, dicom(GREY.astype(np.uint16) << (bits - 8), bits))
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert np.corrcoef(pixels.ravel(), GREY.ravel())[0, 1] > 0.999


def test_the_window_is_applied_after_the_rescale(tmp_path: Path):
    dataset = dicom(DEEP, 12, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=1500, WindowWidth=3000)
    expected = window(DEEP * 2.0 - 1000, 1500, 3000)
    assert np.abs(read(tmp_path, dataset) - expected).max() <= 0.51


def test_the_first_of_several_windows_is_taken(tmp_path: Path):
    dataset = dicom(DEEP, 12, WindowCenter=[2000, 100], WindowWidth=[2000, 50])
    assert np.abs(read(tmp_path, dataset) - window(DEEP.astype(float), 2000, 2000)).max() <= 0.51


@pytest.mark.parametrize(("function", "middle"), [("SIGMOID", 127.5), ("LINEAR_EXACT", 127.5), ("LINEAR", 127.5)])
def test_every_window_function_maps_its_centre_to_the_middle(tmp_path: Path, function: str, middle: float):
    ramp = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    pixels = read(tmp_path, dicom(ramp, 12, WindowCenter=2000, WindowWidth=1500, VOILUTFunction=function))
    assert abs(pixels.ravel()[2000] - middle) <= 1
    assert (np.diff(pixels.ravel().astype(int)) >= 0).all()


def test_signed_values_are_windowed(tmp_path: Path):
    signed = GREY.astype(np.int16) * 16 - 2000
    dataset = dicom(signed, 16, WindowCenter=0, WindowWidth=4001)
    assert np.abs(read(tmp_path, dataset) - window(signed.astype(float), 0, 4001)).max() <= 0.51


def test_a_lookup_table_goes_before_a_window(tmp_path: Path):
    table = np.round(np.sqrt(np.arange(4096) / 4095) * 4095).astype(np.uint16)
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTData = [4096, 0, 16], table.tobytes()
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "OW"
    dataset = dicom(DEEP, 12, VOILUTSequence=[lut], WindowCenter=10, WindowWidth=5)
    expected = np.sqrt(DEEP / 4095) * 255
    assert np.abs(read(tmp_path, dataset) - expected).max() <= 0.6


def test_monochrome1_is_inverted_so_that_bone_is_bright(tmp_path: Path):
    np.testing.assert_array_equal(read(tmp_path, dicom(255 - GREY, 8, PhotometricInterpretation="MONOCHROME1")), GREY)


def test_padding_is_black_and_does_not_count_for_the_range(tmp_path: Path):
    padded = DEEP + 100
    padded[:10] = 60000
    dataset = dicom(padded, 16, PixelPaddingValue=60000, PhotometricInterpretation="MONOCHROME1")
    pixels = read(tmp_path, dataset)
    assert (pixels[:10] == 0).all()
    assert pixels[10:].max() - pixels[10:].min() > 250


def test_a_window_beside_all_values_falls_back_to_the_range(tmp_path: Path):
    assert read(tmp_path, dicom(DEEP, 12, WindowCenter=60000, WindowWidth=10)).std() > 20


@pytest.mark.parametrize("compressed", ["rle", "jpeg2000"])
def test_losslessly_compressed_files_equal_the_uncompressed(tmp_path: Path, compressed: str):
    plain = read(tmp_path, dicom(DEEP, 16))
    np.testing.assert_array_equal(read(tmp_path, dicom(DEEP, 16), compressed, "b.dcm"), plain)


def test_baseline_jpeg_is_read(tmp_path: Path):
    assert np.abs(read(tmp_path, dicom(GREY, 8), "jpeg").astype(int) - GREY).max() <= 6


def test_a_colour_capture_becomes_luminance(tmp_path: Path):
    colour = np.zeros((40, 40, 3), np.uint8)
    colour[..., 1] = 100
    assert (read(tmp_path, dicom(colour, 8)) == 59).all()


def test_dicom_is_known_by_content_and_by_name_where_it_has_no_preamble(tmp_path: Path):
    dataset = dicom(GREY, 8)
    np.testing.assert_array_equal(read(tmp_path, dataset, name="named.png"), GREY)
    whole = (tmp_path / "named.png").read_bytes()
    (tmp_path / "bare.dcm").write_bytes(whole[132:])
    np.testing.assert_array_equal(read_xray(tmp_path / "bare.dcm"), GREY)


def test_dicom_that_is_no_single_xray_is_refused_with_its_reason(tmp_path: Path):
    no_pixels, no_rows, frames, huge, cut = (dicom(GREY, 8) for _ in range(5))
    del no_pixels.PixelData
    del no_rows.Rows
    frames.NumberOfFrames, frames.PixelData = 2, GREY.tobytes() * 2
    huge.Rows, huge.Columns = 30000, 30000
    cut.PixelData = GREY.tobytes()[:100]
    unsupported = dicom(GREY, 8)
    unsupported.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9"])
    unsupported["PixelData"].is_undefined_length = True
    unsupported.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
    for dataset, reason in [
        (no_pixels, "has no pixels (PixelData is missing)"),
        (no_rows, "has no size"),
        (frames, "holds 2 frames"),
        (huge, "30000 x 30000 pixels, more than"),
        (cut, "is broken"),
        (unsupported, "JPEG Lossless"),
    ]:
        with pytest.raises(ImageError) as caught:
            read(tmp_path, dataset)
        assert reason in str(caught.value), caught.value
    (tmp_path / "text.dcm").write_text("no DICOM at all, whatever its name says")
    with pytest.raises(ImageError, match="DICOM"):
        read_xray(tmp_path / "text.dcm")


def test_a_spoiled_dicom_gives_pixels_or_an_image_error(tmp_path: Path):
    rng = np.random.default_rng(1)
    whole = save_dicom(tmp_path / "a.dcm", dicom(DEEP, 12, WindowCenter=2000, WindowWidth=3000), "rle").read_bytes()
    for _ in range(60):
        spoiled = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        for position in rng.integers(0, min(len(spoiled), 900), 4):
            spoiled[position] = rng.integers(0, 256)
        (tmp_path / "b.dcm").write_bytes(spoiled)
        with suppress(ImageError):
            assert read_xray(tmp_path / "b.dcm").dtype == np.uint8
