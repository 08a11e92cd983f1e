"""Files that mean harm: 200 pickles that ask for code in every way there is, and some that ask for memory or time."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

PROTO, STOP = b"\x80\x04", b"."
MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
VERSION = pickle.dumps(1001, 2)
SYSTEM = pickle.dumps({"protocol_version": 1001, "little_endian": True}, 2)
NO_KEYS = pickle.dumps([], 2)

# Module and name of what would be called, and the text that it would be called with; {flag} is a file to make.
PAYLOADS = (
    ("os", "system", "touch {flag}"),
    ("posix", "system", "touch {flag}"),
    ("nt", "system", "touch {flag}"),
    ("subprocess", "Popen", "touch {flag}"),
    ("subprocess", "check_output", "touch {flag}"),
    ("pty", "spawn", "touch"),
    ("builtins", "eval", "open('{flag}', 'w')"),
    ("builtins", "exec", "open('{flag}', 'w')"),
    ("__builtin__", "execfile", "{flag}"),
    ("builtins", "__import__", "antigravity"),
    ("builtins", "getattr", "os"),
    ("builtins", "setattr", "os"),
    ("_io", "open", "{flag}"),
    ("sys", "exit", "0"),
    ("shutil", "rmtree", "{flag}"),
    ("ctypes", "CDLL", "libc.so.6"),
    ("runpy", "run_path", "{flag}"),
    ("importlib", "import_module", "antigravity"),
    ("torch", "load", "{flag}"),
    ("torch.hub", "load", "owner/repository"),
    ("torch.package", "PackageImporter", "{flag}"),
    ("torch.utils.cpp_extension", "load", "{flag}"),
    ("torch.serialization", "os.system", "touch {flag}"),
    ("numpy", "memmap", "{flag}"),
    ("functools", "partial", "os"),
    ("operator", "attrgetter", "system"),
    ("operator", "methodcaller", "system"),
    ("types", "CodeType", "x"),
    ("copyreg", "add_extension", "os"),
    ("hostile", "Trap", "{flag}"),
)

FIRED: list[str] = []
"""What :class:`Trap` did; stays empty as long as no class of a pickle is used."""


class Trap:
    """Tells of every way in which a pickle can make code of its class run."""

    def __new__(cls, *args: object, **kwargs: object) -> Trap:
        FIRED.append("__new__")
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        FIRED.append("__init__")

    def __setstate__(self, state: object) -> None:
        FIRED.append("__setstate__")

    def __setattr__(self, name: str, value: object) -> None:
        FIRED.append("__setattr__")


def text(words: str) -> bytes:
    data = words.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def by_stack(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


# Opcodes that make a pickle call or fill something: of module, name and argument.
WAYS: dict[str, Callable[[str, str, str], bytes]] = {
    "reduce": lambda module, name, words: named(module, name) + text(words) + b"\x85R",
    "stack global": lambda module, name, words: by_stack(module, name) + text(words) + b"\x85R",
    "inst": lambda module, name, words: b"(" + text(words) + f"i{module}\n{name}\n".encode(),
    "obj": lambda module, name, words: b"(" + named(module, name) + text(words) + b"o",
    "newobj": lambda module, name, words: named(module, name) + text(words) + b"\x85\x81",
    "newobj ex": lambda module, name, words: by_stack(module, name) + text(words) + b"\x85}\x92",
    "build": lambda module, name, words: named(module, name) + b")R}" + text("a") + text(words) + b"sb",
}


def zipped(pickled: bytes, **records: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in records.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", content)
    return held.getvalue()


def legacy(pickled: bytes, *, keys: bytes = NO_KEYS, system: bytes = SYSTEM, storages: bytes = b"") -> bytes:
    return MAGIC + VERSION + system + pickled + keys + storages


def in_a_tar(pickled: bytes) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(pickled)
            archive.addfile(entry, io.BytesIO(pickled))
    return held.getvalue()


def _in_state_dict(call: bytes) -> bytes:
    return PROTO + b"}" + text("state_dict") + b"}" + text("conv.weight") + call + b"ss" + STOP


def _in_modules(call: bytes) -> bytes:
    module = named("some.code", "Net") + b")\x81}" + text("_modules") + b"}" + text("a.b") + call + b"ss" + text(
        "_parameters") + b"}" + call + call + b"ssb"  # fmt: skip
    return PROTO + module + STOP


# Where in a file the call stands.
PLACES: dict[str, Callable[[bytes], bytes]] = {
    "plain pickle": lambda call: PROTO + call + STOP,
    "zip": lambda call: zipped(PROTO + call + STOP),
    "legacy object": lambda call: legacy(PROTO + call + STOP),
    "legacy magic number": lambda call: PROTO + call + STOP + VERSION + SYSTEM,
    "legacy protocol": lambda call: MAGIC + PROTO + call + STOP + SYSTEM,
    "legacy system": lambda call: legacy(PROTO + b"}" + STOP, system=PROTO + call + STOP),
    "legacy keys": lambda call: legacy(PROTO + b"}" + STOP, keys=PROTO + call + STOP),
    "a tensor of a state dict": lambda call: zipped(_in_state_dict(call)),
    "a tensor of a legacy state dict": lambda call: legacy(_in_state_dict(call)),
    "modules": lambda call: legacy(_in_modules(call)),
    "an id of a storage": lambda call: zipped(PROTO + call + b"Q" + STOP),
    "the arguments of a tensor": lambda call: zipped(
        PROTO + named("torch._utils", "_rebuild_tensor_v2") + b"(" + call + b"K\x00)))N" + b"tR" + STOP
    ),
    "a dictionary's key": lambda call: zipped(PROTO + b"}" + call + b"K\x01s" + STOP),
    "deep inside": lambda call: zipped(PROTO + b"]" * 500 + call + b"a" * 500 + STOP),
    "tar": lambda call: in_a_tar(PROTO + call + STOP),
}


def hostile_files(flag: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of 210 files that ask for code: every payload in every way, spread over all places."""
    places = list(PLACES.items())
    for row, (module, name, words) in enumerate(PAYLOADS):
        for column, (way, call) in enumerate(WAYS.items()):
            place, put = places[(row * 8 + column) % len(places)]
            yield f"{module}.{name} by {way} in {place}", put(call(module, name, words.format(flag=flag)))


def odd_files() -> Iterator[tuple[str, bytes]]:
    """Name and content of pickles that no saver writes."""
    for name, opcodes in {
        "extension 1": b"\x82\x01",
        "extension 2": b"\x83\x01\x00",
        "extension 4": b"\x84\x01\x00\x00\x00",
        "buffer": b"\x97",
        "read-only buffer": b"N\x98",
        "id in text": b"Pmodule\n",
        "id that is a number": b"K\x01Q",
        "id of too few": text("storage") + b"\x85Q",
        "a class by number": b"K\x01K\x02\x93",
        "no such memo": b"h\x05",
        "nothing to take": b"0",
        "no mark": b"t",
        "append to a number": b"K\x01K\x02a",
        "items of a number": b"K\x01(K\x02K\x03u",
        "odd items": b"}(K\x02u",
        "protocol 200": b"\x80\xc8N",
        "unknown opcode": b"\xff",
        "a broken text": b"X\x02\x00\x00\x00\xff\xff",
        "a broken number": b"Iabc\n",
        "a number of 100,000 digits": b"I" + b"9" * 100_000 + b"\n",
        "no end": b"N" * 10,
    }.items():
        yield f"{name} in a zip", zipped(PROTO + opcodes + STOP)
        yield f"{name} in a legacy file", legacy(PROTO + opcodes + STOP)


# What asks for memory or time


def _tensor(size: str, stride: str, *, claimed: int = 4, offset: int = 0) -> bytes:
    """A state dict of one tensor of floats whose storage, ``0``, says that it has ``claimed`` numbers."""

    def number(value: int) -> bytes:
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(data)]) + data

    def numbers(words: str) -> bytes:
        return b"(" + b"".join(number(int(word)) for word in words.split()) + b"t"

    storage = b"(" + text("storage") + named("torch", "FloatStorage") + text("0") + text("cpu") + number(claimed) + b"t"
    arguments = storage + b"Q" + number(offset) + numbers(size) + numbers(stride) + b"\x89N"
    call = named("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"
    return PROTO + b"}" + text("state_dict") + b"}" + text("conv.weight") + call + b"ss" + STOP


def _legacy_tensor(count: int, **claims: int) -> bytes:
    pickled = _tensor("2 2", "2 1", **claims)
    # The legacy format has a sixth part in the id of a storage, the view, which is None.
    pickled = pickled.replace(b"tQ", b"NtQ")
    return legacy(pickled, keys=pickle.dumps(["0"], 2), storages=struct.pack("<q", count) + b"\0" * 16)


def _doubled_modules(depth: int) -> bytes:
    """A module of two names for one module, which has two names for one module, and so on."""
    inner = named("some.code", "Net") + b")\x81}" + text("_modules") + b"}sb"
    for level in range(depth):
        put = b"r" + struct.pack("<I", level + 1) + b"0"
        get = b"j" + struct.pack("<I", level + 1)
        children = b"}" + text("a") + get + b"s" + text("b") + get + b"s"
        inner += put + named("some.code", "Net") + b")\x81}" + text("_modules") + children + b"sb"
    return PROTO + inner + STOP


def _modules_in_a_circle() -> bytes:
    start = named("some.code", "Net") + b")\x81q\x01"
    return PROTO + start + b"}" + text("_modules") + b"}" + text("again") + b"h\x01ssb" + STOP


def _many_views(n: int) -> bytes:
    """Many tensors over one storage of 4,000 numbers."""
    one = _tensor("4000", "1", claimed=4000)
    start = one.index(text("conv.weight")) + len(text("conv.weight"))
    call = one[start:-3]
    names = b"".join(text(f"t{index}") + b"h\x01s" for index in range(n))
    return PROTO + call + b"q\x010}" + text("state_dict") + b"}" + names + b"s" + STOP


def _compressed(n: int) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", PROTO + b"N" * n + STOP)
    return held.getvalue()


def _overlapping(n: int, size: int) -> bytes:
    """A zip whose list has many names for the same numbers, each of which a tensor asks for."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        calls = b""
        for index in range(n):
            one = _tensor(str(size), "1", claimed=size).replace(text("0"), text(str(index)))
            start = one.index(text("conv.weight")) + len(text("conv.weight"))
            calls += text(f"t{index}") + one[start:-3] + b"s"
        archive.writestr("archive/data.pkl", PROTO + b"}" + text("state_dict") + b"}" + calls + b"s" + STOP)
        archive.writestr("archive/data/0", b"\0" * 4 * size)
        first = archive.filelist[-1]
        for index in range(1, n):
            entry = zipfile.ZipInfo(f"archive/data/{index}")
            entry.file_size = entry.compress_size = first.file_size
            entry.header_offset, entry.CRC = first.header_offset, first.CRC
            archive.filelist.append(entry)
    return held.getvalue()


def bombs() -> Iterator[tuple[str, bytes]]:
    """Name and content of files that would take memory or time out of all proportion to their size."""
    deep, wide = 150_000, 60_000
    wrap = (("in a zip", zipped), ("in a legacy file", legacy))
    opcodes = {
        "a memo of four billion": b"Nr\xff\xff\xff\xff",
        "a memo by a number of 4,000 digits": b"Np" + b"9" * 4000 + b"\n",
        "a frame of 2^62 bytes": b"\x95" + struct.pack("<Q", 2**62) + b"N",
        "a text of 2^40 bytes": b"\x8d" + struct.pack("<Q", 2**40) + b"x",
        "bytes of 2^62": b"\x8e" + struct.pack("<Q", 2**62) + b"x",
        "a byte array of 2^62": b"\x96" + struct.pack("<Q", 2**62) + b"x",
        "a byte string of 2^31": b"T" + struct.pack("<i", 2**31 - 1) + b"x",
        "a number of 2^31 bytes": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"x",
        "tuples in tuples": b"N" + b"\x85" * deep,
        "lists in lists": b"]" * wide + b"a" * (wide - 1),
        "dictionaries in dictionaries": (b"}" + text("state_dict")) * wide + b"N" + b"s" * wide,
        "calls in calls": named("a", "b") + b"q\x010" + b"h\x01" * wide + b")" + b"R\x85" * (wide - 1) + b"R",
        "states in states": (named("a", "b") + b")R") * 30_000 + b"}" + b"b" * 30_000,
        "a laugh of 2^60 tuples": b")" + b"2\x86" * 60,
        "five million dictionaries": b"}" * 5_000_000,
        "five million copies": b"N" + b"2" * 5_000_000,
        "keys of one hash": b"}(" + b"".join(
            b"\x8a\x0c" + ((2**61 - 1) * n).to_bytes(12, "little") + b"N" for n in range(200_000)) + b"u",
        "a key of nested tuples": b"}N" + b"\x85" * deep + b"Ns",
    }  # fmt: skip
    for index, (name, code) in enumerate(opcodes.items()):
        where, put = wrap[index % 2]
        yield f"{name} {where}", put(PROTO + code + STOP)
    yield "modules doubled 50 times", legacy(_doubled_modules(50))
    yield "modules in a circle", legacy(_modules_in_a_circle())
    yield "a thousand million numbers by a stride of 0", zipped(_tensor("1000000000000", "0"), data__0=b"\0" * 16)
    yield "a tensor beyond its storage", zipped(_tensor("2 2", "1000 1"), data__0=b"\0" * 16)
    yield "a tensor of 2^160 numbers", zipped(_tensor(f"{2**80} {2**80}", "1 1"), data__0=b"\0" * 16)
    yield "a tensor at a negative place", zipped(_tensor("2 2", "2 1", offset=-1), data__0=b"\0" * 16)
    yield "a negative stride", zipped(_tensor("2 2", "-2 1"), data__0=b"\0" * 16)
    yield "a storage that claims 4 TB", zipped(_tensor("2 2", "2 1", claimed=10**12), data__0=b"\0" * 16)
    yield "a storage that is not there", zipped(_tensor("2 2", "2 1"))
    yield "a legacy storage that claims 4 TB", _legacy_tensor(4, claimed=10**12)
    yield "a legacy storage that has 2^62 numbers", _legacy_tensor(2**62)
    yield "a legacy storage that has -1 numbers", _legacy_tensor(-1)
    yield "40,000 tensors of one storage", zipped(_many_views(40_000), data__0=b"\0" * 16_000)
    yield "compressed", _compressed(64 * 2**20)
    yield "a storage with 200 names", _overlapping(200, 1_000_000)


def whole_state(tensors: int = 1) -> bytes:
    """The pickle of a state dict that is as it should be, to show that the ones above fail for what they are."""
    return zipped(_tensor("2 2", "2 1"), data__0=struct.pack("<4f", 1, 2, 3, 4) * tensors)
