"""Heatmaps: which pixels a logit rests on (layer-wise relevance propagation and gradients), and pictures of them."""

from cxr.explain.composites import BIASES, COMPOSITES, DEFAULT_COMPOSITE, Composite
from cxr.explain.explainer import Explanation, explain

__all__ = ["BIASES", "COMPOSITES", "DEFAULT_COMPOSITE", "Composite", "Explanation", "explain"]
