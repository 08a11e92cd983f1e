"""Heatmaps as DICOM secondary captures: valid objects that hold the picture, its legend and nobody's name."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from configurations import CONFIGURATIONS, ODD_NAMES, Configuration, write_network, write_xrays
from PIL import Image

from cxr.data import import_data
from cxr.data.images.dicom_header import read_attributes
from cxr.errors import ExplainError, MissingPackageError
from cxr.explain.heatmap import Heatmap
from cxr.explain.render import colour_scale, colourbar, figure, overlay
from cxr.reports.exports.secondary_capture import HEIGHT, NOT_FOR_DIAGNOSIS, captures, legend_lines
from tests.data.data_samples import chest, dicom, save_dicom

NAME, ID, DATE = "Müller^Jörg", "MRN-4711", "19610203"
# Types 1 and 2 of every module that the standard demands of a Secondary Capture Image (PS3.3 A.8.1).
WITH_VALUE = {
    "general study": ("StudyInstanceUID",),
    "general series": ("Modality", "SeriesInstanceUID"),
    "SC equipment": ("ConversionType",),
    "image pixel": ("SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored"),
    "image pixel, more": ("HighBit", "PixelRepresentation", "PlanarConfiguration", "PixelData"),
    "SOP common": ("SOPClassUID", "SOPInstanceUID", "SpecificCharacterSet"),
    "file": ("ImageType", "DerivationDescription"),
}
MAY_BE_EMPTY = {
    "patient": ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    "general study": ("StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
    "general series": ("SeriesNumber",),
    "general image": ("InstanceNumber", "PatientOrientation"),
}


def heatmap(target: str = "oedema", seed: int = 0, shape: tuple[int, int] = (32, 32)) -> Heatmap:
    relevance = np.random.default_rng(seed).normal(0, 0.01, shape).astype(np.float32)
    ends = float(relevance[relevance > 0].sum()), float(relevance[relevance < 0].sum())
    settings = ("epsilon-plus-flat", "ignore", {"epsilon": 1e-6}, "float32")
    return Heatmap(relevance, target, sum(ends), *settings, *ends, absorbed=0.0, lost=0.0, residual=0.0)


def xray(path: Path, **attributes: object) -> Path:
    """The DICOM file of an X-ray with everything that tells who it is of."""
    people = {"PatientName": NAME, "PatientID": ID, "PatientBirthDate": DATE, "PatientSex": "M"}
    study = {"StudyInstanceUID": "1.2.3.4", "StudyDate": "20200102", "StudyID": "S-77", "AccessionNumber": "ACC-88"}
    study |= {"ReferringPhysicianName": "House^Gregory", "SpecificCharacterSet": "ISO_IR 100"}
    return save_dicom(path, dicom(chest(height=61, width=47), 8, **{**people, **study, **attributes}))


def read(content: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(content))


def assert_valid(content: bytes, path: Path) -> None:
    dataset = read(content)
    for names in WITH_VALUE.values():
        assert [name for name in names if not str(dataset.get(name, ""))] == []
    for names in MAY_BE_EMPTY.values():
        assert [name for name in names if name not in dataset] == []
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert dataset.SOPClassUID.name == "Secondary Capture Image Storage"
    assert len(dataset.PixelData) % 2 == 0
    assert (dataset.BodyPartExamined, "Laterality" in dataset) == ("CHEST", False)
    if program := shutil.which("dciodvfy"):
        path.write_bytes(content)
        told = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
        lines = (told.stdout + told.stderr).splitlines()
        assert "SCImage" in lines
        faults = [line for line in lines if line.startswith(("Error", "Warning"))]
        assert [line for line in faults if "DICOMDIR" not in line] == []  # which asks for a patient


@pytest.mark.parametrize("size", [(90, 70), (61, 47), (40, 97)], ids=str)
def test_the_pixels_are_the_overlay_with_its_scale_and_the_legend_under_it(size: tuple[int, int], tmp_path: Path):
    pixels, shown = chest(height=size[0], width=size[1]), heatmap()
    (content,) = captures(pixels, [shown], "net (20261128-140312-a1b2c3)")
    assert_valid(content, tmp_path / "x.dcm")
    picture, scale = read(content).pixel_array, colour_scale(shown.relevance)
    assert (picture.dtype, picture.shape[2]) == (np.uint8, 3)
    lines = legend_lines(shown, "net (20261128-140312-a1b2c3)")
    assert (picture == figure(pixels, shown.relevance, legend=lines, height=HEIGHT, overlay_alone=True)).all()
    assert (picture[:HEIGHT, -84:] == colourbar(scale, HEIGHT)).all()
    legend_of = picture[HEIGHT:]
    assert (legend_of < 128).any()
    other = read(captures(pixels, [shown], "another network")[0]).pixel_array
    assert (other[:HEIGHT] == picture[:HEIGHT]).all()
    assert other[HEIGHT:].shape != legend_of.shape or (other[HEIGHT:] != legend_of).any()


def test_the_picture_is_the_xray_where_no_pixel_matters():
    pixels = chest(height=HEIGHT, width=700)
    nothing = replace(heatmap(), relevance=np.zeros((32, 32), np.float32))
    picture = read(captures(pixels, [nothing], "net")[0]).pixel_array
    assert (picture[:HEIGHT, :700] == pixels[..., None]).all()
    assert (picture[:HEIGHT, :700] == overlay(pixels, nothing.relevance)).all()


def test_the_legend_says_class_composite_network_and_what_it_is_not_for():
    text = "\n".join(legend_lines(heatmap("oedema"), "chest-net"))
    for part in ("class oedema", "epsilon-plus-flat", "Network: chest-net", "for research, not for diagnosis"):
        assert part in text
    dataset = read(captures(chest(), [heatmap("a\\b\n" + "long " * 40)], "chest-net")[0])
    assert NOT_FOR_DIAGNOSIS in dataset.DerivationDescription
    assert "Network: chest-net" in dataset.DerivationDescription
    assert dataset.SeriesDescription.startswith("Heatmap by cxr: a/b long")
    assert len(dataset.SeriesDescription) == 64
    assert dataset.ImageType[0] == "DERIVED"
    assert (dataset.Manufacturer, dataset.Modality) == ("cxr", "OT")


def test_of_an_xray_in_dicom_nothing_of_the_patient_is_kept_unless_asked(tmp_path: Path):
    source = xray(tmp_path / f"{ID}.dcm", BurnedInAnnotation="NO")
    (content,) = captures(chest(), [heatmap()], "net", source=source)
    assert_valid(content, tmp_path / "x.dcm")
    own, dataset = pydicom.dcmread(source), read(content)
    header = content.replace(dataset.PixelData, b"")
    assert len(header) < 5000
    secrets = (own.SOPInstanceUID, own.StudyInstanceUID, "ller^J", ID, DATE, own.StudyDate, "S-77", "ACC-88", "House")
    assert [secret for secret in secrets if secret.encode() in header] == []
    assert (str(dataset.PatientName), dataset.PatientID) == ("", "")
    assert "SourceImageSequence" not in dataset
    assert dataset.BurnedInAnnotation == "NO"
    assert "BurnedInAnnotation" not in read(captures(chest(), [heatmap()], "net")[0])


def test_patient_study_and_source_are_kept_when_asked(tmp_path: Path):
    lossy = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "8.5"}
    lossy["LossyImageCompressionMethod"] = "ISO_10918_1"
    source = xray(tmp_path / "s.dcm", **lossy)
    maps = [heatmap("oedema"), heatmap("normal", seed=1)]
    contents = captures(chest(), maps, "net", source=source, keep_patient=True, reference_source=True)
    datasets = [read(content) for content in contents]
    for content, dataset in zip(contents, datasets, strict=True):
        assert_valid(content, tmp_path / "x.dcm")
        assert str(dataset.PatientName) == NAME
        assert (dataset.PatientID, dataset.PatientBirthDate, dataset.PatientSex) == (ID, DATE, "M")
        assert (dataset.StudyInstanceUID, dataset.AccessionNumber) == ("1.2.3.4", "ACC-88")
        own = pydicom.dcmread(source)
        (reference,) = dataset.SourceImageSequence
        assert reference.ReferencedSOPInstanceUID == own.SOPInstanceUID
        assert reference.ReferencedSOPClassUID == own.SOPClassUID
        assert (dataset.LossyImageCompression, dataset.LossyImageCompressionRatio) == ("01", 8.5)
    assert len({dataset.SeriesInstanceUID for dataset in datasets}) == 1
    assert len({dataset.SOPInstanceUID for dataset in datasets}) == 2
    assert [dataset.InstanceNumber for dataset in datasets] == [1, 2]


def test_what_a_file_does_not_hold_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    picture, empty = tmp_path / "x.png", xray(tmp_path / "x.dcm", StudyInstanceUID="", SOPInstanceUID="")
    Image.fromarray(chest()).save(picture)
    for options, source, words in (
        ({"keep_patient": True}, picture, "names no patient to keep: it is not a DICOM file"),
        ({"reference_source": True}, picture, "cannot be referenced: it is not a DICOM file"),
        ({"keep_patient": True}, empty, "StudyInstanceUID is missing"),
        ({"reference_source": True}, empty, "SOPInstanceUID is missing"),
    ):
        with pytest.raises(ExplainError, match=words):
            captures(chest(), [heatmap()], "net", source=source, **options)
    assert read_attributes(tmp_path / "nowhere.dcm", ["PatientID"]) is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"highdicom is not installed: pip install 'cxr\[dicom-out\]'"):
        captures(chest(), [heatmap()], "net")


def test_values_that_break_their_type_do_not_stop_a_capture(tmp_path: Path):
    source = xray(tmp_path / "s.dcm")
    content = source.read_bytes()
    assert content.count(b"19610203") == content.count(b"CS\x02\x00M ") == 1
    source.write_bytes(content.replace(b"19610203", b"3.2.1961").replace(b"CS\x02\x00M ", b"CS\x02\x00m?"))
    dataset = read(captures(chest(), [heatmap()], "net", source=source, keep_patient=True)[0])
    assert dataset.PatientID == ID


def networks() -> list[Configuration]:
    return [CONFIGURATIONS[0], CONFIGURATIONS[4], ODD_NAMES[0]]


@pytest.mark.parametrize("configuration", networks(), ids=str)
def test_the_command_writes_one_capture_or_one_for_each_class(cxr, configuration, tmp_path: Path):
    weights = write_network(configuration, tmp_path / "network.safetensors")
    image = write_xrays(tmp_path / "xrays", configuration, n=2).parent / "0.png"
    first = configuration.classes[1]
    line = ("explain", weights, image, "--json", "--target")
    code, out, err = cxr(*line, first, "--out", tmp_path / "out" / "x.dcm")
    assert code == 0, err
    assert json.loads(out)["files"] == {"capture": str(tmp_path / "out" / "x.dcm")}
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["x.dcm"]
    dataset = pydicom.dcmread(tmp_path / "out" / "x.dcm")
    assert "Network: " in dataset.DerivationDescription
    assert "network" in dataset.DerivationDescription
    if "all" not in configuration.classes:
        code, out, err = cxr(*line, "all", "--out", tmp_path / "every.dcm")
        assert code == 0, err
        files = [Path(one["files"]["capture"]) for one in json.loads(out)["maps"]]
        assert [file.name for file in files] == [f"every-{name}.dcm" for name in configuration.classes]
        assert len({pydicom.dcmread(file).SeriesInstanceUID for file in files}) == 1


def test_the_command_keeps_a_patient_on_request_and_never_writes_over_the_xray(cxr, tmp_path: Path):
    configuration = CONFIGURATIONS[3]
    weights, source = write_network(configuration, tmp_path / "n.safetensors"), xray(tmp_path / "s.dcm")
    before = source.read_bytes()
    code, _, err = cxr("explain", weights, source, "--out", source)
    assert (code, err) == (2, f"error: {source} is the X-ray itself: choose another name\n")
    assert source.read_bytes() == before
    code, _, err = cxr("explain", weights, source, "--out", tmp_path / "k.dcm", "--keep-patient", "--reference-source")
    assert code == 0, err
    assert str(pydicom.dcmread(tmp_path / "k.dcm").PatientName) == NAME
    for flag in ("--keep-patient", "--reference-source"):
        code, _, err = cxr("explain", weights, source, "--out", tmp_path / "maps", flag)
        assert (code, err) == (2, f"error: {flag} is for a secondary capture of one IMAGE: add --out x.dcm\n")


def test_a_capture_is_not_imported_as_an_xray(tmp_path: Path):
    xray(tmp_path / "s.dcm")
    content = captures(chest(), [heatmap()], "net", source=tmp_path / "s.dcm")[0]
    (tmp_path / "k.dcm").write_bytes(content)
    assert import_data("dicom", tmp_path, secondary_captures=True).manifest.table["image"].tolist() == ["s.dcm"]


def test_the_module_that_writes_dicom_is_not_loaded_before_it_is_needed():
    code = "import sys, cxr.reports.exports.secondary_capture; assert 'highdicom' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
