"""How X-rays are changed at random during training: ranges that a recipe gives. Reading them does not load torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    import torch


class Augment(BaseModel):
    """Ranges of the changes; every value is drawn per image and uniformly, 0 switches a change off.

    There is no vertical flip: an X-ray upside down does not occur, and gas and fluid levels would reveal it at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotate: float = Field(default=0.0, ge=0, le=45, description="turn by up to this many degrees either way")
    translate: float = Field(default=0.0, ge=0, le=0.5, description="move by up to this share of the side")
    scale: float = Field(default=0.0, ge=0, le=0.5, description="zoom by a factor of 1 - scale to 1 + scale")
    shear: float = Field(default=0.0, ge=0, le=30, description="shear sideways by up to this many degrees")
    brightness: float = Field(default=0.0, ge=0, le=0.5, description="add up to this, black is 0 and white is 1")
    contrast: float = Field(default=0.0, ge=0, le=0.9, description="multiply the distance from the image's mean")
    gamma: float = Field(default=0.0, ge=0, le=0.9, description="raise to a power of 1 / (1 + gamma) to 1 + gamma")
    noise: float = Field(default=0.0, ge=0, le=0.25, description="add Gaussian noise of up to this deviation")
    hflip: bool = Field(
        default=False,
        description="mirror half of the images. Off by default because of laterality: a mirrored chest has its heart "
        "on the right (as in dextrocardia) and its L and R markers reversed, and lobes and sides are findings",
    )
    padding: Literal["reflection", "edge", "black"] = Field(
        default="reflection",
        description="what stands where a turned, moved or shrunken image leaves the frame empty: the image mirrored at "
        "its rim, the rim's pixels drawn out, or black, which makes borders that no X-ray has and a network may learn",
    )

    def __call__(
        self, batch: torch.Tensor, generator: torch.Generator, *, first: int = 0, batch_size: int | None = None
    ) -> torch.Tensor:
        """Return changed copies of ``batch`` (N, 1, H, W), floating point in [0, 1].

        All random numbers come from ``generator``, which must be on the CPU or on the batch's device; on the CPU the
        same state gives the same pixels. Changes that are off draw nothing. With all off, the batch itself returns.

        Parameters
        ----------
        first, batch_size
            The batch is images ``first`` to ``first + N`` of a batch of ``batch_size`` images. It is changed as it
            would be there, so that a batch may be computed in parts.
        """
        from cxr.training.data.transforms import transformed

        return transformed(self, batch, generator, first, len(batch) if batch_size is None else batch_size)
