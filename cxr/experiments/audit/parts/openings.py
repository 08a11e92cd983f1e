"""The locked test split: how often its X-rays were looked at before, and with how many networks."""

from __future__ import annotations

from cxr.data.openings import FOR_TRAINING, ids_of_split, in_words, locked_splits, openings_of
from cxr.experiments.audit.context import Context, Need, Part, Progress
from cxr.experiments.audit.findings import Collected, Link
from cxr.formatting import Estimate


class Openings(Part):
    """How many networks were measured on the split before this one was chosen."""

    name = "openings"
    needs = frozenset[Need]({"images"})

    def command(self, context: Context) -> list[str]:
        """Return the command that lists the looks."""
        return ["cxr", "data", "openings", context.subject.data, *context.subject.split_words]

    def link(self, context: Context) -> Link:
        """Return the page of the data set."""
        return {"page": "data", "parameters": {**context.subject.data_link, "look": "splits"}}

    def collect(self, context: Context, progress: Progress) -> Collected:
        """Return how many networks were measured on the split."""
        result, subject = Collected(), context.subject
        manifest, split = subject.manifest, subject.split
        assert manifest is not None  # it needs images
        if split in FOR_TRAINING:
            result.left_out = f"split {split} is there to train and to choose on"
            return result
        ids = ids_of_split(manifest, split)
        looks = openings_of(manifest, ids, split if split in manifest.splits else "")
        figure: Estimate = {"value": float(looks.networks), "low": None, "high": None}
        locked = " It is locked." if split in locked_splits(manifest) else ""
        found = result.add(
            context.finding(
                "opened-often",
                "opened-often",
                f"{looks.networks} networks or tables were measured on split {split}, in {len(looks.earlier)} runs: "
                f"whatever was chosen by that makes its figure too good.{locked}",
                figure,
                figure_name=f"networks and tables measured on split {split}",
                form="count",
                n=(len(ids), None),
                not_shown="Whether anything was chosen by it; looks on other machines, or with files that were moved.",
                next_step="Keep X-rays that nobody has looked at, and lock them.",
                command=["cxr", "data", "lock", subject.data, *subject.split_words],
                link=self.link(context),
            )
        )
        if not found:
            result.looked.append(f"{in_words(looks)}{locked}")
        return result
