"""Lungs by the shipped network, ``lung_segmentation.safetensors`` beside this file."""

from __future__ import annotations

import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxr.regions.segmentation.picture import mask_of, picture_of

if TYPE_CHECKING:
    from cxr.regions.segmentation.network import LungNet

WEIGHTS = Path(__file__).with_name("lung_segmentation.safetensors")
"""Made by ``tools/train_lung_segmentation.py``."""
SEGMENTATION_VERSION = "1"
"""Raise it when the same X-ray would get another mask."""
_LOADING = threading.Lock()


def segment_lungs(image: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Return the lungs of an X-ray (H, W), bool (H, W), or None where the network's answer is implausible.

    The lungs behind the heart and the diaphragm are not inside, as in the masks that it was trained on.
    """
    return mask_of(lung_probability(image), (image.shape[0], image.shape[1]))


def lung_probability(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the network's answer to an X-ray (H, W): uint8 (SIDE, SIDE), 255 for surely lung; on the CPU."""
    import torch

    network = shared_network()
    with torch.inference_mode():
        logits = network(torch.from_numpy(picture_of(image))[None, None])
    return np.rint(logits.sigmoid()[0, 0].numpy() * 255).astype(np.uint8)


def shared_network() -> LungNet:
    """Return this process's network, loaded when first used."""
    with _LOADING:
        return _network(WEIGHTS)


@lru_cache(maxsize=2)
def _network(file: Path) -> LungNet:
    return load_network(file)


def load_network(file: Path) -> LungNet:
    """Return a network with the weights of a file, in single precision, ready to answer."""
    from safetensors.torch import load_file

    from cxr.regions.segmentation.network import LungNet

    network = LungNet()
    weights = {name: value.float() for name, value in load_file(file).items()}
    counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    network.load_state_dict(weights | counters)
    return network.eval()


def facts(file: Path = WEIGHTS) -> dict[str, str]:
    """Return what the file says of itself: seed, steps, and the files of its source that were held out."""
    from safetensors import safe_open

    with safe_open(file, "np") as opened:
        return dict(opened.metadata() or {})
