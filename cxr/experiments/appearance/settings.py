"""What a check of a data set is asked for."""

from __future__ import annotations

from cxr.data.settings import OnManifest


class CheckParams(OnManifest):
    """The X-rays of a check.

    Attributes
    ----------
    split
        The X-rays to look at; "" takes every image.
    workers
        Processes that open the files.
    """

    split: str = ""
    workers: int | None = None

    def default_name(self) -> str:
        """Return the run's name."""
        return f"check {self.data_set} {self.split}".strip()

    def check(self) -> list[str]:
        """Raise a CxrError if the manifest or the split cannot be used."""
        from cxr.text.search import images_of

        images_of(str(self.manifest), self.split)
        return []
