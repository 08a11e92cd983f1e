"""Protocol probes: what a small classifier tells of the class, or of the source, from a part of the X-ray."""

from __future__ import annotations

from cxr.experiments.audit.context import Context, Need, Part, Progress
from cxr.experiments.audit.findings import Collected, Link
from cxr.experiments.audit.parts.new_results import less, results_of, size_of
from cxr.experiments.audit.requests import Request

RUN, KIND = "probes", "probe-data"
WITHOUT_LUNGS = ("no-lungs", "border", "text")
_WITHIN = "source within "


class Probes(Part):
    """The class without the lungs, and the source within a class."""

    name = "probes"
    needs = frozenset[Need]({"images"})

    def requests(self, context: Context) -> list[Request]:
        """Return the probes of the whole data set."""
        subject = context.subject
        assert subject.manifest is not None  # it needs images
        request = Request(
            RUN,
            (KIND,),
            {"manifest": str(subject.manifest.path)},
            manifest_hash=subject.manifest_hash,
            fits=lambda stored, results: not stored.get("split"),
            command=tuple(self.command(context)),
            link=self.link(context),
        )
        return [request]

    def command(self, context: Context) -> list[str]:
        """Return the command of the probes."""
        return ["cxr", "data", "probe", context.subject.data]

    def link(self, context: Context) -> Link:
        """Return the page of the data set."""
        return {"page": "data", "parameters": context.subject.data_link}

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return the strongest probe of the class without lungs, and of the source within each class."""
        result, results = Collected(), results_of(context.runs[RUN])
        n, silent = size_of(results), []
        for entry in results.get("probes") or []:
            target, view = str(entry["target"]), str(entry["view"])
            of_class = target.startswith("class") and view in WITHOUT_LUNGS
            within = target.startswith(_WITHIN) and view == "full"
            if not (of_class or within):
                continue
            above = less(entry["score"], entry["chance"])
            if not entry["shown"]:
                silent.append((target, view, above["high"]))
                continue
            result.add(
                context.finding(
                    f"probe:{target}:{view}",
                    "predicted-without-lungs" if of_class else "source-predicted",
                    str(entry["sentence"]),
                    above,
                    figure_name=f"balanced accuracy above chance: {target} from {view}",
                    form="points",
                    n=n,
                    not_shown="That the network uses it: relevance by region and masking say that.",
                    next_step="See what else differs between the classes, and measure the network without it.",
                    command=self.command(context),
                    link=self.link(context),
                )
            )
        if silent:
            highs = [high for _, _, high in silent if high is not None]
            reach = f" {100 * max(highs):.0f} points above chance cannot be excluded." if highs else ""
            named = ", ".join(f"{target} from {view}" for target, view, _ in silent)
            result.looked.append(f"Not shown to be predictable: {named}.{reach}")
        return result
