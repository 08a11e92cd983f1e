"""Make the model of appearance (``cxr/data/audit/appearance/appearance.safetensors``) from scratch.

It learns by itself what an upright frontal chest looks like: each X-ray of the part ``train``
(:mod:`appearance_parts`), and synthetic ones, in variants that are shifted, turned a little, brightened, equalised,
framed and sharpened, and the 16 views of each, of which one is right. In most variants patches are painted near the
borders, bright and dark ones of the size of letters and markers, so that the anatomy has to decide and not an L or R.
What is no whole frontal chest is made of the same X-rays (parts, shuffled, several in one picture) or drawn
(:mod:`drawn_not_chests`).

Thresholds are set on the part ``thresholds``, other patients, and on other synthetic X-rays, each as it is and in two
variants: at most ``ALARMS`` of these get a flag. One seed fixes all.

    python tools/train_appearance.py --data FOLDER

``FOLDER`` holds ``manifest.csv`` with columns image, source, patient_id, dup_group. About two minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from appearance_parts import parts
from drawn_not_chests import DRAWN, SIDE, cut, detail, lateral, several, shuffled
from safetensors.numpy import save_file
from torch import nn

from cxr.data.audit.appearance.features import N_FEATURES, VIEWS, features, in_views, view_places
from cxr.data.audit.appearance.features import SIDE as SMALL
from cxr.data.audit.appearance.model import CLASSES, WEIGHTS, Model, load
from cxr.data.images.resize import decode_square, fit_square
from cxr.data.phantom import CLASSES as LABELS
from cxr.data.phantom import make_phantom
from cxr.files import replacing

ALARMS = {"mirrored": 0.01, "other": 0.005} | dict.fromkeys(
    ("inverted", "rotated_90", "rotated_180", "rotated_270"), 0.002
)
"""By kind of flag the largest share of the X-rays that set the thresholds which may get it."""
VARIANTS = {"nih": 4, "cohen": 12, "synthetic": 3}
PHANTOMS = 150
HIDDEN = {"view": 128, "class": 64}
EPOCHS = {"view": 36, "class": 20}


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--out", type=Path, default=WEIGHTS)
    options.add_argument("--pictures", type=Path, help="keep the decoded pictures in this .npy file")
    given = options.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    table = pd.read_csv(given.data / "manifest.csv")
    images, part = pictures(given.data, table, given.pictures), parts(table)
    chests, sources = images[part == "train"], table["source"].to_numpy()[part == "train"]
    synthetic = phantoms(PHANTOMS, 0)
    chests, sources = np.concatenate([chests, synthetic]), np.concatenate([sources, ["synthetic"] * PHANTOMS])
    print(pd.crosstab(table["source"], part), f"\nand {PHANTOMS} synthetic", flush=True)

    repeated = np.repeat(np.arange(len(chests)), [VARIANTS[source] for source in sources])
    frontal = features(small([variant(chests[k], rng) for k in repeated]))
    view = fitted("view", torch.from_numpy(frontal), torch.zeros(len(frontal), dtype=torch.long), 1)
    weights = of(view, "view")

    others, names = not_frontal(chests, rng)
    upright = likeliest(weights, np.concatenate([frontal[::2], features(small(others))]))
    classes = torch.tensor([0] * len(frontal[::2]) + [CLASSES.index(name) for name in names])
    weights |= of(fitted("class", torch.from_numpy(upright), classes, len(CLASSES)), "class")
    plain = np.concatenate([images[part == "thresholds"], phantoms(60, 1)])
    aside = np.concatenate([small(plain), small([variant(image, rng) for image in np.repeat(plain, 2, axis=0)])])
    save(given.out, weights, set_thresholds(Model(weights, {}), aside))
    print(load(given.out).thresholds, given.out.stat().st_size, "bytes")


def pictures(folder: Path, table: pd.DataFrame, keep: Path | None) -> np.ndarray:
    """Return the X-rays of a table as uint8 (N, 128, 128)."""
    if keep is not None and keep.is_file():
        return np.asarray(np.load(keep))
    images = np.stack([np.asarray(decode_square(folder / image, SIDE, "stretch")) for image in table["image"]])
    if keep is not None:
        np.save(keep, images)
    return images


def phantoms(n: int, first: int) -> np.ndarray:
    """Return synthetic X-rays, uint8 (n, 128, 128)."""
    return np.stack([make_phantom(10_000 * first + k, LABELS[k % 3], size=SIDE, tokens=False).image for k in range(n)])


def small(images: Iterable[np.ndarray]) -> np.ndarray:
    """Return pictures as the model gets them, uint8 (N, 64, 64)."""
    return np.stack([fit_square(np.ascontiguousarray(image), SMALL) for image in images])


def variant(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return an X-ray as it may look elsewhere: placed, exposed, framed and marked otherwise."""
    angle, scale = np.deg2rad(rng.normal(0, 4)), rng.uniform(0.74, 1.16)
    wide, tall = scale * rng.uniform(0.92, 1.08), scale * rng.uniform(0.92, 1.08)
    turn = np.array([[wide * np.cos(angle), -tall * np.sin(angle)], [wide * np.sin(angle), tall * np.cos(angle)]])
    middle = np.full(2, SIDE / 2)
    shift = middle - turn @ middle + rng.normal(0, 0.03 * SIDE, 2)
    edge = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_CONSTANT
    x = cv2.warpAffine(image, np.column_stack([turn, shift]), (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=edge)
    if rng.random() < 0.25:
        x = cv2.createCLAHE(float(rng.uniform(1, 4)), (4, 4)).apply(x)
    if rng.random() < 0.15:
        x = cv2.equalizeHist(x)
    grey = (x.astype(np.float32) / 255) ** rng.uniform(0.55, 1.8)
    if rng.random() < 0.3:
        grey += rng.uniform(-0.6, 0.9) * (grey - cv2.GaussianBlur(grey, (0, 0), 4))
    grey = 0.5 + (grey - 0.5) * rng.uniform(0.6, 1.5) + rng.normal(0, 0.06)
    x = np.asarray(np.clip(grey + rng.normal(0, rng.uniform(0, 0.03), grey.shape), 0, 1) * 255, np.uint8)
    if rng.random() < 0.3:
        frame(x, rng)
    if rng.random() < 0.8:
        mark(x, rng)
    return x


def frame(x: np.ndarray, rng: np.random.Generator) -> None:
    """Paint a uniform border on some sides."""
    value = int(rng.choice([0, 255, int(rng.integers(0, 256))]))
    for side in range(4):
        if rng.random() < 0.5:
            np.rot90(x, side)[: int(rng.uniform(0, 0.14) * SIDE)] = value


def mark(x: np.ndarray, rng: np.random.Generator) -> None:
    """Paint patches near the borders, some with a smaller one in it, and a few anywhere."""
    for _ in range(int(rng.integers(1, 6))):
        tall, wide = rng.uniform(0.02, 0.18, 2) * SIDE
        y, x0 = rng.uniform(0, SIDE - np.array([tall, wide]))
        if rng.random() < 0.8:  # to one of the borders
            if rng.random() < 0.5:
                y = rng.choice([0.0, SIDE - tall]) * 0.9 + 0.1 * y
            else:
                x0 = rng.choice([0.0, SIDE - wide]) * 0.9 + 0.1 * x0
        value = int(rng.choice([0, 255, int(rng.integers(0, 256))]))
        x[int(y) : int(y + tall) + 1, int(x0) : int(x0 + wide) + 1] = value
        if rng.random() < 0.5:
            inner = x[int(y + tall / 3) : int(y + 2 * tall / 3) + 1, int(x0 + wide / 3) : int(x0 + 2 * wide / 3) + 1]
            inner[...] = 255 - value


def not_frontal(chests: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Return what is no whole frontal chest, turned and inverted at random, and which of the classes it is."""
    made: list[tuple[np.ndarray, str]] = []

    def chest() -> np.ndarray:
        return variant(chests[rng.integers(len(chests))], rng)

    made += [(cut(chest(), rng), "cut") for _ in range(1500)]
    made += [(lateral(rng), "lateral") for _ in range(1000)]
    for draw in DRAWN.values():
        made += [(draw(rng), "not-a-chest") for _ in range(220)]
    made += [(shuffled(chest(), rng), "not-a-chest") for _ in range(300)]
    made += [(detail(chest(), rng), "not-a-chest") for _ in range(400)]
    made += [(several(chest(), chest(), rng), "not-a-chest") for _ in range(300)]
    for image, _ in made[1500:]:
        if rng.random() < 0.3:
            mark(image, rng)
    views = [VIEWS[k] for k in rng.integers(0, len(VIEWS), len(made))]
    return small([view.do(image) for view, (image, _) in zip(views, made, strict=True)]), [name for _, name in made]


def fitted(name: str, x: torch.Tensor, y: torch.Tensor, n_outputs: int) -> nn.Sequential:
    """Return a network that was trained on numbers (N, F): to find the right view, or the class."""
    drop = nn.Dropout(0.1)
    network = nn.Sequential(nn.Linear(N_FEATURES, HIDDEN[name]), nn.ReLU(), nn.Linear(HIDDEN[name], n_outputs))
    batch = 256
    steps = EPOCHS[name] * (len(x) // batch)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.1)
    for epoch in range(EPOCHS[name]):
        order, losses, right = torch.randperm(len(x)), [], []
        for k in range(len(x) // batch):
            rows = order[k * batch : (k + 1) * batch]
            numbers = drop(x[rows])
            logits = logits_of_views(network, numbers) if n_outputs == 1 else network(numbers)
            loss = nn.functional.cross_entropy(logits, y[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
            right.append((logits.argmax(1) == y[rows]).float().mean().item())
        if epoch % 4 == 3:
            print(f"{name} {epoch + 1}: loss {np.mean(losses):.4f}, right {np.mean(right):.4f}", flush=True)
    return network


def logits_of_views(network: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    """Return the outputs (N, 16) for all views of numbers (N, F): weights are moved instead of the numbers."""
    first, last = (layer for layer in network if isinstance(layer, nn.Linear))
    hidden = torch.relu(x @ in_places(first.weight).flatten(0, 1).T + first.bias.repeat(len(VIEWS)))
    return torch.as_tensor(last(hidden.unflatten(1, (len(VIEWS), -1))).squeeze(-1))


def in_places(weight: torch.Tensor) -> torch.Tensor:
    """Return weights (16, H, F) that do with a picture's numbers what ``weight`` (H, F) does with a view's."""
    places, signs = (torch.from_numpy(values) for values in view_places())
    back = places.argsort(1)
    return torch.stack([weight[:, own] * sign[own] for own, sign in zip(back, signs, strict=True)])


def of(network: nn.Sequential, name: str) -> dict[str, np.ndarray]:
    """Return a network's weights as the model names them."""
    layers = [layer for layer in network if isinstance(layer, nn.Linear)]
    return {
        f"{name}.{k}.{key}": value.detach().numpy()
        for k, layer in enumerate(layers)
        for key, value in layer.named_parameters()
    }


def likeliest(weights: dict[str, np.ndarray], numbers: np.ndarray) -> np.ndarray:
    """Return the numbers (N, F) of pictures in their likeliest view."""
    model = Model(weights, {})
    rows = []
    for start in range(0, len(numbers), 256):
        views = in_views(numbers[start : start + 256])
        best = model._network("view", views)[..., 0].argmax(1)
        rows.append(views[np.arange(len(views)), best])
    return np.concatenate(rows)


def set_thresholds(model: Model, images: np.ndarray) -> dict[str, float]:
    """Return by kind the value above which an X-ray is flagged: so high that few of these are, and never below 0.5."""
    looks = pd.DataFrame(model.look(images))
    print(f"thresholds from {len(images)} X-rays")
    allowed = {kind: int(share * len(images)) for kind, share in ALARMS.items()}
    return {kind: max(0.5, float(np.sort(looks[kind])[-1 - n])) for kind, n in allowed.items()}


def save(path: Path, weights: dict[str, np.ndarray], thresholds: dict[str, float]) -> None:
    """Write a model as :func:`cxr.data.audit.appearance.model.load` reads it."""
    plain = {key: np.ascontiguousarray(value, np.float32) for key, value in weights.items()}
    with replacing(path) as draft:
        save_file(plain, draft, metadata={"thresholds": json.dumps(thresholds)})


if __name__ == "__main__":
    main()
