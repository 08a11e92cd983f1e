"""What is known of one way of explaining; :mod:`cxr.explain.composites.catalogue` has those that there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cxr.earlier_names import renamed
from cxr.errors import ExplainError, unknown, wrong_use
from cxr.explain.composites.options import Option

if TYPE_CHECKING:
    from cxr.explain.lrp.input_rules import InputRule
    from cxr.explain.lrp.propagator import LayerRules
    from cxr.explain.lrp.rules import Rule

BIASES = ("ignore", "keep")
"""What a bias does in the alpha-beta rules: it is left out, or it stays in the denominators and absorbs its share."""

BIAS_LABELS = {"ignore": "ignored", "keep": "kept, absorb their share"}
"""What each of :data:`BIASES` means, for pickers."""

LRP = "lrp"
COMPARISON = "comparison"
"""Kinds of composites: relevance propagated layer by layer, or a method that knows no layers."""

ANY_NETWORK = "any network"
"""What most methods for comparison run on."""

Settings = Mapping[str, Any]
"""Options of a composite by name: numbers, words or pictures, as its registration declares them."""


@dataclass(frozen=True)
class Composite:
    """One way of explaining a logit, with all that is known of it.

    Attributes
    ----------
    title, description
        For people.
    kind
        :data:`LRP`, or :data:`COMPARISON` for methods that know no layers.
    adds_up
        What the values of a map add up to, in words.
    options
        Option names with what they accept and their defaults.
    rules
        Kind of layer to rule, in words; ``{epsilon}`` and other options are filled in.
    bias
        Default bias mode where the composite has the choice, "keep" where its rules always keep biases, "" elsewhere.
    chooses_bias
        Whether biases matter: whether the user may choose between :data:`BIASES`.
    convolution
        Makes the rule of convolutions after the first from (keep biases, settings); LRP only.
    first
        Makes the rule of the very first convolution from the settings; LRP only.
    propagators
        Names of :data:`cxr.explain.lrp.propagator.PROPAGATORS` that it runs on; None for all of them. LRP only.
    networks
        What a method for comparison runs on, in words. Others are refused by name when their layers are seen.
    sensitivity
        Whether the sign of a value says which way a pixel would have to change, not what it speaks for: absolute
        values then make the order of pixels.
    slow
        Whether one map takes seconds, so that what needs many maps does without it unless asked.
    """

    title: str
    description: str
    kind: str = LRP
    adds_up: str = "logit minus what biases absorbed and zero denominators lost"
    options: Mapping[str, Option] = field(default_factory=dict)
    rules: Mapping[str, str] = field(default_factory=dict)
    bias: str = ""
    chooses_bias: bool = False
    convolution: Callable[[bool, Settings], Rule] | None = None
    first: Callable[[Settings], InputRule] | None = None
    propagators: tuple[str, ...] | None = None
    networks: str = ANY_NETWORK
    sensitivity: bool = False
    slow: bool = False

    @property
    def is_lrp(self) -> bool:
        """Whether relevance goes layer by layer: the rules then decide, and there is a ledger."""
        return self.kind == LRP

    @property
    def runs_on_any_network(self) -> bool:
        """Whether no network is refused for its layers."""
        return not self.is_lrp and self.networks == ANY_NETWORK

    @property
    def label(self) -> str:
        """The title as it stands in a list beside the others."""
        return self.title if self.is_lrp else f"For comparison: {self.title}"

    @property
    def defaults(self) -> Settings:
        """Option names with their defaults."""
        return {name: option.default for name, option in self.options.items()}

    @property
    def bias_modes(self) -> tuple[str, ...]:
        """What biases may do, the default first; empty where there is no choice."""
        return tuple(sorted(BIASES, key=lambda mode: mode != self.bias)) if self.chooses_bias else ()

    @property
    def fixed_bias(self) -> str:
        """What biases do where there is no choice, in words; "" where there is one."""
        if self.chooses_bias:
            return ""
        return "always kept" if self.is_lrp else "no such rules"

    def runs_on(self, propagator: str) -> bool:
        """Return whether it runs on the propagator of this name."""
        return self.propagators is None or propagator in self.propagators

    @renamed(asked="requested")
    def bias_mode(self, requested: str | None) -> str:
        """Return the bias mode in force. Where there is no choice, either word is accepted and changes nothing."""
        if requested not in (None, *BIASES):
            raise wrong_use(ExplainError(unknown("bias", requested, BIASES)))
        return requested if requested and self.chooses_bias else self.bias

    @renamed(given="options")
    def settings(self, name: str, options: Settings) -> Settings:
        """Return all options of this composite, which is registered as ``name``; ``options`` ones checked."""
        for option in options:
            if option not in self.options:
                raise wrong_use(
                    ExplainError(unknown(f"option of composite {name!r}:", option, self.options or ["none"]))
                )
        checked = {option: self.options[option].checked(option, options[option]) for option in options}
        return {**self.defaults, **checked}

    def layer_rules(self, bias: str, settings: Settings) -> LayerRules:
        """Return which rule goes to which layer, for a bias mode and all options; LRP only."""
        from cxr.explain.lrp.propagator import LayerRules
        from cxr.explain.lrp.rules import Epsilon

        assert self.convolution is not None
        assert self.first is not None
        return LayerRules(
            classifier=Epsilon(float(settings.get("epsilon", 0.0))),
            convolution=self.convolution(bias == "keep", settings),
            first=self.first(settings),
            pass_stem_norms=settings.get("stem_bn") == "pass",
        )

    @renamed(options="settings")
    def layers(self, bias: str, settings: Settings) -> dict[str, str]:
        """Return kind of layer -> rule, in words, for a legend."""
        words = {"bias": "biases ignored" if bias == "ignore" else "biases kept", **settings}
        passed = settings.get("stem_bn") == "pass"
        words["stem_bn_words"] = "relevance passes unchanged" if passed else "as the convolutions"
        return {layer: rule.format(**words) for layer, rule in self.rules.items()}
