"""Can a small network learn the classes of the synthetic X-rays from the lesions, and does it prefer the text?

Two networks are trained on the same number of images: one where the text is independent of the class (correlation 0)
and one where it always tells it (correlation 1). The second is then shown X-rays whose text belongs to another class
than their lesion, and X-rays without text.

    OMP_NUM_THREADS=1 python benchmarks/phantom_learnability.py [--train 900] [--test 300] [--epochs 24]
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from synthetic_networks import HELD_OUT, pictures, train, written_on
from torch import nn

from cxr.data.phantom import CLASSES


def network() -> nn.Module:
    """A plain CNN of about 100,000 parameters."""
    widths = (1, 16, 32, 48, 64, 96)
    layers: list[nn.Module] = []
    for k in range(5):
        layers += [nn.Conv2d(widths[k], widths[k + 1], 3, stride=1 if k == 4 else 2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(widths[k + 1]), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(384, len(CLASSES)))


def trained(x: torch.Tensor, y: torch.Tensor, epochs: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = network()
    train(model, lambda batch: model(batch - 0.5), x, y, epochs, seed)
    return model


@torch.inference_mode()
def predict(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([model(part - 0.5).argmax(1) for part in x.split(64)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=900)
    parser.add_argument("--test", type=int, default=300)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    began = time.perf_counter()
    table = Table("network trained at", "shown", "accuracy", "follows the text")
    tests = {
        "correlation 0": pictures(HELD_OUT, args.test, correlation=0.0),
        "correlation 1": pictures(HELD_OUT, args.test, correlation=1.0),
        "text removed": pictures(HELD_OUT, args.test, tokens=False),
        "text of another class": pictures(HELD_OUT, args.test, wrong_set=True),
    }
    truth = tests["correlation 0"][1]
    written = torch.tensor([CLASSES.index(written_on(i)) for i in range(args.test)])
    for correlation in (0.0, 1.0):
        x, y = pictures(args.seed * 100_000, args.train, correlation=correlation)
        model = trained(x, y, args.epochs, args.seed)
        for name, (x, _) in tests.items():
            if name == f"correlation {1 - correlation:.0f}":
                continue
            guess = predict(model, x)
            follows = f"{(guess == written).float().mean():.3f}" if name == "text of another class" else ""
            confusion = np.zeros((3, 3), int)
            np.add.at(confusion, (truth.numpy(), guess.numpy()), 1)
            table.add_row(f"correlation {correlation:.0f}", name, f"{(guess == truth).float().mean():.3f}", follows)
            print(correlation, name, confusion.tolist(), flush=True)
    Console(width=100).print(table)
    parameters = sum(p.numel() for p in network().parameters())
    print(f"{parameters:,} parameters, {args.train} images, {time.perf_counter() - began:.0f} s on one core")


if __name__ == "__main__":
    main()
