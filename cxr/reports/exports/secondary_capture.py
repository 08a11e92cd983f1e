"""Heatmaps over an X-ray as DICOM Secondary Captures, which archives and viewers of images take.

The legend is part of the picture: whoever sees it anywhere reads the class, the method, the scale, the network, and
that it is not for diagnosis.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from cxr import __version__
from cxr.data.images.base import quiet
from cxr.data.images.dicom_header import HEATMAP_SERIES, read_attributes
from cxr.errors import ExplainError, require, wrong_use
from cxr.explain import legend
from cxr.explain.heatmap import Heatmap
from cxr.explain.render import colour_scale, figure
from cxr.explain.run_files import safe_names
from cxr.files import replacing

NOT_FOR_DIAGNOSIS = "for research, not for diagnosis"
"""What every capture says in its picture and in its header."""
HEIGHT = 1024
"""Rows of the X-ray in a capture: the legend's letters stay readable beside it."""
PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""Attributes of the X-ray's file that a capture takes over on request."""
# What stays true of the pixels, whoever the patient is.
_OF_THE_PIXELS = (
    "BurnedInAnnotation",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
_LONG_STRING, _SHORT_TEXT = 64, 1024  # characters that the standard allows
_SERIES_NUMBER = 9001  # behind those that a study has


def captures(
    pixels: np.ndarray,
    heatmaps: Sequence[Heatmap],
    network: str,
    *,
    source: Path | None = None,
    keep_patient: bool = False,
    reference_source: bool = False,
    scale: float | None = None,
    alpha: float = 0.7,
) -> list[bytes]:
    """Return a Secondary Capture Image for each heatmap of one X-ray, all in one series, as the content of its file.

    Parameters
    ----------
    pixels
        The X-ray, uint8 (H, W).
    network
        Its name, for the legend.
    source
        The X-ray's file. Of a DICOM file, *Burned In Annotation* and lossy compression are taken over.
    keep_patient, reference_source
        Take over patient and study of ``source``; name it as the image that the capture is derived from. Else the
        capture is of nobody, in a study of its own.
    scale, alpha
        As in :func:`cxr.explain.render.figure`; by default one scale for all heatmaps.

    Raises
    ------
    MissingPackageError
        Without the package ``highdicom``.
    ExplainError
        If ``source`` is asked for its patient or as a reference, and is no DICOM file, or one that says neither.
    """
    require("highdicom", extra="dicom-out")
    header = _header_of(source, keep_patient, reference_source)
    study, series = str(generate_uid()), str(generate_uid())
    scale = max(colour_scale(heatmap.relevance) for heatmap in heatmaps) if scale is None else scale
    contents = []
    for number, heatmap in enumerate(heatmaps, 1):
        lines = legend_lines(heatmap, network)
        picture = figure(
            pixels, heatmap.relevance, legend=lines, scale=scale, alpha=alpha, height=HEIGHT, overlay_alone=True
        )
        capture = _capture(picture, lines, heatmap.target, study, series, number)
        with quiet():
            _take_over(capture, header, _OF_THE_PIXELS)
            if keep_patient:
                _take_over(capture, header, PATIENT_AND_STUDY)
            if reference_source:
                capture.SourceImageSequence = [_reference(header)]
            contents.append(_written(capture))
    return contents


@dataclass(frozen=True)
class CaptureFile:
    """The file of a capture, or of several, one per class with its name in the file's; and what they take over.

    ``keep_patient`` and ``reference_source`` are those of :func:`captures`.
    """

    file: Path
    keep_patient: bool = False
    reference_source: bool = False

    def check(self, xray: Path) -> None:
        """Raise what is wrong with what is asked of this X-ray's file, before any heatmap is computed."""
        require("highdicom", extra="dicom-out")
        _header_of(xray, self.keep_patient, self.reference_source)

    def write(self, xray: Path, pixels: np.ndarray, heatmaps: Sequence[Heatmap], network: str) -> list[dict[str, str]]:
        """Write the captures of one X-ray and return the file of each, by its kind.

        Raises
        ------
        MissingPackageError, ExplainError
            As :func:`captures`, and if a file to write is the X-ray's own.
        """
        names = safe_names([heatmap.target for heatmap in heatmaps])
        stems = {
            target: f"{self.file.stem}-{name}" if len(names) > 1 else self.file.stem for target, name in names.items()
        }
        files = [self.file.with_name(f"{stems[heatmap.target]}{self.file.suffix}") for heatmap in heatmaps]
        for file in files:
            if file.exists() and file.samefile(xray):
                raise wrong_use(ExplainError(f"{file} is the X-ray itself: choose another name"))
        contents = captures(
            pixels,
            heatmaps,
            network,
            source=xray,
            keep_patient=self.keep_patient,
            reference_source=self.reference_source,
        )
        self.file.parent.mkdir(parents=True, exist_ok=True)
        for file, content in zip(files, contents, strict=True):
            with replacing(file) as draft:
                draft.write_bytes(content)
        return [{"capture": str(file)} for file in files]


def legend_lines(heatmap: Heatmap, network: str) -> list[str]:
    """Return the legend of a capture: that of every heatmap, with the class, the network and what it is not for."""
    first = f"Heatmap of the class {heatmap.target} over a chest X-ray: {NOT_FOR_DIAGNOSIS}"
    return [first, f"Network: {network}", *legend.lines(heatmap)]


def _header_of(source: Path | None, keep_patient: bool, reference_source: bool) -> Dataset:
    """Return what a capture may take over from the X-ray's file; nothing of a file that is not DICOM."""
    needed = ("SOPClassUID", "SOPInstanceUID")
    header = None if source is None else read_attributes(source, (*PATIENT_AND_STUDY, *_OF_THE_PIXELS, *needed))
    if header is None and (keep_patient or reference_source):
        wish = "names no patient to keep" if keep_patient else "cannot be referenced"
        raise wrong_use(ExplainError(f"{source} {wish}: it is not a DICOM file"))
    header = Dataset() if header is None else header
    if keep_patient and not header.get("StudyInstanceUID"):
        raise ExplainError(f"{source} names no study (StudyInstanceUID is missing), so it cannot be kept")
    if reference_source and not all(header.get(name) for name in needed):
        raise ExplainError(f"{source} cannot be referenced: SOPClassUID or SOPInstanceUID is missing")
    return header


def _capture(picture: np.ndarray, lines: Sequence[str], target: str, study: str, series: str, number: int) -> Dataset:
    """Return the capture of a picture, uint8 RGB (H, W, 3), of nobody and with nothing of the X-ray's file."""
    from highdicom.sc import SCImage

    capture = SCImage(
        picture,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=study,
        series_instance_uid=series,
        series_number=_SERIES_NUMBER,
        sop_instance_uid=str(generate_uid()),
        instance_number=number,
        manufacturer="cxr",
        manufacturer_model_name="cxr",
        software_versions=__version__,
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    capture.SpecificCharacterSet = "ISO_IR 192"  # UTF-8: names of classes are in any language
    # Bars and text have no side of the body, and whether the X-ray hangs the usual way is not known.
    capture.PatientOrientation = []
    capture.BodyPartExamined = "CHEST"  # which is not paired, so that it needs no Laterality
    capture.SeriesDescription = _shortened(f"{HEATMAP_SERIES}: {target}", _LONG_STRING)
    capture.DerivationDescription = _shortened(
        f"Heatmap of a neural network laid over a chest X-ray, {NOT_FOR_DIAGNOSIS}. {'. '.join(lines[1:])}", _SHORT_TEXT
    )
    capture.ImageComments = NOT_FOR_DIAGNOSIS
    return capture


def _shortened(text: str, most: int) -> str:
    """Return text as one line of so many characters; a backslash would begin a second value."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text.replace("\\", "/")).split())
    return plain if len(plain) <= most else f"{plain[: most - 3]}..."


def _take_over(capture: Dataset, header: Dataset, names: Iterable[str]) -> None:
    for name in names:
        if name in header:
            value = header[name].value
            # A name remembers the bytes of its file's own characters; as text it is written in the capture's.
            setattr(capture, name, str(value) if header[name].VR == "PN" else deepcopy(value))


def _reference(header: Dataset) -> Dataset:
    """Return the item of the Source Image Sequence that names the X-ray's file."""
    item = Dataset()
    item.ReferencedSOPClassUID = UID(header.SOPClassUID)
    item.ReferencedSOPInstanceUID = UID(header.SOPInstanceUID)
    return item


def _written(capture: Dataset) -> bytes:
    content = io.BytesIO()
    capture.save_as(content, enforce_file_format=True)
    return content.getvalue()
