"""Ways of explaining a logit, by the name that pages, the command line and run folders use.

A composite of layer-wise relevance propagation says which rule goes to which layer; definitions of the rules stand in
:mod:`cxr.explain.lrp.rules`. The other ways are there for comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cxr.errors import ExplainError, unknown
from cxr.explain.gradients import OPTIONS as COMPARED
from cxr.explain.lrp.rules import AlphaBeta, Epsilon, Gamma, Rule, Stock

BIASES = ("ignore", "keep")
"""What a bias does in the alpha-beta rules: it is left out, or it stays in the denominators and absorbs its share."""

STEM_NORMS = ("rule", "pass")
"""Batch norms that read the pooled stem directly: the composite's rule on them, or relevance passes unchanged."""

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Composite:
    """One way of explaining a logit.

    Attributes
    ----------
    title, description
        For people.
    kind
        "lrp", or "comparison" for methods that know no layers.
    adds_up
        What the values of a map add up to, in words.
    options
        Option names with their defaults.
    rules
        Kind of layer to rule, in words; ``{epsilon}`` and other options are filled in.
    bias
        Default bias mode where the composite has the choice, "keep" where its rules always keep biases, "" elsewhere.
    first
        "flat", "box" or "epsilon": the rule of the very first convolution.
    convolution
        Makes the rule of the other convolutions from (keep biases, options).
    """

    title: str
    description: str
    kind: str = "lrp"
    adds_up: str = "logit minus what biases absorbed and zero denominators lost"
    options: Options = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    bias: str = ""
    chooses_bias: bool = False
    first: str = "flat"
    convolution: Callable[[bool, Options], Rule] | None = None

    def bias_mode(self, asked: str | None) -> str:
        """Return the bias mode in force. Where there is no choice, either word is accepted and changes nothing."""
        if asked not in (None, *BIASES):
            raise ExplainError(unknown("bias", asked, BIASES))
        return asked if asked and self.chooses_bias else self.bias

    def settings(self, name: str, given: Options) -> dict[str, Any]:
        """Return all options of this composite, ``given`` ones checked."""
        for option, value in given.items():
            if option not in self.options:
                raise ExplainError(unknown(f"option of composite {name!r}:", option, self.options or ["none"]))
            if self.kind == "lrp":
                _check(option, value)
        return {**self.options, **given}

    def layers(self, bias: str, options: Options) -> dict[str, str]:
        """Return kind of layer -> rule, in words, for a legend."""
        words = {"bias": "biases ignored" if bias == "ignore" else "biases kept", **options}
        passed = options.get("stem_bn") == "pass"
        words["stem_bn_words"] = "relevance passes unchanged" if passed else "as the convolutions"
        return {layer: rule.format(**words) for layer, rule in self.rules.items()}


def _check(option: str, value: Any) -> None:
    if option == "stem_bn" and value not in STEM_NORMS:
        raise ExplainError(unknown("stem_bn", value, STEM_NORMS))
    if option in ("epsilon", "gamma"):
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not 0 <= number < math.inf:
            raise ExplainError(f"{option} {value!r} is out of range. Accepted: numbers from 0")


def _lrp_layers(convolutions: str, first: str) -> dict[str, str]:
    return {
        "Classifier": "epsilon rule, epsilon {epsilon:g}, bias kept",
        "Average pooling": "in proportion; a transition's is one with its convolution",
        "Convolutions, each folded with the batch norm that reads it": convolutions,
        "Batch norms of the pooled stem": "{stem_bn_words}",
        "ReLU, max pooling": "unchanged; the winner takes all",
        "First convolution": first,
    }


_EPSILON = {"epsilon": 1e-6}
_FLAT = "flat: evenly over its inputs inside the image"

COMPOSITES: dict[str, Composite] = {
    "epsilon-plus-flat": Composite(
        "LRP: epsilon, z+, flat",
        "Follows only what speaks for the class: convolutions share relevance over positive contributions (z+), the "
        "classifier by the epsilon rule, the first convolution evenly (flat).",
        options={**_EPSILON, "stem_bn": "rule"},
        rules=_lrp_layers("z+, {bias}", _FLAT),
        bias="ignore",
        chooses_bias=True,
        convolution=lambda keep, options: AlphaBeta(1.0, 0.0, keep),
    ),
    "epsilon-alpha2-beta1-flat": Composite(
        "LRP: epsilon, alpha 2 beta 1, flat",
        "Convolutions follow what speaks for the class twice and what speaks against it once with the opposite sign: "
        "sharper maps with more negative parts.",
        options={**_EPSILON, "stem_bn": "pass"},
        rules=_lrp_layers("alpha 2, beta 1, {bias}", _FLAT),
        bias="ignore",
        chooses_bias=True,
        convolution=lambda keep, options: AlphaBeta(2.0, 1.0, keep),
    ),
    "epsilon": Composite(
        "LRP: epsilon everywhere",
        "Every affine layer by the epsilon rule, biases kept and absorbing their share. With epsilon 0 this is "
        "gradient x input, and as noisy.",
        options=_EPSILON,
        rules=_lrp_layers("epsilon rule, biases kept", "epsilon rule, bias kept"),
        bias="keep",
        first="epsilon",
        convolution=lambda keep, options: Epsilon(float(options["epsilon"])),
    ),
    "epsilon-gamma-box": Composite(
        "LRP: epsilon, gamma, box",
        "Convolutions favour positive contributions by gamma but keep the negative ones; the first convolution knows "
        "which input values are possible (z-box).",
        options={**_EPSILON, "gamma": 0.25, "low": None, "high": None},
        rules=_lrp_layers("gamma {gamma:g}, biases kept", "z-box between the darkest and brightest possible input"),
        bias="keep",
        first="box",
        convolution=lambda keep, options: Gamma(float(options["gamma"])),
    ),
    "innvestigate-a-flat": Composite(
        "LRP: iNNvestigate's preset A, flat",
        "Probably what the paper used: alpha 1 beta 0 on the network as it stands, with iNNvestigate's own rule for "
        "batch norms (R_in = S x / y R), which lets relevance change its sign.",
        options=_EPSILON,
        rules={
            "Classifier": "epsilon rule, epsilon {epsilon:g}, bias kept",
            "Batch norms": "S x / y, biases absorb their share",
            "Convolutions (not folded)": "alpha 1, beta 0",
            "Average pooling": "in proportion to the signed values",
            "ReLU, max pooling": "unchanged; the winner takes all",
            "First convolution": _FLAT,
        },
        bias="keep",
        convolution=lambda keep, options: Stock(),
    ),
    "gradient": Composite(
        "Gradient",
        "Derivative of the logit by each input value of the normalised picture: how a small change would move it.",
        kind="comparison",
        options=COMPARED["gradient"],
        adds_up="nothing: a sensitivity",
    ),
    "gradient-x-input": Composite(
        "Gradient x input",
        "Derivative times the normalised input value.",
        kind="comparison",
        options=COMPARED["gradient-x-input"],
        adds_up="the logit if the network had no biases",
    ),
    "integrated-gradients": Composite(
        "Integrated gradients",
        "Mean derivative on the way from a baseline picture (mean grey unless given) times the way.",
        kind="comparison",
        options=COMPARED["integrated-gradients"],
        adds_up="logit minus the baseline's logit, but for the error of finitely many steps",
    ),
    "smoothgrad": Composite(
        "SmoothGrad",
        "Mean derivative over noisy copies of the picture.",
        kind="comparison",
        options=COMPARED["smoothgrad"],
        adds_up="nothing: a sensitivity",
    ),
    "grad-cam": Composite(
        "Grad-CAM",
        "Channels of the last feature map, weighted by their mean derivatives, positive part, enlarged. Coarse: one "
        "value per 32 x 32 pixels on a DenseNet.",
        kind="comparison",
        options=COMPARED["grad-cam"],
        adds_up="nothing: values are 0 or more",
    ),
    "occlusion": Composite(
        "Occlusion",
        "How much the logit drops when a patch is covered with grey. Needs one pass per patch: seconds per image.",
        kind="comparison",
        options=COMPARED["occlusion"],
        adds_up="the sum of the drops under all patches, if they tile the picture",
    ),
}
"""Ways of explaining by name; the first is the default."""

DEFAULT_COMPOSITE = next(iter(COMPOSITES))


def composite_of(name: str) -> Composite:
    """Return a composite by name; raises ExplainError with the names that there are."""
    if name not in COMPOSITES:
        raise ExplainError(unknown("composite", name, COMPOSITES))
    return COMPOSITES[name]
