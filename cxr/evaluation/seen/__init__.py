"""Seen before: which X-rays to measure a network was trained or chosen on, and what is said and left out for that."""

from cxr.evaluation.seen.comparing import NO_LIST, NOTHING_KNOWN, SAME_PATIENT, SeenAmong, seen_among
from cxr.evaluation.seen.records import (
    ALL_SEEN,
    INCLUDED,
    OWN_SPLIT,
    facts,
    marked,
    measured_rows,
    n_patients_seen,
    n_seen,
    n_seen_of,
    new_to,
    whole_because,
)
from cxr.evaluation.seen.sentences import marked_in_words, seen_in_words

__all__ = [
    "ALL_SEEN",
    "INCLUDED",
    "NOTHING_KNOWN",
    "NO_LIST",
    "OWN_SPLIT",
    "SAME_PATIENT",
    "SeenAmong",
    "facts",
    "marked",
    "marked_in_words",
    "measured_rows",
    "n_patients_seen",
    "n_seen",
    "n_seen_of",
    "new_to",
    "seen_among",
    "seen_in_words",
    "whole_because",
]
