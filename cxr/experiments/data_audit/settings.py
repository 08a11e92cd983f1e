"""What an audit of a data set is asked for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cxr.data.settings import OnManifest


class AuditParams(OnManifest):
    """The X-rays of an audit, and what of them is compared with the class.

    Attributes
    ----------
    split
        The X-rays to look at; "" takes every image.
    by
        ``label``: classes that exclude each other; ``findings``: each finding by itself; ``auto``: labels if there are
        two or more of them, else findings.
    text
        Whether burned-in text is searched for, which takes most of the time. X-rays searched before are not searched
        again.
    workers
        Processes that measure and search.
    seed
        Of the lot that draws an X-ray of each patient, of the folds and of the permutations.
    """

    split: str = ""
    by: Literal["auto", "label", "findings"] = "auto"
    text: bool = True
    workers: int | None = None
    seed: int = Field(default=0, ge=0)

    def default_name(self) -> str:
        """Return the run's name."""
        return f"audit {self.data_set} {self.split}".strip()

    def check(self) -> list[str]:
        """Raise a CxrError if the manifest, the split or the classes cannot be used."""
        from cxr.experiments.data_audit.classes import classes_of
        from cxr.text.search import images_of

        classes_of(images_of(str(self.manifest), self.split).table, self.by)
        return []
