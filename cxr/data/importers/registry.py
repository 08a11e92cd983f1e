"""One importer per data set, by name."""

from __future__ import annotations

from typing import Any

from cxr.data.importers import dicom_folder, image_folder, table
from cxr.data.importers.import_options import UNCERTAIN, Options, Uncertain
from cxr.data.importers.listing import Excluded, Listing, Source
from cxr.data.importers.public import (
    brax,
    chexpert,
    covid_chestxray,
    covidx,
    mimic_cxr,
    nih,
    nlm,
    padchest,
    rsna,
    vindr,
)

# Where an importer is added: a line here is all that it needs besides its own file.
PUBLIC_SETS: tuple[Source[Any], ...] = (
    covid_chestxray.SOURCE,
    nih.SOURCE,
    nlm.MONTGOMERY,
    nlm.SHENZHEN,
    chexpert.SOURCE,
    mimic_cxr.SOURCE,
    padchest.SOURCE,
    vindr.SOURCE,
    rsna.SOURCE,
    brax.SOURCE,
    covidx.SOURCE,
)
SOURCES: dict[str, Source[Any]] = {
    source.name: source
    for source in (*PUBLIC_SETS, image_folder.SOURCE, table.source(PUBLIC_SETS), dicom_folder.SOURCE)
}

__all__ = ["PUBLIC_SETS", "SOURCES", "UNCERTAIN", "Excluded", "Listing", "Options", "Source", "Uncertain"]
