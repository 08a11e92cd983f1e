"""What the effect of masking says of the text: that the network answers to it, or why this is not shown."""

from __future__ import annotations

from typing import Literal

from cxr.experiments.masking.effects import SMALLEST_EFFECT
from cxr.experiments.masking.shapes import Comparison, Effect

SIGNIFICANT = 0.05
MATCHES = 0.8
"""Controls that change the picture by less than this share of what the tokens change it by are called too weak."""
CLAIMS = ("predictions", "probabilities")
"""Conclusions that claim an effect of the text."""
Conclusion = Literal["predictions", "probabilities", "less", "small", "weak", "nothing"]


def is_significant(test: Comparison) -> bool:
    """Return whether a corrected p is below :data:`SIGNIFICANT`; False where nothing was tested."""
    p = test["p_holm"]
    return p is not None and p < SIGNIFICANT


def conclusion(effect: Effect, multi_label: bool = False) -> Conclusion:
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
    shown = {name: entry for name, entry in beyond.items() if is_significant(entry)}
    values = {name: entry["value"] or 0.0 for name, entry in shown.items()}
    more = [name for name, value in values.items() if value >= SMALLEST_EFFECT]
    less = [name for name, value in values.items() if value <= -SMALLEST_EFFECT]
    if less and (not more or less[0] == "predictions"):
        return "less"
    if more and too_weak(effect):
        return "weak"
    if more:
        return "predictions" if more[0] == "predictions" else "probabilities"
    return "small" if shown else "nothing"


def too_weak(effect: Effect) -> bool:
    """Return whether random boxes change the picture much less than the tokens do; False where that is not known."""
    change = effect.get("match", {}).get("change")
    return change is not None and change["random"] < MATCHES * change["tokens"]
