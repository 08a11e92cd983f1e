"""X-rays from elsewhere, as an audit is given them: ``DATA`` or ``DATA:SPLIT``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from cxr.data.settings import ManifestPath, manifest_path


class External(BaseModel):
    """X-rays from elsewhere: a manifest, and one of its splits or "" for all of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    manifest: ManifestPath
    split: str = ""

    @property
    def title(self) -> str:
        """How people call it: ``montgomery``, or ``real, split external``."""
        return self.manifest.parent.name + (f", split {self.split}" if self.split else "")


def _external(value: object) -> object:
    """Read ``DATA`` or ``DATA:SPLIT``, DATA being a data set's name or the file of a manifest."""
    if isinstance(value, External | dict):
        return value
    text = str(value)
    whole = manifest_path(text)
    data, colon, split = text.rpartition(":")
    if colon and not Path(str(whole)).is_file():
        return {"manifest": data, "split": split}
    return {"manifest": text}


ExternalData = Annotated[
    External,
    BeforeValidator(_external),
    PlainSerializer(lambda e: {"manifest": str(e.manifest)} | ({"split": e.split} if e.split else {})),
]
