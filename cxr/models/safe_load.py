"""Opening a weights file without running code: safetensors, state dicts, checkpoints and whole pickled models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import safetensors
import safetensors.torch
import torch

from cxr.errors import WeightsError
from cxr.models.pickles.file_kinds import Kind, first_line, kind_of
from cxr.models.pickles.inert import Global, Instance, Pickled
from cxr.models.pickles.saved_network import NoNetwork, find_network
from cxr.models.pickles.torch_file import TorchDamage, TorchFile, open_legacy, open_zip

State = dict[str, torch.Tensor]

_CLEAN = "Ask its author for tensors alone: torch.save(model.state_dict(), FILE), or safetensors"
# What no network asks for. Nothing that a file asks for is run: these tell a file that means harm by its name.
_COMMAND_MODULES = ("os", "posix", "nt", "_io", "io", "subprocess", "sys", "shutil", "socket", "ctypes", "runpy",
                    "importlib", "imp", "pty", "webbrowser", "pickle", "_pickle", "marshal", "pdb", "timeit",
                    "cProfile", "urllib", "ftplib", "smtplib", "asyncio", "pip", "tempfile", "zipimport", "pkgutil",
                    "multiprocessing")  # fmt: skip
_COMMANDS = ("eval", "exec", "compile", "open", "__import__", "input", "breakpoint", "execfile", "file", "globals",
             "exit", "quit")  # fmt: skip
_OPENERS = ("torch.load", "torch.hub", "torch.package", "torch.jit", "torch.serialization", "torch.ops",
            "torch.utils.cpp_extension", "torch.utils.data", "numpy.load", "numpy.memmap", "numpy.fromfile",
            "numpy.DataSource", "joblib", "pandas.read_pickle")  # fmt: skip


@dataclass(frozen=True)
class Opened:
    """What a weights file holds.

    Attributes
    ----------
    state
        Its tensors by name, on the CPU.
    class_name
        Of a whole pickled model, such as ``torchvision.models.densenet.DenseNet``; empty for tensors alone.
    class_lists
        Lists of texts in it that may be the names of its outputs.
    framework
        What a safetensors file says of the framework that wrote it: ``pt``, ``tf``, ``flax``; empty where it does not.
    """

    state: State = field(repr=False)
    class_name: str = ""
    class_lists: tuple[tuple[str, ...], ...] = ()
    framework: str = ""


def read_tensors(path: Path) -> State:
    """Return the tensors of a weights file by name; see :func:`open_weights`."""
    return open_weights(path).state


def open_weights(path: Path) -> Opened:
    """Return what a file holds, by its bytes, whatever it is called.

    Whole pickled models are read as data: their classes need not be installed, and nothing of the file is run.

    Raises
    ------
    WeightsError
        If the file is absent, cut, damaged, something else, or asks for what no network needs: in one line, with what
        to do.
    """
    try:
        kind = kind_of(path)
        if kind.layout is None:
            raise WeightsError(f"{path} is {kind}")
        if kind.layout == "safetensors":
            return _open_safetensors(path)
        with path.open("rb") as file:
            return _open_torch(path, kind, file)
    except (TorchDamage, OSError) as error:
        raise WeightsError(f"{path} cannot be read: {first_line(error)}") from None
    except NoNetwork as error:
        raise WeightsError(f"{path} {first_line(error)}") from None


def _open_safetensors(path: Path) -> Opened:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            framework = str((file.metadata() or {}).get("format", ""))
        return Opened(safetensors.torch.load_file(path), framework=framework)
    except (safetensors.SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise TorchDamage(f"the safetensors file is cut short or damaged ({first_line(error)[:120]})") from None


def _open_torch(path: Path, kind: Kind, file: BinaryIO) -> Opened:
    size = path.stat().st_size
    try:
        opened = open_zip(file, size) if kind.layout == "torch zip" else open_legacy(file, size)
    except TorchDamage:
        if kind.name:  # a text that only began like a pickle
            raise WeightsError(f"{path} is {kind}") from None
        raise
    _refuse_commands(path, opened.globals)
    if isinstance(opened, Pickled):
        raise WeightsError(f"{path} is {_other_pickle(opened)}")
    network = find_network(opened.value)
    state = _tensors(opened, network.tensors)
    if not state:
        raise NoNetwork(f"holds no tensors{f' in its {network.class_name[:80]}' if network.class_name else ''}")
    return Opened(state, network.class_name, network.class_lists)


def _tensors(file: TorchFile, nodes: Mapping[str, Instance]) -> State:
    tensors = {name: file.tensor(node) for name, node in nodes.items()}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def _refuse_commands(path: Path, names: tuple[Global, ...]) -> None:
    commands = [str(name) for name in names if _is_command(name)]
    if commands:
        more = f" and {len(commands) - 3} more" if len(commands) > 3 else ""
        command_names = first_line(ValueError(", ".join(name[:60] for name in commands[:3])))
        raise WeightsError(
            f"{path} is refused: it asks for {command_names}{more}, which no network needs (nothing was run). {_CLEAN}"
        )


def _is_command(name: Global) -> bool:
    if name.module in ("builtins", "__builtin__"):
        return name.name in _COMMANDS
    parts = (name.module.partition(".")[0], *name.name.split(".")[:-1])
    opens = any(str(name) == opener or str(name).startswith(f"{opener}.") for opener in _OPENERS)
    return opens or any(part in _COMMAND_MODULES for part in parts)


def _other_pickle(pickled: Pickled) -> str:
    modules = dict.fromkeys(name.module.partition(".")[0] for name in pickled.globals)
    modules_text = f" (it asks for {first_line(ValueError(', '.join(list(modules)[:3])))})" if modules else ""
    return (
        f"a pickle that torch.save did not write{modules_text}: save the network's state_dict() with torch.save, or "
        "safetensors"
    )
