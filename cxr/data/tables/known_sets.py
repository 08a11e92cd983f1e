"""Which public data set a table is of, by its columns."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from cxr.data.importers import chexpert, covid_chestxray, mimic_cxr, nih, padchest, rsna, vindr
from cxr.data.importers.base import Found, Options
from cxr.data.manifest import COLUMNS


@dataclass(frozen=True)
class Known:
    """A public data set: its kind, title, own column for images, and what recognises and reads it.

    ``columns`` tells whether its columns can be mapped; a table is read as any other where they are and it cannot.
    """

    name: str
    title: str
    image: str
    recognises: Callable[[Collection[str]], bool]
    read: Callable[[Path, Options], Found]
    columns: bool = True


KNOWN: tuple[Known, ...] = (
    Known("chexpert", chexpert.TITLE, "Path", chexpert.recognises, chexpert.read),
    Known("mimic-cxr", mimic_cxr.TITLE, "dicom_id", mimic_cxr.recognises, mimic_cxr.read),
    Known("padchest", padchest.TITLE, "ImageID", padchest.recognises, padchest.read),
    Known("vindr", vindr.TITLE, "image_id", vindr.recognises, vindr.read),
    Known("rsna", rsna.TITLE, "patientId", rsna.recognises, rsna.read),
    Known("nih-chestxray14", "NIH ChestX-ray14", "Image Index", nih.recognises, nih.read, columns=False),
    Known(
        "covid-chestxray",
        "covid-chestxray-dataset",
        "filename",
        covid_chestxray.recognises,
        covid_chestxray.read,
        columns=False,
    ),
)


def recognise(columns: Collection[str], options: Options) -> Known | None:
    """Return the public data set whose columns these are, None for a table of anything else.

    A table of our own is none, nor one whose image the caller finds in another column.
    """
    names = [str(column) for column in columns]
    if set(COLUMNS) <= set(names) or "image" in names:
        return None
    known = next((known for known in KNOWN if known.recognises(names)), None)
    if known is None or options.columns.get("image", known.image) != known.image:
        return None
    return None if options.columns and not known.columns else known
