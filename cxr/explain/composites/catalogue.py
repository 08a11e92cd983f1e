"""The ways of explaining that there are, and what is shown of them in lists. To add one, add an entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

from cxr.errors import ExplainError, unknown, wrong_use
from cxr.explain.composites.composite import COMPARISON, LRP, Composite, Settings
from cxr.explain.composites.options import Choice, InputValue, Number, Option, Whole
from cxr.explain.lrp.propagator import PROPAGATORS

if TYPE_CHECKING:
    from cxr.explain.lrp.input_rules import InputRule
    from cxr.explain.lrp.rules import Rule

# Rules are looked up when used: listing composites must not load torch.


def _alpha_beta(alpha: float, beta: float) -> Callable[[bool, Settings], Rule]:
    def make(keep: bool, settings: Settings) -> Rule:
        from cxr.explain.lrp.rules import AlphaBeta

        return AlphaBeta(alpha, beta, keep)

    return make


def _epsilon(keep: bool, settings: Settings) -> Rule:
    from cxr.explain.lrp.rules import Epsilon

    return Epsilon(float(settings["epsilon"]))


def _gamma(keep: bool, settings: Settings) -> Rule:
    from cxr.explain.lrp.rules import Gamma

    return Gamma(float(settings["gamma"]))


def _unfolded_plus(keep: bool, settings: Settings) -> Rule:
    from cxr.explain.lrp.unfolded import UnfoldedPlus

    return UnfoldedPlus()


def _first_flat(settings: Settings) -> InputRule:
    from cxr.explain.lrp.input_rules import Flat

    return Flat()


def _first_epsilon(settings: Settings) -> InputRule:
    from cxr.explain.lrp.input_rules import FirstEpsilon

    return FirstEpsilon(float(settings["epsilon"]))


def _first_box(settings: Settings) -> InputRule:
    from cxr.explain.lrp.input_rules import ZBox

    return ZBox(settings["low"], settings["high"])


_EPSILON: dict[str, Option] = {
    "epsilon": Number(
        1e-6, ("Added to the denominators of the classifier; with composite epsilon, to all denominators.")
    ),
}
_STEM_BN = Choice(
    "rule",
    "Batch norms that read the pooled stem of a DenseNet directly: by the convolutions' rule, or passed unchanged.",
    ("rule", "pass"),
)
_BOUNDS: dict[str, Option] = {
    "low": InputValue(None, "Smallest possible input of the network; by default that of a black pixel."),
    "high": InputValue(None, "Largest possible input of the network; by default that of a white pixel."),
}


def _lrp_layers(convolutions: str, first: str) -> dict[str, str]:
    return {
        "Classifier": "epsilon rule, epsilon {epsilon:g}, bias kept",
        "Average pooling": "in proportion to the values; in a transition, together with its convolution",
        "Convolutions, each folded with the batch norm that reads it": convolutions,
        "Batch norms of the pooled stem": "{stem_bn_words}",
        "ReLU, max pooling": "unchanged; the winner takes all",
        "First convolution": first,
    }


_FLAT = "flat: evenly over its inputs inside the image"

COMPOSITES: dict[str, Composite] = {
    "epsilon-plus-flat": Composite(
        "LRP: epsilon, z+, flat",
        "Follows only what speaks for the class: convolutions share relevance over positive contributions (z+), the "
        "classifier by the epsilon rule, the first convolution evenly (flat).",
        options={**_EPSILON, "stem_bn": _STEM_BN},
        rules=_lrp_layers("z+, {bias}", _FLAT),
        bias="ignore",
        chooses_bias=True,
        convolution=_alpha_beta(1.0, 0.0),
        first=_first_flat,
    ),
    "epsilon-alpha2-beta1-flat": Composite(
        "LRP: epsilon, alpha 2 beta 1, flat",
        "Convolutions follow what speaks for the class twice and what speaks against it once with the opposite sign: "
        "sharper maps with more negative parts.",
        options={**_EPSILON, "stem_bn": replace(_STEM_BN, default="pass")},
        rules=_lrp_layers("alpha 2, beta 1, {bias}", _FLAT),
        bias="ignore",
        chooses_bias=True,
        convolution=_alpha_beta(2.0, 1.0),
        first=_first_flat,
    ),
    "epsilon": Composite(
        "LRP: epsilon everywhere",
        "Every affine layer by the epsilon rule, biases kept and absorbing their share. With epsilon 0 this is "
        "gradient x input, and as noisy.",
        options=_EPSILON,
        rules=_lrp_layers("epsilon rule, biases kept", "epsilon rule, bias kept"),
        bias="keep",
        convolution=_epsilon,
        first=_first_epsilon,
    ),
    "epsilon-gamma-box": Composite(
        "LRP: epsilon, gamma, box",
        "Convolutions favour positive contributions by gamma but keep the negative ones; the first convolution knows "
        "which input values are possible (z-box).",
        options={**_EPSILON, "gamma": Number(0.25, "How much positive contributions are favoured."), **_BOUNDS},
        rules=_lrp_layers("gamma {gamma:g}, biases kept", "z-box between the darkest and brightest possible input"),
        bias="keep",
        convolution=_gamma,
        first=_first_box,
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
        convolution=_unfolded_plus,
        first=_first_flat,
    ),
    "gradient": Composite(
        "Gradient",
        "Derivative of the logit by each input value of the normalised picture: how a small change would move it.",
        kind=COMPARISON,
        adds_up="nothing: a sensitivity",
        sensitivity=True,
    ),
    "gradient-x-input": Composite(
        "Gradient x input",
        "Derivative times the normalised input value.",
        kind=COMPARISON,
        adds_up="the logit if the network had no biases",
    ),
    "integrated-gradients": Composite(
        "Integrated gradients",
        "Mean derivative along the path from a baseline picture (mean grey unless given), times the difference from "
        "it.",
        kind=COMPARISON,
        options={
            "steps": Whole(64, "Number of points on the path."),
            "baseline": InputValue(0.0, "Baseline picture at which the path starts; 0 is mean grey."),
        },
        slow=True,
        adds_up="logit minus the baseline's logit, but for the error of finitely many steps",
    ),
    "smoothgrad": Composite(
        "SmoothGrad",
        "Mean derivative over noisy copies of the picture.",
        kind=COMPARISON,
        options={
            "samples": Whole(25, "Noisy copies."),
            "noise": Number(0.15, "Standard deviation of the noise.", unit="share of the picture's range"),
            "seed": Whole(0, "Of the noise.", least=0),
        },
        sensitivity=True,
        slow=True,
        adds_up="nothing: a sensitivity",
    ),
    "grad-cam": Composite(
        "Grad-CAM",
        "Channels of the last feature map, weighted by their mean derivatives, positive part, enlarged. Coarse: one "
        "value per 32 x 32 pixels on a DenseNet.",
        kind=COMPARISON,
        adds_up="nothing: values are 0 or more",
        networks="timm's convolutional networks and chains of layers (nn.Sequential) that have a feature map",
    ),
    "occlusion": Composite(
        "Occlusion",
        "How much the logit drops when a patch is covered with grey. Needs one pass per patch: seconds per image.",
        kind=COMPARISON,
        options={
            "patch": Whole(32, "Side of the covered square in pixels of the network's input."),
            "stride": Whole(16, "Pixels from one patch to the next, at most the patch's side."),
            "fill": InputValue(0.0, "What covers a patch; 0 is mean grey."),
        },
        slow=True,
        adds_up="the sum of the drops under all patches, if they tile the picture",
    ),
}
"""Ways of explaining by name; the first is the default."""

DEFAULT_COMPOSITE = next(iter(COMPOSITES))


def composite_of(name: str) -> Composite:
    """Return a composite by name; raises ExplainError with the names that there are."""
    if name not in COMPOSITES:
        raise wrong_use(ExplainError(unknown("composite", name, COMPOSITES)))
    return COMPOSITES[name]


def names_of(kind: str) -> list[str]:
    """Return the names of the composites of a kind, in their order."""
    return [name for name, composite in COMPOSITES.items() if composite.kind == kind]


def option_names() -> list[str]:
    """Return the names of all options that any composite has."""
    return list(dict.fromkeys(option for composite in COMPOSITES.values() for option in composite.options))


def choices_in_words() -> str:
    """Return what may be chosen, for a command's help."""
    return f"The rules of LRP: {', '.join(names_of(LRP))}; or, for comparison: {', '.join(names_of(COMPARISON))}."


class OptionSummary(TypedDict):
    """An option of a composite; ``default`` is a number, a word, or a list of numbers."""

    default: Any
    accepted: str
    meaning: str


class CompositeSummary(TypedDict):
    """What lists show of a composite."""

    name: str
    kind: str
    title: str
    label: str
    description: str
    rules: dict[str, str]
    adds_up: str
    bias: str
    bias_modes: list[str]
    options: dict[str, OptionSummary]
    runs_on: list[str]


def summary(name: str) -> CompositeSummary:
    """Return what lists show of a composite: plain values by name."""
    composite = composite_of(name)
    return {
        "name": name,
        "kind": composite.kind,
        "title": composite.title,
        "label": composite.label,
        "description": composite.description,
        "rules": composite.layers(composite.bias, composite.defaults),
        "adds_up": composite.adds_up,
        "bias": composite.bias,
        "bias_modes": list(composite.bias_modes),
        "options": {
            option: {"default": declaration.default, "accepted": declaration.accepted, "meaning": declaration.meaning}
            for option, declaration in composite.options.items()
        },
        "runs_on": _runs_on(composite),
    }


def _runs_on(composite: Composite) -> list[str]:
    if not composite.is_lrp:
        return [composite.networks]
    return [propagator.title for key, propagator in PROPAGATORS.items() if composite.runs_on(key)]
