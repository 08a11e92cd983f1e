"""Explain logits: signed relevance per input pixel and channel, without ever touching the model.

The explainer owns the frozen network. For composites of layer-wise relevance propagation it asks the propagators
(:mod:`cxr.explain.lrp.propagator`) which of them supports the network; methods for comparison are in
:mod:`cxr.explain.gradients`. All work on folded weights or on a private copy, so any number of threads may explain one
model at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from cxr.errors import ExplainError, unknown, wrong_use
from cxr.explain import gradients
from cxr.explain.composites import COMPOSITES, DEFAULT_COMPOSITE, Composite, composite_of
from cxr.explain.composites.composite import Settings
from cxr.explain.explanation import BATCH, Explanation, joined
from cxr.explain.frozen import borrowed, prepared
from cxr.explain.lrp.propagator import PROPAGATORS, LayerRules, Propagated, Propagator, as_numpy
from cxr.explain.network_input import Subject, check_classes, check_logits, input_that_fits, names_per_image, numbers_of
from cxr.explain.precision import PRECISIONS, Trial, try_bfloat16

Target = str | int
Targets = Target | Sequence[Target] | Sequence[Sequence[Target]]


class Explainable(Protocol):
    """What can be explained: a model that owns its input, as :class:`cxr.models.XrayClassifier` does."""

    network: nn.Module

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the logits, in their order."""
        ...

    def preprocess(self, images: Any) -> torch.Tensor:
        """Return the network's input, (N, C, H, W), of images."""
        ...


def explain(
    model: Explainable | nn.Module,
    images: Any,
    targets: Targets,
    composite: str = DEFAULT_COMPOSITE,
    *,
    bias: str | None = None,
    batch: int = BATCH,
    precision: str | None = None,
    trial: bool | Trial = True,
    **options: Any,
) -> Explanation:
    """Explain logits (never softmax outputs) of ``model`` on ``images``.

    Parameters
    ----------
    model
        Anything with ``preprocess``, ``network`` and ``classes``, such as :class:`cxr.models.XrayClassifier`; or a bare
        network, such as a DenseNet of timm or torchvision, which takes its own (normalised) input and whose classes are
        called by their column, "0", "1", ... Either may be inside ``nn.DataParallel``.
    images
        As the model's ``preprocess`` takes them: uint8 (N, H, W) or (N, 1, H, W), or float in [0, 1]. For a bare
        network float (N, C, H, W). Or a list of N images, arrays or tensors of one shape and type.
    targets
        One class name for all images, N names, or N lists of T names each; for a bare network columns (0, 1, ...).
    composite
        A name in :data:`cxr.explain.COMPOSITES`; ``options`` are its options.
    bias
        "ignore" or "keep" biases in the alpha-beta rules; None takes the composite's default. Other rules always keep
        them: there both words are accepted and change nothing.
    batch
        Images worked on at once.
    precision
        None: float64 networks in float64, all others in float32. "bfloat16" (LRP on DenseNets) is faster where the
        processor has it, and rough. It is tried on the first image, once per network and way of explaining: where the
        map agrees with float32's to a cosine below :data:`cxr.explain.precision.LEAST_COSINE`, or bfloat16 takes more
        than :data:`cxr.explain.precision.LARGEST_TIME` of float32's time, float32 is taken, and a note says why.
    trial
        False takes bfloat16 without a trial, as measurements of bfloat16 itself need it. A trial that was made before
        decides as if it had been made here.

    Raises
    ------
    ExplainError
        Unknown composite, option, bias or class; targets that do not fit the images; a list of images of several
        shapes or types; images that the network cannot take, or as many classes as it has no logits for; logits that
        are not finite; a network for which the composite has not been verified.
    """
    entry = composite_of(composite)
    settings, mode = entry.settings(composite, options), entry.bias_mode(bias)
    subject = Subject.of(model, images)
    targets_of, per_image = names_per_image(targets, subject.n, subject.classes, subject.bare)
    columns = np.array([[subject.classes.index(n) for n in names] for names in targets_of], int)
    columns = columns.reshape(len(targets_of), -1)
    explainer = Explainer.of(subject.network, composite, mode, settings).in_precision(precision)
    if not isinstance(batch, int):
        raise ExplainError(f"batch {batch!r} is not allowed. Accepted: 1, 2, 3, ...")
    rows = [slice(start, start + max(1, batch)) for start in range(0, subject.n, max(1, batch))]
    tried: Trial | None = None
    with input_that_fits(subject.network, lambda: subject.inputs(slice(0, 1)), subject.classes):
        if explainer.is_rough and trial:
            tried = trial if isinstance(trial, Trial) else _tried(explainer, subject, columns[:1])
            explainer = explainer if tried.holds else explainer.in_precision(None)
        propagate = explainer.prepared()
        parts = [
            propagate(subject.inputs(rows_of_batch), columns[rows_of_batch], subject.bound) for rows_of_batch in rows
        ]
    check_classes(subject.classes, parts[0].logits.shape[1])
    check_logits(np.concatenate([part.logits for part in parts]), columns, subject.classes)
    return joined(
        parts,
        targets_of,
        per_image,
        composite=composite,
        classes=subject.classes,
        bias=explainer.bias,
        options=explainer.settings,
        notes=_notes(explainer, parts, tried),
        precision=str(explainer.dtype).removeprefix("torch."),
        trial=tried,
    )


Bound = Callable[[float, torch.Tensor], torch.Tensor | None]
"""Takes a pixel value (0 or 1) and the network's input; returns what the network gets for it, per channel, or None."""
Propagate = Callable[[torch.Tensor, np.ndarray, Bound], Propagated]


@dataclass(frozen=True)
class Explainer:
    """A composite with everything settled, on one network.

    Attributes
    ----------
    network
        The network as it was given; whatever works on it gets a frozen copy.
    name, composite, bias, settings
        The composite, and the bias mode and all options in force.
    dtype
        In what numbers relevance is propagated.
    key, propagator
        Name and instance of the propagator that takes the network; "" and None for methods without rules.
    """

    network: nn.Module
    name: str
    composite: Composite
    bias: str
    settings: Settings
    dtype: torch.dtype
    key: str = ""
    propagator: Propagator[Any] | None = None

    @classmethod
    def of(cls, network: nn.Module, name: str, bias: str, settings: Settings) -> Explainer:
        """Return an explainer of a network for a composite, its bias mode and all its options.

        Raises
        ------
        ExplainError
            For a network that the composite does not run on.
        """
        composite = composite_of(name)
        explainer = cls(network, name, composite, bias, settings, numbers_of(network)[1])
        if not composite.is_lrp:
            return explainer
        key, propagator = propagator_of(network)
        if not composite.runs_on(key):
            raise wrong_use(ExplainError(_not_on(name, key)))
        return replace(explainer, key=key, propagator=propagator)

    def in_precision(self, precision: str | None) -> Explainer:
        """Return the same in other numbers; None for those of the network."""
        if precision is None:
            return replace(self, dtype=numbers_of(self.network)[1])
        if precision not in PRECISIONS:
            raise wrong_use(ExplainError(unknown("precision", precision, PRECISIONS)))
        if self.propagator is None or precision not in self.propagator.precisions:
            raise wrong_use(
                ExplainError(f"precision {precision!r} is for LRP on {_takers_of(precision)} only. Accepted here: None")
            )
        return replace(self, dtype=getattr(torch, precision))

    @property
    def is_rough(self) -> bool:
        """Whether relevance is propagated in fewer digits than the network has."""
        return self.dtype != numbers_of(self.network)[1]

    def prepared(self) -> Propagate:
        """Return what explains batches of inputs; whatever it needs of the network is made, or looked up, here."""
        propagator, dtype = self.propagator, self.dtype
        if propagator is None:
            return self._compared
        rules = self.composite.layer_rules(self.bias, self.settings)
        key = f"{self.key} {propagator.key(rules, dtype)}"

        def build(frozen: nn.Module) -> Any:
            return propagator.prepare(frozen, rules, dtype)

        if propagator.changes_prepared:
            return lambda *batch: self._propagated(borrowed(self.network, build, key), rules, *batch)
        product = prepared(self.network, build, key)
        return lambda *batch: self._propagated(nullcontext(product), rules, *batch)

    def _propagated(
        self,
        product: AbstractContextManager[Any],
        rules: LayerRules,
        inputs: torch.Tensor,
        columns: np.ndarray,
        bound: Bound,
    ) -> Propagated:
        assert self.propagator is not None
        first, notes = rules.first.for_inputs(inputs, lambda value: bound(value, inputs))
        with product as made:
            part = self.propagator.propagate(made, inputs, columns, replace(rules, first=first), self.dtype)
        return replace(part, notes=(*part.notes, *notes))

    def _compared(self, inputs: torch.Tensor, columns: np.ndarray, bound: Bound) -> Propagated:
        relevance, logits = gradients.attribute(
            self.network, inputs, columns, self.name, batch=len(inputs), **self.settings
        )
        no_ledger = np.full((*columns.shape, 0), np.nan)
        return Propagated(as_numpy(relevance), as_numpy(logits), (), no_ledger, no_ledger)


def propagator_of(network: nn.Module) -> tuple[str, Propagator[Any]]:
    """Return name and instance of the first registered propagator that supports a network.

    Raises
    ------
    ExplainError
        Where none does: what was found in the network, and the methods that run on any network.
    """
    reasons = []
    for name, registered in PROPAGATORS.items():
        propagator = registered.load()
        if propagator.supports(network):
            return name, propagator
        reasons.append(propagator.why_not(network))
    raise ExplainError(not_verified(network, "; ".join(filter(None, reasons))))


def not_verified(network: nn.Module, reason: str) -> str:
    """Return one line on why relevance propagation is refused for a network."""
    others = [name for name, composite in COMPOSITES.items() if composite.runs_on_any_network]
    return (
        f"relevance propagation is not verified for {type(network).__name__}: {reason}. Available: {', '.join(others)}"
    )


def _not_on(name: str, key: str) -> str:
    others = [other for other, entry in COMPOSITES.items() if not entry.is_lrp or entry.runs_on(key)]
    return f"composite {name!r} does not run on {PROPAGATORS[key].title}. Available: {', '.join(others)}"


def _takers_of(precision: str) -> str:
    return " and ".join(
        propagator.title for propagator in PROPAGATORS.values() if precision in propagator.load().precisions
    )


def _tried(explainer: Explainer, subject: Subject, columns: np.ndarray) -> Trial:
    """Return how an explainer in bfloat16 does on the first image; kept until a number of the network changes."""
    trials: dict[str, Trial] = prepared(subject.network, lambda _frozen: {}, "trials of bfloat16")
    inputs = subject.inputs(slice(0, 1))
    key = f"{explainer.name} {explainer.bias} {explainer.settings} {tuple(inputs.shape)}"
    if key not in trials:

        def maps(explainer: Explainer) -> np.ndarray:
            return explainer.prepared()(subject.inputs(slice(0, 1)), columns, subject.bound).relevance[0].sum(axis=1)

        fine = explainer.in_precision(None)
        trials[key] = try_bfloat16(lambda: maps(explainer), lambda: maps(fine))
    return trials[key]


def _notes(explainer: Explainer, parts: Sequence[Propagated], tried: Trial | None) -> tuple[str, ...]:
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    if not explainer.composite.is_lrp:
        notes.append(f"The values of a map add up to {explainer.composite.adds_up}.")
    if tried is not None:
        notes.append(tried.sentence)
    elif explainer.is_rough:
        notes.append("Propagated in bfloat16: values hold about two digits, the ledger closes to about a percent.")
    return tuple(notes)
