"""Opening a weights file without running code: safetensors, or torch's files through ``weights_only=True`` alone."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from cxr.errors import WeightsError

State = dict[str, torch.Tensor]

SAFETENSORS = ".safetensors"
_BELOW = ("state_dict", "model_state_dict", "model", "network", "net", "weights")
# Modules whose pickled classes mean "a whole model was saved", not "this file wants to do something".
_MODEL_CODE = ("torch", "torchvision", "torchxrayvision", "timm", "collections", "__main__", "models", "modules")
_GLOBAL = re.compile(r"GLOBAL\s+([\w.]+)")


def read_tensors(path: Path) -> State:
    """Return the tensors of a safetensors file or of a torch file, by name.

    Raises
    ------
    WeightsError
        If the file is absent, damaged, holds no tensors, or needs code to be read: what it asked for is named.
    """
    try:
        if path.suffix == SAFETENSORS:
            return safetensors.torch.load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, LookupError) as error:  # text that is no pickle is looked up as one
        raise WeightsError(_refusal(path, error)) from None
    except (safetensors.SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {first_line(error)}") from None
    return _tensors_in(loaded, path)


def first_line(error: Exception) -> str:
    """Return what an error of another library says, short enough for one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def wanted_globals(path: Path, error: Exception | None = None) -> tuple[str, ...]:
    """Return the names of the code that a torch file asks for, read from its pickle without running it."""
    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    # The format before torch 1.6, or no format at all.
    except (ValueError, RuntimeError, OSError, EOFError, LookupError, pickle.UnpicklingError):
        names = _GLOBAL.findall(str(error or ""))
    return tuple(sorted(set(names)))


def _refusal(path: Path, error: Exception) -> str:
    names = wanted_globals(path, error)
    if not names:
        return f"{path} is refused: it is damaged or no file of torch (tensors alone are taken: save a state_dict())"
    asked = f"{path} is refused: reading it would run code, it asks for {', '.join(names[:3])}"
    asked += f" and {len(names) - 3} more" if len(names) > 3 else ""
    if all(name.partition(".")[0] in _MODEL_CODE for name in names):
        clean = f'torch.save(torch.load("{path.name}", weights_only=False).state_dict(), "clean.pth")'
        return f"{asked}. It holds a whole model: if you trust it, run `{clean}` where its code is installed"
    return f"{asked}. Ask its author for tensors alone: torch.save(model.state_dict(), FILE), or safetensors"


def _tensors_in(loaded: object, path: Path) -> State:
    """Return the state dict in what ``torch.load`` gave, looking below the usual keys."""
    for key in _BELOW:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not any(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise WeightsError(f"{path} holds a {type(loaded).__name__} without tensors: a state dict is needed")
    return {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}
