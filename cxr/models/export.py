"""Networks for other programs: ONNX with its normalisation inside, and a folder that timm loads.

What was written is loaded again and gets the same images: it is kept only if its logits agree.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import timm
import torch
import yaml
from torch import nn

from cxr.errors import WeightsError, require, unknown, wrong_use
from cxr.files import replacing
from cxr.models.backbones import ALIASES
from cxr.models.classifier import XrayClassifier, head_of
from cxr.models.licences import UNKNOWN
from cxr.models.seen_images import KEY as SEEN
from cxr.models.seen_images import Seen

FORMATS = ("onnx", "timm", "card")
TOLERANCE = 1e-4  # of the largest logit
OPSET = 18
_ARCHITECTURE = {"densenet-small": "densenet121"}  # the same class of timm, made with our backbone_args


@dataclass(frozen=True)
class Exported:
    """What was written, and how far its logits are from ours at most (None for a card).

    ``relative`` is the difference as a share of the largest logit.
    """

    path: Path
    format: str
    difference: float | None = None
    relative: float | None = None


def export(
    model: XrayClassifier, path: str | Path, format: str, *, force: bool = False, seen: Seen | None = None
) -> Exported:
    """Write ``model`` as ``onnx`` (a file), ``timm`` (a folder) or ``card`` (a page in Markdown).

    ``seen`` is the list of X-rays that the network was trained and chosen on; timm's folder carries it, as the others
    cannot be measured here again.

    Raises
    ------
    WeightsError
        For an unknown format, something in the way (without ``force``), a network that the format cannot hold, or
        one whose logits come out different.
    """
    if format not in FORMATS:
        raise wrong_use(WeightsError(unknown("format", format, FORMATS)))
    target = Path(path).expanduser()
    if target.exists() and not force:
        raise WeightsError(f"{target} already exists: give --force to replace it, or another --out")
    if format == "timm" and target.exists() and not (target / "config.json").is_file():
        raise WeightsError(f"{target} is not a folder of timm (it has no config.json) and is not replaced")
    if format != "timm" and target.is_dir():
        raise WeightsError(f"{target} is a folder: a file is needed for format {format}")
    target.parent.mkdir(parents=True, exist_ok=True)
    model = model.eval()
    if format == "timm":
        return _timm(model, target, seen)
    return _onnx(model, target) if format == "onnx" else _card(model, target)


def _card(model: XrayClassifier, target: Path) -> Exported:
    with replacing(target) as draft:
        draft.write_text(model.card.to_markdown(), encoding="utf-8")
    return Exported(target, "card")


# ONNX


class _WithNormalisation(nn.Module):
    """Takes grey floats (N, 1, size, size) in [0, 1], as the exported graph does."""

    def __init__(self, model: XrayClassifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model.network(self.model.normalise(image))


def _onnx(model: XrayClassifier, target: Path) -> Exported:
    with replacing(target) as draft:
        _write_onnx(model, draft)
        difference, relative = _differences(model, lambda images: _run_onnx(draft, images), str(target))
    return Exported(target, "onnx", difference, relative)


def _write_onnx(model: XrayClassifier, path: Path) -> None:
    require("onnx", "onnxscript", "onnxruntime", extra="export")  # torch's exporter needs onnxscript
    import onnx

    image = torch.rand(2, 1, model.card.size, model.card.size, device=model.device)
    with _quiet():
        program = torch.onnx.export(
            _WithNormalisation(model).eval(),
            (image,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    assert program is not None  # it is for the old exporter alone
    proto = program.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]  # the lines of code behind each node, with this machine's paths
    for key, value in _metadata(model).items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    proto.doc_string = "Input: grey X-rays, float32 (N, 1, size, size) in [0, 1]. Output: one logit for each class."
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def _metadata(model: XrayClassifier) -> dict[str, str]:
    card = model.card
    return {
        "classes": json.dumps(list(card.classes)),
        "task": card.task,
        "input": f"float32 (N, 1, {card.size}, {card.size}), grey values in [0, 1] (uint8 divided by 255)",
        "licence": card.licence or UNKNOWN,
        "origin": card.origin or UNKNOWN,
        "card": json.dumps(card.to_dict(), default=str),
    }


def _run_onnx(path: Path, images: torch.Tensor) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"image": images.cpu().numpy()})[0]


# timm


def _timm(model: XrayClassifier, target: Path, seen: Seen | None) -> Exported:
    config = timm_config(model)
    with _replacing_folder(target) as draft:
        (draft / "config.json").write_text(json.dumps(config, indent=2, default=str) + "\n", encoding="utf-8")
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
        (draft / "model.safetensors").write_bytes(safetensors.torch.save(state, metadata=_provenance(model, seen)))
        (draft / "README.md").write_text(_model_card(model), encoding="utf-8")
        difference, relative = _differences(model, lambda images: _run_timm(model, draft, images), str(target))
    return Exported(target, "timm", difference, relative)


def _provenance(model: XrayClassifier, seen: Seen | None) -> dict[str, str]:
    """Return the metadata of a safetensors file: what timm looks for, licence and origin, and what it has seen."""
    metadata = {"format": "pt", "licence": model.card.licence or UNKNOWN, "origin": model.card.origin or UNKNOWN}
    return metadata if seen is None else metadata | {SEEN: seen.to_text()}


def _model_card(model: XrayClassifier) -> str:
    """Return the card with the head that the hub reads, whose licences are in lower case."""
    licence = model.card.licence.lower() or UNKNOWN
    is_licence_id = re.fullmatch(r"[a-z0-9.-]+", licence) and licence != UNKNOWN
    head = (
        {"library_name": "timm", "license": licence}
        if is_licence_id
        else {"library_name": "timm", "license": "other", "license_name": licence}
    )
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n{model.card.to_markdown()}"


def timm_config(model: XrayClassifier) -> dict[str, object]:
    """Return the ``config.json`` from which ``timm.create_model("local-dir:...")`` makes the network.

    Raises
    ------
    WeightsError
        If timm has no architecture for it.
    """
    card = model.card
    architecture = _ARCHITECTURE.get(card.backbone, card.backbone.partition(".")[0])
    if not timm.is_model(architecture):
        raise WeightsError(f"timm has no architecture for backbone {card.backbone!r}: export it as onnx")
    head, _ = head_of(model.network)
    first = getattr(model.network, "pretrained_cfg", None) or vars(timm.get_pretrained_cfg(architecture))
    return {
        "architecture": architecture,
        "num_classes": len(card.classes),
        "num_features": model.network.num_features,
        "label_names": list(card.classes),
        "task": card.task,  # timm ignores this and the next, our import reads them
        "origin": card.origin,
        "model_args": {"in_chans": card.channels, **ALIASES.get(card.backbone, {}), **card.backbone_args},
        "pretrained_cfg": {
            "input_size": [card.channels, card.size, card.size],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "squash",
            "mean": list(card.mean),
            "std": list(card.std),
            "num_classes": len(card.classes),
            "first_conv": first.get("first_conv"),
            "classifier": head,
            "license": card.licence or UNKNOWN,
            "description": f"{card.task}; grey X-rays. {card.intended_use}",
        },
    }


def _run_timm(model: XrayClassifier, folder: Path, images: torch.Tensor) -> np.ndarray:
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    with torch.no_grad():
        return network(model.preprocess(images).cpu()).numpy()


# both


def _differences(model: XrayClassifier, other: Callable[[torch.Tensor], np.ndarray], path: str) -> tuple[float, float]:
    """Return the greatest difference of the logits, absolute and as a share of the largest; refuses a large one."""
    generator = torch.Generator().manual_seed(0)
    absolute = largest = 0.0
    for n in (1, 3):  # two sizes of batch: the first dimension must be free
        images = torch.rand(n, 1, model.card.size, model.card.size, generator=generator)
        with torch.no_grad():
            expected = model(images.to(model.device)).cpu().numpy()
        # np.fmax would drop a NaN and max() may: np.maximum keeps it, and the comparison below refuses it
        absolute = float(np.maximum(absolute, np.abs(expected - other(images)).max()))
        largest = float(np.maximum(largest, np.abs(expected).max()))
    relative = absolute / max(largest, 1e-12)
    if not relative <= TOLERANCE:
        raise WeightsError(
            f"{path} is not written: its logits differ from the original's by {absolute:.3g}, {relative:.2g} of "
            f"the largest (at most {TOLERANCE:g} is accepted)"
        )
    return absolute, relative


@contextmanager
def _replacing_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside ``target`` that takes its place once the block has filled it."""
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield draft
        draft.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        draft.replace(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress and warnings off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
