"""The locked test split: how often its figures were looked at before."""

from __future__ import annotations

from cxr.experiments.audit.context import Context, Need, Part, Progress
from cxr.experiments.audit.findings import Collected, Link


class Openings(Part):
    """How often the measured split was opened."""

    name = "openings"
    needs = frozenset[Need]({"images"})

    def command(self, context: Context) -> list[str]:
        """Return the command that shows the data set."""
        return ["cxr", "data", "show", context.subject.data]

    def link(self, context: Context) -> Link:
        """Return the page of the data set."""
        return {"page": "data", "parameters": {"data": context.subject.data}}

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return how often the split was opened; nothing is recorded of that yet."""
        return Collected(left_out="openings of test splits are not recorded in this version")
