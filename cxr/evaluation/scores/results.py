"""The shapes of the further scores in ``results.json``."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from cxr.formatting import Estimate

FURTHER = {
    "balanced_accuracy": "balanced accuracy",
    "macro_recall": "macro recall",
    "macro_precision": "macro precision",
    "macro_f1": "macro F1",
    "macro_specificity": "macro specificity",
    "mean_average_precision": "mean average precision",
    "mean_sensitivity_at_90": "mean sensitivity at 90 % specificity",
    "mean_sensitivity_at_95": "mean sensitivity at 95 % specificity",
    "brier": "Brier score",
    "log_loss": "log loss",
    "ece": "calibration error (ECE)",
}
"""What people read for the scores of :attr:`FurtherScores.overall`, in the order in which they are shown."""


class Calibration(TypedDict):
    """Expected calibration error, Brier score and log loss with probabilities of logits divided by a temperature.

    ``why`` says why there are none: no temperature could be fitted (there is no ``temperature`` then), or it was fitted
    on these X-rays.
    """

    temperature: NotRequired[float]
    fitted_on: NotRequired[str]
    n_fitted: NotRequired[int]
    ece: NotRequired[Estimate]
    brier: NotRequired[Estimate]
    log_loss: NotRequired[Estimate]
    why: NotRequired[str]


class FurtherScores(TypedDict):
    """Scores of predictions beside those of a summary, each as ``{value, low, high}``.

    Attributes
    ----------
    overall
        ``balanced_accuracy``, ``macro_recall``, ``macro_precision``, ``macro_f1``, ``macro_specificity``,
        ``mean_average_precision``, ``mean_sensitivity_at_90`` and ``mean_sensitivity_at_95`` (at that specificity), all
        means over classes; ``brier``, ``log_loss``, ``ece``.
    per_class
        By class ``specificity``, ``average_precision``, ``sensitivity_at_90``, ``sensitivity_at_95``.
    scaled
        The scores of probabilities after temperature scaling.
    undefined
        By class, why it is in no mean, or in none but that of the specificity.
    errors
        How many X-rays of how many patients are wrong, in words.
    """

    overall: dict[str, Estimate]
    per_class: dict[str, dict[str, Estimate]]
    scaled: Calibration
    undefined: dict[str, str]
    errors: str
