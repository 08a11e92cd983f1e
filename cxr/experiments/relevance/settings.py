"""What a relevance budget is asked for, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cxr.evaluation.settings import OnNetwork
from cxr.json_types import JsonObject

if TYPE_CHECKING:
    from cxr.explain.heatmap import Method

DEFAULT_LIMIT = 300
DEFAULT_DRAWS = 3
DEFAULT_BORDER = 0.08


class RelevanceParams(OnNetwork):
    """What a run is asked for.

    Attributes
    ----------
    split
        The X-rays to look at; "" takes every image.
    limit
        How many of them, drawn by the seed; 0 takes all.
    composite, bias, options
        How it is explained (see :func:`cxr.explain.explain`); "" is the default composite.
    targets
        A class, or ``predicted``, ``label`` or ``all`` (see :class:`cxr.explain.settings.Targets`).
    text
        Whether burned-in text is searched for, and is a region of its own.
    lungs
        Where the lungs come from, the same way for all X-rays: ``auto`` takes the manifest's masks where each X-ray has
        one, else segments them; ``segmentation``; or ``box``, a rectangle where lungs usually are.
    border
        Width of the border as a share of the shorter side.
    draws
        How many control places are drawn for each region.
    planted
        Whether a mark that the network cannot know is stamped at the border of some X-rays, for comparison.
    workers
        Processes that search for text.
    seed
        Of all draws.
    """

    split: str = "test"
    limit: int = Field(default=DEFAULT_LIMIT, ge=0)
    composite: str = ""
    bias: str | None = None
    options: JsonObject = Field(default_factory=dict)
    targets: str = ""
    text: bool = True
    lungs: Literal["auto", "segmentation", "box"] = "auto"
    border: float = Field(default=DEFAULT_BORDER, ge=0.01, le=0.25)
    draws: int = Field(default=DEFAULT_DRAWS, ge=1, le=20)
    planted: bool = True
    workers: int | None = None
    seed: int = Field(default=0, ge=0)

    def default_name(self) -> str:
        """Return the run's name."""
        return f"relevance {self.data_set} {self.split}".strip()

    def method(self) -> Method:
        """Return the composite with its settings; raises ExplainError for unknown ones."""
        from cxr.explain.composites import DEFAULT_COMPOSITE
        from cxr.explain.heatmap import Method

        return Method.of(self.composite or DEFAULT_COMPOSITE, self.bias, None, self.options)

    def check(self) -> list[str]:
        """Raise a CxrError if network, split, composite or class cannot be used, the composite on this network too."""
        from cxr.explain.explainer import Explainer
        from cxr.explain.settings import Targets
        from cxr.networks import load_network
        from cxr.text.search import in_split

        method = self.method()
        in_split(self.data, self.split)
        model = load_network(self.network)[0]
        Targets.of(self.targets, model)
        Explainer.of(model.network, method.composite, method.bias, method.options)
        self.refuse_locked()
        return []
