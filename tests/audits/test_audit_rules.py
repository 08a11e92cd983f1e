"""How much a finding weighs: by the end of its interval that is nearer to no effect, and in which order it stands."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from cxr.errors import CxrError
from cxr.experiments.audit.findings import Finding, counts, fails, ranked, written
from cxr.experiments.audit.part_names import PARTS
from cxr.experiments.audit.rules import RULES, Rule, rule_named
from cxr.formatting import Estimate

DOCS = Path(__file__).resolve().parents[2] / "docs"
AUC = Rule("x", "data", "AUC", "", none=0.5, serious=0.8, warning=0.65, note=0.5)
DROP = Rule("y", "external", "recall", "", none=0.9, worst=0.0, serious=0.7)


def of(low: float | None, high: float | None, value: float = 0.9) -> Estimate:
    return {"value": value, "low": low, "high": high}


def finding(name: str, weight: str, score: float, rule: str = "x", **more: object) -> Finding:
    figure: Estimate = {"value": 0.5, "low": 0.4, "high": 0.6}
    fields = {"name": name, "part": "data", "rule": rule, "weight": weight, "score": score, "figure": figure}
    return cast("Finding", {**fields, "sentence": name, "form": "percent", "figure_name": "share", **more})


@pytest.mark.parametrize(
    ("low", "high", "weight"),
    [
        (0.81, 0.95, "serious"),
        (0.80, 0.95, "warning"),  # the limit itself is not beyond it
        (0.64, 0.99, "note"),
        (0.50, 0.99, None),  # no effect cannot be excluded, however large it looks
        (None, None, "warning"),  # without an interval never serious
    ],
)
def test_the_near_end_of_the_interval_decides(low, high, weight):
    assert AUC.weigh(of(low, high)) == weight


def test_where_less_is_worse_the_upper_end_decides():
    assert DROP.weigh(of(0.1, 0.69, 0.4)) == "serious"
    assert DROP.weigh(of(0.1, 0.71, 0.4)) is None
    assert DROP.score(of(0.1, 0.45, 0.3)) == pytest.approx(0.5)


def test_the_score_is_the_share_of_the_way_to_the_largest_effect():
    assert AUC.score(of(0.75, 0.9)) == pytest.approx(0.5)
    assert AUC.score(of(0.4, 0.9)) == 0
    assert AUC.score({"value": None, "low": None, "high": None}) == 0
    assert rule_named("no-better-than-chance").score(of(0.4, 0.6)) == 1  # the heaviest of all


def test_findings_stand_by_weight_then_size_then_rule():
    given = [
        finding("small", "serious", 0.1),
        finding("note", "note", 1.0),
        finding("second", "serious", 0.9, "b"),
        finding("first", "serious", 0.9, "a"),
        finding("warned", "warning", 0.95),
    ]
    assert [one["name"] for one in ranked(given, ["a", "b", "x"])] == ["first", "second", "small", "warned", "note"]
    assert counts(given) == {"serious": 3, "warning": 1, "note": 1}


@pytest.mark.parametrize(
    ("weights", "serious", "warning"), [([], 0, 0), (["note"], 0, 0), (["warning"], 0, 1), (["note", "serious"], 1, 1)]
)
def test_the_exit_code_follows_the_heaviest(weights, serious, warning):
    given = [finding(weight, weight, 0.5) for weight in weights]
    assert (fails(given, "serious"), fails(given, "warning"), fails(given, "never")) == (serious, warning, False)


def test_figures_are_written_with_their_interval_and_counts_without():
    assert written(finding("x", "note", 0)) == "50.0 % [40.0, 60.0]"
    assert written(finding("x", "note", 0, form="count", figure=of(None, None, 7))) == "7"
    assert written(finding("x", "note", 0, figure={"value": None, "low": None, "high": None})) == ""


def test_every_rule_is_of_a_part_and_can_weigh_something():
    assert {rule.part for rule in RULES} <= set(PARTS)
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.fixed or rule.serious is not None or rule.warning is not None, rule.name
        assert rule.reason.endswith("."), rule.name
    with pytest.raises(CxrError, match=r"unknown rule 'nope'. Available: seen-in-figures"):
        rule_named("nope")


def test_the_documentation_lists_the_rules_as_they_are():
    from docs.trust_rules import table

    assert table() in (DOCS / "trust.md").read_text(encoding="utf-8"), "python docs/trust_rules.py writes it"
