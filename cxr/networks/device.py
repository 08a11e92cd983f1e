"""On which device a network works: one answer for training, evaluation, explanations and experiments."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cxr.errors import RecipeError, wrong_use
from cxr.runs.devices import CHOSEN_VARIABLE

if TYPE_CHECKING:
    import torch

DEVICE_TYPES = ("cpu", "cuda")
"""The types of the devices that networks work on."""


def is_gpu(device: torch.device) -> bool:
    """Return whether a device is a GPU."""
    return device.type == "cuda"


def resolve_device(name: str = "auto", count: int = 1) -> torch.device:
    """Return the (first) device that ``name`` means; ``auto`` is what the queue chose, else the first GPU there is.

    A run that may use a GPU has waited for its turn before it asks (see :func:`cxr.runs.devices.options_of`), and
    the queue's choice then stands in the environment.

    Raises
    ------
    RecipeError
        If it, or one of the ``count`` GPUs from it on, is not there.
    """
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        name = (os.environ.get(CHOSEN_VARIABLE) or "cuda") if there else "cpu"
    device = torch.device(name)
    if is_gpu(device) and (device.index or 0) + count > there:
        others = "".join(f", cuda:{i}" for i in range(there))
        several = f" with {count} GPUs from it on" if count > 1 else ""
        raise wrong_use(RecipeError(f"device: {name!r}{several} is not on this machine. Allowed: auto, cpu{others}"))
    return torch.device("cuda", device.index or 0) if is_gpu(device) else device
