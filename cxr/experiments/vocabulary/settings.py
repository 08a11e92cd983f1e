"""What a count of a data set's vocabulary is asked for."""

from __future__ import annotations

from pydantic import Field

from cxr.data.settings import OnManifest
from cxr.experiments.vocabulary.count import MIN_IMAGES


class VocabularyParams(OnManifest):
    """What a search and count are asked for.

    Attributes
    ----------
    split
        The X-rays to search; "" takes every image.
    min_images, join
        As :func:`cxr.experiments.vocabulary.count.vocabulary` takes them.
    workers
        Processes that search.
    """

    split: str = ""
    min_images: int = Field(default=MIN_IMAGES, ge=1)
    join: bool = False
    workers: int | None = None

    def default_name(self) -> str:
        """Return the run's name."""
        return f"vocabulary {self.data_set} {self.split}".strip()

    def check(self) -> list[str]:
        """Raise a CxrError if the manifest or the split cannot be used."""
        from cxr.text.search import images_of

        images_of(str(self.manifest), self.split)
        return []
