"""One importer per data set, by name."""

from __future__ import annotations

from cxr.data.importers import (
    chexpert,
    covid_chestxray,
    dicom_folder,
    image_folder,
    mimic_cxr,
    nih,
    nlm,
    padchest,
    rsna,
    table,
    vindr,
)
from cxr.data.importers.base import UNCERTAIN, Excluded, Found, Options, Source, Uncertain

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
            "chexpert",
            "CheXpert (Stanford)",
            "train.csv, valid.csv and train/patientNNNNN/: frontal X-rays with up to 14 findings, some uncertain",
            chexpert.read,
            columns=True,
            uncertain=True,
        ),
        Source(
            "mimic-cxr",
            "MIMIC-CXR",
            "*-metadata.csv, *-chexpert.csv, *-split.csv and files/: frontal X-rays with up to 14 findings",
            mimic_cxr.read,
            columns=True,
            uncertain=True,
        ),
        Source(
            "padchest",
            "PadChest (BIMCV)",
            "PADCHEST*.csv and images: frontal X-rays with lists of findings",
            padchest.read,
            columns=True,
        ),
        Source(
            "vindr",
            "VinDr-CXR",
            "image_labels_*.csv, annotations_*.csv or Kaggle's train.csv, and images: findings of several readers",
            vindr.read,
            columns=True,
            uncertain=True,
        ),
        Source(
            "rsna",
            "RSNA pneumonia challenge",
            "*train_labels.csv, *detailed_class_info.csv and DICOM images: pneumonia (opacity), normal, other",
            rsna.read,
            columns=True,
        ),
        Source(
            "image-folder",
            "One folder per class",
            "any images below class folders, perhaps below train/, val/ and test/, perhaps with patients' folders",
            image_folder.read,
        ),
        Source(
            "manifest",
            "CSV or Parquet table",
            "one row or more per X-ray; usual columns, labels, splits and ages are known, others can be mapped",
            table.read,
            columns=True,
            uncertain=True,
        ),
        Source(
            "dicom", "Folder of DICOM files", "frontal chest X-rays, by modality, view and body part", dicom_folder.read
        ),
    )
}

__all__ = ["SOURCES", "UNCERTAIN", "Excluded", "Found", "Options", "Source", "Uncertain"]
