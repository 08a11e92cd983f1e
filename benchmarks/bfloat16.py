"""Is a heatmap in bfloat16 the one of float32, and is it faster? Each LRP composite on small and large DenseNets.

Networks: the shipped one on synthetic X-rays, small ones and a densenet121 with random weights (batch norms that are
not the identity) on the same X-rays. For each composite: the smallest and the median cosine between the maps (channels
summed) over the images, bfloat16's share of float32's time on one image (shortest of two calls each), and what
``cxr explain --precision bfloat16`` then takes.

    python benchmarks/bfloat16.py [--n 6] [--out benchmarks/results/bfloat16.md]
"""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cxr.data.phantom import make_phantom
from cxr.explain import COMPOSITES, explain
from cxr.explain.precision import LARGEST_TIME, LEAST_COSINE, Trial, seconds_of
from cxr.explain.render import relevance_2d
from cxr.models import XrayClassifier, build, load_model
from cxr.paths import shipped_weights

CLASSES = ("covid19", "normal", "pneumonia")


def shaken(backbone: str, size: int, seed: int) -> XrayClassifier:
    """Return a network with random weights whose batch norms are not the identity."""
    torch.manual_seed(seed)
    model = build(backbone, CLASSES, size=size).eval()
    for module in model.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
            module.running_mean.normal_(0, 0.1)
    return model


def cosines(rough: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Return (N,) cosines between maps (N, C, H, W), channels summed."""
    a, b = (relevance_2d(maps).reshape(len(maps), -1).astype(np.float64) for maps in (rough, fine))
    return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))


def measured(model: XrayClassifier, images: np.ndarray, composite: str) -> tuple[np.ndarray, float]:
    """Return the cosines of the images, and bfloat16's share of float32's time."""

    def maps(precision: str | None, n: int) -> np.ndarray:
        return explain(model, images[:n], CLASSES[0], composite, precision=precision, trial=False).relevance

    alike = cosines(maps("bfloat16", len(images)), maps(None, len(images)))
    rough_map, fine_map = partial(maps, "bfloat16", 1), partial(maps, None, 1)
    turns = [[seconds_of(rough_map), seconds_of(fine_map)] for _ in range(3)]
    rough, fine = np.array(turns)[1:].min(axis=0)
    return alike, float(rough / fine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=6, help="images")
    parser.add_argument("--out", type=Path, help="write the table there as Markdown")
    args = parser.parse_args()
    networks = {
        "shipped (small), 128 px": load_model(shipped_weights() / "demo.safetensors"),
        "small, random, 96 px": shaken("densenet-small", 96, 0),
        "small, random, 128 px": shaken("densenet-small", 128, 1),
        "densenet121, random, 224 px": shaken("densenet121", 224, 0),
    }
    lines = [
        "| network | composite | cosine, smallest | median | time, share of float32's | taken |",
        "|---|---|---|---|---|---|",
    ]
    for name, model in networks.items():
        size = model.card.size
        images = np.stack([make_phantom(i, CLASSES[i % 3], size=size).image for i in range(args.n)])
        for composite in (key for key, known in COMPOSITES.items() if known.is_lrp):
            alike, share = measured(model, images, composite)
            taken = "bfloat16" if Trial(float(alike[0]), share).holds else "float32"
            cells = (name, composite, f"{alike.min():.4f}", f"{np.median(alike):.4f}", f"{share:.2f}", taken)
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    about, _, _ = (__doc__ or "").partition("    python ")
    page = f"# Heatmaps in bfloat16\n\nCommand: `python benchmarks/bfloat16.py {shlex.join(sys.argv[1:])}`; "
    page += f"{platform.machine()}, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}, "
    page += (
        f"{args.n} synthetic X-rays.\n\n{about.strip()}\n\nbfloat16 is taken from a cosine of {LEAST_COSINE} on the "
    )
    page += f"first image and up to {LARGEST_TIME} of float32's time.\n\n" + "\n".join(lines) + "\n"
    if args.out:
        args.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
