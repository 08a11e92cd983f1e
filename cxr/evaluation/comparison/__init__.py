"""Comparing finished runs on the X-rays that they share: is one network better than another, or can nobody tell?"""

from cxr.evaluation.comparison.compare import compare, compare_predictions
from cxr.evaluation.comparison.pairing import Predictions, predictions_of
from cxr.evaluation.comparison.results import ComparisonResults

__all__ = ["ComparisonResults", "Predictions", "compare", "compare_predictions", "predictions_of"]
