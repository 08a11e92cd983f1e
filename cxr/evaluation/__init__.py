"""How good a network is, and how sure of it one may be: predictions, metrics and their intervals."""

from cxr.evaluation.intervals import share_intervals, wilson
from cxr.evaluation.metrics import summarise
from cxr.evaluation.predict import predict, predictions_table
from cxr.evaluation.source import load_trained

__all__ = ["load_trained", "predict", "predictions_table", "share_intervals", "summarise", "wilson"]
