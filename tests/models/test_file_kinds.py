"""A file that is no weights file is named for what it is, with what to do, in one line."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
import torchvision

from cxr.errors import WeightsError
from cxr.models import build
from cxr.models.safe_load import open_weights
from cxr.models.weights import load_model, read_card, read_state

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"1" * 64 + b"\nsize 98765432\n"


def zipped(names: tuple[str, ...]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return held.getvalue()


def tarred() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"))
    return held.getvalue()


def npy() -> bytes:
    held = io.BytesIO()
    np.save(held, np.ones(3))
    return held.getvalue()


def onnx_bytes() -> bytes:
    graph = onnx.helper.make_graph([], "g", [], [])
    return onnx.helper.make_model(graph, producer_name="pytorch").SerializeToString()


def torch_bytes(*, legacy: bool) -> bytes:
    held = io.BytesIO()
    torch.save({"a": torch.ones(5000)}, held, _use_new_zipfile_serialization=not legacy)
    return held.getvalue()


SAFE = safetensors.torch.save({"a": torch.ones(5000)})
FILES = {
    "LFS pointer": (LFS, r"is a Git LFS pointer, not the file it stands for: run `git lfs pull`"),
    "web page": (b"\n<!DOCTYPE html><html>Sign in", r"is a web page, not the file.*fetch it again"),
    "Keras": (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, r"is an HDF5 file, as Keras.*only files of PyTorch are read"),
    "Keras 3": (zipped(("config.json", "model.weights.h5")), r"is a network of Keras: only files of PyTorch"),
    "SavedModel": (b"\x08\x01\x12\xbf\x01\x0a" + b"\x9c\x00" * 50, r"is a network of TensorFlow"),
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3" + b"\0" * 50, r"is a network of TensorFlow Lite"),
    "ONNX": (onnx_bytes(), r"is a network in ONNX: only files of PyTorch"),
    "gzip": (gzip.compress(b"weights"), r"is compressed with gzip: unpack it"),
    "tar": (tarred(), r"is a tar archive .*until 2017"),
    "zip": (zipped(("a/weights.pth", "README")), r"is a zip that torch did not write \(weights.pth, README\)"),
    "npz": (zipped(("a.npy", "b.npy")), r"is arrays of NumPy \(\.npz\)"),
    "npy": (npy(), r"is an array of NumPy"),
    "PNG": (b"\x89PNG\r\n\x1a\n" + b"\0" * 20, r"is a PNG image"),
    "DICOM": (b"\0" * 128 + b"DICM" + b"\0" * 20, r"is a DICOM image"),
    "empty": (b"", r"is empty: fetch it again"),
    "JSON": (json.dumps({"error": "not found"}).encode(), r"is a JSON text, which holds no weights \(it begins"),
    "text": (b"404: Not Found\n", r"is a text, which holds no weights \(it begins '404: Not Found'\)"),
    "text like a pickle": (b"(see\nthe page).", r"is a text, which holds no weights"),
    "noise": (bytes(range(200, 256)) * 9, r"not a known kind of weights file \(it begins c8 c9 ca"),
    "pickle": (pickle.dumps({"a": np.ones(3)}), r"is a pickle that torch.save did not write \(it asks for numpy\)"),
    "cut zip": (torch_bytes(legacy=False)[:9000], r"is a zip \(torch's files are zips\) cut short or damaged"),
    "cut legacy": (torch_bytes(legacy=True)[:9000], r"cannot be read: it is cut short: fetch it again"),
    "cut legacy pickle": (torch_bytes(legacy=True)[:300], r"cannot be read: its pickle is cut short"),
    "cut safetensors": (SAFE[:9000], r"cannot be read: the safetensors file is cut short or damaged"),
    "cut header": (SAFE[:40], r"is a safetensors file cut short \(40 bytes; its header alone has"),
    "header of a terabyte": (struct.pack("<Q", 2**40) + b'{"a":1}', r"not a known kind of weights file"),
}


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_named_by_its_first_bytes_whatever_it_is_called(tmp_path, kind, ending):
    content, words = FILES[kind]
    path = tmp_path / f"file{ending}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=words) as refusal:
        open_weights(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400 + len(str(path))


def test_weights_are_recognised_by_their_bytes_too(tmp_path):
    for name, content in (
        ("a.pt", SAFE),
        ("b.safetensors", torch_bytes(legacy=True)),
        ("c.h5", torch_bytes(legacy=False)),
    ):
        (tmp_path / name).write_bytes(content)
        assert torch.equal(open_weights(tmp_path / name).state["a"], torch.ones(5000))


def test_a_state_dict_of_torch_that_is_called_safetensors_is_imported(tmp_path):
    from cxr.models.imports.conversion import look_at

    path = tmp_path / "net.safetensors"
    torch.save(torchvision.models.resnet18(num_classes=2).state_dict(), path)
    assert look_at(path).backbone == "resnet18"
    assert torch.equal(
        build("resnet18", ("a", "b"), weights=path, channels=3).network.fc.bias, read_state(path)[0]["fc.bias"]
    )


def test_a_pointer_among_the_weights_is_named_wherever_a_card_is_looked_for(tmp_path):
    path = tmp_path / "net.safetensors"
    path.write_bytes(LFS)
    for look in (read_card, load_model):
        with pytest.raises(WeightsError, match=r"is a Git LFS pointer.*git lfs pull"):
            look(path)


def test_tensors_of_another_framework_are_named(tmp_path):
    from cxr.models.imports.conversion import look_at

    path = tmp_path / "flax.safetensors"
    path.write_bytes(safetensors.torch.save({"conv.kernel": torch.ones(3, 3, 1, 8)}, metadata={"format": "flax"}))
    with pytest.raises(WeightsError, match=r"was written by Flax, whose tensors lie in another order"):
        look_at(path)
