"""Parts that rest on one run: of a whole data set, or of the network on the measured split."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial

from cxr.experiments.audit.context import Context, Need, Part
from cxr.experiments.audit.findings import Link
from cxr.experiments.audit.requests import Fits, Request
from cxr.json_types import JsonObject


class OfOneRun(Part):
    """A part that rests on one run of a ``kind``; ``verb`` is its command."""

    kind: str
    verb: str

    def request(self, context: Context, params: JsonObject, fits: Fits, weights: str = "") -> Request:
        """Return the run, with what it is started and what a run that exists must fit."""
        return Request(
            self.name,
            (self.kind,),
            params,
            weights=weights,
            manifest_hash=context.subject.manifest_hash,
            fits=fits,
            command=tuple(self.command(context)),
            link=self.link(context),
        )

    @abstractmethod
    def command(self, context: Context) -> list[str]:
        """Return the command that does the same."""

    @abstractmethod
    def link(self, context: Context) -> Link:
        """Return the page that shows it."""


class OfDataSet(OfOneRun):
    """A part that rests on a run of a whole data set.

    ``verb`` is its command below ``cxr data``, ``look`` the part of the Data page that shows it.
    """

    needs = frozenset[Need]({"images"})
    look: str = "audit"

    def more_params(self, context: Context) -> JsonObject:
        """Return what the run is started with, beside the manifest."""
        return {}

    def requests(self, context: Context) -> list[Request]:
        """Return the run, which must be of the whole data set: what a training could have learnt from."""
        subject = context.subject
        assert subject.manifest is not None  # it needs images
        params = {"manifest": str(subject.manifest.path), **self.more_params(context)}
        return [self.request(context, params, lambda stored, results: not stored.get("split"))]

    def command(self, context: Context) -> list[str]:
        """Return the command."""
        return ["cxr", "data", self.verb, context.subject.data]

    def link(self, context: Context) -> Link:
        """Return the page of the data set."""
        return {"page": "data", "parameters": {**context.subject.data_link, "look": self.look}}


class OnSplit(OfOneRun):
    """A part that rests on a run with the network on the measured split.

    ``verb`` is its command, ``page`` the page that shows it, ``names_run`` the parameter by which that page's address
    names a run, ``default_split`` what a run is on that names none.
    """

    needs = frozenset[Need]({"network", "images"})
    page: str
    names_run: str
    default_split: str = ""

    def requests(self, context: Context) -> list[Request]:
        """Return the run."""
        split = context.subject.manifest_split
        params = {**context.on_network, "split": split}
        fits = partial(_is_on, split, self.default_split)
        return [self.request(context, params, fits, context.subject.weights)]

    def command(self, context: Context) -> list[str]:
        """Return the command."""
        subject = context.subject
        return ["cxr", self.verb, subject.network, "--data", subject.data, *subject.split_words]

    def link(self, context: Context) -> Link:
        """Return the page that shows it, with the run where there is one."""
        run = context.runs.get(self.name)
        of_run = {self.names_run: run.id} if run is not None else {}
        return {"page": self.page, "parameters": {**context.subject.link, **of_run}}


def _is_on(split: str, default: str, stored: JsonObject, results: JsonObject | None) -> bool:
    """Tell whether a run with these parameters is on the split; ``default`` is what one is on that names none."""
    return (stored.get("split", default) or "") == split
