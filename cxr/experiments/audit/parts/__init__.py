"""The parts of an audit: each knows which runs it rests on, and what of their results is a finding."""

from __future__ import annotations

from cxr.experiments.audit.context import Part
from cxr.experiments.audit.part_names import PARTS
from cxr.experiments.audit.parts.checks import Checks
from cxr.experiments.audit.parts.clusters import Clusters
from cxr.experiments.audit.parts.data import DataAudit
from cxr.experiments.audit.parts.duplicates import DuplicatesPart
from cxr.experiments.audit.parts.evaluation import EvaluationPart
from cxr.experiments.audit.parts.external import ExternalPart
from cxr.experiments.audit.parts.openings import Openings
from cxr.experiments.audit.parts.probes import Probes
from cxr.experiments.audit.parts.relevance import RelevancePart
from cxr.experiments.audit.parts.seen import SeenPart
from cxr.experiments.audit.parts.slices import SlicesPart
from cxr.experiments.audit.parts.text import StampingPart, TextPart

_ALL: tuple[Part, ...] = (
    EvaluationPart(),
    SeenPart(),
    ExternalPart(),
    SlicesPart(),
    TextPart(),
    StampingPart(),
    DataAudit(),
    DuplicatesPart(),
    Checks(),
    Probes(),
    RelevancePart(),
    Clusters(),
    Openings(),
)
BY_NAME: dict[str, Part] = {part.name: part for part in _ALL}
"""The parts by name, in the order in which they are done."""
assert list(BY_NAME) == list(PARTS)
