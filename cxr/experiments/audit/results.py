"""The results of an audit, as ``results.json`` holds them, and its conclusion in a sentence or two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict, cast

from cxr.errors import RunError
from cxr.experiments.audit.findings import WEIGHTS, Finding, PartStatus, Weight, counts, ranked, written
from cxr.experiments.audit.part_names import PARTS
from cxr.experiments.audit.rules import RULES, rule_named
from cxr.experiments.audit.subject import Subject
from cxr.formatting import counted, within_sentence

if TYPE_CHECKING:
    from cxr.runs import Run, RunFolder

KIND = "audit-network"
NOTES = (
    "Findings are ranked by weight, then by how large the effect is at least: the end of its 95 % interval that is "
    "nearer to no effect, as a share of the largest possible effect.",
    "A finding is serious where that end lies beyond the rule's limit, so an effect that was measured on few patients "
    "weighs less. The limits are conventions; `docs/trust.md` lists each with its reason.",
    "Intervals are over patients and of each finding alone: of twenty, one misses by chance. Within a part, p values "
    "are corrected for all that it looked at.",
    "That nothing was found shows no safety: what a part could not see stands beside it, and other hospitals, other "
    "trainings and wrong labels are in no interval.",
)


class KeptPart(TypedDict):
    """What the file of an ended part holds."""

    status: PartStatus
    findings: list[Finding]


class SubjectRecord(TypedDict):
    """What was audited; ``network`` or ``table`` is ""."""

    title: str
    network: str
    table: str
    data: str
    manifest: str
    split: str
    task: str
    classes: list[str]
    external: list[str]


class NetworkAuditResults(TypedDict):
    """The results of an audit of a network, or of a table of predictions.

    Attributes
    ----------
    finding
        The conclusion.
    findings
        The heaviest first.
    counts
        How many there are of each weight.
    parts
        How each part stands, in the order in which they are done.
    n_images, n_patients
        Of the measured split; 0 where it was not measured.
    """

    finding: str
    findings: list[Finding]
    counts: dict[Weight, int]
    parts: list[PartStatus]
    subject: SubjectRecord
    n_images: int
    n_patients: int
    quick: bool
    notes: list[str]
    provenance: dict[str, str]


def network_audit_results(run: Run) -> NetworkAuditResults:
    """Return the results of a finished audit.

    Raises
    ------
    RunError
        If the run is no audit of a network, or is not finished.
    """
    results = run.results()
    if results is None or run.kind != KIND:
        raise RunError(f"run {run.id} has no results of an audit of a network to report")
    return cast("NetworkAuditResults", results)


def record_of(subject: Subject) -> SubjectRecord:
    """Return what results hold of the subject."""
    path = subject.manifest.path if subject.manifest is not None else None
    return {
        "title": subject.title,
        "network": subject.network,
        "table": subject.table.id if subject.table is not None else "",
        "data": subject.data,
        "manifest": str(path or ""),
        "split": subject.split,
        "task": subject.task,
        "classes": list(subject.classes),
        "external": [of.title for of in subject.external],
    }


def conclusion(findings: Sequence[Finding], parts: Sequence[PartStatus]) -> str:
    """Return the conclusion of ranked findings: how many there are, the heaviest, and which parts are missing."""
    looked = [part for part in parts if part["state"] == "done"]
    number = counts(findings)
    named = [_counted(number[weight], weight) for weight in WEIGHTS[:2] if number[weight]]
    if not looked:
        first = "No part of the audit was done, so nothing is known."
    elif named:
        first = f"{' and '.join(named)} against trusting it. The heaviest: {in_short(findings[0])}"
    else:
        first = (
            f"{len(looked)} {'part' if len(looked) == 1 else 'parts'} found nothing serious and nothing to warn of. "
            "That is no proof that it can be trusted: each part says what it could not see."
        )
    open_parts = [within_sentence(part["title"]) for part in parts if part["state"] in ("missing", "failed")]
    more = f" Not done: {', '.join(open_parts)}." if open_parts else ""
    return f"{first}{more}"


def in_short(finding: Finding) -> str:
    """Return a finding by its figure, or by its sentence where it has none."""
    figure = written(finding)
    by_sentence = not figure or rule_named(finding["rule"]).fixed is not None
    return finding["sentence"] if by_sentence else f"{finding['figure_name']}, {figure}."


def so_far(folder: RunFolder) -> tuple[list[Finding], list[PartStatus]]:
    """Return the findings and parts of an audit that is not over: what its ended parts have written."""
    kept = [cast("KeptPart | None", folder.read_json(part_file(name))) for name in PARTS]
    ended = [part for part in kept if part is not None]
    findings = [finding for part in ended for finding in part["findings"]]
    return ranked(findings, [rule.name for rule in RULES]), [part["status"] for part in ended]


def part_file(name: str) -> str:
    """Return the file in a run's folder that holds a part that has ended."""
    return f"part_{name}.json"


def _counted(n: int, weight: Weight) -> str:
    noun = {"serious": "serious finding", "warning": "warning", "note": "note"}[weight]
    return counted(n, noun)
