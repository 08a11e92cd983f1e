"""Make the shipped segmentation of lungs (``cxr/regions/segmentation/lung_segmentation.safetensors``) from scratch.

Real X-rays are those of Montgomery County with their masks by hand (NLM; the heart is not in them), 98 patients of 138
drawn by the seed; the other 40 are for ``benchmarks/lung_segmentation.py`` alone, and the file says which they are.
Beside them stand synthetic X-rays, a third of each batch. No X-ray of another source is looked at. There is no
selection among epochs: the weights are the running mean at the end of a fixed number of steps.

    python tools/train_lung_segmentation.py --data FOLDER [--steps 1200] [--out FILE.safetensors]

made the file that is shipped. FOLDER has a ``manifest.csv`` with X-rays of the source ``montgomery``. One seed fixes
the samples and the start; on another processor sums round otherwise.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from lung_augmentation import augmented
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cxr.data import Manifest, read_xray
from cxr.data.images.resize import fit_square
from cxr.data.phantom import CLASSES, make_phantom
from cxr.files import replacing
from cxr.regions.lungs import read_mask
from cxr.regions.segmentation.lung_segmentation import WEIGHTS
from cxr.regions.segmentation.network import LungNet
from cxr.regions.segmentation.picture import SIDE, standardised

SOURCE, HELD_OUT = "montgomery", 40
_KEPT = 152  # px; a little more than the network's side, for the changes to zoom in
_SYNTHETIC_SHARE = 1 / 3


class Sample(NamedTuple):
    """A square X-ray and its mask, uint8."""

    image: np.ndarray
    mask: np.ndarray


def split(manifest: Manifest, seed: int) -> tuple[list[str], list[str]]:
    """Return image ids to train on and held-out ones: 40 patients drawn by the seed."""
    table = manifest.table[(manifest.table["source"] == SOURCE) & (manifest.table["lung_mask"] != "")]
    patients = sorted(set(table["patient_id"]))
    aside = set(np.random.default_rng(seed).permutation(patients)[:HELD_OUT])
    is_aside = table["patient_id"].isin(aside)
    return table["image_id"][~is_aside].tolist(), table["image_id"][is_aside].tolist()


def real_samples(manifest: Manifest, ids: list[str]) -> list[Sample]:
    """Return X-rays with their masks at the size that they are kept at."""
    samples = []
    for name in ids:
        image, mask_file = read_xray(manifest.image_path(name)), manifest.mask_path(name)
        assert mask_file is not None
        mask = read_mask(mask_file, (image.shape[0], image.shape[1]))
        samples.append(Sample(fit_square(image, _KEPT), fit_square(mask.astype(np.uint8) * 255, _KEPT)))
    return samples


def synthetic_samples(n: int, seed: int) -> list[Sample]:
    """Return synthetic X-rays of all classes, with and without text."""
    phantoms = [
        make_phantom(seed * 100_000 + k, CLASSES[k % len(CLASSES)], size=_KEPT, tokens=k % 2 == 0) for k in range(n)
    ]
    return [Sample(phantom.image, phantom.lung_mask) for phantom in phantoms]


def batch(
    real: list[Sample], synthetic: list[Sample], size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures and masks, float32 (size, 1, SIDE, SIDE)."""
    pictures, masks = [], []
    for _ in range(size):
        samples = synthetic if rng.random() < _SYNTHETIC_SHARE else real
        image, mask = augmented(*samples[rng.integers(len(samples))], SIDE, rng)
        pictures.append(standardised(image))
        masks.append((mask > 127).astype(np.float32))
    return torch.from_numpy(np.stack(pictures)[:, None]), torch.from_numpy(np.stack(masks)[:, None])


def loss_of(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return cross entropy plus one minus soft Dice, over each picture."""
    inside = logits.sigmoid()
    common, total = (inside * masks).sum((1, 2, 3)), (inside + masks).sum((1, 2, 3))
    dice = (2 * common + 1) / (total + 1)
    return nn.functional.binary_cross_entropy_with_logits(logits, masks) + (1 - dice).mean()


def train(real: list[Sample], synthetic: list[Sample], steps: int, size: int, seed: int) -> nn.Module:
    """Return the running mean of a network trained for a fixed number of steps."""
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 1])
    network = convert_conv2d_weight_memory_format(LungNet(), torch.channels_last)
    mean = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.15)
    begun, losses = time.monotonic(), []
    for step in range(1, steps + 1):
        pictures, masks = batch(real, synthetic, size, rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network(pictures.contiguous(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        mean.update_parameters(network)
        losses.append(float(loss.detach()))
        if step % 25 == 0:
            print(f"step {step}: loss {np.mean(losses[-25:]):.4f}, {time.monotonic() - begun:.0f} s", flush=True)
    return mean.module


def write(network: nn.Module, file: Path, facts: dict[str, str]) -> None:
    """Write the weights as half-precision numbers, with what is to be known of them."""
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    with replacing(file) as draft:
        save_file(tensors, draft, metadata=facts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.csv and the Montgomery X-rays")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--synthetic", type=int, default=90, help="synthetic X-rays")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    manifest = Manifest.load(given.data / "manifest.csv")
    trained_on, aside = split(manifest, given.seed)
    print(f"{len(trained_on)} X-rays of {SOURCE} to train on, {len(aside)} held out", flush=True)
    network = train(
        real_samples(manifest, trained_on), synthetic_samples(given.synthetic, given.seed), given.steps, given.batch,
        given.seed,
    )  # fmt: skip
    names = [manifest.image_path(name).name for name in aside]
    facts = {"source": SOURCE, "seed": str(given.seed), "steps": str(given.steps), "batch": str(given.batch)}
    write(network, given.out, facts | {"trained_on": str(len(trained_on)), "held_out": " ".join(names)})
