"""One importer per data set, by name."""

from __future__ import annotations

from cxr.data.sources import covid_chestxray, dicom_folder, folders, nih, nlm, table
from cxr.data.sources.base import Excluded, Found, Options, Source

SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            "covid-chestxray",
            "covid-chestxray-dataset (Cohen et al.)",
            "metadata.csv and images/: frontal X-rays with COVID-19, another pneumonia or no finding",
            covid_chestxray.read,
        ),
        Source(
            "nih-chestxray14",
            "NIH ChestX-ray14",
            "Data_Entry_2017*.csv and images*/: frontal X-rays with up to 14 findings each",
            nih.read,
        ),
        Source(
            "montgomery",
            "Montgomery County (NLM)",
            "CXR_png/ with lung masks: normal and tuberculosis, for external tests",
            nlm.read_montgomery,
        ),
        Source(
            "shenzhen",
            "Shenzhen (NLM)",
            "CXR_png/ with lung masks where there are any: normal and tuberculosis, for external tests",
            nlm.read_shenzhen,
        ),
        Source(
            "image-folder",
            "One folder per class",
            "any images below class folders, perhaps below train/, val/ and test/",
            folders.read,
        ),
        Source(
            "manifest", "CSV or Parquet manifest", "one row per X-ray; columns and labels can be mapped", table.read
        ),
        Source(
            "dicom", "Folder of DICOM files", "frontal chest X-rays, by modality, view and body part", dicom_folder.read
        ),
    )
}

__all__ = ["SOURCES", "Excluded", "Found", "Options", "Source"]
