"""Torch's files read without torch's own loader: the zip of today and the format before torch 1.6.

The pickle inside is read as data (:mod:`cxr.models.pickles.inert`), so whole pickled networks, with the code of their
classes or without it, on any device, are as safe to open as a dictionary of tensors. Tensors are then cut from the
numbers in the file; one that claims more than the file holds is refused. Torch's own loader of the older format is not
used: it allocates what a file claims, unpacks tar files and compares source code, which can write files.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import torch

from cxr.models.pickles.file_kinds import zip_entries
from cxr.models.pickles.inert import Global, Instance, Persistent, Pickled, PickleDamage, read_pickle

MAX_PICKLE_BYTES = 32 * 2**20
"""What is read of a file as a pickle; that of a whole DenseNet201 has about 1 MB, its numbers lie outside of it."""

TENSOR_BYTES_PER_FILE_BYTE = 8
"""How much larger than their file all tensors together may be: tensors can share numbers, but not by the thousand."""

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_MAX_DIMENSIONS = 8
_DTYPES: dict[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}
_PLAIN_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in _DTYPES.values()}
_REBUILD = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
_PARAMETER_MAKERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state",
                     "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer",
                     "torch.autograd.variable.Variable")  # fmt: skip
_SUBCLASS_MAKER = "torch._tensor._rebuild_from_type_v2"


class TorchDamage(ValueError):
    """A file of torch that is cut, damaged, or claims more than it holds."""


@dataclass(frozen=True)
class _Storage:
    """Where the numbers of a storage lie, in elements of ``dtype``; a view begins at ``offset`` of its root."""

    key: str
    dtype: torch.dtype
    length: int
    offset: int = 0


@dataclass
class TorchFile:
    """An open file of torch.

    Attributes
    ----------
    value
        What was saved, as :class:`cxr.models.pickles.inert.Pickled` has it: tensors are instances, see :meth:`tensor`.
    globals
        The names of code that its pickles ask for.
    """

    value: Any
    globals: tuple[Global, ...]
    size: int
    places: Mapping[str, tuple[int, int]] = field(repr=False)  # storage's key: first byte and number of bytes
    file: BinaryIO = field(repr=False)
    _loaded: dict[str, bytearray] = field(default_factory=dict, repr=False)
    _bytes_of_tensors: int = 0

    def tensor(self, node: object) -> torch.Tensor | None:
        """Return the tensor or parameter that ``node`` describes, on the CPU, or None if it describes none.

        Raises
        ------
        TorchDamage
            If it reaches beyond its numbers, or repeats them.
        """
        call = tensor_call(node)
        if call is None:
            return None
        try:
            return self._cut(call)
        except (TypeError, IndexError, AttributeError, OverflowError, RuntimeError) as error:
            raise TorchDamage(f"a tensor is described in an invalid way ({str(error)[:80]})") from None

    def _cut(self, call: Instance) -> torch.Tensor | None:
        storage = _storage_of(call.arguments[0])
        if storage is None:
            return None
        offset, size, stride = call.arguments[1:4]
        dtype = storage.dtype
        if call.made_by.name == "_rebuild_tensor_v3":
            dtype = _PLAIN_DTYPES.get(call.arguments[6].name, dtype)
            storage = _Storage(storage.key, dtype, storage.length // dtype.itemsize, storage.offset)
        _check_extent(offset, size, stride, storage.length)
        count = 1
        for length in size:
            count *= length
        self._bytes_of_tensors += count * dtype.itemsize
        if self._bytes_of_tensors > TENSOR_BYTES_PER_FILE_BYTE * self.size:
            raise TorchDamage("its tensors together are many times larger than the file")
        if count == 0:
            return torch.empty(tuple(size), dtype=dtype)
        numbers = torch.frombuffer(self._numbers(storage), dtype=dtype)
        return torch.as_strided(numbers, tuple(size), tuple(stride), storage.offset + offset)

    def _numbers(self, storage: _Storage) -> bytearray:
        """Return the bytes of a whole root storage, read once."""
        if storage.key not in self.places:
            raise TorchDamage(f"the numbers of storage {storage.key[:40]!r} are not in it")
        start, length = self.places[storage.key]
        if (storage.offset + storage.length) * storage.dtype.itemsize > length:
            raise TorchDamage(f"storage {storage.key[:40]!r} claims more numbers than the file holds")
        if storage.key not in self._loaded:
            if sum(map(len, self._loaded.values())) + length > self.size:
                raise TorchDamage("its storages overlap")
            self.file.seek(start)
            numbers = bytearray(self.file.read(length))
            if len(numbers) < length:
                raise TorchDamage("it is cut short")
            self._loaded[storage.key] = numbers
        return self._loaded[storage.key]


def tensor_call(node: object) -> Instance | None:
    """Return the instance that describes the tensor behind ``node`` (itself, or in a parameter), or None."""
    for _ in range(4):  # a parameter of a subclass of a tensor is three deep
        if not isinstance(node, Instance) or not isinstance(node.made_by, Global):
            return None
        if node.made_by.module == "torch._utils" and node.made_by.name in _REBUILD:
            return node
        if not node.arguments:
            return None
        if node.class_name in _PARAMETER_MAKERS:
            node = node.arguments[0]
        elif node.class_name == _SUBCLASS_MAKER and len(node.arguments) > 2:
            node = Instance(node.arguments[0], _as_tuple(node.arguments[2]))
        else:
            return None
    return None


def _as_tuple(value: object) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, tuple | list) else ()


def _check_extent(offset: Any, size: Any, stride: Any, length: int) -> None:
    """Refuse a tensor that reaches beyond the ``length`` numbers of its storage or repeats them."""
    numbers = [offset, *size, *stride]
    if not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in numbers) or len(size) != len(stride):
        raise TorchDamage("a tensor has no usable shape")
    if len(size) > _MAX_DIMENSIONS:
        raise TorchDamage(f"a tensor has {len(size)} dimensions")
    count = 1
    for n in size:
        count *= n
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if count else 0
    if count > length or last >= max(length, 1):
        raise TorchDamage(f"a tensor of {'x'.join(str(n)[:12] for n in size)} numbers claims more than its storage has")


def _storage_of(node: object) -> _Storage | None:
    """Return the storage that a pickle refers to, None for one whose numbers are of a kind that is not read."""
    if not isinstance(node, Persistent) or not isinstance(node.id, tuple) or len(node.id) < 5:
        raise TorchDamage("a tensor refers to no storage")
    kind, storage_type, key, _, length = node.id[:5]
    view = node.id[5] if len(node.id) > 5 else None
    if kind != "storage" or not isinstance(storage_type, Global) or not isinstance(length, int) or length < 0:
        raise TorchDamage("a tensor refers to a storage in an invalid way")
    dtype = _DTYPES.get(storage_type.name)
    if dtype is None:
        return None
    key = str(key) if isinstance(key, int) else key
    if not isinstance(key, str):
        raise TorchDamage("a storage has no name")
    if view is None:
        return _Storage(key, dtype, length)
    _, offset, view_length = view
    if not (isinstance(offset, int) and isinstance(view_length, int) and offset >= 0 and view_length >= 0):
        raise TorchDamage("a view of a storage has no usable place")
    if offset + view_length > length:
        raise TorchDamage("a view of a storage claims more than it has")
    return _Storage(key, dtype, view_length, offset)


def open_zip(file: BinaryIO, size: int) -> TorchFile:
    """Read the zip that torch writes since 1.6; storages are read when their tensors are.

    Raises
    ------
    TorchDamage
        If it is cut, damaged, compressed (torch never does), or no zip of torch.
    """
    try:
        entries = {entry.filename: entry for entry in zip_entries(file)}
    except (zipfile.BadZipFile, NotImplementedError, ValueError, RuntimeError) as error:
        raise TorchDamage(f"it is cut short or damaged ({error})") from None
    names = [name for name in entries if name.endswith("data.pkl") and name.count("/") <= 1]
    if not names:
        raise TorchDamage("it holds no data.pkl")
    root = names[0].removesuffix("data.pkl")
    pickled = _read_pickle(io.BytesIO(_small(file, entries[names[0]])))
    order = entries.get(f"{root}byteorder")
    if order is not None and _small(file, order).strip() == b"big":
        raise TorchDamage("its numbers are in the order of bytes of another kind of machine (big-endian)")
    begin = f"{root}data/"
    inside = {name.removeprefix(begin): entry for name, entry in entries.items() if name.startswith(begin)}
    places = {key: _place(file, entry) for key, entry in inside.items()}
    return TorchFile(pickled.value, pickled.globals, size, places, file)


def _small(file: BinaryIO, entry: zipfile.ZipInfo) -> bytes:
    start, length = _place(file, entry)
    if length > MAX_PICKLE_BYTES:
        raise TorchDamage(f"its pickle has {length:,} bytes, which no network needs")
    file.seek(start)
    return file.read(length)


def _place(file: BinaryIO, entry: zipfile.ZipInfo) -> tuple[int, int]:
    """Return the first byte and the number of bytes of an entry that is not compressed."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise TorchDamage("its parts are compressed, which torch does not do")
    file.seek(max(entry.header_offset, 0))
    head = file.read(30)
    if len(head) < 30 or head[:4] != b"PK\x03\x04":
        raise TorchDamage("it is cut short or damaged")
    names = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    return entry.header_offset + 30 + names, entry.file_size


def open_legacy(file: BinaryIO, size: int) -> TorchFile | Pickled:
    """Read torch's format before 1.6; a pickle that torch did not write is returned as it is.

    Raises
    ------
    TorchDamage
        If it is cut or damaged.
    """
    file.seek(0)
    head = io.BytesIO(file.read(MAX_PICKLE_BYTES))
    first = _read_pickle(head)
    if first.value != _MAGIC:
        return first
    if _read_pickle(head).value != _PROTOCOL:
        raise TorchDamage("its protocol is not the one that torch has had since 2017")
    system = _read_pickle(head).value
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise TorchDamage("its numbers are in the order of bytes of another kind of machine (big-endian)")
    pickled = _read_pickle(head)
    keys = _read_pickle(head).value
    if not isinstance(keys, list):
        raise TorchDamage("its list of storages is missing")
    places = _legacy_places(file, size, head.tell(), map(str, keys), _roots(pickled.persistent))
    return TorchFile(pickled.value, pickled.globals, size, places, file)


def _roots(references: Iterable[Persistent]) -> dict[str, int]:
    """Return ``{storage's key: bytes of one number}``."""
    return {
        str(node.id[2])[:80]: _DTYPES[node.id[1].name].itemsize
        for node in references
        if isinstance(node.id, tuple) and len(node.id) > 4 and node.id[0] == "storage"
        and isinstance(node.id[1], Global) and node.id[1].name in _DTYPES and isinstance(node.id[2], str | int)
    }  # fmt: skip


def _legacy_places(
    file: BinaryIO, size: int, start: int, keys: Iterable[str], widths: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    """Return where the storages lie: one after the other, each behind the number of its elements."""
    places = {}
    for key in keys:
        if key not in widths:
            raise TorchDamage(f"its storage {key[:40]!r} is of an unknown kind")
        file.seek(start)
        count = int.from_bytes(file.read(8), "little", signed=True)
        length = count * widths[key]
        start += 8
        if count < 0 or start + length > size:
            raise TorchDamage("it is cut short: fetch it again")
        places[key] = (start, length)
        start += length
    return places


def _read_pickle(stream: io.BytesIO) -> Pickled:
    try:
        return read_pickle(stream)
    except PickleDamage as error:
        raise TorchDamage(str(error)) from None
