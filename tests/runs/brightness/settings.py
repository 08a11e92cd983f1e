"""What is asked for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cxr.data.settings import OnManifest


class BrightnessParams(OnManifest):
    """How the brightness of a data set's X-rays is measured."""

    by: Literal["label", "split"] = "label"
    percentile: float = Field(default=50.0, ge=0, le=100)

    def default_name(self) -> str:
        return f"brightness of {self.data_set}"
