"""What is explained: a network with its images, and the classes of its logits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from cxr.errors import ExplainError, ImageError, unknown, wrong_use
from cxr.explain.frozen import borrowed, itself
from cxr.explain.lrp.densenet.densenet_weights import is_densenet
from cxr.explain.unwrapping import as_timm, unwrapped
from cxr.models.image_batch import as_batch


@dataclass(frozen=True)
class Subject:
    """A network with its images.

    ``model`` makes the network's input of images; it is None for a ``bare`` network, which takes its own input.
    """

    network: nn.Module
    model: Any
    images: Any
    classes: tuple[str, ...]
    bare: bool

    @classmethod
    def of(cls, model: Any, images: Any) -> Subject:
        """Return model and images as one; raises ExplainError for what is neither."""
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
        """How many images there are."""
        return len(self.images)

    def inputs(self, rows: slice) -> torch.Tensor:
        """Return the network's input of some images, on its device, in its own dtype."""
        with torch.no_grad():
            images = self.images[rows]
            made = _as_input(images) if self.bare else torch.as_tensor(self.model.preprocess(images))
            device, dtype = numbers_of(self.network)
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
    device, dtype = numbers_of(network)
    image = image.to(device=device, dtype=dtype)
    with input_that_fits(network, lambda: image), borrowed(network, itself, "copy") as twin, torch.no_grad():
        return tuple(map(str, range(twin(image).shape[1])))


@contextmanager
def input_that_fits(
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
        channels_of_images = f"{shape[1]} channel{'s' * (shape[1] != 1)}"
        return f"images have {channels_of_images}, the network takes {channels}. Accepted: (N, {channels}, H, W)"
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


def check_classes(classes: tuple[str, ...], n_logits: int) -> None:
    """Raise ExplainError if there is not a name for each logit."""
    if len(classes) != n_logits:
        raise ExplainError(_other_logits(classes, n_logits))


def _other_logits(classes: tuple[str, ...], n_logits: int) -> str:
    return f"{len(classes)} classes ({', '.join(classes)}) for {n_logits} logits. Accepted: a name for each logit"


def numbers_of(network: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return where a network lies and in what numbers it is explained: half precision is brought to float32."""
    parameter = next(network.parameters(), torch.empty(0))
    wide = parameter.dtype if parameter.dtype == torch.float64 else torch.float32
    return parameter.device, wide


def names_per_image(
    targets: Any, n: int, classes: tuple[str, ...], bare: bool
) -> tuple[tuple[tuple[str, ...], ...], bool]:
    """Return names per image, and whether lists were given per image (the relevance then has an axis for them)."""
    targets = targets.tolist() if isinstance(targets, torch.Tensor | np.ndarray | np.generic) else targets
    if isinstance(targets, str | bytes) or not isinstance(targets, Iterable):
        entries, per_image = [(targets,)] * n, False
    else:
        listed = [entry.tolist() if isinstance(entry, torch.Tensor | np.ndarray) else entry for entry in targets]
        per_image = any(isinstance(entry, list | tuple) for entry in listed)
        entries = [tuple(entry) if isinstance(entry, list | tuple) else (entry,) for entry in listed]
    names = tuple(tuple(_name(target, classes, bare) for target in entry) for entry in entries)
    if len(names) != n or len({len(entry) for entry in names}) > 1 or not all(names):
        raise ExplainError(f"{len(names)} targets for {n:,} images. Accepted: one name, {n} names, or {n} equal lists")
    return names, per_image


def _name(target: Any, classes: tuple[str, ...], bare: bool) -> str:
    if bare and isinstance(target, int | np.integer) and not isinstance(target, bool):
        target = str(int(target))
    if not isinstance(target, str):
        raise wrong_use(ExplainError(f"target {target!r} is not a class name. Available: {', '.join(classes)}"))
    if target not in classes:
        raise wrong_use(ExplainError(unknown("target", target, classes)))
    return target


def check_logits(logits: np.ndarray, columns: np.ndarray, classes: tuple[str, ...]) -> None:
    """Raise ExplainError if an explained logit, at ``columns`` (N, T) of ``logits`` (N, K), is not finite."""
    explained = np.take_along_axis(logits, columns, axis=1)
    bad = np.argwhere(~np.isfinite(explained))
    if len(bad):
        n, t = bad[0]
        raise ExplainError(
            f"the logit of {classes[columns[n, t]]} of image {n} is {explained[n, t]}: it cannot be explained. "
            "Accepted: images and weights that give finite logits"
        )
