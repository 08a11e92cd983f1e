"""What a file is by its first bytes, and what to do with one that is no weights file of torch."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Literal, cast

Layout = Literal["safetensors", "torch zip", "pickle"]
SAFETENSORS = ".safetensors"

_HEAD = 4096
_MAX_ZIP_LIST = 8 * 2**20
_MAX_SAFETENSORS_HEADER = 100_000_000
_CONVERT = (
    "only files of PyTorch are read. Use its publisher's PyTorch weights, or convert the network to PyTorch and save "
    "its state_dict()"
)
_AGAIN = "fetch it again"
_UNPACK = "unpack it and give the weights file in it"
_NO_WEIGHTS = "a .pth, .pt, .ckpt, .bin or .safetensors file is needed"


@dataclass(frozen=True)
class Kind:
    """What a file is.

    Attributes
    ----------
    layout
        How it is read, None where it cannot be.
    name, advice
        For people: ``a Git LFS pointer, not the file it stands for`` and what to do. Of a pickle without a mark of its
        own: what the file is should it be none.
    """

    layout: Layout | None
    name: str = ""
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.advice}"


# First bytes, what a file that begins so is, and what to do.
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer, not the file it stands for",
     "run `git lfs pull` in its repository, or download the file itself"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras and TensorFlow save networks", _CONVERT),
    (b"\x1f\x8b", "compressed with gzip", _UNPACK),
    (b"BZh", "compressed with bzip2", _UNPACK),
    (b"\xfd7zXZ\x00", "compressed with xz", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x93NUMPY", "an array of NumPy", _NO_WEIGHTS),
    (b"GGUF", "a GGUF file of a language model", _NO_WEIGHTS),
    (b"MATLAB 5.0", "a file of MATLAB", _CONVERT),
    (b"\x89PNG", "a PNG image", _NO_WEIGHTS),
    (b"\xff\xd8\xff", "a JPEG image", _NO_WEIGHTS),
    (b"%PDF", "a PDF document", _NO_WEIGHTS),
    (b"\x7fELF", "a program", _NO_WEIGHTS),
    (b"MZ", "a program", _NO_WEIGHTS),
)  # fmt: skip
_HTML = re.compile(rb"\s*(<!doctype html|<html|<head|<\?xml)", re.IGNORECASE)
# ONNX and TensorFlow write protocol buffers: version, then a text that tells who wrote it.
_ONNX = re.compile(
    rb"\x08[\x01-\x20]\x12.(pytorch|onnx|tf2onnx|keras2onnx|sklearn|paddle|CNTK|mxnet|.{0,40}onnx)", re.DOTALL
)
_SAVED_MODEL = re.compile(rb"\x08\x01\x12[^\x00]{1,6}\x0a|\x0a[^\x00]{1,8}(serve|saved_model)", re.DOTALL)


def kind_of(path: Path) -> Kind:
    """Return what a file is, by its first bytes and, for zips, by the names in it; its name decides only for `.onnx`
    and `.pb`, whose first bytes tell little.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
        size = file.seek(0, 2)
        if not head:
            return Kind(None, "empty", _AGAIN)
        for beginning, name, advice in _BEGINNINGS:
            if head.startswith(beginning):
                return Kind(None, name, advice)
        if head.startswith(b"PK\x03\x04"):
            return _kind_of_zip(file)
    return _kind_of_the_rest(path, head, size)


def first_line(error: Exception) -> str:
    """Return what an error of another library says, short enough for one line."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return "".join(character if character.isprintable() else "?" for character in lines[0][:200])


def something_else(path: Path) -> str:
    """Return what a file is that was to be a weights file, with what to do; empty if it may be one."""
    try:
        kind = kind_of(path)
    except OSError:
        return ""
    return "" if kind.layout else str(kind)


def is_safetensors(path: Path) -> bool:
    """Return whether a file is one of safetensors, by its bytes, or is called so and is no other weights file."""
    try:
        layout = kind_of(path).layout
    except OSError:
        layout = None
    return layout == "safetensors" or (layout is None and path.suffix == SAFETENSORS)


def _kind_of_the_rest(path: Path, head: bytes, size: int) -> Kind:
    if _HTML.match(head):
        return Kind(None, "a web page, not the file: the download was answered with a page", _AGAIN)
    if head[257:262] == b"ustar":
        return Kind(None, "a tar archive (torch wrote its weights so until 2017)", _UNPACK)
    if head[4:8] == b"TFL3":
        return Kind(None, "a network of TensorFlow Lite", _CONVERT)
    if head[128:132] == b"DICM":
        return Kind(None, "a DICOM image", _NO_WEIGHTS)
    if head[:1] == b"\x80" and head[1:2] in (b"\x00", b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"):
        return Kind("pickle")
    if len(head) >= 9 and head[8:9] == b"{":
        return _kind_of_safetensors(int.from_bytes(head[:8], "little"), size)
    if path.suffix.lower() == ".onnx" or _ONNX.match(head):
        return Kind(None, "a network in ONNX", _CONVERT)
    if path.suffix.lower() == ".pb" or _SAVED_MODEL.match(head):
        return Kind(None, "a network of TensorFlow", _CONVERT)
    rest = _kind_of_text(head) or Kind(
        None, f"not a known kind of weights file (it begins {head[:8].hex(' ')})", _NO_WEIGHTS
    )
    return Kind("pickle", rest.name, rest.advice) if _is_old_pickle(path, head) else rest


def _kind_of_safetensors(header: int, size: int) -> Kind:
    if header > _MAX_SAFETENSORS_HEADER:
        return Kind(None, "not a known kind of weights file", _NO_WEIGHTS)
    if 8 + header > size:
        return Kind(None, f"a safetensors file cut short ({size:,} bytes; its header alone has {header:,})", _AGAIN)
    return Kind("safetensors")


def _kind_of_zip(file: BinaryIO) -> Kind:
    try:
        names = [entry.filename for entry in zip_entries(file)]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, RuntimeError):
        return Kind(None, "a zip (torch's files are zips) cut short or damaged", _AGAIN)
    inner = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        advice = "ask for the state_dict() of the network that it was made from: TorchScript is a program"
        return Kind(None, "a TorchScript file", advice)
    if any(name.endswith("data.pkl") and name.count("/") <= 1 for name in names):
        return Kind("torch zip")
    if "model.weights.h5" in names:
        return Kind(None, "a network of Keras", _CONVERT)
    if names and all(name.endswith(".npy") for name in names):
        return Kind(None, "arrays of NumPy (.npz)", _CONVERT)
    return Kind(None, f"a zip that torch did not write ({_listed(names)})", _UNPACK)


def zip_entries(file: BinaryIO) -> list[zipfile.ZipInfo]:
    """Return what the list at the end of a zip names; a list of more than 8 MiB, which no saver of networks writes,
    is refused as a ``BadZipFile`` before it lies in memory."""
    with zipfile.ZipFile(cast(IO[bytes], _SmallReads(file))) as archive:
        return archive.infolist()


class _SmallReads:
    """A file that gives no more than 8 MiB at once."""

    def __init__(self, file: BinaryIO) -> None:
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable
        self._read = file.read

    def read(self, size: int = -1) -> bytes:
        data = self._read(size if 0 <= size <= _MAX_ZIP_LIST else _MAX_ZIP_LIST + 1)
        if len(data) > _MAX_ZIP_LIST:
            raise zipfile.BadZipFile("its list of files is too long")
        return data


def _listed(names: Iterable[str]) -> str:
    examples = [name.rpartition("/")[2][:40] or name[:40] for name in list(names)[:3]]
    return ", ".join(repr(name)[1:-1] for name in examples) or "nothing is in it"


def _is_old_pickle(path: Path, head: bytes) -> bool:
    """Return whether a file looks like a pickle of protocol 0 or 1, which begins with no mark of its own."""
    if head[:1] not in b"(c]}lditVSIFN" or path.stat().st_size > 2**25:
        return False
    return path.read_bytes().rstrip(b"\r\n ").endswith(b".") and (head[:1] == b"c" or b"\n" in head or b"q" in head)


def _kind_of_text(head: bytes) -> Kind | None:
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < _HEAD else "ignore")
    except UnicodeDecodeError:
        return None
    if not all(character.isprintable() or character in "\r\n\t\ufeff" for character in text):
        return None
    words = " ".join(text.split())[:50]
    kind = "a JSON text" if words[:1] in ("{", "[") else "a text"
    return Kind(None, f"{kind}, which holds no weights (it begins {words!r})", _NO_WEIGHTS)
