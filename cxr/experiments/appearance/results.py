"""What a check gives: flags, the likeliest first, how many of each kind, and what they do not show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import pandas as pd

from cxr.data.audit import appearance
from cxr.data.audit.appearance.children import Children
from cxr.data.audit.appearance.flags import IN_WORDS, KINDS, FlaggedImage
from cxr.errors import CxrError, RunError, unknown, wrong_use
from cxr.evaluation.metrics import patients_of
from cxr.formatting import Estimate, percent, xrays

if TYPE_CHECKING:
    from cxr.data import Manifest
    from cxr.runs import Run

NOTES = (
    "A flag asks for a look at the picture. It is no proof. No flag is no proof either: the documentation says how "
    "many planted changes are missed.",
    "Scores are the model's probabilities or how far a rule is exceeded. They rank X-rays; they were not calibrated on "
    "your data.",
    "Thresholds were set on X-rays of two public collections and on synthetic ones. X-rays of other devices, of "
    "children, of patients lying down, with large effusions or after an operation may be flagged more often.",
    "Mirrored: the model goes by the anatomy, such as the heart and the aorta, and does not read L or R. Where it "
    "cannot be seen, or truly is the other way round, the flag is wrong.",
)
FALSE_ALARMS = Path(appearance.__file__).with_name("false_alarms.json")
"""What ``benchmarks/appearance.py`` measured on X-rays that the model and its thresholds were not made with."""


class FalseAlarms(TypedDict):
    """The share of X-rays taken as they are, not used for the model, that got a flag of this kind.

    Some of them truly are what the flag says, so that it is an upper bound on false alarms.
    """

    kind: str
    share: Estimate
    n_images: int
    n_patients: int


class LeftOut(TypedDict):
    """An X-ray that could not be read, and why."""

    image_id: str
    reason: str


class CheckResults(TypedDict):
    """The results of a check, as ``results.json`` holds them. ``n_flagged`` X-rays have a flag or several."""

    n_images: int
    n_patients: int
    split: str
    flags: list[FlaggedImage]
    counts: dict[str, int]
    n_flagged: int
    children: Children
    false_alarms: list[FalseAlarms]
    left_out: list[LeftOut]
    finding: str
    notes: list[str]
    provenance: dict[str, str]


def check_results(run: Run) -> CheckResults:
    """Return the results of a finished check.

    Raises
    ------
    RunError
        If the run is no check of a data set, or is not finished.
    """
    results = run.results()
    if results is None or run.kind != "check-data":
        raise RunError(f"run {run.id} has no results of a check of a data set to report")
    return cast("CheckResults", results)


def measured_false_alarms() -> list[FalseAlarms]:
    """Return the false alarms of each kind as the benchmark measured them."""
    return cast("list[FalseAlarms]", json.loads(FALSE_ALARMS.read_text(encoding="utf-8")))


def finding(flags: Sequence[FlaggedImage], images: pd.DataFrame, children: Children) -> str:
    """Return what a check found in a few sentences."""
    n = xrays(len(images), len(set(patients_of(images))))
    pictures = [flag for flag in flags if flag["kind"] != "child"]
    flagged = len({flag["image_id"] for flag in pictures})
    if not pictures:
        first = f"None of {n} is flagged by its picture."
    else:
        kinds = [(kind, sum(flag["kind"] == kind for flag in pictures)) for kind in KINDS]
        each = ", ".join(f"{IN_WORDS[kind].lower()} {count:,}" for kind, count in kinds if count)
        first = f"{flagged:,} of {n} may not be what they seem: {each}."
    return f"{first} {children['sentence']}"


def alarms_in_words(alarms: Sequence[FalseAlarms]) -> str:
    """Return in one sentence how many flags to expect where nothing is wrong."""
    of = next(own for own in alarms if own["kind"] == "any")
    n = xrays(of["n_images"], of["n_patients"])
    return (
        f"Of {n} that the model had not seen, taken as they are, {percent(of['share'])} got a flag by their picture; "
        "those that truly have a fault are among them."
    )


def alarms_table(alarms: Sequence[FalseAlarms]) -> list[dict[str, str]]:
    """Return the measured false alarms as rows that people read."""
    names = {"any": "any, by the picture"} | IN_WORDS
    return [
        {"flag": names[own["kind"]], "flagged": percent(own["share"]), "of": xrays(own["n_images"], own["n_patients"])}
        for own in alarms
    ]


def table_of(flags: Sequence[FlaggedImage], manifest: Manifest) -> pd.DataFrame:
    """Return one row for each flag, with what the manifest says of the X-ray."""
    columns = ["image_id", "image", "label", "findings", "source", "split", "patient_id", "age"]
    table = pd.DataFrame(flags, columns=list(FlaggedImage.__annotations__))
    return table.merge(manifest.table[columns], on="image_id", how="left", validate="many_to_one")


def remaining(results: CheckResults, manifest: Manifest, kinds: Sequence[str] = ()) -> Manifest:
    """Return the X-rays of a manifest without those that have a flag of one of ``kinds``, by default of any.

    Raises
    ------
    CxrError
        For a kind that there is not, or if no X-ray remains.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise wrong_use(CxrError(unknown("kind of flag", kind, KINDS)))
    flagged = {flag["image_id"] for flag in results["flags"] if not kinds or flag["kind"] in kinds}
    rest = [image_id for image_id in manifest.ids if image_id not in flagged]
    if not rest:
        raise CxrError(f"all {len(manifest):,} X-rays are flagged: none would be left")
    return manifest.select(ids=rest)
