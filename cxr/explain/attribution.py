"""Explain logits: signed relevance per input pixel and channel, without ever touching the model.

Rules are put on a copy of the network (:mod:`cxr.explain.canonical`) under that copy's lock, so any number of threads
may explain one model at once and its parameters, hooks, mode and logits stay as they are, also after a failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from cxr.errors import ExplainError, unknown
from cxr.explain.canonical import canonical_of, forget, is_densenet, is_plain_chain, negative_scale_share
from cxr.explain.lrp import COMPOSITES, DEFAULT_COMPOSITE, Composite

Targets = str | Sequence[str] | Sequence[Sequence[str]]

BATCH = 4
"""Images explained at once by default: rules keep every layer's input, 270 MB an image for densenet121 at 224 px."""


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


@dataclass(frozen=True)
class Explanation:
    """Relevance maps with what is needed to read them.

    Attributes
    ----------
    relevance
        Signed, at the network's input size: (N, C, H, W), or (N, T, C, H, W) for lists of T targets per image.
        float32; float64 for a float64 network. Positive speaks for the target. C are the network's input channels.
    logits
        (N, K), of all classes in the order of ``classes``.
    absorbed
        (N,) or (N, T): explained logit minus the sum of its relevance, which went into biases or was lost at zero
        denominators. NaN for ``gradient``, where nothing adds up.
    targets
        Class names per image: (name,) or T names.
    composite, classes, exact, notes
        Name of the composite; class names; whether the maps equal the method's definition; what a reader must know.
    """

    relevance: np.ndarray
    logits: np.ndarray
    absorbed: np.ndarray
    targets: tuple[tuple[str, ...], ...]
    composite: str
    classes: tuple[str, ...]
    exact: bool
    notes: tuple[str, ...] = ()
    options: dict[str, float] = field(default_factory=dict)

    @property
    def target_logits(self) -> np.ndarray:
        """The explained logits, of the shape of ``absorbed``."""
        columns = [[self.classes.index(name) for name in names] for names in self.targets]
        picked = np.take_along_axis(self.logits, np.asarray(columns, dtype=int).reshape(len(self.logits), -1), axis=1)
        return picked.reshape(self.absorbed.shape)


def explain(
    model: Explainable,
    images: Any,
    targets: Targets,
    composite: str = DEFAULT_COMPOSITE,
    *,
    batch: int = BATCH,
    **options: float,
) -> Explanation:
    """Explain logits (never softmax outputs) of ``model`` on ``images``.

    Parameters
    ----------
    model
        Anything with ``preprocess``, ``network`` and ``classes``, such as :class:`cxr.models.XrayClassifier`.
    images
        As the model's ``preprocess`` takes them: uint8 (N, H, W) or (N, 1, H, W), or float in [0, 1].
    targets
        One class name for all images, N names, or N lists of T names each. Names, never indices.
    composite
        A name in :data:`cxr.explain.COMPOSITES`; ``options`` are its options (``epsilon``).
    batch
        Images worked on at once.

    Raises
    ------
    ExplainError
        Unknown composite, option or class; targets that do not fit the images; a network for which the composite
        has not been verified.
    """
    chosen = _composite(composite, options)
    network, classes = _parts(model)
    _check_network(network, composite, chosen)
    if not len(images):
        raise ExplainError("no images to explain: 0 given. Accepted: 1 or more")
    names, per_image = _names_per_image(targets, len(images), classes)
    relevance, logits = _in_batches(model, network, images, _columns(names, classes), chosen, options, batch)
    used = dict(chosen.options) | options
    absorbed = _absorbed(relevance, logits, _columns(names, classes), chosen)
    if not per_image:
        relevance, absorbed = relevance[:, 0], absorbed[:, 0]
    notes = _notes(network, chosen)
    return Explanation(relevance, logits, absorbed, names, composite, classes, _exact(network, chosen), notes, used)


def _composite(name: str, options: dict[str, float]) -> Composite:
    if name not in COMPOSITES:
        raise ExplainError(unknown("composite", name, COMPOSITES))
    allowed = dict(COMPOSITES[name].options)
    for option in options:
        if option not in allowed:
            raise ExplainError(unknown(f"option of composite {name!r}:", option, allowed or ["none"]))
    return COMPOSITES[name]


def _parts(model: Any) -> tuple[nn.Module, tuple[str, ...]]:
    missing = [name for name in ("preprocess", "network", "classes") if not hasattr(model, name)]
    if missing:
        raise ExplainError(
            f"cannot explain a {type(model).__name__}: it lacks {', '.join(missing)}. "
            "Accepted: a model with preprocess, network and classes, such as cxr.models.XrayClassifier"
        )
    return model.network, tuple(model.classes)


def _check_network(network: nn.Module, name: str, composite: Composite) -> None:
    if composite.kind != "lrp" or is_densenet(network) or is_plain_chain(network):
        return
    gradients = [n for n, c in COMPOSITES.items() if c.kind != "lrp"]
    raise ExplainError(
        f"composite {name!r} has been verified for DenseNets and plain chains of layers only, "
        f"not for {type(network).__name__}. Available: {', '.join(gradients)}"
    )


def _names_per_image(targets: Any, n: int, classes: tuple[str, ...]) -> tuple[tuple[tuple[str, ...], ...], bool]:
    """Return names per image, and whether lists were given per image (the relevance then has an axis for them)."""
    per_image = False
    if isinstance(targets, str):
        names = ((targets,),) * n
    else:
        entries = list(targets) if isinstance(targets, Sequence | np.ndarray) else [targets]
        per_image = any(isinstance(entry, list | tuple | np.ndarray) for entry in entries)
        names = tuple(tuple(entry) if isinstance(entry, list | tuple | np.ndarray) else (entry,) for entry in entries)
    _check_names(names, classes)
    if len(names) != n or len({len(entry) for entry in names}) > 1:
        raise ExplainError(f"{len(names)} targets for {n} images. Accepted: one name, {n} names, or {n} equal lists")
    return names, per_image


def _check_names(names: tuple[tuple[Any, ...], ...], classes: tuple[str, ...]) -> None:
    for name in (name for entry in names for name in entry):
        if not isinstance(name, str):
            raise ExplainError(f"target {name!r} is not a class name. Available: {', '.join(classes)}")
        if name not in classes:
            raise ExplainError(unknown("target", name, classes))


def _columns(names: tuple[tuple[str, ...], ...], classes: tuple[str, ...]) -> np.ndarray:
    """Return the logit's column of every target, int (N, T)."""
    return np.array([[classes.index(name) for name in entry] for entry in names], dtype=int).reshape(len(names), -1)


def _in_batches(
    model: Explainable,
    network: nn.Module,
    images: Any,
    columns: np.ndarray,
    composite: Composite,
    options: dict[str, float],
    batch: int,
) -> tuple[np.ndarray, np.ndarray]:
    parts = []
    for start in range(0, len(images), max(1, batch)):
        stop = start + max(1, batch)
        parts.append(_explain_batch(model, network, images[start:stop], columns[start:stop], composite, options))
    maps, logits = zip(*parts, strict=True)
    return np.concatenate(maps), np.concatenate(logits)


def _explain_batch(
    model: Explainable,
    network: nn.Module,
    images: Any,
    columns: np.ndarray,
    composite: Composite,
    options: dict[str, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Return relevance (n, T, C, H, W) and logits (n, K)."""
    parameter = next(network.parameters())
    with torch.no_grad():
        inputs = model.preprocess(images).to(device=parameter.device, dtype=parameter.dtype)
    canonical = canonical_of(network)
    try:
        with canonical.lock, torch.enable_grad(), _no_autocast(parameter.device.type):
            return _attribute(canonical.network, inputs.detach().clone().requires_grad_(), columns, composite, options)
    except Exception:
        forget(network)
        raise


@contextmanager
def _no_autocast(device: str) -> Iterator[None]:
    with torch.autocast(device, enabled=False):
        yield


def _attribute(
    network: nn.Module, inputs: torch.Tensor, columns: np.ndarray, composite: Composite, options: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    if composite.factory is None:
        return _backward(network, inputs, columns, composite.kind)
    with composite.factory(**options).context(network) as ruled:
        return _backward(ruled, inputs, columns, composite.kind)


def _backward(
    network: nn.Module, inputs: torch.Tensor, columns: np.ndarray, kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """Run forward once and backward once per target. LRP starts from the logit itself, gradients from 1."""
    logits = network(inputs)
    maps = []
    for t in range(columns.shape[1]):
        start = torch.zeros_like(logits)
        rows = torch.arange(len(logits)), torch.as_tensor(columns[:, t])
        start[rows] = logits.detach()[rows] if kind == "lrp" else 1.0
        last = t == columns.shape[1] - 1
        (result,) = torch.autograd.grad(logits, inputs, grad_outputs=start, retain_graph=not last)
        maps.append(result * inputs.detach() if kind == "gradient-x-input" else result)
    return _numpy(torch.stack(maps, dim=1)), _numpy(logits)


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor if tensor.dtype == torch.float64 else tensor.float()).numpy()


def _absorbed(relevance: np.ndarray, logits: np.ndarray, columns: np.ndarray, composite: Composite) -> np.ndarray:
    if composite.kind == "gradient":
        return np.full(columns.shape, np.nan)
    explained = np.take_along_axis(logits, columns, axis=1)
    return explained - relevance.sum(axis=(2, 3, 4), dtype=np.float64)


def _exact(network: nn.Module, composite: Composite) -> bool:
    return composite.exact or not is_densenet(network)


def _notes(network: nn.Module, composite: Composite) -> tuple[str, ...]:
    notes = []
    if not _exact(network, composite):
        share = negative_scale_share(canonical_of(network).network)
        notes.append(
            "Approximation on DenseNets: rules are applied layer by layer and batch norms that read a concatenation "
            f"are passed unchanged, not merged with the convolutions before them ({share:.0%} of their scales are "
            "negative, where relevance takes the wrong sign of contribution)."
        )
    if composite.kind == "gradient":
        notes.append("A gradient is a sensitivity: its values do not add up to the logit.")
    return tuple(notes)
