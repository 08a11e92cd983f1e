"""The network in what a file of torch holds: a state dict, a checkpoint around one, or a whole pickled model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cxr.models.pickles.inert import Instance
from cxr.models.pickles.torch_file import tensor_call

MAX_PARTS = 100_000
"""Modules and tensors of a whole model; a DenseNet201 has about 2,000."""

MAX_DEPTH = 60

# Keys under which training code keeps the network of a checkpoint, in the order in which they are tried.
_BELOW = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "weights", "module")
# What networks and checkpoints call the list of their classes: the first is torchxrayvision's.
_CLASS_LISTS = ("pathologies", "targets", "class_names", "classes", "labels")
_DICTIONARIES = ("collections.OrderedDict", "builtins.dict", "__builtin__.dict", "collections.defaultdict")
_THRESHOLDS = "op_threshs"  # torchxrayvision keeps them as a plain attribute in some of its networks


class NoNetwork(ValueError):
    """Nothing in a file that is one network."""


@dataclass(frozen=True)
class SavedNetwork:
    """The tensors of a network, as a pickle describes them.

    Attributes
    ----------
    tensors
        By the name that the network's ``state_dict()`` would give.
    class_name
        Of a whole pickled model, such as ``torchvision.models.densenet.DenseNet``; empty for a state dict.
    class_lists
        Lists of texts that may be the names of its outputs.
    """

    tensors: dict[str, Instance] = field(repr=False)
    class_name: str = ""
    class_lists: tuple[tuple[str, ...], ...] = ()


def find_network(value: object) -> SavedNetwork:
    """Return the one network in what a file holds.

    Raises
    ------
    NoNetwork
        If there is none, or more than one and none under a usual name.
    """
    names: list[tuple[str, ...]] = []
    start = value
    for _ in range(MAX_DEPTH):
        if is_module(value):
            attributes = attributes_of(value)
            made_by = value.class_name if isinstance(value, Instance) else ""
            return SavedNetwork(module_tensors(value), made_by, (*_class_lists(attributes), *names))
        entries = entries_of(value)
        names = [*_class_lists(entries), *names]
        below = next((entries[key] for key in _BELOW if _may_hold_tensors(entries.get(key))), None)
        if below is None:
            tensors = _tensors_of(entries)
            if tensors:
                return SavedNetwork(tensors, "", tuple(names))
            below = _only_network(entries)
        value = below
    raise NoNetwork(f"holds {_a_kind(start)} without tensors: a state dict is needed")


def is_module(node: object) -> bool:
    """Return whether ``node`` is what is left of a pickled ``torch.nn.Module``."""
    attributes = attributes_of(node)
    return "_modules" in attributes or "_parameters" in attributes


def attributes_of(node: object) -> Mapping[str, Any]:
    """Return the attributes that an instance was given, of a class with ``__slots__`` too; empty for others."""
    state = node.state if isinstance(node, Instance) else None
    if isinstance(state, tuple) and state:
        state = state[0]
    return entries_of(state)


def entries_of(node: object) -> Mapping[str, Any]:
    """Return what a dictionary, or an instance of a class made from it, holds; empty for others."""
    if isinstance(node, dict):
        return node
    if not isinstance(node, Instance):
        return {}
    entries: dict[str, Any] = {}  # whatever the pickle holds
    if node.class_name in _DICTIONARIES:  # Python 2 gave an OrderedDict the list of its pairs
        for argument in node.arguments:
            if isinstance(argument, list):
                pairs = (pair for pair in argument if isinstance(pair, list | tuple) and len(pair) == 2)
                entries.update((key, item) for key, item in pairs if isinstance(key, str))
    return entries | (node.pairs or {})


def module_tensors(module: object) -> dict[str, Instance]:
    """Return the tensors that ``state_dict()`` of a whole model would give, by name.

    Raises
    ------
    NoNetwork
        If it is deeper or has more parts than any network.
    """
    tensors: dict[str, Instance] = {}
    parts_of: dict[int, _Parts] = {}  # a module that stands at many places is read once
    waiting: list[tuple[str, object, tuple[int, ...]]] = [("", module, ())]
    n_parts = 0
    while waiting:
        prefix, node, above = waiting.pop()
        parts = parts_of.setdefault(id(node), parts_of.get(id(node)) or _Parts.of(node))
        n_parts += 1 + len(parts.tensors) + len(parts.children)
        if n_parts > MAX_PARTS or len(above) > MAX_DEPTH:
            raise NoNetwork(f"holds a model of more than {MAX_PARTS:,} parts, or nested more than {MAX_DEPTH} deep")
        tensors |= {prefix + name: call for name, call in parts.tensors.items()}
        below = (*above, id(node))
        children = ((name, child) for name, child in parts.children.items() if id(child) not in below)
        waiting.extend(reversed([(f"{prefix}{name}.", child, below) for name, child in children]))
    return tensors


@dataclass(frozen=True)
class _Parts:
    """A module's own tensors and the modules in it."""

    tensors: dict[str, Instance]
    children: dict[str, object]

    @classmethod
    def of(cls, node: object) -> _Parts:
        attributes = attributes_of(node)
        modules = entries_of(attributes.get("_modules"))
        return cls(_own_tensors(attributes), {name: child for name, child in modules.items() if child is not None})


def _own_tensors(attributes: Mapping[str, Any]) -> dict[str, Instance]:
    """Return a module's own parameters, and its buffers that are saved with it."""
    unsaved = set(_texts(attributes.get("_non_persistent_buffers_set")))
    buffers = {n: node for n, node in entries_of(attributes.get("_buffers")).items() if n not in unsaved}
    plain = {_THRESHOLDS: attributes[_THRESHOLDS]} if _THRESHOLDS in attributes else {}
    return _tensors_of({**plain, **entries_of(attributes.get("_parameters")), **buffers})


def _tensors_of(entries: Mapping[str, Any]) -> dict[str, Instance]:
    return {name: node for name, node in entries.items() if tensor_call(node) is not None}


def _may_hold_tensors(node: object) -> bool:
    return isinstance(node, dict) or is_module(node) or bool(entries_of(node))


def _only_network(entries: Mapping[str, Any]) -> object:
    """Return the one value that is a model or a dictionary of tensors.

    Raises
    ------
    NoNetwork
        If there are several.
    """
    networks = {name: node for name, node in entries.items() if is_module(node) or _tensors_of(entries_of(node))}
    if len(networks) > 1:
        listed = ", ".join(name[:40] for name in list(networks)[:5])
        raise NoNetwork(f"holds {len(networks)} networks ({listed}): save the state_dict() of one of them alone")
    return next(iter(networks.values()), None)


def _class_lists(entries: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    lists = [tuple(_texts(entries.get(key))) for key in _CLASS_LISTS]
    by_index = entries.get("class_to_idx")
    if isinstance(by_index, dict) and all(isinstance(index, int) for index in by_index.values()):
        lists.append(tuple(sorted(by_index, key=lambda name: by_index[name])))
    return [names for names in lists if names]


def _texts(node: object) -> list[str]:
    """Return a list, tuple or set of texts; empty for anything else."""
    if isinstance(node, Instance) and node.class_name in ("builtins.set", "__builtin__.set") and node.arguments:
        node = node.arguments[0]
    is_texts = isinstance(node, list | tuple) and all(isinstance(value, str) for value in node)
    return list(node) if is_texts and isinstance(node, list | tuple) else []


def _a_kind(value: object) -> str:
    if isinstance(value, Instance):
        return f"an object of {value.class_name[:80]}" if value.class_name else "an object"
    return "nothing" if value is None else f"a {type(value).__name__}"
