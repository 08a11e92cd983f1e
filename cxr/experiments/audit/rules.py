"""How much a finding weighs: every limit of the audit, each with its reason.

A figure is held against its limits by the end of its 95 % interval that is nearer to no effect. So what is called
serious is at least as large as the limit says, but for 1 in 40 chances. A figure without an interval is at most a
warning. The limits are conventions, not laws of nature; they stand here so that anybody can argue with them.
"""

from __future__ import annotations

from dataclasses import dataclass

from cxr.errors import CxrError, unknown, wrong_use
from cxr.experiments.audit.findings import Weight
from cxr.formatting import Estimate


@dataclass(frozen=True)
class Rule:
    """When a figure is a finding, and of which weight.

    Attributes
    ----------
    name, part
        Its own name, and the part of the audit whose figures it is for.
    figure
        What is held against the limits, in words.
    none, worst
        The figure without any effect and that of the largest effect; the score counts from the one to the other.
    serious, warning, note
        The near end of the interval lies beyond it; None where the figure never has that weight.
    fixed, fixed_score
        Weight and score of a finding about what is missing, which no limit decides.
    reason
        Why it counts, and why the limits are these.
    """

    name: str
    part: str
    figure: str
    reason: str
    none: float = 0.0
    worst: float = 1.0
    serious: float | None = None
    warning: float | None = None
    note: float | None = None
    fixed: Weight | None = None
    fixed_score: float = 0.0

    def score(self, figure: Estimate) -> float:
        """Return how large an effect is at least, from 0 (none) to 1."""
        end = self.near_end(figure)
        if self.fixed is not None or end is None:
            return self.fixed_score
        return min(1.0, max(0.0, (end - self.none) / (self.worst - self.none)))

    def near_end(self, figure: Estimate) -> float | None:
        """Return the end of the interval that is nearer to no effect, the figure itself without an interval."""
        end = figure["low"] if self.worst > self.none else figure["high"]
        return figure["value"] if end is None else end

    def weigh(self, figure: Estimate) -> Weight | None:
        """Return the weight of a figure, None where it is no finding."""
        if self.fixed is not None:
            return self.fixed
        end = self.near_end(figure)
        if end is None:
            return None
        sign = 1 if self.worst > self.none else -1
        limits: tuple[tuple[Weight, float | None], ...] = (
            ("serious", self.serious),
            ("warning", self.warning),
            ("note", self.note),
        )
        for weight, limit in limits:
            if limit is not None and sign * end > sign * limit:
                certain = figure["low"] is not None and figure["high"] is not None
                return weight if certain or weight != "serious" else "warning"
        return None


RULES: tuple[Rule, ...] = (
    Rule(
        "seen-in-figures",
        "seen",
        "share of the measured X-rays that the network was trained or chosen on",
        "A network remembers what it was trained on: a figure over such X-rays says nothing about new ones. One in "
        "twenty is enough to move a figure by as much as papers compete for.",
        serious=0.05,
        warning=0.0,
    ),
    Rule(
        "copies-in-training",
        "duplicates",
        "share of the test X-rays of which a copy is in the training or validation split",
        "A copy that was cropped, scaled or saved again is as well remembered as the original.",
        serious=0.02,
        warning=0.0,
    ),
    Rule(
        "patients-in-training",
        "duplicates",
        "share of the test X-rays whose patient is in the training or validation split",
        "Devices, anatomy and illness of a patient come back in each of the patient's X-rays.",
        serious=0.05,
        warning=0.0,
    ),
    Rule(
        "no-better-than-chance",
        "evaluation",
        "balanced accuracy, or mean AUC of findings, whose interval reaches down to chance",
        "Nothing else about a network matters before it is shown to know anything.",
        fixed="serious",
        fixed_score=1.0,
    ),
    Rule(
        "external-chance",
        "external",
        "mean recall over the shared classes, or mean AUC of findings, whose interval reaches down to chance",
        "On these X-rays the network is not shown to know anything, whatever it achieves on its own.",
        fixed="serious",
        fixed_score=1.0,
    ),
    Rule(
        "external-drop",
        "external",
        "drop from the own test split to X-rays from elsewhere, over the classes that both have",
        "What is lost elsewhere was never about the illness alone. Ten points are more than most differences between "
        "published networks.",
        serious=0.10,
        warning=0.0,
    ),
    Rule(
        "predicted-without-lungs",
        "probes",
        "balanced accuracy above chance of a probe that tells the class without the lungs",
        "What tells the classes apart outside of the lungs is not the illness of the lungs, and any network can use "
        "it. At 0.2 above chance a shortcut is worth learning.",
        serious=0.20,
        warning=0.0,
    ),
    Rule(
        "class-by-property",
        "data",
        "AUC of a class from one property of the data alone (source, size, borders, text, ...)",
        "A property that tells the class with AUC above 0.8 is easier to learn than an illness.",
        none=0.5,
        serious=0.80,
        warning=0.65,
        note=0.50,
    ),
    Rule(
        "text-moves",
        "text",
        "how much farther masking burned-in text moves predictions than masking random boxes",
        "Letters are no illness. Five in a hundred predictions that hang on them would be visible in any figure.",
        serious=0.05,
        warning=0.0,
    ),
    Rule(
        "mark-turns",
        "stamping",
        "share of X-rays that a stamped mark turns to a class, beyond the same patch without letters",
        "A mark that was put there by us is certainly no illness.",
        serious=0.10,
        warning=0.0,
    ),
    Rule(
        "relevance-outside",
        "relevance",
        "how much more relevance a region outside of the lungs holds than its area, where removing it moves the logit "
        "more than removing an equal area elsewhere",
        "Relevance and removal agree that the network looks there: either alone can mislead. Text that holds no more "
        "than a planted mark, which the network cannot know, is at most a warning; the rest of the chest a note.",
        none=1.0,
        worst=10.0,
        serious=2.0,
        warning=1.0,
    ),
    Rule(
        "removal-outside",
        "relevance",
        "by how much removing a region outside of the lungs lowers the explained class's logit, beyond an equal area "
        "elsewhere, where its relevance is not above its area",
        "Removal alone shows that something there matters, not that it is a shortcut: 0.2 of a logit is about five "
        "points of probability.",
        worst=2.0,
        warning=0.2,
        note=0.0,
    ),
    Rule(
        "cluster-outside",
        "clusters",
        "share of patients in a cluster of heatmaps that uses text, border or devices more than the lungs",
        "A cluster is a way in which the network decides. It is a hint, which removal or stamping has to confirm: "
        "never more than a warning, and a note where it is the rest of the chest.",
        warning=0.02,
        note=0.0,
    ),
    Rule(
        "slice-worse",
        "slices",
        "how much worse the network does in a slice than in the rest, corrected for all slices",
        "A mean hides those for whom it does not hold.",
        serious=0.10,
        warning=0.0,
    ),
    Rule(
        "class-is-source",
        "data",
        "share of a class's X-rays that come from sources which hold no other class",
        "Where a source holds one class alone, a network that tells hospitals apart is right. No figure on such data "
        "can tell the two apart.",
        serious=0.50,
        warning=0.20,
        note=0.0,
    ),
    Rule(
        "labels-conflict",
        "duplicates",
        "pairs of one X-ray under two labels, as a share of all X-rays",
        "One of the two labels is wrong, and where there are some there are others that nobody found.",
        warning=0.0,
    ),
    Rule(
        "patients-in-classes",
        "duplicates",
        "share of the X-rays whose patient has X-rays of more than one class",
        "Illness comes and goes, so this is no fault by itself. Splits by patient then mix classes, and labels of a "
        "patient as a whole may stand on X-rays that do not show the illness.",
        warning=0.10,
        note=0.0,
    ),
    Rule(
        "not-what-they-seem",
        "checks",
        "share of the X-rays that may be inverted, turned, lateral, no chest, of children, empty or cut, above the "
        "false alarms of the check",
        "They are hard for reasons that are not the illness, and seldom spread evenly over the classes.",
        warning=0.05,
        note=0.0,
    ),
    Rule(
        "calibration",
        "evaluation",
        "expected calibration error",
        "A probability that is ten points off cannot be used as one. The ranks of the X-rays may be right.",
        warning=0.10,
        note=0.05,
    ),
    Rule(
        "below-majority",
        "evaluation",
        "how far the accuracy is shown to be above that of always naming the commonest class: not at all",
        "Accuracy alone rewards a network that has learnt which class is common.",
        fixed="warning",
    ),
    Rule(
        "wide-interval",
        "evaluation",
        "width of the 95 % interval of the headline figure",
        "A figure that may be 10 points higher or lower does not rank networks.",
        worst=1.0,
        warning=0.20,
        note=0.10,
    ),
    Rule(
        "few-patients",
        "evaluation",
        "patients of a class (or with, and without, a finding) in the measured split",
        "With fewer than ten patients a class's figures are those of single people, and intervals hold less often.",
        fixed="warning",
    ),
    Rule(
        "absent-class",
        "evaluation",
        "a class of the network without an X-ray in the measured split",
        "No figure says anything about this class.",
        fixed="warning",
    ),
    Rule(
        "seen-left-out",
        "seen",
        "share of the split's X-rays that the network has seen, and that are left out of every figure",
        "The split is not independent of the training: what is left may be of the same patients.",
        warning=0.0,
    ),
    Rule(
        "training-unknown",
        "seen",
        "what the network was trained on is not recorded",
        "X-rays that it remembers may be among those measured, and nobody can tell.",
        fixed="warning",
    ),
    Rule(
        "nothing-external",
        "external",
        "no X-rays from elsewhere were measured",
        "Networks for chest X-rays lose accuracy in other hospitals as a rule. Nobody knows how much this one loses.",
        fixed="warning",
    ),
    Rule(
        "external-class-missing",
        "external",
        "a class of the network that the X-rays from elsewhere do not have",
        "For this class there is no figure from elsewhere.",
        fixed="note",
    ),
    Rule(
        "text-unclear",
        "text",
        "masked text and random boxes differ, but the controls change the pictures less or move predictions more",
        "The experiment as it was done cannot answer.",
        fixed="note",
    ),
    Rule(
        "opened-often",
        "openings",
        "networks and tables that were measured on the split so far",
        "Whoever measures several networks and takes the best one has chosen by the split: its figure is too good.",
        worst=50.0,
        warning=5.0,
        note=1.0,
    ),
    Rule(
        "source-predicted",
        "probes",
        "balanced accuracy above chance of a probe that tells the source within one class",
        "Sources that look different invite shortcuts wherever classes are spread unevenly over them.",
        warning=0.30,
        note=0.0,
    ),
)
"""Every rule, in the order in which equally heavy and equally large findings are ranked."""

_BY_NAME = {rule.name: rule for rule in RULES}


def rule_named(name: str) -> Rule:
    """Return the rule of this name.

    Raises
    ------
    CxrError
        If there is none.
    """
    if name not in _BY_NAME:
        raise wrong_use(CxrError(unknown("rule", name, _BY_NAME)))
    return _BY_NAME[name]
