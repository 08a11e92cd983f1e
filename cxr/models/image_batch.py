"""Images as one batch: an array or a tensor stays as it is, a list becomes one if its images fit together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from cxr.errors import ImageError

Batch: TypeAlias = np.ndarray | torch.Tensor

_MOST_NAMED = 4


def as_batch(images: Any) -> Batch:
    """Return images as one array or tensor.

    Parameters
    ----------
    images
        An array or tensor, which is returned as it is; or a list or tuple (or an array of objects) of N images of one
        shape and one type, arrays, tensors or what NumPy makes arrays of.

    Returns
    -------
    The N images behind each other: a tensor if all are tensors, else an array.

    Raises
    ------
    ImageError
        For no image, images of several shapes or types, and anything that is no image.
    """
    if isinstance(images, torch.Tensor) or (isinstance(images, np.ndarray) and images.dtype != object):
        return images
    if not isinstance(images, list | tuple | np.ndarray):
        raise ImageError(f"images are a {type(images).__name__}. Accepted: an array, a tensor or a list of images")
    if not len(images):
        raise ImageError("no images: 0 given. Accepted: 1 or more")
    each = [_image(image, position) for position, image in enumerate(images)]
    _check_same("shapes", [" x ".join(map(str, image.shape)) or "no side" for image in each])
    _check_same("types", [str(image.dtype).removeprefix("torch.") for image in each])
    tensors = [image for image in each if isinstance(image, torch.Tensor)]
    if len(tensors) == len(each):
        return torch.stack([tensor.to(tensors[0].device) for tensor in tensors])
    return np.stack([image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else image for image in each])


def _image(image: Any, position: int) -> Batch:
    if isinstance(image, torch.Tensor):
        return image
    try:
        array = np.asarray(image)
    except (TypeError, ValueError):  # a list of lists of several lengths
        array = np.asarray(None)
    if array.dtype.kind not in "biufc":
        raise ImageError(f"image {position} is a {type(image).__name__}. Accepted: arrays or tensors of numbers")
    return array


def _check_same(property_name: str, values: Sequence[str]) -> None:
    """Raise an error that names the values and the first image of each, unless all are the same."""
    first: dict[str, int] = {}
    for position, value in enumerate(values):
        first.setdefault(value, position)
    if len(first) == 1:
        return
    examples = [f"{value} (image {position})" for value, position in first.items()]
    more = f" and {len(examples) - _MOST_NAMED} more" if len(examples) > _MOST_NAMED else ""
    raise ImageError(
        f"images have {len(examples)} different {property_name}: {', '.join(examples[:_MOST_NAMED])}{more}. "
        f"Accepted: images of one of these {property_name}, or one image at a time"
    )
