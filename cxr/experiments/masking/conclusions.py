"""What the effect of masking says of the text: that the network answers to it, or why this is not shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from cxr.experiments.masking.effects import SMALLEST_EFFECT

SIGNIFICANT = 0.05
MATCHES = 0.8
"""Controls that change the picture by less than this share of what the tokens change it by are called too weak."""
CLAIMS = ("predictions", "probabilities")
"""Conclusions that claim an effect of the text."""
Conclusion = Literal["predictions", "probabilities", "less", "small", "weak", "nothing"]


def conclusion(effect: Mapping[str, Any], multi_label: bool = False) -> Conclusion:
    """Return what an effect (of :func:`cxr.experiments.masking.effects.effects`, in one mode) says of the text.

    Returns
    -------
    - ``predictions``: more predictions change than under random boxes; ``probabilities``: they move farther. Of several
      findings there are probabilities alone.
    - ``less``: it is the random boxes that change more
    - ``small``: there is a difference, but below :data:`SMALLEST_EFFECT`
    - ``weak``: there is a difference, but the random boxes change the picture much less than the tokens do
    - ``nothing``: none of these
    """
    beyond = {"predictions": effect["beyond_random"], "probabilities": effect["moved_beyond_random"]}
    if multi_label:
        del beyond["predictions"]
    shown = {name: entry for name, entry in beyond.items() if entry["p_holm"] < SIGNIFICANT}
    more = [name for name, entry in shown.items() if entry["value"] >= SMALLEST_EFFECT]
    less = [name for name, entry in shown.items() if entry["value"] <= -SMALLEST_EFFECT]
    if less and (not more or less[0] == "predictions"):
        return "less"
    if more and too_weak(effect):
        return "weak"
    if more:
        return "predictions" if more[0] == "predictions" else "probabilities"
    return "small" if shown else "nothing"


def too_weak(effect: Mapping[str, Any]) -> bool:
    """Return whether random boxes change the picture much less than the tokens do; False where that is not known."""
    change = effect.get("match", {}).get("change")
    return bool(change) and change["random"] < MATCHES * change["tokens"]
