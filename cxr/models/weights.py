"""Weights with their card, in and out, and where the weights of a new network come from.

The card lies inside the safetensors file (so that one rename replaces both) and beside it as JSON for people. Weights
that fit in part are refused: the report names what did not fit.

Files are listed and their cards read without torch, which is loaded with the tensors.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors

from cxr.errors import WeightsError, wrong_use
from cxr.files import replacing
from cxr.models.backbones import ALIASES, make_network
from cxr.models.card import ModelCard
from cxr.models.checksums import publication_of, verify
from cxr.models.licences import UNKNOWN, licence_beside
from cxr.models.pickles.file_kinds import SAFETENSORS, first_line, is_safetensors, something_else
from cxr.models.seen_images import KEY as SEEN
from cxr.models.seen_images import Seen
from cxr.paths import check_root, shipped_weights, weights_root

if TYPE_CHECKING:
    from cxr.models.classifier import XrayClassifier
    from cxr.models.load_state import LoadReport
    from cxr.models.safe_load import State

log = logging.getLogger(__name__)

IMAGENET = "imagenet"


@dataclass(frozen=True)
class Source:
    """Where the weights of a new model come from.

    Attributes
    ----------
    channels
        Input channels of the weights, the model's default.
    origin, checksum, licence
        As a :class:`ModelCard` has them.
    load
        Fills the model and reports what matched; None leaves the random weights.
    """

    title: str = ""
    card: ModelCard | None = None
    channels: int = 1
    imagenet: bool = False
    origin: str = ""
    checksum: str = ""
    licence: str = ""
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
        if backbone in ALIASES:
            raise wrong_use(
                WeightsError(
                    f"backbone {backbone!r} has no ImageNet weights: choose weights null, or a backbone of timm"
                )
            )
        from cxr.models.imports.imagenet import load_imagenet

        return Source(IMAGENET, channels=3, imagenet=True, load=load_imagenet)
    from cxr.models.imports.recognise import input_channels
    from cxr.models.load_state import load_state

    path = find_weights(weights)
    state, card = read_state(path)
    if card is not None and _plain(card.backbone) != _plain(backbone):
        raise WeightsError(f"{path} holds a {card.backbone}: backbone {backbone!r} cannot take it")
    origin, checksum, licence = _provenance(path, card)
    return Source(
        title=str(path),
        card=card,
        channels=input_channels(state),
        origin=origin,
        checksum=checksum,
        licence=licence,
        load=lambda model: load_state(model, state, card),
    )


def _provenance(path: Path, card: ModelCard | None) -> tuple[str, str, str]:
    """Return origin, checksum and licence of weights: from their card, their publisher, or what lies beside them."""
    if card is not None:
        return card.origin or f"weights {path.name}", card.checksum, _of_file(card.licence, path)
    checked = verify(path)
    if published := publication_of(checked.sha256):
        return str(published), str(checked), published.licence
    beside = licence_beside(path)
    return path.name, str(checked), beside.licence if beside else _of_file(UNKNOWN, path)


def _of_file(licence: str, path: Path) -> str:
    """Return a licence that is not known with what it is not known of, as it goes to networks made from the file."""
    return f"{UNKNOWN} (weights {path.name})" if licence == UNKNOWN else licence


def find_weights(name_or_path: str | Path) -> Path:
    """Return the file that a path, or a name among :func:`list_weights`, means."""
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    for name, file in _weight_files():
        if name == str(name_or_path):
            return file
    known = f"Names in {weights_root()}: {', '.join(name for name, _ in _weight_files()) or 'none yet'}"
    raise wrong_use(WeightsError(f"weights {str(name_or_path)!r} not found: neither a file nor a known name. {known}"))


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
    check_root(weights_root(), "CXR_WEIGHTS")
    files: dict[str, Path] = {}
    for folder in (weights_root(), shipped_weights()):
        for path in sorted(folder.glob("*.safetensors")):
            files.setdefault(path.stem, path)
    return sorted(files.items())


def is_shipped(path: Path) -> bool:
    """Return whether a file of weights is one of those that come with the project."""
    return path.parent == shipped_weights()


def save_model(model: XrayClassifier, path: str | Path, seen: Seen | None = None) -> Path:
    """Write weights with their card to ``path`` (.safetensors), and the card beside it as .json, all or nothing.

    ``seen`` is the list of X-rays that the network was trained and chosen on; without one it is not known.
    """
    import safetensors.torch

    path = Path(path)
    if path.suffix != SAFETENSORS:
        raise wrong_use(WeightsError(f"{path.name} cannot hold weights: the name must end in .safetensors"))
    card = json.dumps(model.card.to_dict(), indent=1, sort_keys=True, default=str)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
    metadata = {"card": card} | ({} if seen is None else {SEEN: seen.to_text()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        # Not save_file, which makes files that other users cannot read.
        draft.write_bytes(safetensors.torch.save(state, metadata=metadata))
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
    from cxr.models.classifier import XrayClassifier
    from cxr.models.load_state import load_state

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


def read_state(path: Path) -> tuple[State, ModelCard | None]:
    """Return tensors and card of a safetensors file, or the tensors of a torch file opened without running code."""
    from cxr.models.safe_load import read_tensors

    state = read_tensors(path)
    return state, read_card(path) if is_safetensors(path) else None


def read_card(path: Path) -> ModelCard | None:
    """Return the card in a safetensors file, or beside it as JSON, or None."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get("card")
        if text is None and _beside(path).is_file():
            text = _beside(path).read_text(encoding="utf-8")
        return None if text is None else ModelCard.from_dict(json.loads(text))
    except (safetensors.SafetensorError, OSError, ValueError, AttributeError) as error:
        if other := something_else(path):
            raise WeightsError(f"{path} is {other}") from None
        raise WeightsError(f"{path} or its card cannot be read: {first_line(error)}") from None


def read_seen(path: Path) -> Seen | None:
    """Return which X-rays the network in a weights file has seen, or None where the file does not say."""
    if not is_safetensors(path):
        return None
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(SEEN)
        return None if text is None else Seen.from_text(text)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        log.warning("%s: its list of X-rays seen in training cannot be read: %s", path, first_line(error))
        return None


def seen_before(weights: str | Path | None) -> Seen:
    """Return what the weights that a training begins with (as :func:`source_of` takes them) have seen.

    Random weights have seen nothing, those of ImageNet no X-ray.
    """
    if weights is None or str(weights) == IMAGENET:
        return Seen()
    path = find_weights(weights)
    seen_images = read_seen(path)
    return (
        Seen(unknown=(f"the weights {path.name}, from which the training started",))
        if seen_images is None
        else seen_images
    )


def _beside(path: Path) -> Path:
    return path.with_suffix(".json")


def _plain(backbone: str) -> str:
    return backbone.partition(".")[0]
