"""What protocol probes are asked for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cxr.data.settings import OnManifest

Masks = Literal["segmentation", "manifest", "box"]
MASKS: tuple[Masks, ...] = ("segmentation", "manifest", "box")
"""Where lungs come from: the shipped segmentation, the manifest's mask files, or a box of the usual place."""


class ProbeParams(OnManifest):
    """The X-rays that are probed, and how.

    Attributes
    ----------
    split
        The X-rays to probe; "" takes every image.
    by
        What the class is: ``label``; ``findings``, each by itself; ``auto``: labels if there are two or more of them,
        else findings.
    masks
        Where the lungs of every X-ray come from. It is one way for all of them: masks that only one source has would
        give that source away. ``manifest`` needs a mask file for each X-ray.
    text
        Whether burned-in text is searched for, which takes most of the time; without it there is no view of the text
        alone. X-rays searched before are not searched again.
    n
        X-rays at most; beyond that patients are drawn by lot, as many of each class and source.
    workers
        Processes that describe and search.
    seed
        Of the lots, the folds and the permutations.
    """

    split: str = ""
    by: Literal["auto", "label", "findings"] = "auto"
    masks: Masks = "segmentation"
    text: bool = True
    n: int = Field(default=4000, ge=40)
    workers: int | None = None
    seed: int = Field(default=0, ge=0)

    def default_name(self) -> str:
        """Return the run's name."""
        return f"probes of {self.data_set} {self.split}".strip()

    def check(self) -> list[str]:
        """Raise a CxrError if the manifest, the split, the classes or the masks cannot be used."""
        from cxr.experiments.probes.questions import check_masks, questions_of
        from cxr.text.search import images_of

        manifest = images_of(str(self.manifest), self.split)
        check_masks(manifest, self.masks)
        questions_of(manifest.table, self.by, self.seed)
        return []
