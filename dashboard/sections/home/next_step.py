"""The one thing that a researcher would do now, by what there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cxr.data.library import DataSet
from cxr.runs import Run

from widgets import pages


@dataclass(frozen=True)
class Step:
    """A page to go to, with the words of its link, why, and what the page is to show."""

    page: str
    label: str
    why: str
    query: dict[str, str] = field(default_factory=dict)
    icon: str | None = None


def best_step(sets: Sequence[DataSet], runs: Sequence[Run]) -> Step:
    """Return what to do now; ``runs`` are all runs, the newest first."""
    trainings = [run for run in runs if run.kind == "train"]
    active = next((run for run in trainings if run.active), None)
    finished = next((run for run in trainings if run.status().state == "finished"), None)
    if not sets:
        return Step(pages.DATA, "Get a data set", "Make the synthetic X-rays or import your own.")
    if active is not None:
        why = f"{active.name} is not over yet: see its curves, stop it or resume it."
        return Step(pages.LIVE, "Watch the training", why, {"run": active.id})
    if finished is None:
        return Step(pages.TRAIN, "Train a network", "Choose a recipe and a data set, or train the small network here.")
    audits = (run for run in runs if run.kind == "audit-network" and run.created > finished.created)
    if not any(audit.spec["params"].get("model") == finished.id for audit in audits):
        why = f"What do the results of {finished.name} rest on: the chest, or the text and the source of an X-ray?"
        return Step(pages.TRUST, "Check whether it can be trusted", why, {"model": finished.id})
    why = f"{finished.name}: confusion matrix, intervals, and the X-rays behind each cell."
    return Step(pages.RESULTS, "Read the results", why, {"run": finished.id})


_IMPORT = "A folder per class, a table, DICOM or a public data set."
_HEATMAPS = "Which pixels speak for a class? Works with the shipped network."
_TEXT = "Does the prediction depend on burned-in text?"
OTHER_STEPS = (
    Step(pages.DATA, "Import X-rays", _IMPORT, {"tab": "Import"}, ":material/photo_library:"),
    Step(pages.EXPLORER, "Look at heatmaps", _HEATMAPS, icon=":material/radiology:"),
    Step(pages.TEXT, "Mask the text", _TEXT, icon=":material/text_fields:"),
)
