"""What an audit says: findings with their weight, what was looked at without one, and how each part stands."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NotRequired, TypedDict

from cxr.formatting import Estimate, number, percent, points

Weight = Literal["serious", "warning", "note"]
WEIGHTS: tuple[Weight, ...] = ("serious", "warning", "note")
"""From the heaviest to the lightest."""
FAIL_ON = ("serious", "warning", "never")
Form = Literal["percent", "points", "number", "count"]
State = Literal["done", "missing", "failed", "left-out", "not-asked"]
"""Of a part: it was looked at; it can be done and was not; it failed; it cannot be done here; nobody asked for it."""
NOTHING: Estimate = {"value": None, "low": None, "high": None}


class Link(TypedDict):
    """A page of the dashboard, by its path, and the parameters of its address."""

    page: str
    parameters: dict[str, str]


class Finding(TypedDict):
    """Something that speaks against trusting a network, or that nobody knows.

    Attributes
    ----------
    name, part, rule
        Its own name, and those of the part of the audit and of the rule that it comes from.
    weight, score
        How much it weighs, and how large it is: from 0 (no effect) to 1 (the largest possible), by the end of the
        interval that is nearer to no effect.
    sentence, detail
        What was found, in one sentence, and what more there is to say of it. Older audits have no detail.
    figure, figure_name, form
        The number with its interval over patients, what it is, and how it is written.
    n_images, n_patients
        How many X-rays and patients it is of; None where it is of none.
    not_shown
        What it does not show.
    next_step, command
        What to try next, and the command for that; empty where there is none.
    link
        The page that shows more.
    images
        Ids of X-rays of the audited data that stand behind it, those that show it best first.
    """

    name: str
    part: str
    rule: str
    weight: Weight
    score: float
    sentence: str
    detail: NotRequired[str]
    figure: Estimate
    figure_name: str
    form: Form
    n_images: int | None
    n_patients: int | None
    not_shown: str
    next_step: str
    command: list[str]
    link: Link
    images: list[str]


class PartStatus(TypedDict):
    """How a part of an audit stands.

    Attributes
    ----------
    state, reason
        And why, where it was not looked at.
    looked
        Where nothing was found: what was looked at, on how many X-rays, and which effect cannot be excluded.
    runs, started
        The runs that it rests on, and those of them that the audit started.
    command
        What does this part alone.
    link
        The page that shows it.
    seconds
        How long it took.
    """

    name: str
    title: str
    state: State
    reason: str
    looked: list[str]
    runs: list[str]
    started: list[str]
    command: list[str]
    link: Link
    seconds: float


@dataclass
class Collected:
    """What a part found, and sentences about what it looked at and did not find.

    ``left_out`` says why it cannot be done here after all; "" where it could.
    """

    findings: list[Finding] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)
    left_out: str = ""

    def add(self, finding: Finding | None) -> bool:
        """Keep a finding and return True; None, which is no finding, is passed over."""
        if finding is not None:
            self.findings.append(finding)
        return finding is not None


def ranked(findings: Iterable[Finding], rules: Sequence[str]) -> list[Finding]:
    """Return findings by weight, then by score, then in the order of their rules (names) and by name."""
    place = {name: index for index, name in enumerate(rules)}
    return sorted(
        findings,
        key=lambda f: (WEIGHTS.index(f["weight"]), -f["score"], place.get(f["rule"], len(place)), f["name"]),
    )


def counts(findings: Iterable[Finding]) -> dict[Weight, int]:
    """Return how many findings there are of each weight."""
    weights = [finding["weight"] for finding in findings]
    return {weight: weights.count(weight) for weight in WEIGHTS}


def fails(findings: Iterable[Finding], fail_on: str) -> bool:
    """Return whether a finding weighs as much as ``fail_on`` (serious, warning or never) says, or more."""
    if fail_on == "never":
        return False
    least = WEIGHTS.index("serious" if fail_on == "serious" else "warning")
    return any(WEIGHTS.index(finding["weight"]) <= least for finding in findings)


def written(finding: Finding) -> str:
    """Return the figure of a finding with its interval, as people read it; "" where it has none."""
    figure, form = finding["figure"], finding["form"]
    if figure["value"] is None:
        return ""
    if form == "count":
        return f"{figure['value']:g}"
    return {"percent": percent, "points": points, "number": number}[form](figure)
