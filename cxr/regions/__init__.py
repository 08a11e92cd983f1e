"""Regions of an X-ray: lungs, border, burned-in text and the rest, and X-rays that show one of them only."""

from typing import TYPE_CHECKING

from cxr import lazy

if TYPE_CHECKING:
    from cxr.regions.division import BORDER, REGIONS, Regions, regions_of
    from cxr.regions.lungs import LUNG_BOXES, Lungs, box_lungs, lungs_of
    from cxr.regions.of_manifest import lungs_in, lungs_many
    from cxr.regions.view_names import MASKS, VIEWS
    from cxr.regions.views import view_of

__all__ = [
    "BORDER",
    "LUNG_BOXES",
    "MASKS",
    "REGIONS",
    "VIEWS",
    "Lungs",
    "Regions",
    "box_lungs",
    "lungs_in",
    "lungs_many",
    "lungs_of",
    "regions_of",
    "view_of",
]

# Forms list the views without OpenCV and torch.
__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "division": ("BORDER", "REGIONS", "Regions", "regions_of"),
        "lungs": ("LUNG_BOXES", "Lungs", "box_lungs", "lungs_of"),
        "of_manifest": ("lungs_in", "lungs_many"),
        "view_names": ("MASKS", "VIEWS"),
        "views": ("view_of",),
    },
)
