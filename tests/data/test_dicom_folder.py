"""Folders of DICOM files as archives and public sets have them: what is taken, what is left out and why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_samples import chest, dicom, save_dicom
from pydicom.dataset import Dataset

from cxr.data import Manifest, import_data
from cxr.data.images.dicom_header import HEATMAP_SERIES
from cxr.data.images.dicom_values import WINDOW_LEFT_OUT
from cxr.data.importers.dicom_folder import NO_MODALITY
from cxr.data.importers.import_options import DicomOptions
from cxr.data.importers.registry import SOURCES
from cxr.data.jobs import run_import
from cxr.data.library import open_data_set
from cxr.errors import ManifestError
from cxr.paths import runs_root
from cxr.runs.folder import RunFolder


def coded(value: str, meaning: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SRT", meaning
    return [item]


def write(path: Path, *without: str, seed: int = 0, **attributes: object) -> Path:
    dataset = dicom(chest(seed).astype(np.uint16) * 16, 12, **attributes)
    for name in without:
        delattr(dataset, name)
    return save_dicom(path, dataset)


TAKEN = {
    "DR": ({"Modality": "DR"}, "PA"),
    "RG": ({"Modality": "RG", "ViewPosition": "AP SUPINE"}, "AP"),
    "torax": ({"BodyPartExamined": "TORAX", "ViewPosition": "PA UPRIGHT"}, "PA"),
    "port": ({"BodyPartExamined": "PORT CHEST", "ViewPosition": "PORTABLE"}, ""),
    "described": ({"BodyPartExamined": "PORT", "SeriesDescription": "CHEST AP", "ViewPosition": ""}, "AP"),
    "study": ({"ViewPosition": "", "StudyDescription": "XR CHEST PA AND LATERAL"}, ""),
    "coded": (
        {
            "ViewPosition": "",
            "ViewCodeSequence": coded("R-10206", "antero-posterior"),
            "AnatomicRegionSequence": coded("T-D3000", "Chest"),
        },
        "AP",
    ),
    "oriented": ({"ViewPosition": "", "PatientOrientation": ["L", "F"]}, ""),
}
LEFT_OUT = {
    "coded_lateral": (
        {"ViewPosition": "", "ViewCodeSequence": coded("R-10236", "left lateral")},
        "view left lateral (View Code Sequence) is not frontal (PA or AP)",
    ),
    "contradicted": (
        {"ViewPosition": "PA", "ViewCodeSequence": coded("399198007", "")},
        "view 399198007 (View Code Sequence) is not frontal (PA or AP)",
    ),
    "described_lateral": (
        {"ViewPosition": "", "SeriesDescription": "W Chest Lat"},
        "view W Chest Lat (description) is not frontal (PA or AP)",
    ),
    "oriented_lateral": (
        {"ViewPosition": "", "PatientOrientation": ["A", "F"]},
        "view with rows towards A (Patient Orientation) is not frontal (PA or AP)",
    ),
    "decubitus": ({"ViewPosition": "AP LLD"}, "view AP LLD is not frontal (PA or AP)"),
    "odd_view": ({"ViewPosition": "XYZ"}, "view XYZ is not known to be frontal (PA or AP)"),
    "spine": ({"BodyPartExamined": "TSPINE"}, "body part TSPINE is not the chest"),
    "region": ({"AnatomicRegionSequence": coded("T-D8700", "Hand")}, "body part Hand is not the chest"),
    "knee": ({"SeriesDescription": "Knee AP"}, "body part Knee AP (description) is not the chest"),
    "capture": (
        {"Modality": "SC"},
        "modality SC is not CR, DX, DR, RG or XR (a secondary capture: `--secondary-captures` takes it)",
    ),
    "other": (
        {"Modality": "OT"},
        "modality OT is not CR, DX, DR, RG or XR (`--allow-modality OT` takes it)",
    ),
}


def test_views_and_body_parts_are_known_in_every_notation(tmp_path: Path):
    for seed, (name, (attributes, _)) in enumerate(TAKEN.items()):
        write(tmp_path / f"{name}.dcm", seed=seed, **attributes)
    result = import_data("dicom", tmp_path)
    views = dict(zip(result.manifest.table["image"], result.manifest.table["view"], strict=True))
    assert views == {f"{name}.dcm": view for name, (_, view) in TAKEN.items()}
    assert result.excluded.empty
    assert not [note for note in result.notes if "left out" in note]
    assert "file_notes" not in result.manifest.table


@pytest.mark.parametrize("names", [list(LEFT_OUT)[:5], list(LEFT_OUT)[5:]])
def test_what_is_no_frontal_chest_xray_is_left_out_with_its_reason(tmp_path: Path, names: list[str]):
    for name in names:
        write(tmp_path / f"{name}.dcm", **LEFT_OUT[name][0])
    found = SOURCES["dicom"].read(tmp_path, DicomOptions())
    assert found.rows == []
    assert dict(found.excluded) == {f"{name}.dcm": LEFT_OUT[name][1] for name in names}


def test_secondary_captures_are_taken_on_request(tmp_path: Path):
    write(tmp_path / "capture.dcm", Modality="SC")
    assert import_data("dicom", tmp_path, modalities=["sc"]).manifest.table["image"].tolist() == ["capture.dcm"]
    with pytest.raises(ManifestError, match="kind 'image-folder' has no option 'modalities'"):
        import_data("image-folder", tmp_path, modalities=["SC"])


CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def test_the_kind_of_object_says_what_a_secondary_capture_is(tmp_path: Path):
    scan = dicom(np.repeat(chest()[..., None], 3, axis=2), 8, Modality="OT", SOPClassUID=CAPTURE)
    save_dicom(tmp_path / "colour_scan.dcm", scan)
    write(tmp_path / "bare.dcm", "Modality", SOPClassUID=CAPTURE, seed=1)
    write(tmp_path / "sc.dcm", Modality="SC", seed=2)
    write(tmp_path / "xray.dcm", seed=3)
    write(tmp_path / "other.dcm", Modality="OT", seed=4)
    write(tmp_path / "ct.dcm", Modality="CT", SOPClassUID=CAPTURE, seed=5)
    write(tmp_path / "frames.dcm", Modality="OT", SOPClassUID=CAPTURE, NumberOfFrames=2, seed=6)
    write(tmp_path / "lateral.dcm", Modality="OT", SOPClassUID=CAPTURE, ViewPosition="LL", seed=7)
    asked = import_data("dicom", tmp_path, secondary_captures=True)
    assert set(asked.manifest.table["image"]) == {"colour_scan.dcm", "bare.dcm", "sc.dcm", "xray.dcm"}
    reasons = dict(zip(asked.excluded["file"], asked.excluded["reason"], strict=True))
    assert reasons["frames.dcm"] == "holds 2 frames; an X-ray file holds one"
    assert reasons.keys() == {"other.dcm", "ct.dcm", "frames.dcm", "lateral.dcm"}
    silent = import_data("dicom", tmp_path)
    assert set(silent.manifest.table["image"]) == {"bare.dcm", "xray.dcm"}
    reasons = dict(zip(silent.excluded["file"], silent.excluded["reason"], strict=True))
    assert "`--secondary-captures` takes it" in reasons["colour_scan.dcm"]
    assert "takes it" not in reasons["ct.dcm"]


def test_heatmaps_that_cxr_wrote_are_never_taken_for_xrays(tmp_path: Path):
    write(tmp_path / "xray.dcm", seed=1)
    series = f"{HEATMAP_SERIES}: oedema"
    write(tmp_path / "heatmap.dcm", Modality="OT", SOPClassUID=CAPTURE, SeriesDescription=series)
    options = {"secondary_captures": True, "modalities": ["OT", "SC"]}
    result = import_data("dicom", tmp_path, **options)
    assert result.manifest.table["image"].tolist() == ["xray.dcm"]
    assert result.excluded["reason"].tolist() == ["is a heatmap that cxr wrote, not an X-ray"]


def test_a_file_without_a_modality_is_taken_if_nothing_speaks_against_an_xray(tmp_path: Path):
    bare = ("Modality", "SOPClassUID")
    write(tmp_path / "bare.dcm", *bare, ViewPosition="", seed=1)
    write(tmp_path / "cr.dcm", "Modality", seed=2)
    write(tmp_path / "ct.dcm", "Modality", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    write(tmp_path / "slice.dcm", *bare, SliceThickness=5)
    write(tmp_path / "frames.dcm", *bare, NumberOfFrames=3)
    strip = dicom(chest(height=200, width=50).astype(np.uint16), 12)
    del strip.Modality
    save_dicom(tmp_path / "strip.dcm", strip)
    colour = dicom(np.zeros((60, 48, 3), np.uint8), 8)
    del colour.Modality
    save_dicom(tmp_path / "colour.dcm", colour)
    result = import_data("dicom", tmp_path)
    assert sorted(result.manifest.table["image"]) == ["bare.dcm", "cr.dcm"]
    assert f"2 X-rays: {NO_MODALITY}" in result.notes
    assert dict(zip(result.excluded["file"], result.excluded["reason"], strict=True)) == {
        "ct.dcm": "has no modality, and its kind is CT Image Storage",
        "slice.dcm": "has no modality, and its header is that of a slice",
        "frames.dcm": "has no modality, and holds 3 frames",
        "strip.dcm": "has no modality, and its 50 x 200 pixels are not of a chest's shape",
        "colour.dcm": "has no modality, and its pixels are RGB, not grey",
    }


def test_the_command_counts_what_was_not_followed_and_takes_other_modalities(tmp_path: Path):
    write(tmp_path / "in" / "a.dcm", Modality="SC", WindowCenter=60000, WindowWidth=10)
    command = [sys.executable, "-m", "cxr", "data", "import", "dicom", str(tmp_path / "in"), "--name", "noted"]
    done = subprocess.run([*command, "--secondary-captures"], capture_output=True, text=True, check=True)
    assert f"1 X-ray: {WINDOW_LEFT_OUT}" in " ".join(done.stdout.split())


def test_what_was_not_followed_and_burned_in_annotation_are_kept_with_the_data_set(tmp_path: Path):
    write(tmp_path / "in" / "a.dcm", BurnedInAnnotation="YES", WindowCenter=60000, WindowWidth=10, seed=1)
    write(tmp_path / "in" / "b.dcm", "Modality", BurnedInAnnotation="NO", WindowCenter=60000, WindowWidth=10, seed=2)
    write(tmp_path / "in" / "c.dcm", seed=3)
    params = {"kind": "dicom", "path": str(tmp_path / "in"), "name": "noted"}
    folder = RunFolder.create(runs_root(), "import", params)
    run_import(folder, folder.params, lambda share, message: None)
    assert {f"2 X-rays: {WINDOW_LEFT_OUT}", f"1 X-ray: {NO_MODALITY}"} <= set(folder.read_json("results.json")["notes"])
    table = Manifest.load(open_data_set("noted").path).table.fillna("")
    assert table["burned_in_annotation"].tolist() == ["YES", "NO", ""]
    assert table["file_notes"].tolist() == [WINDOW_LEFT_OUT, f"{NO_MODALITY}; {WINDOW_LEFT_OUT}", ""]
