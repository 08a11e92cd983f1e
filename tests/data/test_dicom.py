from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
from data_samples import chest, dicom, jpeg_lossless, save_dicom
from pydicom.dataset import Dataset

from cxr.data import read_xray
from cxr.data.images import decode
from cxr.data.images.base import PLATEAU_LEFT_OUT
from cxr.data.images.dicom_values import LUT_LEFT_OUT, LUT_UNREADABLE, WINDOW_INVALID, WINDOW_LEFT_OUT
from cxr.errors import ImageError

GREY = chest()
DEEP = GREY.astype(np.uint16) * 16  # 12 bits
IDENTITY = {"RescaleSlope": 1, "RescaleIntercept": 0}
GAMMA = np.round(np.sqrt(np.arange(4096) / 4095) * 4095).astype(int)


def read(tmp_path: Path, dataset: Dataset, compressed: str = "", name: str = "a.dcm") -> np.ndarray:
    return read_xray(save_dicom(tmp_path / name, dataset, compressed))


def read_with_notes(tmp_path: Path, dataset: Dataset) -> tuple[np.ndarray, tuple[str, ...]]:
    return decode.read_with_notes(save_dicom(tmp_path / "a.dcm", dataset))


def encapsulated(dataset: Dataset, stream: bytes, syntax: pydicom.uid.UID) -> Dataset:
    dataset.PixelData = pydicom.encaps.encapsulate([stream])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def lut(entries: object, first: int = 0, bits: int = 16, n: int | None = None, vr: str = "US") -> Dataset:
    """An item of a LUT sequence; ``entries`` are numbers, or bytes as they lie in the file."""
    item = Dataset()
    words = isinstance(entries, bytes)
    item.add_new("LUTDescriptor", vr, [len(entries) if n is None else n, first, bits])
    item.add_new("LUTData", "OW" if words else "US", entries if words else [int(entry) for entry in entries])
    return item


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
    unsupported = encapsulated(dicom(GREY, 8), b"\xff\xd8\xff\xd9", pydicom.uid.MPEG2MPML)
    for dataset, reason in [
        (no_pixels, "has no pixels (PixelData is missing)"),
        (no_rows, "has no size"),
        (frames, "holds 2 frames"),
        (huge, "30000 x 30000 pixels, more than"),
        (cut, "is broken"),
        (unsupported, "is compressed as MPEG2 Main Profile / Main Level, which is not supported"),
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


@pytest.mark.parametrize("table", [GAMMA, GAMMA[::-1]], ids=["gamma", "turning polarity"])
@pytest.mark.parametrize("rescale", [{}, IDENTITY], ids=["no rescale", "slope 1, intercept 0"])
def test_a_lookup_table_is_followed_whether_or_not_the_file_has_an_identity_rescale(
    tmp_path: Path, table: np.ndarray, rescale: dict
):
    dataset = dicom(DEEP, 12, VOILUTSequence=[lut(table, bits=12)], WindowCenter=10, WindowWidth=5, **rescale)
    pixels, notes = read_with_notes(tmp_path, dataset)
    assert np.abs(pixels - table[DEEP] / 4095 * 255).max() <= 0.51
    assert notes == ()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("rescale", [{}, IDENTITY], ids=["no rescale", "slope 1, intercept 0"])
def test_eight_bits_stay_as_they_are_in_bytes_and_in_words(tmp_path: Path, dtype: type, rescale: dict):
    np.testing.assert_array_equal(read(tmp_path, dicom(GREY.astype(dtype), 8, **rescale)), GREY)


@pytest.mark.parametrize(("slope", "intercept"), [(2, -1000), (0.5, 3.25), (-1, 4095), (1, -1024)])
def test_a_lookup_table_goes_after_the_rescale_and_takes_the_nearest_whole_value(
    tmp_path: Path, slope: float, intercept: float
):
    rescaled = np.rint(DEEP.astype(float) * slope + intercept).astype(int)
    first = int(rescaled.min())
    table = np.linspace(0, 65_535, np.ptp(rescaled) + 1).round().astype(int) ^ 1024
    dataset = dicom(
        DEEP,
        12,
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        VOILUTSequence=[lut(table, first=first % 65536)],  # below 0 as an unsigned number, as many files have it
    )
    assert np.abs(read(tmp_path, dataset) - table[rescaled - first] / 65535 * 255).max() <= 0.51


def test_the_first_value_of_a_table_may_be_signed(tmp_path: Path):
    signed = GREY.astype(np.int16) * 8 - 1000
    dataset = dicom(signed, 16, VOILUTSequence=[lut(np.arange(2048), first=-1000, bits=11, vr="SS")])
    assert np.abs(read(tmp_path, dataset) - (signed + 1000) / 2047 * 255).max() <= 0.51


BYTES = np.arange(256)[::-1] // 2 + 100  # descending, 100 to 227


@pytest.mark.parametrize(
    "item",
    [
        lut(BYTES.astype(np.uint8).tobytes(), bits=8, n=256),
        lut(BYTES.astype(np.uint8).view("<u2"), bits=8, n=256),
        lut(BYTES, bits=8),
        lut(BYTES.astype("<u2").tobytes(), bits=8, n=256),
        lut(BYTES.astype(np.uint8).tobytes(), bits=16, n=256),
    ],
    ids=["bytes in words", "packed numbers", "numbers", "a word each", "bytes said to be words"],
)
def test_tables_of_eight_bits_are_read_however_they_are_packed(tmp_path: Path, item: Dataset):
    values = GREY.astype(np.uint16)
    np.testing.assert_array_equal(read(tmp_path, dicom(values, 12, VOILUTSequence=[item])), BYTES[values])


def test_tables_of_a_big_endian_file_and_of_65536_entries_are_read(tmp_path: Path):
    values = GREY.astype(np.uint16) * 250
    dataset = dicom(values, 16, VOILUTSequence=[lut(np.arange(65536)[::-1].astype(">u2").tobytes(), n=0)])
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    dataset.PixelData = values.byteswap().tobytes()
    path = tmp_path / "a.dcm"
    pydicom.dcmwrite(path, dataset, little_endian=False, implicit_vr=False, enforce_file_format=True)
    assert np.abs(read_xray(path) - (65535 - values) / 65535 * 255).max() <= 0.51


def test_a_modality_table_goes_before_the_window(tmp_path: Path):
    dataset = dicom(DEEP, 12, ModalityLUTSequence=[lut(GAMMA[::-1])], WindowCenter=2048, WindowWidth=3000)
    dataset.ModalityLUTSequence[0].ModalityLUTType = "US"
    assert np.abs(read(tmp_path, dataset) - window(GAMMA[::-1][DEEP], 2048, 3000)).max() <= 0.51


def test_a_modality_table_that_cannot_be_read_is_refused_and_such_a_voi_table_left_out(tmp_path: Path):
    broken = Dataset()
    broken.LUTDescriptor = [4096, 0, 16]
    broken["LUTDescriptor"].VR = "US"
    with pytest.raises(ImageError, match="has a Modality LUT that cannot be read"):
        read(tmp_path, dicom(DEEP, 12, ModalityLUTSequence=[broken]))
    dataset = dicom(DEEP, 12, VOILUTSequence=[broken], WindowCenter=2000, WindowWidth=3000)
    pixels, notes = read_with_notes(tmp_path, dataset)
    assert np.abs(pixels - window(DEEP, 2000, 3000)).max() <= 0.51
    assert notes == (LUT_UNREADABLE,)


def high_film() -> np.ndarray:
    """Values from 16000 to 20000, 160 x 128: what a window of 12 bits lies far beside."""
    return (16_000 + chest(height=160, width=128) * 15.7).astype(np.uint16)


def with_zero_border(film: np.ndarray) -> np.ndarray:
    film[:, :20] = 0
    return film


def with_noisy_border(film: np.ndarray) -> np.ndarray:
    film[:, :20] = 3000 + np.random.default_rng(0).normal(0, 100, (160, 20))
    return film


def with_label(film: np.ndarray) -> np.ndarray:
    film[4:12, 80:110] = 3000  # burned in right in the window
    return film


@pytest.mark.parametrize("disturb", [lambda film: film, with_zero_border, with_noisy_border, with_label])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_window_that_hardly_meets_the_values_is_left_out_and_said(tmp_path: Path, disturb, photometric: str):
    film = disturb(high_film())
    dataset = dicom(film, 16, WindowCenter=3174, WindowWidth=2426, PhotometricInterpretation=photometric)
    pixels, notes = read_with_notes(tmp_path, dataset)
    inner = np.s_[20:, 20:]
    assert len(np.unique(pixels[inner])) > 150
    sign = -1 if photometric == "MONOCHROME1" else 1
    assert sign * np.corrcoef(pixels[inner].ravel(), film[inner].ravel())[0, 1] > 0.999
    assert WINDOW_LEFT_OUT in notes


@pytest.mark.parametrize(("centre", "width"), [(2000, 40), (2_000_000, 4_000_000)])
def test_a_window_far_too_narrow_or_far_too_wide_is_left_out(tmp_path: Path, centre: float, width: float):
    pixels, notes = read_with_notes(tmp_path, dicom(DEEP, 12, WindowCenter=centre, WindowWidth=width))
    assert np.corrcoef(pixels.ravel(), GREY.ravel())[0, 1] > 0.999
    assert notes == (WINDOW_LEFT_OUT,)


@pytest.mark.parametrize("ends", [(0, 100), (5, 95), (20, 80), (35, 65), (-100, 150)])
def test_a_window_that_shows_a_part_of_the_values_is_followed(tmp_path: Path, ends: tuple[float, float]):
    low, high = (float(DEEP.max()) * end / 100 for end in ends)
    centre, width = (low + high) / 2, high - low
    pixels, notes = read_with_notes(tmp_path, dicom(DEEP, 12, WindowCenter=centre, WindowWidth=width))
    assert np.abs(pixels - window(DEEP, centre, width)).max() <= 0.51
    assert notes == ()


def test_an_image_of_two_values_is_shown_by_its_window(tmp_path: Path):
    mask = np.where(GREY > 128, 4000, 100).astype(np.uint16)
    pixels = read(tmp_path, dicom(mask, 12, WindowCenter=2048, WindowWidth=4096))
    assert set(np.unique(pixels)) == {6, 249}


def test_the_first_window_that_shows_something_is_taken(tmp_path: Path):
    dataset = dicom(DEEP, 12, WindowCenter=[60000, 1000, 2000], WindowWidth=[100, 0, 3000])
    pixels, notes = read_with_notes(tmp_path, dataset)
    assert np.abs(pixels - window(DEEP, 2000, 3000)).max() <= 0.51
    assert notes == (WINDOW_LEFT_OUT, WINDOW_INVALID)


@pytest.mark.parametrize("value", ["wide", ""])
def test_a_window_that_is_no_number_is_as_none(tmp_path: Path, value: str):
    dataset = dicom(GREY, 8)
    for tag in ("WindowCenter", "WindowWidth"):
        dataset[tag] = pydicom.DataElement(tag, "LO", value)
    path = save_dicom(tmp_path / "a.dcm", dataset)
    for tag in (b"\x28\0\x50\x10", b"\x28\0\x51\x10"):
        assert tag + b"LO" in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(tag + b"LO", tag + b"DS"))
    np.testing.assert_array_equal(read_xray(path), GREY)


@pytest.mark.parametrize("descending", [False, True])
def test_a_table_that_hardly_meets_the_values_leaves_its_window_or_its_polarity(tmp_path: Path, descending: bool):
    table = np.arange(256)[::-1] if descending else np.arange(256)
    dataset = dicom(DEEP + 3000, 14, VOILUTSequence=[lut(table, first=500, bits=8)])
    pixels, notes = read_with_notes(tmp_path, dataset)
    assert (-1 if descending else 1) * np.corrcoef(pixels.ravel(), GREY.ravel())[0, 1] > 0.999
    assert notes == (LUT_LEFT_OUT,)
    dataset.WindowCenter, dataset.WindowWidth = 5000, 3000
    pixels, notes = read_with_notes(tmp_path, dataset)
    assert np.abs(pixels - window(DEEP + 3000.0, 5000, 3000)).max() <= 0.51
    assert notes == (LUT_LEFT_OUT,)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("dtype", "stored", "attributes"),
    [
        (np.int16, -32768, {"PixelPaddingValue": (32768, "US")}),
        (np.int16, -2000, {"PixelPaddingValue": (-2000, "SS")}),
        (np.int16, -2000, {"PixelPaddingValue": (63536, "US")}),
        (np.uint16, 63536, {"PixelPaddingValue": (-2000, "SS")}),
        (np.uint16, 9000, {"PixelPaddingValue": (8000, "US"), "PixelPaddingRangeLimit": (10000, "US")}),
        (np.uint16, 9000, {"PixelPaddingValue": (10000, "US"), "PixelPaddingRangeLimit": (8000, "US")}),
        (np.int16, -30000, {"PixelPaddingValue": (32768, "US"), "PixelPaddingRangeLimit": (40536, "US")}),
    ],
)
def test_padding_is_known_however_its_value_is_written(
    tmp_path: Path, dtype: type, stored: int, attributes: dict, photometric: str
):
    values = GREY.astype(dtype) * 4
    values[:12], values[:, :4] = stored, stored
    dataset = dicom(values, 16, PhotometricInterpretation=photometric, **IDENTITY)
    for name, (value, vr) in attributes.items():
        dataset.add_new(name, vr, value)
    pixels = read(tmp_path, dataset)
    inner = np.s_[12:, 4:]
    assert (pixels[:12] == 0).all()
    assert pixels[inner].max() == 255
    sign = -1 if photometric == "MONOCHROME1" else 1
    assert sign * np.corrcoef(pixels[inner].ravel(), GREY[inner].ravel())[0, 1] > 0.999


@pytest.mark.parametrize("value", [-1e9, float("nan")])
def test_padding_of_floating_point_pixels_is_black(tmp_path: Path, value: float):
    values = GREY.astype(np.float32) / 7
    values[:12] = value
    dataset = dicom(GREY, 8, FloatPixelPaddingValue=value)
    del dataset.PixelData, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation
    dataset.BitsAllocated, dataset.FloatPixelData = 32, values.tobytes()
    pixels = read(tmp_path, dataset)
    assert (pixels[:12] == 0).all()
    assert np.corrcoef(pixels[12:].ravel(), GREY[12:].ravel())[0, 1] > 0.999


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", True),
    ],
)
def test_black_and_white_turn_once(tmp_path: Path, photometric: str, shape: str, inverted: bool):
    dataset = dicom(GREY, 8, PhotometricInterpretation=photometric, PresentationLUTShape=shape)
    np.testing.assert_array_equal(read(tmp_path, dataset), 255 - GREY if inverted else GREY)


def test_an_enhanced_file_of_one_frame_is_shown_by_its_functional_groups(tmp_path: Path):
    group, rescale, shown = Dataset(), Dataset(), Dataset()
    rescale.RescaleSlope, rescale.RescaleIntercept = 2, -1000
    shown.WindowCenter, shown.WindowWidth = 1500, 3000
    group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [rescale], [shown]
    dataset = dicom(DEEP, 12, NumberOfFrames=1, SharedFunctionalGroupsSequence=[group])
    assert np.abs(read(tmp_path, dataset) - window(DEEP * 2.0 - 1000, 1500, 3000)).max() <= 0.51


def test_a_label_far_above_all_values_does_not_decide_their_range(tmp_path: Path):
    film = chest(height=160, width=128).astype(np.uint16) * 16
    film[4:20, 90:120] = 65535
    pixels, notes = read_with_notes(tmp_path, dicom(film, 16))
    assert len(np.unique(pixels)) > 200
    assert notes == (PLATEAU_LEFT_OUT,)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_lossless_is_read_bit_for_bit(tmp_path: Path, bits: int):
    pytest.importorskip("libjpeg", reason="the extra `dicom` is not installed")
    values = GREY if bits == 8 else GREY.astype(np.uint16) << (bits - 8)
    plain = read(tmp_path, dicom(values, bits))
    for syntax in (pydicom.uid.JPEGLosslessSV1, pydicom.uid.JPEGLossless):
        packed = encapsulated(dicom(values, bits), jpeg_lossless(values, bits), syntax)
        np.testing.assert_array_equal(read(tmp_path, packed, name="b.dcm"), plain)


@pytest.mark.parametrize("syntax", [pydicom.uid.JPEGLSLossless, pydicom.uid.JPEGLSNearLossless])
def test_jpeg_ls_is_read(tmp_path: Path, syntax: pydicom.uid.UID):
    pytest.importorskip("jpeg_ls", reason="the extra `dicom` is not installed")
    packed = dicom(DEEP, 12, WindowCenter=2048, WindowWidth=4096)
    packed.compress(syntax, **({"jls_error": 3} if syntax == pydicom.uid.JPEGLSNearLossless else {}))
    assert np.abs(read(tmp_path, packed) - window(DEEP, 2048, 4096)).max() <= 1


def test_jpeg_of_twelve_bits_is_read():
    pytest.importorskip("libjpeg", reason="the extra `dicom` is not installed")
    pixels = read_xray(pydicom.data.get_testdata_file("JPGExtended.dcm", download=False))
    assert pixels.shape == (1024, 256)
    assert len(np.unique(pixels)) > 100


WITHOUT_THE_EXTRA = """
import sys
sys.modules.update(dict.fromkeys(["pylibjpeg", "libjpeg", "openjpeg", "jpeg_ls", "gdcm"]))
from cxr.data.images.decode import Refusal, decode
from pathlib import Path
for path in sys.argv[1:]:
    try:
        print(decode(Path(path)).shape)
    except Refusal as refusal:
        print(refusal)
"""


def test_without_the_extra_the_message_names_the_compression_and_what_to_install(tmp_path: Path):
    stream = jpeg_lossless(GREY, 8)
    syntaxes = [pydicom.uid.JPEGLosslessSV1, pydicom.uid.JPEGLSLossless, pydicom.uid.HTJ2KLossless]
    paths = [
        save_dicom(tmp_path / f"{n}.dcm", encapsulated(dicom(GREY, 8), stream, syntax))
        for n, syntax in enumerate(syntaxes)
    ]
    paths.append(Path(pydicom.data.get_testdata_file("JPGExtended.dcm", download=False)))
    done = subprocess.run([sys.executable, "-c", WITHOUT_THE_EXTRA, *paths], capture_output=True, text=True, check=True)
    lossless, jpeg_ls, htj2k, twelve_bits = done.stdout.splitlines()
    assert lossless == (
        "is compressed as JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1]); "
        "to read it: pip install pylibjpeg pylibjpeg-libjpeg"
    )
    assert jpeg_ls == "is compressed as JPEG-LS Lossless Image Compression; to read it: pip install pyjpegls"
    assert htj2k.endswith("to read it: pip install pylibjpeg pylibjpeg-openjpeg")
    assert twelve_bits.startswith("is compressed as JPEG Extended")
    assert twelve_bits.endswith("to read it: pip install pylibjpeg pylibjpeg-libjpeg")
