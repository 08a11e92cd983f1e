"""Trained networks: which one a name means, and on which device it works. Both are decided here and nowhere else.

A *network_ref* is what users, pages and run folders call a network: the id or folder of a training, a .safetensors
file, or the name of weights such as ``demo``.
"""

from typing import TYPE_CHECKING

from cxr import lazy

if TYPE_CHECKING:
    from cxr.networks.device import is_gpu, resolve_device
    from cxr.networks.free_gpu import Computed, compute_on_free_device, usual_device
    from cxr.networks.resolve import (
        BEST,
        TrainedNetwork,
        has_network,
        list_networks,
        load_network,
        network_card,
        network_file,
        network_title,
        seen_by,
        training_of,
    )

__all__ = [
    "BEST",
    "Computed",
    "TrainedNetwork",
    "compute_on_free_device",
    "has_network",
    "is_gpu",
    "list_networks",
    "load_network",
    "network_card",
    "network_file",
    "network_title",
    "resolve_device",
    "seen_by",
    "training_of",
    "usual_device",
]

# Names are resolved without torch.
__getattr__, __dir__ = lazy.attach(
    __name__,
    {
        "device": ("is_gpu", "resolve_device"),
        "free_gpu": ("Computed", "compute_on_free_device", "usual_device"),
        "resolve": (
            "BEST",
            "TrainedNetwork",
            "has_network",
            "list_networks",
            "load_network",
            "network_card",
            "network_file",
            "network_title",
            "seen_by",
            "training_of",
        ),
    },
)
