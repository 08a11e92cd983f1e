"""The parameters of the runs that explain many X-rays."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from cxr.evaluation.settings import OnNetwork

DEFAULT_PREVIEWS = 24


class ExplainParams(OnNetwork):
    """What a run of explanations is asked for.

    Attributes
    ----------
    ids
        The images; without them those of ``split``, or of the whole manifest.
    n
        The first n of them.
    targets
        A class, or ``predicted``, ``label`` or ``all`` (see :class:`cxr.explain.targets.Targets`).
    composite, bias, precision, options
        How it is explained (see :func:`cxr.explain.explain`); "" is the default composite.
    batch
        Images at once; 0 takes the default.
    previews
        How many pictures with their legend are drawn.
    """

    ids: tuple[str, ...] | None = None
    split: str | None = None
    n: int | None = Field(default=None, ge=1)
    composite: str = ""
    targets: str = ""
    bias: str | None = None
    precision: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    batch: int = Field(default=0, ge=0)
    previews: int = Field(default=DEFAULT_PREVIEWS, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _without_empty_values(cls, values: Any) -> Any:
        return {name: value for name, value in dict(values).items() if value is not None}

    def default_name(self) -> str:
        """Return the run's name."""
        return f"explain {self.split or self.data_set}"

    def check(self) -> list[str]:
        """Raise a CxrError if the network cannot be loaded, or the way of explaining or the target is unknown."""
        from cxr.evaluation.source import load_trained
        from cxr.explain.job import way_of
        from cxr.explain.targets import Targets

        way_of(self)
        Targets.of(self.targets, load_trained(self.network)[0])
        return []
