"""Networks as other programs hold them: inside DataParallel, or of torchvision's classes instead of timm's."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import torch
from torch import nn
from torchvision.models import VGG, DenseNet, ResNet

from cxr.errors import ExplainError, WeightsError
from cxr.explain.frozen import borrowed, itself
from cxr.models.backbones import make_network
from cxr.models.imports.key_mapping import our_names
from cxr.models.imports.recognise import backbone_of, input_channels, outputs_of

_OF_TORCHVISION = (DenseNet, ResNet, VGG)
_WRAPPERS = (nn.DataParallel, nn.parallel.DistributedDataParallel)
_guard = threading.Lock()
_twins: weakref.WeakKeyDictionary[nn.Module, nn.Module] = weakref.WeakKeyDictionary()


def unwrapped(model: Any) -> Any:
    """Return what is inside ``DataParallel`` and ``DistributedDataParallel``, anything else as it is."""
    while isinstance(model, _WRAPPERS):
        model = model.module
    return model


def as_timm(network: nn.Module, image: torch.Tensor) -> nn.Module:
    """Return timm's class of the same network for a DenseNet, ResNet or VGG of torchvision, others as they are.

    The twin shares the numbers of ``network`` and is kept as long as these lie where they lay.

    Parameters
    ----------
    image
        The network's own input, float (1, C, H, W), on which the logits of both are compared.

    Raises
    ------
    ExplainError
        If a network of torchvision was changed so that timm has none of its kind; the way out is named.
    """
    if type(network) not in _OF_TORCHVISION:
        return network
    with _guard:
        twin = _twins.get(network)
        if twin is None or not _share(twin, network):
            twin = _twin(network, image)
            _twins[network] = twin
    return twin


def _twin(network: nn.Module, image: torch.Tensor) -> nn.Module:
    state = network.state_dict()
    try:
        renamed = our_names(state).state
        backbone, arguments = backbone_of(renamed)
        outputs = outputs_of(renamed, backbone, arguments)
        twin = make_network(backbone, outputs, input_channels(renamed), arguments)
        twin.load_state_dict(renamed, assign=True)
    except (WeightsError, RuntimeError) as error:
        raise _no_twin(network, str(error).splitlines()[0][:120]) from None
    twin.eval()
    parameter = next(network.parameters())
    with borrowed(network, itself, "copy") as copy, torch.no_grad():
        picture = image.to(device=parameter.device, dtype=next(copy.parameters()).dtype)
        if picture.shape[1] == input_channels(renamed) and not _agree(copy(picture), twin(picture.to(parameter.dtype))):
            raise _no_twin(network, "its logits differ from those of timm's class")
    return twin


def _agree(theirs: torch.Tensor, ours: torch.Tensor) -> bool:
    ours = ours.to(theirs)
    return theirs.shape == ours.shape and bool(torch.allclose(theirs, ours, rtol=1e-2, atol=1e-3, equal_nan=True))


def _share(twin: nn.Module, network: nn.Module) -> bool:
    """Return whether both still have the same numbers at the same places in memory."""
    places = {tensor.data_ptr() for tensor in twin.state_dict().values()}
    return all(tensor.data_ptr() in places for tensor in network.state_dict().values())


def _no_twin(network: nn.Module, reason: str) -> ExplainError:
    return ExplainError(
        f"torchvision's {type(network).__name__} cannot be explained as timm's: {reason}. Accepted: timm.create_model("
        "NAME, num_classes=...) with load_state_dict(network.state_dict())"
    )
