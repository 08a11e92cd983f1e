"""A heatmap made up for tests."""

from __future__ import annotations

import numpy as np

from cxr.explain.heatmap import Heatmap


def heatmap(**changes) -> Heatmap:
    """A map with nothing to doubt: relevance 0.9 for and 0.3 against, 0.4 absorbed."""
    relevance = np.zeros((10, 10), np.float32)
    relevance[2, :9], relevance[5, :3] = 0.1, -0.1
    relevance[2, 0] = 0.1001
    facts = {
        "relevance": relevance,
        "target": "covid19",
        "logit": 1.0,
        "composite": "epsilon-plus-flat",
        "bias": "ignore",
        "options": {"epsilon": 1e-6, "stem_bn": "rule"},
        "precision": "float32",
        "positive": 0.9,
        "negative": -0.3,
        "absorbed": 0.4,
        "lost": 0.0,
        "residual": 0.0,
        "layers": ("classifier", "stem"),
        "layer_absorbed": np.array([0.3, 0.1]),
        "layer_lost": np.zeros(2),
    }
    return Heatmap(**(facts | changes))
