"""Heatmaps: which pixels a logit rests on (layer-wise relevance propagation and gradients), and pictures of them."""

from typing import TYPE_CHECKING

from cxr import lazy

if TYPE_CHECKING:
    from cxr.explain.composites import BIASES, COMPOSITES, DEFAULT_COMPOSITE, Composite
    from cxr.explain.explainer import Explanation, explain

__all__ = ["BIASES", "COMPOSITES", "DEFAULT_COMPOSITE", "Composite", "Explanation", "explain"]

# Pictures of relevance are drawn without torch.
__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "composites": ("BIASES", "COMPOSITES", "DEFAULT_COMPOSITE", "Composite"),
        "explainer": ("Explanation", "explain"),
    },
)
