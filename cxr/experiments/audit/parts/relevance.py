"""Relevance by region: does the network look outside of the lungs, and does removing the region show it?"""

from __future__ import annotations

from cxr.experiments.audit.context import Context, Need, Part, Progress
from cxr.experiments.audit.findings import Collected, Link
from cxr.experiments.audit.parts.new_results import results_of
from cxr.experiments.audit.requests import Request
from cxr.formatting import times, xrays

RUN, KIND = "relevance", "relevance-regions"
OUTSIDE = ("text", "border", "devices", "elsewhere")


class RelevancePart(Part):
    """The share of relevance in each region over its area, and what removing the region does."""

    name = "relevance"
    needs = frozenset[Need]({"network", "images"})

    def requests(self, context: Context) -> list[Request]:
        """Return the relevance by region of the measured split."""
        subject = context.subject
        assert subject.manifest is not None  # it needs images
        request = Request(
            RUN,
            (KIND,),
            {**context.on_network, "split": subject.manifest_split},
            weights=subject.weights,
            manifest_hash=subject.manifest_hash,
            fits=lambda stored, results: stored.get("split", "test") == subject.manifest_split,
            command=tuple(self.command(context)),
            link=self.link(context),
        )
        return [request]

    def command(self, context: Context) -> list[str]:
        """Return the command that measures relevance by region."""
        return [
            "cxr",
            "relevance",
            context.subject.network,
            "--data",
            context.subject.data,
            *context.subject.split_words,
        ]

    def link(self, context: Context) -> Link:
        """Return the explorer, where heatmaps are seen one by one."""
        return {"page": "explorer", "parameters": context.subject.link}

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return the regions outside of the lungs that the network is shown to use."""
        result, results = Collected(), results_of(context.runs[RUN])
        silent = []
        for entry in results.get("regions") or []:
            if not entry.get("every", entry["group"] == "all") or entry["region"] not in OUTSIDE:
                continue
            n = entry.get("n"), entry.get("n_patients")
            found = entry["shown"] and result.add(
                context.finding(
                    f"relevance:{entry['region']}",
                    "relevance-outside",
                    str(entry["sentence"]),
                    entry["gain"],
                    figure_name=f"relevance in {entry['region']} over its area",
                    n=n,
                    not_shown="Which way it matters: a heatmap shows where a network looks, not what it sees there.",
                    next_step="Mask the region in training, or measure the network on X-rays without it.",
                    command=self.command(context),
                    link=self.link(context),
                )
            )
            if not found:
                silent.append(f"{entry['region']} ({times(entry['gain'])} its area)")
        if silent:
            of = xrays(results["n_images"], results["n_patients"])
            result.looked.append(
                f"Not shown to be relied on more than an equal area elsewhere, on {of}: {', '.join(silent)}."
            )
        if results.get("planted"):
            result.looked.append(f"Planted control: {results['planted']['sentence']}")
        return result
