"""Heatmaps: which pixels a logit rests on (layer-wise relevance propagation and gradients), and pictures of them.

Four nouns, one module each: a rule (:mod:`cxr.explain.lrp.rules`) shares relevance over the inputs of a layer, a
composite (:mod:`cxr.explain.composites`) says which rule goes to which layer, a propagator
(:mod:`cxr.explain.lrp.propagator`) knows how relevance goes through one architecture, and the explainer
(:mod:`cxr.explain.explainer`) owns the frozen network and asks the propagators.
"""

from typing import TYPE_CHECKING

from cxr import lazy

if TYPE_CHECKING:
    from cxr.explain.composites import BIASES, COMPOSITES, DEFAULT_COMPOSITE, Composite
    from cxr.explain.explainer import explain
    from cxr.explain.explanation import Explanation

__all__ = ["BIASES", "COMPOSITES", "DEFAULT_COMPOSITE", "Composite", "Explanation", "explain"]

# Composites are listed, and pictures of relevance drawn, without torch.
__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "composites": ("BIASES", "COMPOSITES", "DEFAULT_COMPOSITE", "Composite"),
        "explainer": ("explain",),
        "explanation": ("Explanation",),
    },
)
