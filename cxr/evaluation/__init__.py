"""How good a network is, and how sure of it one may be: predictions, metrics and their intervals."""

from typing import TYPE_CHECKING, Any

from cxr import lazy
from cxr.earlier_names import replaced
from cxr.evaluation.predict import predict, predictions_table

if TYPE_CHECKING:
    from cxr.evaluation.intervals import share_intervals, wilson
    from cxr.evaluation.metrics import summarise
    from cxr.evaluation.tables.call import evaluate_predictions
    from cxr.networks import load_network as load_trained

__all__ = [
    "evaluate_predictions",
    "load_trained",
    "predict",
    "predictions_table",
    "share_intervals",
    "summarise",
    "wilson",
]

# Which X-rays a recipe learns from is decided without torch and scikit-learn. `predict` is called as its module is.
_public, __dir__ = lazy.attach(
    __name__,
    {
        "intervals": ("share_intervals", "wilson"),
        "metrics": ("summarise",),
        "tables.call": ("evaluate_predictions",),
    },
)


def __getattr__(name: str) -> Any:
    if name == "bootstrap":
        return replaced("cxr.evaluation.bootstrap", "summarise, or share_intervals: intervals over patients, not drawn")
    if name == "load_trained":  # what ``cxr.networks.load_network`` was called
        from cxr.networks import load_network

        return load_network
    return _public(name)
