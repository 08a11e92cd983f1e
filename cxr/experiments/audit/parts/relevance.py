"""Relevance by region: does the network look outside of the lungs, and does removing the region show it?"""

from __future__ import annotations

from cxr.experiments.audit.context import Context, Progress
from cxr.experiments.audit.findings import NOTHING, Collected, Weight
from cxr.experiments.audit.parts.new_results import negative, results_of
from cxr.experiments.audit.parts.of_one_run import OnSplit
from cxr.formatting import times, xrays
from cxr.json_types import JsonObject

OUTSIDE = ("text", "border", "devices", "elsewhere")


class RelevancePart(OnSplit):
    """The share of relevance in each region over its area, and what removing the region does."""

    name = "relevance"
    kind, verb, page, names_run = "relevance-regions", "relevance", "explorer", "regions"
    default_split = "test"

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return the regions outside of the lungs that the network is shown to use."""
        result, results = Collected(), results_of(context.runs[self.name])
        silent, planted = [], results.get("planted")
        for entry in results.get("regions") or []:
            if not entry.get("every", entry["group"] == "all") or entry["region"] not in OUTSIDE:
                continue
            if not (entry["shown"] and self._found(context, entry, planted, result)):
                silent.append(f"{entry['region']} ({times(entry['gain'])} its area)")
        if silent:
            of = xrays(results["n_images"], results["n_patients"])
            result.looked.append(
                f"Not shown to be relied on more than an equal area elsewhere, on {of}: {', '.join(silent)}."
            )
        if planted:
            result.looked.append(f"Planted control: {planted['sentence']}")
        return result

    def _found(self, context: Context, entry: JsonObject, planted: JsonObject | None, result: Collected) -> bool:
        """Add what is shown of a region: that it holds relevance, else that removing it matters."""
        region, n = str(entry["region"]), (entry.get("n"), entry.get("n_patients"))
        by_gain = context.finding(
            f"relevance:{region}",
            "relevance-outside",
            str(entry["sentence"]),
            entry["gain"],
            figure_name=f"relevance in {region} over its area",
            n=n,
            not_shown="Which way it matters: a heatmap shows where a network looks, not what it sees there.",
            next_step="Mask the region in training, or measure the network on X-rays without it.",
            command=self.command(context),
            link=self.link(context),
            at_most=_at_most(region, planted),
        )
        if by_gain is not None:
            return result.add(by_gain)
        beyond = entry.get("beyond") or NOTHING
        return result.add(
            context.finding(
                f"removal:{region}",
                "removal-outside",
                str(entry["sentence"]),
                negative(beyond),
                figure_name=f"logit lost without {region}, beyond an equal area elsewhere",
                n=n,
                not_shown="That it is a shortcut: places of another kind were the control.",
                next_step="Look at X-rays that change most, and measure the network on X-rays without it.",
                command=self.command(context),
                link=self.link(context),
                at_most=_at_most(region, None),
            )
        )


def _at_most(region: str, planted: JsonObject | None) -> Weight | None:
    """Return what a region weighs at most: the rest of the chest is no shortcut by itself, and any mark draws some."""
    if region == "elsewhere":
        return "note"
    over_mark = (planted or {}).get("text_over_mark") or NOTHING
    unlike_any_mark = over_mark["low"] is not None and over_mark["low"] > 1
    return "warning" if region == "text" and planted and not unlike_any_mark else None
