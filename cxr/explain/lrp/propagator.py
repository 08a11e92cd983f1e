"""How relevance goes through an architecture: what every propagator says, and those that there are.

Another architecture is one new class and one entry in :data:`PROPAGATORS`. Nothing here loads torch.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from cxr.explain.lrp.input_rules import InputRule
    from cxr.explain.lrp.rules import Epsilon, Rule

Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class LayerRules:
    """Which rule goes to which layer: a composite with everything settled.

    Attributes
    ----------
    classifier
        Of dense layers.
    convolution
        Of all convolutions but the first.
    first
        Of the very first convolution.
    pass_stem_norms
        Whether relevance passes batch norms that read the pooled stem of a DenseNet unchanged.
    """

    classifier: Epsilon
    convolution: Rule
    first: InputRule
    pass_stem_norms: bool = False


@dataclass(frozen=True)
class Propagated:
    """What came out for n images with T targets each.

    Attributes
    ----------
    relevance, logits
        (n, T, C, H, W) and (n, K); float32, or float64 for a float64 network.
    layers, absorbed, lost
        Names of L layers from the logit down, and what biases absorbed and zero denominators lost in each, float64
        (n, T, L). No layers: a method without a ledger.
    notes
        What a reader must know of the maps.
    """

    relevance: np.ndarray
    logits: np.ndarray
    layers: tuple[str, ...]
    absorbed: np.ndarray
    lost: np.ndarray
    notes: tuple[str, ...] = ()


class Propagator(ABC, Generic[Prepared]):
    """How relevance goes through one architecture.

    The explainer owns the frozen copy of a network. It asks :meth:`supports`, lets :meth:`prepare` make of the copy
    whatever the sweeps need, keeps that until a number of the network changes, and calls :meth:`propagate`.

    Attributes
    ----------
    precisions
        Numbers in which it can propagate besides those of the network, such as "bfloat16".
    changes_prepared
        Whether ``propagate`` changes what was prepared for as long as it works (hooks, for instance). The explainer
        then lets one thread work on it at a time, and drops it after a failure.
    """

    precisions: tuple[str, ...] = ()
    changes_prepared: bool = False

    @abstractmethod
    def supports(self, network: nn.Module) -> bool:
        """Return whether the rules are right for ``network``, which is only read."""

    def why_not(self, network: nn.Module) -> str:
        """Return why ``network`` is not supported, as the middle of a sentence; "" where there is nothing to say."""
        return ""

    def key(self, rules: LayerRules, dtype: torch.dtype) -> str:
        """Return what :meth:`prepare` depends on besides the network: equal keys share what was prepared."""
        return ""

    @abstractmethod
    def prepare(self, frozen: nn.Module, rules: LayerRules, dtype: torch.dtype) -> Prepared:
        """Make what the sweeps need of a frozen copy, whose tensors may be shared and must not be changed.

        Raises
        ------
        ExplainError
            For a network of the architecture with a part for which the rules are not defined.
        """

    @abstractmethod
    def propagate(
        self, prepared: Prepared, inputs: torch.Tensor, columns: np.ndarray, rules: LayerRules, dtype: torch.dtype
    ) -> Propagated:
        """Propagate logits down to the network's input.

        Parameters
        ----------
        inputs
            The network's own (normalised) input, float (n, C, H, W), in the network's own dtype.
        columns
            The explained logits of every image, int (n, T).
        dtype
            In what numbers to propagate: that of ``inputs``, or one of :attr:`precisions`.
        """


@dataclass(frozen=True)
class RegisteredPropagator:
    """A propagator as it stands in the registry: what networks it is for, in words, and how to get it."""

    title: str
    load: Callable[[], Propagator[Any]]


def _load(module: str, name: str) -> Propagator[Any]:
    propagator: Propagator[Any] = getattr(importlib.import_module(module), name)()
    return propagator


PROPAGATORS: dict[str, RegisteredPropagator] = {
    "densenet": RegisteredPropagator(
        "DenseNets", partial(_load, "cxr.explain.lrp.densenet.sweeps", "DenseNetPropagator")
    ),
    "sequential": RegisteredPropagator(
        "sequential networks, VGG and ResNet", partial(_load, "cxr.explain.lrp.sequential", "SequentialPropagator")
    ),
}
"""Propagators by name, in the order in which they are asked; the first that supports a network takes it."""


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    """Return a tensor's values as float64 where it holds these, else as float32."""
    tensor = tensor.detach().cpu()
    values: np.ndarray = (tensor if tensor.element_size() == 8 else tensor.float()).numpy()
    return values
