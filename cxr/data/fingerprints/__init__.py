"""Fingerprints: 176 bytes by which a copy of an X-ray is known again when the X-ray itself is not at hand.

Unlike descriptors within one data set (:mod:`cxr.data.audit.duplicates`) they are the same everywhere, so that the list
in a weights file can be compared with pictures that come years later.
"""

from cxr.data.fingerprints.making import FORM, LEAST_SIDE, WIDTH, fingerprints_of
from cxr.data.fingerprints.matching import THRESHOLD, Match, nearest_fingerprints

__all__ = ["FORM", "LEAST_SIDE", "THRESHOLD", "WIDTH", "Match", "fingerprints_of", "nearest_fingerprints"]
