"""Pickles read as plain data: no class is looked up, nothing is called, no attribute is set.

A pickle is a small program that asks for classes and calls them. :func:`read_pickle` follows its opcodes itself and
writes down what each would have made: a :class:`Global` for a name of code, an :class:`Instance` for whatever is made
by calling one. Since no name is ever turned into code, nothing that a pickle asks for can happen. Memory stays in
proportion to what was read, and nothing here calls itself, however deeply things are nested.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

MAX_OPERATIONS = 1_000_000
"""Opcodes of one pickle; a whole DenseNet201 has about 120,000, the state of its optimizer half as many."""

_LAST_PROTOCOL = 5
# What makes an instance without its class being called: (module, name) of the functions that pickles use for it.
_MAKERS = {("copyreg", "__newobj__"), ("copy_reg", "__newobj__"), ("copyreg", "__newobj_ex__")}
_RECONSTRUCTORS = {("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor")}


class PickleDamage(ValueError):
    """A pickle that is cut, damaged, too long, or written in a way that no saver of networks uses."""


@dataclass(frozen=True, slots=True)
class Global:
    """The name of code that a pickle asks for; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Persistent:
    """What a pickle leaves to the file around it, in torch's files a storage of numbers."""

    id: Any


@dataclass(slots=True, eq=False)
class Instance:
    """What a call would have made.

    Attributes
    ----------
    made_by, arguments
        What would have been called (a :class:`Global`, as a rule) and with what.
    state
        What it was to become, usually the dictionary of its attributes.
    items, pairs
        What was put into it as into a list, and as into a dictionary.
    """

    made_by: Any
    arguments: tuple[Any, ...] = ()
    state: Any = None
    items: list[Any] | None = None
    pairs: dict[str, Any] | None = None  # whatever the pickle holds

    @property
    def class_name(self) -> str:
        """Module and name of its class or maker, empty where the maker is no plain name."""
        return str(self.made_by) if isinstance(self.made_by, Global) else ""


@dataclass(frozen=True)
class Pickled:
    """What a pickle holds.

    Attributes
    ----------
    value
        Numbers, texts, bytes, lists, tuples and dictionaries as they are, everything else as :class:`Instance`,
        :class:`Global` or :class:`Persistent`. Sets are lists. Of dictionaries only entries whose key is a text are
        kept: others name no tensor.
    globals
        Every name of code that it asks for, in the order of their first use.
    persistent
        Every :class:`Persistent`.
    """

    value: Any
    globals: tuple[Global, ...]
    persistent: tuple[Persistent, ...]


def read_pickle(stream: BinaryIO, max_operations: int = MAX_OPERATIONS) -> Pickled:
    """Read one pickle from where ``stream`` stands to its end; ``stream`` must hold no more than may lie in memory.

    Raises
    ------
    PickleDamage
        If it is no whole pickle, or has more than ``max_operations`` opcodes.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count >= max_operations:
                raise PickleDamage(f"its pickle has more than {max_operations:,} steps, which no network needs")
            machine.step(opcode.name, argument)
    except PickleDamage:
        raise
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError, UnicodeError) as error:
        raise PickleDamage(f"its pickle is cut short or damaged ({str(error)[:120]})") from None
    return Pickled(machine.result, tuple(machine.globals), tuple(machine.persistent))


class _Machine:
    """The stack, the marks and the memo of one pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each open mark
        self.memo: dict[int, Any] = {}
        self.globals: dict[Global, None] = {}
        self.persistent: list[Persistent] = []
        self.result: Any = None

    def step(self, name: str, argument: Any) -> None:
        if name in _STEPS:
            _STEPS[name](self, argument)
        elif name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        else:
            raise PickleDamage(f"its pickle uses {name}, which no saver of networks uses")

    def since_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.below.pop()
        return values

    def global_of(self, module: Any, name: Any) -> Global:
        global_name = Global(_text(module), _text(name))
        self.globals.setdefault(global_name)
        return global_name

    def call(self, maker: Any, arguments: Any) -> None:
        arguments = tuple(arguments) if isinstance(arguments, tuple | list) else (arguments,)
        key = (maker.module, maker.name) if isinstance(maker, Global) else None
        if key in _MAKERS and arguments:
            maker, arguments = arguments[0], arguments[1:]
        elif key in _RECONSTRUCTORS and arguments:
            maker, arguments = arguments[0], arguments[2:]
        self.stack.append(Instance(maker, arguments))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise PickleDamage(f"its pickle names code by a {type(value).__name__}")
    return value


def _proto(machine: _Machine, protocol: int) -> None:
    if protocol > _LAST_PROTOCOL:
        raise PickleDamage(f"its pickle's protocol is {protocol}")


def _nothing(machine: _Machine, argument: Any) -> None:
    pass


def _stop(machine: _Machine, argument: None) -> None:
    machine.result = machine.stack.pop()


def _mark(machine: _Machine, argument: None) -> None:
    machine.below.append(machine.stack)
    machine.stack = []


def _pop(machine: _Machine, argument: None) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.since_mark()


def _pop_mark(machine: _Machine, argument: None) -> None:
    machine.since_mark()


def _dup(machine: _Machine, argument: None) -> None:
    machine.stack.append(machine.stack[-1])


def _put(machine: _Machine, index: int) -> None:
    machine.memo[index] = machine.stack[-1]


def _memoize(machine: _Machine, argument: None) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _get(machine: _Machine, index: int) -> None:
    machine.stack.append(machine.memo[index])


def _list(machine: _Machine, argument: None) -> None:
    values = machine.since_mark()
    machine.stack.append(values)


def _tuple(machine: _Machine, argument: None) -> None:
    values = machine.since_mark()
    machine.stack.append(tuple(values))


def _short_tuple(length: int) -> Callable[[_Machine, Any], None]:
    def make(machine: _Machine, argument: None) -> None:
        if len(machine.stack) < length:
            raise PickleDamage("a tuple in its pickle lacks values")
        values = tuple(machine.stack[-length:])
        del machine.stack[-length:]
        machine.stack.append(values)

    return make


def _dict(machine: _Machine, argument: None) -> None:
    values = machine.since_mark()
    machine.stack.append({})
    _insert(machine.stack[-1], values)


def _append(machine: _Machine, argument: None) -> None:
    value = machine.stack.pop()
    _extend(machine.stack[-1], [value])


def _appends(machine: _Machine, argument: None) -> None:
    values = machine.since_mark()
    _extend(machine.stack[-1], values)


def _setitem(machine: _Machine, argument: None) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    _insert(machine.stack[-1], [key, value])


def _setitems(machine: _Machine, argument: None) -> None:
    values = machine.since_mark()
    _insert(machine.stack[-1], values)


def _extend(target: Any, values: list[Any]) -> None:
    if isinstance(target, Instance):
        target.items = target.items if target.items is not None else []
        target.items.extend(values)
    elif isinstance(target, list):
        target.extend(values)
    else:
        raise PickleDamage(f"its pickle appends to a {type(target).__name__}")


def _insert(target: Any, values: list[Any]) -> None:
    """Put keys and values, which follow each other, into a dictionary; keys that are no text are left out."""
    if isinstance(target, Instance):
        target.pairs = target.pairs if target.pairs is not None else {}
        target = target.pairs
    if not isinstance(target, dict) or len(values) % 2:
        raise PickleDamage(f"its pickle sets items of a {type(target).__name__}")
    target.update((key, value) for key, value in zip(values[::2], values[1::2], strict=True) if isinstance(key, str))


def _global(machine: _Machine, names: str) -> None:
    module, _, name = names.partition(" ")
    machine.stack.append(machine.global_of(module, name))


def _stack_global(machine: _Machine, argument: None) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(machine.global_of(module, name))


def _inst(machine: _Machine, names: str) -> None:
    arguments = machine.since_mark()
    module, _, name = names.partition(" ")
    machine.call(machine.global_of(module, name), arguments)


def _obj(machine: _Machine, argument: None) -> None:
    maker, *arguments = machine.since_mark()
    machine.call(maker, arguments)


def _reduce(machine: _Machine, argument: None) -> None:
    arguments, maker = machine.stack.pop(), machine.stack.pop()
    machine.call(maker, arguments)


def _newobj_ex(machine: _Machine, argument: None) -> None:
    _, arguments, maker = machine.stack.pop(), machine.stack.pop(), machine.stack.pop()
    machine.call(maker, arguments)


def _build(machine: _Machine, argument: None) -> None:
    state = machine.stack.pop()
    target = machine.stack[-1]
    if isinstance(target, Instance):  # a state for anything else changes what nobody reads
        target.state = state


def _persistent(machine: _Machine, text: str | None) -> None:
    persistent = Persistent(machine.stack.pop() if text is None else text)
    machine.persistent.append(persistent)
    of_a_class = isinstance(persistent.id, tuple) and len(persistent.id) > 1 and persistent.id[0] == "module"
    # Before 1.6 torch left the source code of a class to the file: its name is all that is of use.
    machine.stack.append(persistent.id[1] if of_a_class and isinstance(persistent.id[1], Global) else persistent)


_VALUES = frozenset(
    ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
     "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
     "BINBYTES8", "BYTEARRAY8")
)  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _proto,
    "FRAME": _nothing,  # a hint for buffering; how long it says it is has no meaning here
    "STOP": _stop,
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": _dup,
    "PUT": _put,
    "BINPUT": _put,
    "LONG_BINPUT": _put,
    "MEMOIZE": _memoize,
    "GET": _get,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "LIST": _list,
    "TUPLE": _tuple,
    "TUPLE1": _short_tuple(1),
    "TUPLE2": _short_tuple(2),
    "TUPLE3": _short_tuple(3),
    "FROZENSET": _list,
    "DICT": _dict,
    "APPEND": _append,
    "APPENDS": _appends,
    "ADDITEMS": _appends,
    "SETITEM": _setitem,
    "SETITEMS": _setitems,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "INST": _inst,
    "OBJ": _obj,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _newobj_ex,
    "BUILD": _build,
    "PERSID": _persistent,
    "BINPERSID": _persistent,
}
