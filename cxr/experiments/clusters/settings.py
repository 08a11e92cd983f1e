"""What clusters of heatmaps are asked for."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from cxr.errors import RunError, wrong_use
from cxr.experiments.clusters.limits import HEATMAPS
from cxr.explain.settings import ExplainParams

_OF_HEATMAPS = ("model", "manifest", "device", "ids", "split", "n", "composite", "targets", "bias", "precision",
                "options", "batch")  # fmt: skip


class ClusterParams(ExplainParams):
    """The heatmaps that are clustered, and how: those of a finished run, or those that are to be computed first.

    Attributes
    ----------
    heatmaps
        A finished run of heatmaps. Network, data and method are then its own.
    grid
        Side of the pooled maps, in cells.
    smooth
        Standard deviation of a blur of the pooled maps, in cells; 0 leaves them as they are.
    text
        Whether burned-in text is searched for, so that clusters that are about text can be named so.
    in_regions
        On at most so many X-rays regions are measured (text, lungs, border); they are drawn by lot, equally many of
        each cluster.
    seed
        Of everything that is drawn.
    """

    heatmaps: str = ""
    grid: int = Field(default=20, ge=8, le=32)
    smooth: float = Field(default=0.0, ge=0, le=4)
    text: bool = True
    in_regions: int = Field(default=240, ge=40)
    workers: int | None = None
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _as_the_heatmaps(cls, values: Any) -> Any:
        """Take network, data and method from the run of heatmaps."""
        run_id = values.get("heatmaps")
        if not run_id or values.get("model"):
            return values
        from cxr.runs import get_run

        run = get_run(run_id)
        if run.kind != HEATMAPS:
            raise wrong_use(RunError(f"run {run.id} is of the kind {run.kind!r}. Accepted: {HEATMAPS!r}, heatmaps"))
        own = {name: value for name, value in run.spec["params"].items() if name in _OF_HEATMAPS}
        return {**own, **values}

    def default_name(self) -> str:
        """Return the run's name."""
        return f"clusters {self.split or self.data_set}"

    def check(self) -> list[str]:
        """Raise a CxrError if there are no finished heatmaps or too few X-rays, or the network cannot be loaded."""
        from cxr.experiments.clusters.maps import check_enough, finished_heatmaps, most_patients

        if self.heatmaps:
            check_enough(most_patients(finished_heatmaps(self.heatmaps).path, self.data))
            return []
        super().check()
        return []
