"""Explain logits: signed relevance per input pixel and channel, without ever touching the model.

DenseNets go through :mod:`cxr.explain.lrp.densenet`, other networks that are understood through
:mod:`cxr.explain.lrp.sequential`; methods for comparison are in :mod:`cxr.explain.gradients`. All work on folded
weights or on a private copy, so any number of threads may explain one model at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from cxr.errors import ExplainError, ImageError, unknown
from cxr.explain import gradients
from cxr.explain.composites import DEFAULT_COMPOSITE, Composite, composite_of
from cxr.explain.frozen import borrowed, itself, prepared
from cxr.explain.lrp import sequential
from cxr.explain.lrp.densenet import backward, forward
from cxr.explain.lrp.densenet_weights import is_densenet, read_densenet
from cxr.explain.lrp.folded_weights import Kernels
from cxr.explain.lrp.stem import FirstLayer
from cxr.explain.precision import Trial, try_bfloat16
from cxr.explain.unwrapping import as_timm, unwrapped
from cxr.models.image_batch import as_batch

Target = str | int
Targets = Target | Sequence[Target] | Sequence[Sequence[Target]]

BATCH = 4
"""Images explained at once by default: relevance takes about 65 MB an image for densenet121 at 224 px."""

TARGETS_AT_ONCE = 8
"""Targets of one batch that go down in one sweep; the forward sweep is shared by all."""

PRECISIONS = ("bfloat16",)


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
    absorbed, lost
        (N,) or (N, T), float64: what biases (and epsilon) absorbed, and what zero denominators lost. The ledger closes:
        sum of relevance + absorbed + lost = explained logit. NaN for methods without a ledger; networks other than
        DenseNets book both under ``absorbed``.
    targets
        Class names per image: (name,) or T names.
    composite, classes, bias, options, notes
        Name of the composite; class names; bias mode in force ("" where none); options in force; what a reader must
        know of the method.
    layers, layer_absorbed, layer_lost
        Names of L layers from the logit down, and the ledger per layer, (N, L) or (N, T, L).
    precision
        "float64", "float32" or "bfloat16": in what numbers relevance was propagated.
    trial
        How bfloat16 did on the first image, where it was asked for; else None.
    not_finite
        Values of ``relevance`` that came out as NaN or infinite and were set to 0, (N,) or (N, T).
    """

    relevance: np.ndarray
    logits: np.ndarray
    absorbed: np.ndarray
    lost: np.ndarray
    targets: tuple[tuple[str, ...], ...]
    composite: str
    classes: tuple[str, ...]
    bias: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    layer_absorbed: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    layer_lost: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    precision: str = "float32"
    trial: Trial | None = None
    not_finite: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    @property
    def target_logits(self) -> np.ndarray:
        """The explained logits, of the shape of ``absorbed``."""
        columns = [[self.classes.index(name) for name in names] for names in self.targets]
        picked = np.take_along_axis(self.logits, np.asarray(columns, dtype=int).reshape(len(self.logits), -1), axis=1)
        return picked.reshape(self.absorbed.shape)

    @property
    def residual(self) -> np.ndarray:
        """Logit minus relevance, absorbed and lost, of the shape of ``absorbed``: rounding, or a fault."""
        on_pixels = self.relevance.sum(axis=(-3, -2, -1), dtype=np.float64)
        return self.target_logits - on_pixels - self.absorbed - self.lost


def explain(
    model: Explainable | nn.Module,
    images: Any,
    targets: Targets,
    composite: str = DEFAULT_COMPOSITE,
    *,
    bias: str | None = None,
    batch: int = BATCH,
    precision: str | None = None,
    trial: bool = True,
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
        False takes bfloat16 without a trial, as measurements of bfloat16 itself need it.

    Raises
    ------
    ExplainError
        Unknown composite, option, bias or class; targets that do not fit the images; a list of images of several
        shapes or types; images that the network cannot take, or as many classes as it has no logits for; logits that
        are not finite; a network for which the composite has not been verified.
    """
    way = composite_of(composite)
    settings, mode = way.settings(composite, options), way.bias_mode(bias)
    subject = _Subject.of(model, images)
    names, per_image = _names_per_image(targets, subject.n, subject.classes, subject.bare)
    columns = np.array([[subject.classes.index(n) for n in entry] for entry in names], int).reshape(len(names), -1)
    method = _Method(composite, way, mode, settings, _dtype(subject.network, way, precision))
    method.check(subject.network)
    if not isinstance(batch, int):
        raise ExplainError(f"batch {batch!r} is not allowed. Accepted: 1, 2, 3, ...")
    batch = max(1, batch)
    tried: Trial | None = None
    with _input_that_fits(subject.network, lambda: subject.inputs(slice(0, 1)), subject.classes):
        if method.dtype == torch.bfloat16 and trial:
            tried = _tried(method, subject, columns[:1])
            method = method if tried.holds else replace(method, dtype=_home(subject.network)[1])
        kernels = method.kernels(subject.network)
        parts = [
            method.explain(subject, kernels, slice(start, start + batch), columns[start : start + batch])
            for start in range(0, subject.n, batch)
        ]
    _check_classes(subject.classes, parts[0].logits.shape[1])
    _check_logits(np.concatenate([part.logits for part in parts]), columns, subject.classes)
    return _assembled(parts, method, subject, names, per_image, tried)


def _tried(method: _Method, subject: _Subject, columns: np.ndarray) -> Trial:
    """Return how a method in bfloat16 does on the first image; kept until a number of the network changes."""
    trials: dict[str, Trial] = prepared(subject.network, lambda _twin: {}, "trials of bfloat16")
    key = f"{method.name} {method.bias} {method.settings} {tuple(subject.inputs(slice(0, 1)).shape)}"
    if key not in trials:
        fine = replace(method, dtype=_home(subject.network)[1])

        def maps(way: _Method) -> np.ndarray:
            return way.explain(subject, way.kernels(subject.network), slice(0, 1), columns).relevance[0].sum(axis=1)

        trials[key] = try_bfloat16(lambda: maps(method), lambda: maps(fine))
    return trials[key]


@dataclass(frozen=True)
class _Subject:
    """A network with its images: what makes its input, the names of its logits."""

    network: nn.Module
    model: Any
    images: Any
    classes: tuple[str, ...]
    bare: bool

    @classmethod
    def of(cls, model: Any, images: Any) -> _Subject:
        model = unwrapped(model)
        missing = [name for name in ("preprocess", "network", "classes") if not hasattr(model, name)]
        if missing and not isinstance(model, nn.Module):
            raise ExplainError(
                f"cannot explain a {type(model).__name__}: it lacks {', '.join(missing)}. Accepted: a model with "
                "preprocess, network and classes, such as cxr.models.XrayClassifier, or a bare network"
            )
        images = _images(images)
        if not missing:
            return cls(unwrapped(model.network), model, images, tuple(model.classes), bare=False)
        image = _as_input(images[:1])
        network = as_timm(model, image)
        return cls(network, None, images, _columns_of(network, image), bare=True)

    @property
    def n(self) -> int:
        return len(self.images)

    def inputs(self, rows: slice) -> torch.Tensor:
        """Return the network's input of some images, on its device, in its own dtype."""
        with torch.no_grad():
            images = self.images[rows]
            made = _as_input(images) if self.bare else torch.as_tensor(self.model.preprocess(images))
            device, dtype = _home(self.network)
            return made.detach().to(device=device, dtype=dtype)

    def bound(self, value: float, inputs: torch.Tensor) -> torch.Tensor | None:
        """Return the network's input for the pixel value 0 or 1, per channel; None where nobody knows it."""
        if not hasattr(self.model, "normalise"):
            return None
        grey = torch.full((1, 1, 1, 1), value, device=inputs.device, dtype=inputs.dtype)
        bound: torch.Tensor = self.model.normalise(grey)
        return bound.detach().to(inputs)


def _images(images: Any) -> Any:
    """Return images that can be sliced: a list of arrays or tensors as one batch, anything else as it is."""
    sliced = hasattr(images, "__len__") and hasattr(images, "__getitem__")
    if not sliced or isinstance(images, str | bytes | Mapping):
        raise ExplainError(f"images are a {type(images).__name__}. Accepted: an array, a tensor or a list of images")
    if not len(images):
        raise ExplainError("no images to explain: 0 given. Accepted: 1 or more")
    is_list = isinstance(images, list | tuple) or (isinstance(images, np.ndarray) and images.dtype == object)
    if is_list and any(isinstance(image, np.ndarray | torch.Tensor) for image in images):
        try:
            return as_batch(images)
        except ImageError as error:
            raise ExplainError(str(error)) from None
    return images


def _as_input(images: Any) -> torch.Tensor:
    try:
        made = torch.as_tensor(np.asarray(images) if not isinstance(images, torch.Tensor) else images)
    except (TypeError, ValueError):  # words, or images of several sizes
        raise ExplainError(
            f"images are a {type(images).__name__} that is no array of numbers. Accepted for a bare network: float "
            "(N, C, H, W)"
        ) from None
    if made.ndim != 4 or not made.is_floating_point():
        kind = str(made.dtype).removeprefix("torch.")
        raise ExplainError(
            f"images are {kind} of the shape {tuple(made.shape)}. Accepted for a bare network: float (N, C, H, W)"
        )
    return made


def _columns_of(network: nn.Module, image: torch.Tensor) -> tuple[str, ...]:
    if is_densenet(network):
        return tuple(map(str, range(network.num_classes)))
    device, dtype = _home(network)
    image = image.to(device=device, dtype=dtype)
    with _input_that_fits(network, lambda: image), borrowed(network, itself, "copy") as twin, torch.no_grad():
        return tuple(map(str, range(twin(image).shape[1])))


@contextmanager
def _input_that_fits(
    network: nn.Module, inputs: Callable[[], torch.Tensor], classes: tuple[str, ...] | None = None
) -> Iterator[None]:
    """Tell what torch raises in one line where the network does not take ``inputs`` at all, or has other logits."""
    try:
        yield
    except RuntimeError as error:
        refusal = _refusal(network, inputs(), classes)
        raise (ExplainError(refusal) if refusal else error) from None


def _refusal(network: nn.Module, inputs: torch.Tensor, classes: tuple[str, ...] | None) -> str:
    """Return why a network's own forward pass fails, "" where it does not."""
    shape = tuple(inputs.shape)
    convolution = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    channels = convolution.in_channels if convolution is not None else None
    if len(shape) == 4 and channels not in (None, shape[1]):
        given = f"{shape[1]} channel{'s' * (shape[1] != 1)}"
        return f"images have {given}, the network takes {channels}. Accepted: (N, {channels}, H, W)"
    try:
        with borrowed(network, itself, "copy") as twin, torch.no_grad():
            logits = twin(inputs)
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rstrip(". ") if str(error) else type(error).__name__
        return (
            f"the network does not take images of the shape {shape} ({reason}). "
            "Accepted: images of the size that it was made for"
        )
    if classes is not None and len(classes) != logits.shape[-1]:
        return _other_logits(classes, logits.shape[-1])
    return ""


def _check_classes(classes: tuple[str, ...], n_logits: int) -> None:
    if len(classes) != n_logits:
        raise ExplainError(_other_logits(classes, n_logits))


def _other_logits(classes: tuple[str, ...], n_logits: int) -> str:
    return f"{len(classes)} classes ({', '.join(classes)}) for {n_logits} logits. Accepted: a name for each logit"


def _home(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return where a network lies and in what numbers it is explained: half precision is brought to float32."""
    parameter = next(network.parameters(), torch.empty(0))
    wide = parameter.dtype if parameter.dtype == torch.float64 else torch.float32
    return parameter.device, wide


def _dtype(network: nn.Module, way: Composite, precision: str | None) -> torch.dtype:
    if precision is None:
        return _home(network)[1]
    if precision not in PRECISIONS:
        raise ExplainError(unknown("precision", precision, PRECISIONS))
    if way.kind != "lrp" or not is_densenet(network):
        raise ExplainError(f"precision {precision!r} is for LRP on DenseNets only. Accepted here: None")
    return torch.bfloat16


@dataclass
class _Part:
    """What came out for some images; tensors (n, T, ...)."""

    relevance: np.ndarray
    logits: np.ndarray
    layers: tuple[str, ...]
    absorbed: np.ndarray
    lost: np.ndarray
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Method:
    """A composite with everything settled."""

    name: str
    way: Composite
    bias: str
    settings: dict[str, Any]
    dtype: torch.dtype

    def check(self, network: nn.Module) -> None:
        if self.way.kind == "lrp" and not is_densenet(network):
            refusal = sequential.why_not(network)
            if refusal:
                raise ExplainError(refusal)

    def kernels(self, network: nn.Module) -> Kernels | None:
        """Return folded weights where this way needs them, made once per network, kind of rule and dtype."""
        if self.way.kind != "lrp" or not is_densenet(network):
            return None
        assert self.way.convolution is not None
        rule, dtype = self.way.convolution(self.bias == "keep", self.settings), self.dtype
        key = f"folded {rule.rows} {rule.keep} {dtype}"
        kept = prepared(network, lambda twin: Kernels(read_densenet(twin), rule, dtype), key)
        mine = copy.copy(kept)
        mine.rule = rule
        return mine

    def explain(self, subject: _Subject, kernels: Kernels | None, rows: slice, columns: np.ndarray) -> _Part:
        inputs = subject.inputs(rows)
        if kernels is not None:
            return self._densenet(subject, kernels, inputs, columns)
        if self.way.kind != "lrp":
            return self._compared(subject, inputs, columns)
        return self._chain(subject, inputs, columns)

    def _compared(self, subject: _Subject, inputs: torch.Tensor, columns: np.ndarray) -> _Part:
        relevance, logits = gradients.attribute(
            subject.network, inputs, columns, self.name, batch=len(inputs), **self.settings
        )
        nothing = np.full((*columns.shape, 0), np.nan)
        return _Part(_numpy(relevance), _numpy(logits), (), nothing, nothing)

    def _chain(self, subject: _Subject, inputs: torch.Tensor, columns: np.ndarray) -> _Part:
        known = sequential.OPTIONS[self.name]
        settings = {key: value for key, value in self.settings.items() if key in known}
        caveat = sequential.caveat(subject.network)
        notes: tuple[str, ...] = (caveat,) if caveat else ()
        if self.way.first == "box":
            low, high, more = self._bounds(subject, inputs)
            notes += more
            settings |= {"low": low, "high": high}
        relevance, logits = sequential.relevance(subject.network, inputs, columns, self.name, self.bias, settings)
        explained = np.take_along_axis(_numpy(logits), columns, axis=1)
        values = _numpy(relevance)
        absorbed = explained - values.sum(axis=(2, 3, 4), dtype=np.float64)
        return _Part(values, _numpy(logits), ("all layers",), absorbed[..., None], 0 * absorbed[..., None], notes)

    def _densenet(self, subject: _Subject, kernels: Kernels, inputs: torch.Tensor, columns: np.ndarray) -> _Part:
        first = FirstLayer(self.way.first, epsilon=float(self.settings["epsilon"]))
        notes: tuple[str, ...] = ()
        if self.way.first == "box":
            low, high, notes = self._bounds(subject, inputs)
            first = FirstLayer("box", low, high)
        stem_norm, epsilon = self.settings.get("stem_bn", "rule"), float(self.settings["epsilon"])
        device = inputs.device
        with torch.inference_mode(), torch.autocast(device.type, enabled=False), _full_float32(device):
            trace = forward(kernels, inputs.to(self.dtype))
            sweeps = [
                backward(kernels, trace, torch.as_tensor(some, device=device), first, stem_norm, epsilon)
                for some in np.split(columns, range(TARGETS_AT_ONCE, columns.shape[1], TARGETS_AT_ONCE), axis=1)
            ]
        layers = tuple(sweeps[0][1].layers)
        absorbed = np.concatenate([_stacked(ledger.absorbed) for _, ledger in sweeps], axis=1)
        lost = np.concatenate([_stacked(ledger.lost) for _, ledger in sweeps], axis=1)
        relevance = np.concatenate([_numpy(values) for values, _ in sweeps], axis=1)
        return _Part(relevance, _numpy(trace.logits), layers, absorbed, lost, notes)

    def _bounds(self, subject: _Subject, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
        """Return the lowest and highest possible input, (1 or n, C or 1, 1, 1), and a note where they were guessed."""
        own = (inputs.amin(dim=(2, 3), keepdim=True), inputs.amax(dim=(2, 3), keepdim=True))
        bounds, guessed = [], False
        for key, value, fallback in (("low", 0.0, own[0]), ("high", 1.0, own[1])):
            given = self.settings[key]
            bound = subject.bound(value, inputs) if given is None else gradients.as_picture(key, given, inputs)
            guessed = guessed or bound is None
            bounds.append(fallback if bound is None else bound)
        if bool((bounds[0] > bounds[1]).any()):
            low, high = self.settings["low"], self.settings["high"]
            raise ExplainError(f"low {low!r} lies above high {high!r}. Accepted: low at or below high")
        note = "The first layer's box is each image's own range of values: what inputs are possible is not known."
        return bounds[0], bounds[1], (note,) if guessed else ()


def _full_float32(device: torch.device) -> Any:
    # TensorFloat-32 has 10 bits of mantissa: quotients of relevance would be off in the third digit.
    return torch.backends.cudnn.flags(allow_tf32=False) if device.type == "cuda" else torch.no_grad()


def _stacked(entries: Iterable[torch.Tensor]) -> np.ndarray:
    return torch.stack(list(entries), dim=-1).double().cpu().numpy()


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor if tensor.dtype == torch.float64 else tensor.float()).numpy()


def _assembled(
    parts: list[_Part],
    method: _Method,
    subject: _Subject,
    names: tuple[tuple[str, ...], ...],
    per_image: bool,
    tried: Trial | None,
) -> Explanation:
    relevance = np.concatenate([part.relevance for part in parts])
    relevance, not_finite = _finite(relevance)
    absorbed, lost = (np.concatenate([getattr(part, key) for part in parts]) for key in ("absorbed", "lost"))
    has_ledger = bool(parts[0].layers)
    totals = [entry.sum(-1) if has_ledger else np.full(entry.shape[:2], np.nan) for entry in (absorbed, lost)]
    arrays = [relevance, absorbed, lost, not_finite, *totals]
    relevance, absorbed, lost, not_finite, *totals = arrays if per_image else [array[:, 0] for array in arrays]
    return Explanation(
        relevance=relevance,
        logits=np.concatenate([part.logits for part in parts]),
        absorbed=totals[0],
        lost=totals[1],
        targets=names,
        composite=method.name,
        classes=subject.classes,
        bias=method.bias,
        options=method.settings,
        notes=_notes(method, parts, tried),
        layers=parts[0].layers,
        layer_absorbed=absorbed,
        layer_lost=lost,
        precision=str(method.dtype).removeprefix("torch."),
        trial=tried,
        not_finite=not_finite,
    )


def _finite(relevance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return relevance with NaN and infinity set to 0, and how many values of each map were."""
    bad = ~np.isfinite(relevance)
    count = bad.sum(axis=(2, 3, 4))
    return (np.where(bad, 0, relevance) if count.any() else relevance), count


def _notes(method: _Method, parts: list[_Part], tried: Trial | None) -> tuple[str, ...]:
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    if method.way.kind != "lrp":
        notes.append(f"The values of a map add up to {method.way.adds_up}.")
    if tried is not None:
        notes.append(tried.sentence)
    elif method.dtype == torch.bfloat16:
        notes.append("Propagated in bfloat16: values hold about two digits, the ledger closes to about a percent.")
    return tuple(notes)


def _names_per_image(
    targets: Any, n: int, classes: tuple[str, ...], bare: bool
) -> tuple[tuple[tuple[str, ...], ...], bool]:
    """Return names per image, and whether lists were given per image (the relevance then has an axis for them)."""
    targets = targets.tolist() if isinstance(targets, torch.Tensor | np.ndarray | np.generic) else targets
    if isinstance(targets, str | bytes) or not isinstance(targets, Iterable):
        entries, per_image = [(targets,)] * n, False
    else:
        given = [entry.tolist() if isinstance(entry, torch.Tensor | np.ndarray) else entry for entry in targets]
        per_image = any(isinstance(entry, list | tuple) for entry in given)
        entries = [tuple(entry) if isinstance(entry, list | tuple) else (entry,) for entry in given]
    names = tuple(tuple(_name(target, classes, bare) for target in entry) for entry in entries)
    if len(names) != n or len({len(entry) for entry in names}) > 1 or not all(names):
        raise ExplainError(f"{len(names)} targets for {n} images. Accepted: one name, {n} names, or {n} equal lists")
    return names, per_image


def _name(target: Any, classes: tuple[str, ...], bare: bool) -> str:
    if bare and isinstance(target, int | np.integer) and not isinstance(target, bool):
        target = str(int(target))
    if not isinstance(target, str):
        raise ExplainError(f"target {target!r} is not a class name. Available: {', '.join(classes)}")
    if target not in classes:
        raise ExplainError(unknown("target", target, classes))
    return target


def _check_logits(logits: np.ndarray, columns: np.ndarray, classes: tuple[str, ...]) -> None:
    explained = np.take_along_axis(logits, columns, axis=1)
    bad = np.argwhere(~np.isfinite(explained))
    if len(bad):
        n, t = bad[0]
        raise ExplainError(
            f"the logit of {classes[columns[n, t]]} of image {n} is {explained[n, t]}: it cannot be explained. "
            "Accepted: images and weights that give finite logits"
        )
