"""Parts that rest on one run: of a whole data set, or of the network on the measured split."""

from __future__ import annotations

from cxr.experiments.audit.context import Context, Need, Part
from cxr.experiments.audit.findings import Link
from cxr.experiments.audit.requests import Request
from cxr.json_types import JsonObject


class OfDataSet(Part):
    """A part that rests on a run of a whole data set.

    ``verb`` is its command below ``cxr data``, ``look`` the part of the Data page that shows it.
    """

    needs = frozenset[Need]({"images"})
    kind: str
    verb: str
    look: str = "audit"

    def more_params(self, context: Context) -> JsonObject:
        """Return what the run is started with, beside the manifest."""
        return {}

    def requests(self, context: Context) -> list[Request]:
        """Return the run, which must be of the whole data set: what a training could have learnt from."""
        subject = context.subject
        assert subject.manifest is not None  # it needs images
        request = Request(
            self.name,
            (self.kind,),
            {"manifest": str(subject.manifest.path), **self.more_params(context)},
            manifest_hash=subject.manifest_hash,
            fits=lambda stored, results: not stored.get("split"),
            command=tuple(self.command(context)),
            link=self.link(context),
        )
        return [request]

    def command(self, context: Context) -> list[str]:
        """Return the command."""
        return ["cxr", "data", self.verb, context.subject.data]

    def link(self, context: Context) -> Link:
        """Return the page of the data set."""
        return {"page": "data", "parameters": {**context.subject.data_link, "look": self.look}}


class OnSplit(Part):
    """A part that rests on a run with the network on the measured split.

    ``verb`` is its command, ``page`` the page that shows it, ``default_split`` what a run is on that names none.
    """

    needs = frozenset[Need]({"network", "images"})
    kind: str
    verb: str
    page: str
    default_split: str = ""

    def requests(self, context: Context) -> list[Request]:
        """Return the run."""
        subject = context.subject
        assert subject.manifest is not None  # it needs images
        request = Request(
            self.name,
            (self.kind,),
            {**context.on_network, "split": subject.manifest_split},
            weights=subject.weights,
            manifest_hash=subject.manifest_hash,
            fits=lambda stored, results: (stored.get("split", self.default_split) or "") == subject.manifest_split,
            command=tuple(self.command(context)),
            link=self.link(context),
        )
        return [request]

    def command(self, context: Context) -> list[str]:
        """Return the command."""
        subject = context.subject
        return ["cxr", self.verb, subject.network, "--data", subject.data, *subject.split_words]

    def link(self, context: Context) -> Link:
        """Return the page that shows it."""
        return {"page": self.page, "parameters": context.subject.link}
