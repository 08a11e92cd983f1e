"""Devices as the queue sees them: which a run may take, found out without importing torch.

A run that waits for its turn must not cost the half gigabyte that torch takes, so torch is asked in a process of its
own, and only where there is a driver at all.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr.runs.kinds import Kind

CHOSEN_VARIABLE = "CXR_DEVICE"  # tells a training whose recipe says `auto` which device the queue has given it

_DRIVERS = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
_ASK_TORCH = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
_ASK_MODES = ("nvidia-smi", "--query-gpu=compute_mode", "--format=csv,noheader")
_ANSWER_S = 120.0
_CUDA = re.compile(r"cuda(?::(\d+))?")

Options = dict[str, tuple[str, ...]]


def options_of(kind: Kind, params: Mapping[str, Any], shards: int = 1) -> Options | None:
    """Return what a run may take, None for one that needs no turn; with ``shards`` a GPU for each, as far as they go.

    Whatever computes with a network waits for a GPU that is free, where there are GPUs and it did not ask for the
    processor. The processor is shared, unless the kind takes its turn there too: an evaluation beside a training slows
    both a little, two trainings would slow each other for hours.
    """
    if kind.device == "none":
        return None
    device, n = kind.requested_devices(params)
    gpus = count_gpus() if device == "auto" else 0
    options = device_options(device, max(n, min(shards, gpus)), gpus)
    return None if kind.processor == "shared" and set(options) <= {"cpu"} else options


def names_gpu(device: str) -> bool:
    """Return whether a device's name means a GPU."""
    return _CUDA.fullmatch(device) is not None


def count_gpus() -> int:
    """Return how many GPUs torch can use here; 0 also where there is no answer."""
    if not any(Path(driver).exists() for driver in _DRIVERS):
        return 0
    listed = _nvidia_gpus()
    return _ask_torch() if listed is None else listed


def _nvidia_gpus() -> int | None:
    """Return the GPUs that NVIDIA's tool lists and CUDA_VISIBLE_DEVICES leaves, None without the tool.

    It answers in a fraction of the time that importing torch takes.
    """
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_ANSWER_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = listed.stdout.splitlines()
    if any(line.strip().startswith("MIG") for line in lines):  # which of its slices torch takes, only torch knows
        return None
    count = sum(line.startswith("GPU ") for line in lines)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return count if visible is None else min(count, len([part for part in visible.split(",") if part.strip()]))


def gpus_are_shared() -> bool:
    """Return whether several processes may use a GPU at once, as they may unless an administrator forbade it."""
    try:
        answer = subprocess.run(_ASK_MODES, capture_output=True, text=True, timeout=_ANSWER_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return True  # no NVIDIA's tool, no such setting
    return all(mode.strip() == "Default" for mode in answer.stdout.splitlines())


def _ask_torch() -> int:
    try:
        result = subprocess.run(
            [sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=_ANSWER_S, check=True
        )
        return int(result.stdout.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return 0


def device_options(device: str, n: int, gpus: int) -> Options:
    """Return what a run may take: ``{first device as the training names it: all devices that this occupies}``.

    ``auto`` may take any GPU (any ``n`` neighbours), or the processor where there is none; ``cuda:1`` with ``n`` 2
    takes ``cuda:1`` and ``cuda:2`` together. A device that makes no sense is its own place: the training refuses it.
    """
    match = _CUDA.fullmatch(device)
    if match:
        firsts = range(int(match[1] or 0), int(match[1] or 0) + 1)
    elif device == "auto" and gpus:
        firsts = range(max(1, gpus - n + 1))
    else:
        name = "cpu" if device == "auto" else device
        return {name: (name,)}
    return {f"cuda:{first}": tuple(_on_this_machine(first + i) for i in range(max(1, n))) for first in firsts}


def neighbours(device: str, n: int) -> list[str]:
    """Return the names, in this process, of the ``n`` devices from ``device`` on; of a processor itself alone."""
    named = _CUDA.fullmatch(device)
    return [f"cuda:{int(named[1] or 0) + k}" for k in range(n)] if named else [device]


def _on_this_machine(index: int) -> str:
    """Return the name that GPU ``index`` of this process has for every process of the machine."""
    visible = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    return f"cuda:{visible[index]}" if index < len(visible) and visible[index] else f"cuda:{index}"
