"""Weights in and out: safetensors that carry their card, foreign state dicts, timm's ImageNet weights.

The card lies inside the file (so that one rename replaces both) and beside it as JSON for people. A file from outside
is opened with ``weights_only=True`` alone. Weights that fit in part are refused: the report names what did not fit.
"""

from __future__ import annotations

import contextlib
import json
import logging
import pickle
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import timm
import torch
from huggingface_hub import constants as hub

from cxr.errors import WeightsError
from cxr.files import replacing
from cxr.models.backbone import ALIASES, XrayClassifier, head_of, make_network
from cxr.models.card import ModelCard
from cxr.models.transfer import keep_output_neurons
from cxr.paths import shipped_weights, weights_root

log = logging.getLogger(__name__)

IMAGENET = "imagenet"
State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class LoadReport:
    """What became of the tensors of a file.

    Attributes
    ----------
    matched
        Names that were loaded.
    missing
        Names of the model that the file lacks.
    unexpected
        Names of the file that the model lacks.
    mismatched
        Name, shape in the file, shape in the model.
    head
        ``loaded``, or why the head started anew.
    """

    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    head: str = "loaded"

    @property
    def complete(self) -> bool:
        """Whether everything but the head fitted."""
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        shapes = [f"{name} ({old} in the file, {new} in the model)" for name, old, new in self.mismatched]
        parts = [f"{len(self.matched)} tensors matched", f"head {self.head}"]
        for what, names in (("missing", self.missing), ("unexpected", self.unexpected), ("of another shape", shapes)):
            if names:
                parts.append(f"{len(names)} {what}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}")
        return "; ".join(parts)


@dataclass(frozen=True)
class Source:
    """Where the weights of a new model come from.

    Attributes
    ----------
    channels
        Input channels of the weights, the model's default.
    load
        Fills the model and tells what matched; None leaves the random weights.
    """

    title: str = ""
    card: ModelCard | None = None
    channels: int = 1
    imagenet: bool = False
    load: Callable[[XrayClassifier], LoadReport] | None = field(default=None, repr=False)

    def load_into(self, model: XrayClassifier) -> None:
        """Load, or raise a WeightsError if anything but the head does not fit."""
        if self.load is None:
            return
        report = self.load(model)
        if not report.complete:
            raise WeightsError(f"{self.title} does not fit {model.card.backbone}: {report}")
        log.info("weights %s: %s", self.title, report)


def source_of(weights: str | Path | None, backbone: str) -> Source:
    """Return the source that ``weights`` (None, ``imagenet``, or a file) means for this backbone."""
    if weights is None:
        return Source()
    if str(weights) == IMAGENET:
        return _imagenet_source(backbone)
    path = find_weights(weights)
    state, card = read_state(path)
    if card is not None and _plain(card.backbone) != _plain(backbone):
        raise WeightsError(f"{path} holds a {card.backbone}: backbone {backbone!r} cannot take it")
    return Source(str(path), card, _input_channels(state), load=lambda model: load_state(model, state, card))


def find_weights(name_or_path: str | Path) -> Path:
    """Return the file that a path, or a name among :func:`list_weights`, means."""
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    for name, file in _weight_files():
        if name == str(name_or_path):
            return file
    names = ", ".join(name for name, _ in _weight_files()) or "none yet"
    raise WeightsError(f"weights {str(name_or_path)!r} are no file and no name. Names in {weights_root()}: {names}")


def list_weights() -> list[tuple[str, Path, ModelCard]]:
    """Return (name, file, card) of the weights with a card in the folder of weights and of those that we ship."""
    listed = []
    for name, path in _weight_files():
        try:
            card = read_card(path)
        except WeightsError as error:
            log.warning("%s is left out: %s", path, error)
            continue
        if card is not None:
            listed.append((name, path, card))
    return listed


def _weight_files() -> list[tuple[str, Path]]:
    """Return name and path of safetensors files; the user's own folder goes before the shipped one."""
    found: dict[str, Path] = {}
    for folder in (weights_root(), shipped_weights()):
        for path in sorted(folder.glob("*.safetensors")):
            found.setdefault(path.stem, path)
    return sorted(found.items())


def save_model(model: XrayClassifier, path: str | Path) -> Path:
    """Write weights with their card to ``path`` (.safetensors), and the card beside it as .json, all or nothing."""
    path = Path(path)
    if path.suffix != ".safetensors":
        raise WeightsError(f"{path.name} cannot hold weights: the name must end in .safetensors")
    card = json.dumps(model.card.to_dict(), indent=1, sort_keys=True, default=str)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        # Not save_file, which makes files that other users cannot read.
        draft.write_bytes(safetensors.torch.save(state, metadata={"card": card}))
    with replacing(path.with_suffix(".json")) as draft:
        draft.write_text(card + "\n", encoding="utf-8")
    return path


def load_model(path: str | Path) -> XrayClassifier:
    """Return the classifier in a safetensors file with a card, in evaluation mode, on the CPU.

    Raises
    ------
    WeightsError
        If the file is absent, damaged, without a card, or does not fit what its card says.
    """
    path = find_weights(path)
    state, card = read_state(path)
    if card is None:
        raise WeightsError(f"{path} has no card: use it as `weights` of a recipe, or put its card at {_beside(path)}")
    network = make_network(card.backbone, len(card.classes), card.channels, card.backbone_args)
    model = XrayClassifier(network, card)
    report = load_state(model, state, card)
    if not report.complete or report.head != "loaded":
        raise WeightsError(f"{path} does not fit its card: {report}")
    return model.eval()


def load_state(model: XrayClassifier, state: Mapping[str, torch.Tensor], card: ModelCard | None) -> LoadReport:
    """Load what fits of ``state`` into the model and return the report.

    The head: with a card of the same classes its neurons are matched by class name; with a card of other classes it
    starts anew. Without a card it is loaded if its shape fits, and starts anew if it does not.
    """
    target = model.network.state_dict()
    given = {name: tensor for name, tensor in _known_names(state).items() if name in target or _matters(name)}
    head_path, head = head_of(model.network)
    given, verdict = _fit_head(model, given, card, f"{head_path}.", head)
    shapes = {n: (tuple(t.shape), tuple(target[n].shape)) for n, t in given.items() if n in target}
    fitting = {name: given[name] for name, (old, new) in shapes.items() if old == new}
    model.network.load_state_dict(fitting, strict=False)
    wanted = [name for name in target if _matters(name) and (verdict == "loaded" or not name.startswith(head_path))]
    return LoadReport(
        matched=tuple(fitting),
        missing=tuple(name for name in wanted if name not in given),
        unexpected=tuple(name for name in given if name not in target),
        mismatched=tuple((name, old, new) for name, (old, new) in shapes.items() if old != new),
        head=verdict,
    )


def _fit_head(
    model: XrayClassifier, state: State, card: ModelCard | None, prefix: str, head: torch.nn.Linear
) -> tuple[State, str]:
    """Return the state with head tensors that belong to the model's classes, or without any, and what was done."""
    body = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
    weight, bias = state.get(f"{prefix}weight"), state.get(f"{prefix}bias")
    if card is None:
        fits = weight is not None and weight.shape == head.weight.shape
        return (state, "loaded") if fits else (body, "starts anew (absent from the file, or of another shape)")
    if set(card.classes) != set(model.classes):
        return body, f"starts anew (the file's classes are {', '.join(card.classes)})"
    if weight is None or weight.shape != head.weight.shape:
        return body, "starts anew (the file's head does not fit its own card)"
    old = torch.nn.Linear(head.in_features, len(card.classes), bias=bias is not None, dtype=weight.dtype)
    old.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    new = keep_output_neurons(old, card.classes, model.classes)
    return body | {prefix + name: tensor for name, tensor in new.state_dict().items()}, "loaded"


def read_state(path: Path) -> tuple[State, ModelCard | None]:
    """Return tensors and card of a safetensors file, or the tensors of a torch file opened without running code."""
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path), read_card(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise WeightsError(
            f"{path} is refused: it is damaged, or needs code to be read (tensors alone are taken: save a state_dict())"
        ) from None
    except (safetensors.SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {_reason(error)}") from None
    return _tensors_in(loaded, path), None


def read_card(path: Path) -> ModelCard | None:
    """Return the card in a safetensors file, or beside it as JSON, or None."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("card")
        if text is None and _beside(path).is_file():
            text = _beside(path).read_text(encoding="utf-8")
        return None if text is None else ModelCard.from_dict(json.loads(text))
    except (safetensors.SafetensorError, OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path} or its card cannot be read: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")


def _tensors_in(loaded: object, path: Path) -> State:
    """Return the state dict in what ``torch.load`` gave, looking below the usual keys."""
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not any(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise WeightsError(f"{path} holds a {type(loaded).__name__} without tensors: a state dict is needed")
    return {str(name): value for name, value in loaded.items() if isinstance(value, torch.Tensor)}


def _known_names(state: Mapping[str, torch.Tensor]) -> State:
    """Take off the prefixes that wrappers leave."""
    prefixes = ("module.", "_orig_mod.", "network.")
    names = dict(state)
    for prefix in prefixes:
        if names and all(name.startswith(prefix) for name in names):
            names = {name.removeprefix(prefix): tensor for name, tensor in names.items()}
    return names


def _matters(name: str) -> bool:
    # Counters of batches, which some savers leave out, change nothing.
    return not name.endswith("num_batches_tracked")


def _plain(backbone: str) -> str:
    return backbone.partition(".")[0]


def _input_channels(state: Mapping[str, torch.Tensor]) -> int:
    """Return the input channels of the first convolution, 1 if it is neither 1 nor 3."""
    channels = next((tensor.shape[1] for tensor in state.values() if tensor.ndim == 4), 1)
    return channels if channels in (1, 3) else 1


# ImageNet


def _imagenet_source(backbone: str) -> Source:
    if backbone in ALIASES:
        raise WeightsError(f"backbone {backbone!r} has no ImageNet weights: choose weights null, or a backbone of timm")
    return Source(IMAGENET, channels=3, imagenet=True, load=load_imagenet)


def load_imagenet(model: XrayClassifier) -> LoadReport:
    """Load timm's ImageNet weights, all but the head, from the folder of weights if they lie there, or from the hub.

    Raises
    ------
    WeightsError
        Where they cannot be had: names the file to fetch and where to put it.
    """
    card = model.card
    local = local_imagenet(card.backbone)
    options: dict[str, Any] = {"num_classes": len(card.classes), "in_chans": card.channels}
    overlay = {"file": str(local), "hf_hub_id": "", "url": ""} if local else None
    try:
        with _offline_where_unreachable():
            made = timm.create_model(
                card.backbone, pretrained=True, pretrained_cfg_overlay=overlay, **options, **card.backbone_args
            )
    except Exception as error:  # the hub, urllib and timm each raise their own
        raise WeightsError(_how_to_get(card.backbone, local, error)) from None
    model.network.load_state_dict(made.state_dict())
    head_path, _ = head_of(model.network)
    matched = tuple(name for name in made.state_dict() if not name.startswith(f"{head_path}."))
    return LoadReport(matched, head="starts anew (ImageNet's classes are others)")


def local_imagenet(backbone: str) -> Path | None:
    """Return ``<weights>/<backbone>.imagenet.safetensors`` (or .pth) if it is there."""
    candidates = [weights_root() / f"{backbone}.imagenet{ending}" for ending in (".safetensors", ".pth")]
    return next((path for path in candidates if path.is_file()), None)


def _how_to_get(backbone: str, local: Path | None, error: Exception) -> str:
    reason = _reason(error)
    if local is not None:
        return f"{local} does not fit {backbone}: {reason}"
    pretrained = timm.get_pretrained_cfg(backbone)
    origin = getattr(pretrained, "hf_hub_id", None) or getattr(pretrained, "url", None)
    if not origin:
        return f"timm has no ImageNet weights for {backbone!r}: choose weights null, or another backbone"
    wanted = weights_root() / f"{backbone}.imagenet.safetensors"
    return (
        f"no ImageNet weights for {backbone!r}: the hub cannot be reached ({reason}). Fetch model.safetensors of "
        f"{origin} where there is a network and put it at {wanted}"
    )


@contextlib.contextmanager
def _offline_where_unreachable() -> Iterator[None]:
    """Keep the hub's client from retrying for a minute where its host has no address; its cache still serves."""
    before = hub.HF_HUB_OFFLINE
    hub.HF_HUB_OFFLINE = before or not _has_address(urllib.parse.urlsplit(hub.ENDPOINT).hostname or "")
    try:
        yield
    finally:
        hub.HF_HUB_OFFLINE = before


def _has_address(host: str) -> bool:
    if urllib.request.getproxies().get("https"):
        return True  # the proxy resolves names, not this machine
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True
