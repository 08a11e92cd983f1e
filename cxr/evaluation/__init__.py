"""How good a network is, and how sure of it one may be: predictions, metrics and their intervals."""

from typing import TYPE_CHECKING

from cxr import lazy
from cxr.evaluation.predict import predict, predictions_table

if TYPE_CHECKING:
    from cxr.evaluation.intervals import share_intervals, wilson
    from cxr.evaluation.metrics import summarise
    from cxr.evaluation.source import load_trained

__all__ = ["load_trained", "predict", "predictions_table", "share_intervals", "summarise", "wilson"]

# Which X-rays a recipe learns from is decided without torch and scikit-learn. `predict` is called as its module is.
__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "intervals": ("share_intervals", "wilson"),
        "metrics": ("summarise",),
        "source": ("load_trained",),
    },
)
