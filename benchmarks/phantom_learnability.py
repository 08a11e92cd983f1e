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
from torch import nn
from torch.nn import functional as F

from cxr.data.augment import Augment
from cxr.data.phantom import CLASSES, TOKEN_SETS, make_phantom

SIDE = 128
OWN = {chosen.label: chosen.name for chosen in TOKEN_SETS}


def network() -> nn.Module:
    """A plain CNN of about 100,000 parameters."""
    widths, layers = (1, 16, 32, 48, 64, 96), []
    for k in range(5):
        layers += [nn.Conv2d(widths[k], widths[k + 1], 3, stride=1 if k == 4 else 2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(widths[k + 1]), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(384, len(CLASSES)))


def images(start: int, n: int, wrong_set: bool = False, **options: float) -> tuple[torch.Tensor, torch.Tensor]:
    """``n`` X-rays (n, 1, 128, 128) in [0, 1], classes in turn; ``wrong_set`` writes another class's tokens."""
    pictures = []
    for i in range(n):
        label = CLASSES[i % 3]
        chosen = OWN[CLASSES[(i % 3 + 1 + i // 3 % 2) % 3]] if wrong_set else None
        image = make_phantom(start + i, label, token_set=chosen, **options).image
        pictures.append(cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return torch.from_numpy(np.stack(pictures)).float()[:, None] / 255, torch.arange(n) % 3


def train(x: torch.Tensor, y: torch.Tensor, epochs: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model, batch = network(), 32
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-3)
    steps = epochs * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    augment = Augment(rotate=4, translate=0.04, scale=0.05, brightness=0.08, contrast=0.15, noise=0.02)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for k in range(len(x) // batch):
            pick = order[k * batch : (k + 1) * batch]
            loss = F.cross_entropy(model(augment(x[pick], generator) - 0.5), y[pick])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


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
    began, held_out = time.perf_counter(), 10_000_000
    table = Table("network trained at", "shown", "accuracy", "follows the text")
    tests = {
        "correlation 0": images(held_out, args.test, correlation=0.0),
        "correlation 1": images(held_out, args.test, correlation=1.0),
        "text removed": images(held_out, args.test, tokens=False),
        "text of another class": images(held_out, args.test, wrong_set=True),
    }
    truth = tests["correlation 0"][1]
    written = torch.tensor([(i % 3 + 1 + i // 3 % 2) % 3 for i in range(args.test)])
    for correlation in (0.0, 1.0):
        model = train(*images(args.seed * 100_000, args.train, correlation=correlation), args.epochs, args.seed)
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
