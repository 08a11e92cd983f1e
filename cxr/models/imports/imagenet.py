"""timm's ImageNet weights: through timm and the hub with their cache, or from a file that was put in place by hand.

The sum of the file is verified either way (:mod:`cxr.models.checksums`) and written on the card.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import timm
import torch
from huggingface_hub import constants as hub
from huggingface_hub import try_to_load_from_cache

from cxr.errors import WeightsError
from cxr.models.backbones import BackboneArgs
from cxr.models.checksums import Checked, verify
from cxr.models.classifier import XrayClassifier, head_of
from cxr.models.licences import UNKNOWN, licence_beside, usual_spelling
from cxr.models.load_state import LoadReport
from cxr.models.pickles.file_kinds import first_line
from cxr.models.safe_load import read_tensors
from cxr.paths import weights_root

log = logging.getLogger(__name__)

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def load_imagenet(model: XrayClassifier) -> LoadReport:
    """Load timm's ImageNet weights, all but the head; origin and sum go on the model's card.

    Raises
    ------
    WeightsError
        Where they cannot be had: names the file to fetch and where to put it. Where the file is not what its
        publisher says: names both sums.
    """
    card = model.card
    local = local_imagenet(card.backbone)
    checked = _checked(local or cached_imagenet(card.backbone))
    options: BackboneArgs = {"num_classes": len(card.classes), "in_chans": card.channels, **card.backbone_args}
    try:
        with _offline_where_unreachable():
            made = timm.create_model(card.backbone, pretrained=True, pretrained_cfg_overlay=_overlay(local), **options)
    except WeightsError:
        raise
    except Exception as error:  # the hub, urllib and timm each raise their own
        raise WeightsError(_how_to_get(card.backbone, local, error)) from None
    checked = checked or _checked(cached_imagenet(card.backbone))
    model.network.load_state_dict(made.state_dict())
    model.card = dataclasses.replace(
        card,
        origin=origin_of(card.backbone, local),
        checksum=str(checked or ""),
        licence=_licence_of(card.backbone, local),
    )
    log.info("ImageNet weights of %s: %s, %s", card.backbone, model.card.origin, model.card.checksum or "no file seen")
    head_path, _ = head_of(model.network)
    matched = tuple(name for name in made.state_dict() if not name.startswith(f"{head_path}."))
    return LoadReport(matched, head="starts from random values (ImageNet has other classes)")


def local_imagenet(backbone: str) -> Path | None:
    """Return the file for ``backbone`` that lies in the folder of weights.

    It is called ``<backbone>.imagenet.safetensors`` (or .pth), or as torchvision and timm call theirs:
    ``densenet121-a639ec97.pth``, ``densenet121_ra-50efcf5c.pth``.
    """
    plain, digits = backbone.partition(".")[0], "[0-9a-f]" * 8
    names = [f"{stem}.imagenet{ending}" for stem in (backbone, plain) for ending in (".safetensors", ".pth")]
    patterns = [*dict.fromkeys(names), f"{plain}-{digits}.pth", f"{plain}_*-{digits}.pth"]
    files = [path for pattern in patterns for path in sorted(weights_root().glob(pattern)) if path.is_file()]
    if len(files) > 1:
        log.warning("of %s, %s is taken", ", ".join(path.name for path in files), files[0].name)
    return files[0] if files else None


def cached_imagenet(backbone: str) -> Path | None:
    """Return timm's file for ``backbone`` in the cache of the hub or of torch, or None before it was fetched."""
    pretrained = timm.get_pretrained_cfg(backbone)
    repository = getattr(pretrained, "hf_hub_id", None)
    if repository:
        file_name = getattr(pretrained, "hf_hub_filename", None)
        cached = (try_to_load_from_cache(repository, name) for name in ((file_name,) if file_name else _HUB_FILES))
        return next((Path(path) for path in cached if isinstance(path, str)), None)
    url = getattr(pretrained, "url", None)
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urllib.parse.urlsplit(str(url)).path).name
    return path if url and path.is_file() else None


def origin_of(backbone: str, local: Path | None) -> str:
    """Return in words where the ImageNet weights of ``backbone`` come from."""
    if local is not None:
        return f"ImageNet weights, file {local.name}"
    pretrained = timm.get_pretrained_cfg(backbone)
    return f"ImageNet weights, {getattr(pretrained, 'hf_hub_id', None) or getattr(pretrained, 'url', None) or 'timm'}"


def _licence_of(backbone: str, local: Path | None) -> str:
    """Return the licence that timm states for its own file, or what lies beside one that was put in place by hand."""
    if local is not None:
        beside = licence_beside(local)
        return beside.licence if beside else f"{UNKNOWN} (weights {local.name})"
    return usual_spelling(str(getattr(timm.get_pretrained_cfg(backbone), "license", None) or ""))


def _checked(path: Path | None) -> Checked | None:
    return None if path is None else verify(path)


def _overlay(local: Path | None) -> dict[str, str | Mapping[str, torch.Tensor]] | None:
    """Return what makes timm load ``local``; opened here, as timm lets more through than tensors."""
    if local is None:
        return None
    return {"state_dict": read_tensors(local), "hf_hub_id": "", "url": ""}


def _how_to_get(backbone: str, local: Path | None, error: Exception) -> str:
    reason = first_line(error)
    if local is not None:
        return f"{local} does not fit {backbone}: {reason}"
    pretrained = timm.get_pretrained_cfg(backbone)
    origin = getattr(pretrained, "hf_hub_id", None) or getattr(pretrained, "url", None)
    if not origin:
        return f"timm has no ImageNet weights for {backbone!r}: choose weights null, or another backbone"
    target = weights_root() / f"{backbone}.imagenet.safetensors"
    other = _torchvision_file(backbone)
    or_other = f", or torchvision's {other} under its own name at {target.parent / other}" if other else ""
    return (
        f"no ImageNet weights for {backbone!r}: the hub cannot be reached ({reason}). Fetch model.safetensors of "
        f"{origin} where there is a network and put it at {target} (its sha256 in {target.name}.sha256){or_other}"
    )


def _torchvision_file(backbone: str) -> str | None:
    """Return the name of torchvision's file for the same network, or None."""
    from torchvision.models import get_model_weights

    try:
        weights = next(iter(get_model_weights(backbone.partition(".")[0])))  # the first, IMAGENET1K_V1
    except (ValueError, StopIteration):
        return None
    return Path(urllib.parse.urlsplit(weights.url).path).name


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
