"""What the report of a run holds beside its figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cxr.explain.composites import DEFAULT_COMPOSITE


@dataclass(frozen=True)
class Choices:
    """What a reader asks for.

    Attributes
    ----------
    heatmaps
        So many X-rays are explained, chosen by a rule that the report states.
    images
        Ids of X-rays to explain beside or instead of these.
    composite
        How they are explained.
    with_images
        Whether pictures of X-rays go in. Without, a heatmap stands alone.
    with_ids
        Whether X-rays are called by their ids. Without, they get running numbers.
    split
        Whose figures are drawn and whose X-rays are explained; by default the test split, or the only one there is.
    """

    heatmaps: int = 0
    images: Sequence[str] = ()
    composite: str = DEFAULT_COMPOSITE
    with_images: bool = False
    with_ids: bool = False
    split: str = ""
