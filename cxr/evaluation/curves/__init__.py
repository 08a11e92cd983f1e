"""Curves of predictions: ROC, precision-recall, calibration, scores by class, thresholds, confusion matrices."""

from cxr.evaluation.curves.confusion import confusion_matrix, patient_weights
from cxr.evaluation.curves.one_class import OneClass, classes_of, one_class
from cxr.evaluation.curves.ranking import Band, Curve, precision_recall, roc
from cxr.evaluation.curves.reliability import Histogram, ReliabilityBin, histogram, reliability
from cxr.evaluation.curves.thresholds import OperatingPoint, operating_point, point_in_words

__all__ = [
    "Band",
    "Curve",
    "Histogram",
    "OneClass",
    "OperatingPoint",
    "ReliabilityBin",
    "classes_of",
    "confusion_matrix",
    "histogram",
    "one_class",
    "operating_point",
    "patient_weights",
    "point_in_words",
    "precision_recall",
    "reliability",
    "roc",
]
