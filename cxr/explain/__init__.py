"""Heatmaps: which pixels a logit rests on (layer-wise relevance propagation and gradients), and pictures of them.

Four nouns, one module each: a rule (:mod:`cxr.explain.lrp.rules`) shares relevance over the inputs of a layer, a
composite (:mod:`cxr.explain.composites`) says which rule goes to which layer, a propagator
(:mod:`cxr.explain.lrp.propagator`) knows how relevance goes through one architecture, and the explainer
(:mod:`cxr.explain.explainer`) owns the frozen network and asks the propagators.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxr.explain.composites import BIASES, COMPOSITES, DEFAULT_COMPOSITE, Composite
    from cxr.explain.explainer import explain
    from cxr.explain.explanation import Explanation

__all__ = ["BIASES", "COMPOSITES", "DEFAULT_COMPOSITE", "Composite", "Explanation", "explain"]

# Who lists composites must not wait for torch and timm, so names are looked up when used.
_MODULE_OF = {
    "BIASES": "composites",
    "COMPOSITES": "composites",
    "DEFAULT_COMPOSITE": "composites",
    "Composite": "composites",
    "Explanation": "explanation",
    "explain": "explainer",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'cxr.explain' has no attribute {name!r}")
    return getattr(importlib.import_module(f"cxr.explain.{_MODULE_OF[name]}"), name)
