"""Slices of an evaluation: how good a network is on parts of the X-rays, such as a source, a view or an age band."""

from cxr.evaluation.slices.compare import slice_predictions, slices_of
from cxr.evaluation.slices.results import Slice, SliceResults

__all__ = ["Slice", "SliceResults", "slice_predictions", "slices_of"]
