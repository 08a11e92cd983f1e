"""Stock zennit beside ours on one trained network: how far maps differ, what adds up, what lies on text, what it costs.

    python benchmarks/stock_zennit.py --network RUN_OR_WEIGHTS --text FOLDER [--n 40] [--figure PICTURE.png]

``FOLDER`` holds X-rays with hand-made text boxes (``boxes.csv``: image, width, height, x0, y0, x1, y1, kind, ...);
without it synthetic X-rays are used, whose text is known (``--correlation``: how often it tells the class). Stock
zennit is what its documentation shows: a composite by name, put on the network as it stands, on timm's DenseNet and on
torchvision's with the same weights. The explained class is the predicted one. Text mass: share of positive relevance
inside the boxes over the boxes' share of the area (1 is chance).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.composites import EpsilonAlpha2Beta1Flat, EpsilonPlusFlat

from cxr.data import read_xray
from cxr.data.images.resize import fit_square
from cxr.data.phantom import CLASSES, make_phantom
from cxr.explain import explain
from cxr.explain.quality.localisation import localise, mask_at
from cxr.explain.render import figure, relevance_2d
from cxr.models import XrayClassifier
from cxr.networks import load_network

STOCK = {"epsilon-plus-flat": EpsilonPlusFlat, "epsilon-alpha2-beta1-flat": EpsilonAlpha2Beta1Flat}
Case = tuple[np.ndarray, np.ndarray]


def real(folder: Path, size: int, n: int) -> Iterator[Case]:
    """Yield pictures (size, size) that have text, and masks of it."""
    table = pd.read_csv(folder / "boxes.csv").dropna(subset=["x0"])
    for name, rows in list(table.groupby("image", sort=True))[:n]:
        mask = np.zeros((size, size), bool)
        for row in rows.itertuples():
            x0, x1 = (round(x * size / row.width) for x in (row.x0, row.x1))
            y0, y1 = (round(y * size / row.height) for y in (row.y0, row.y1))
            mask[y0 : y1 + 1, x0 : x1 + 1] = True
        yield fit_square(read_xray(folder / str(name)), size), mask


def synthetic(size: int, n: int, correlation: float = 0.0) -> Iterator[Case]:
    """Yield synthetic X-rays with text, and masks of it."""
    for seed in range(10_000, 10_000 + n):
        phantom = make_phantom(seed, CLASSES[seed % len(CLASSES)], size=max(size, 256), correlation=correlation)
        mask = mask_at(phantom.token_mask, size)
        if mask.any():
            yield fit_square(phantom.image, size), mask


def stock(network: nn.Module, inputs: torch.Tensor, column: int, composite: Any) -> np.ndarray:
    """Return relevance (H, W) as zennit gives it."""
    leaf = inputs.clone().requires_grad_()
    with composite.context(network) as ruled:
        logits = ruled(leaf)
        start = torch.zeros_like(logits)
        start[:, column] = logits.detach()[:, column]
        (relevance,) = torch.autograd.grad(logits, leaf, grad_outputs=start)
    return relevance_2d(relevance[0].double().numpy())


def torchvision_twin(network: Any) -> nn.Module:
    """Return torchvision's DenseNet with the same weights as ``network``, timm's of the same layout."""
    from torchvision.models import DenseNet as TorchvisionDenseNet

    blocks = [block for name, block in network.features.named_children() if name.startswith("denseblock")]
    first = blocks[0].denselayer1
    growth, width = first.conv2.out_channels, first.conv1.out_channels
    twin = TorchvisionDenseNet(
        growth, tuple(len(block) for block in blocks), network.features.conv0.out_channels, width // growth,
        num_classes=network.num_classes,
    )  # fmt: skip
    if network.features.conv0.in_channels != 3:
        twin.features.conv0 = nn.Conv2d(network.features.conv0.in_channels, twin.features.conv0.out_channels, 7, 2, 3)
        twin.features.conv0.bias = None
    twin.load_state_dict(network.state_dict())
    return twin.eval()


def merger_fails(network: nn.Module, inputs: torch.Tensor) -> str:
    """Return what happens when zennit's batch-norm merger meets the network."""
    try:
        stock(network, inputs, 0, EpsilonPlusFlat(canonizers=[SequentialMergeBatchNorm()]))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def measured(model: XrayClassifier, cases: list[Case], composite: str) -> pd.DataFrame:
    """Return one row per image and way."""
    network = model.network
    twin = torchvision_twin(network)
    ways: dict[str, Callable[[torch.Tensor, int], np.ndarray]] = {
        "zennit on timm's": lambda x, k: stock(network, x, k, STOCK[composite]()),
        "zennit on torchvision's": lambda x, k: stock(twin, x, k, STOCK[composite]()),
    }
    rows = []
    for i, (image, mask) in enumerate(cases):
        with torch.no_grad():
            inputs = model.preprocess(image[None])
            logits = model.network(inputs)[0]
        column = int(logits.argmax())
        began = time.perf_counter()
        result = explain(model, image[None], model.classes[column], composite)
        seconds = time.perf_counter() - began
        ours = relevance_2d(result.relevance[0].astype(np.float64))
        booked = float((result.absorbed + result.lost)[0])
        rows.append(_row(i, "ours", ours, ours, float(logits[column]), booked, mask, seconds))
        for name, way in ways.items():
            began = time.perf_counter()
            relevance = way(inputs, column)
            seconds = time.perf_counter() - began
            rows.append(_row(i, name, relevance, ours, float(logits[column]), 0.0, mask, seconds))
    return pd.DataFrame(rows)


def _row(
    image: int, way: str, relevance: np.ndarray, ours: np.ndarray, logit: float, booked: float, mask: np.ndarray,
    seconds: float,
) -> dict[str, Any]:  # fmt: skip
    lengths = np.linalg.norm(relevance) * np.linalg.norm(ours)
    return {
        "image": image,
        "way": way,
        "cosine": float((relevance * ours).sum() / lengths) if lengths else np.nan,
        "unaccounted": abs(logit - booked - relevance.sum()) / abs(logit),
        "text mass": localise(relevance, mask).gain,
        "seconds": seconds,
    }


def table(rows: pd.DataFrame) -> str:
    """Return a Markdown table over images."""
    lines = [
        "| way | cosine with ours: median, lowest | logit unaccounted for: median | text mass: median | s |",
        "|---|---|---|---|---|",
    ]
    for way, group in rows.groupby("way", sort=False):
        cosine = f"{group['cosine'].median():.3f}, {group['cosine'].min():.3f}"
        figures = f"{group['unaccounted'].median():.1%} | {group['text mass'].median():.2f}"
        lines.append(f"| {way} | {cosine} | {figures} | {group['seconds'].median():.3f} |")
    return "\n".join(lines)


def draw(model: XrayClassifier, path: Path) -> None:
    """Draw synthetic X-rays under stock zennit and under ours; no picture of a patient."""
    import cv2

    rows = []
    for image, _ in list(synthetic(model.card.size, 6))[:3]:
        with torch.no_grad():
            inputs = model.preprocess(image[None])
            logits = model.network(inputs)[0]
        column = int(logits.argmax())
        name = model.classes[column]
        maps = {
            "stock zennit EpsilonPlusFlat": stock(model.network, inputs, column, EpsilonPlusFlat()),
            "cxr epsilon-plus-flat": relevance_2d(explain(model, image[None], name).relevance[0]),
        }
        pictures = [
            figure(image, relevance, legend=[f"{title}, {name}, logit {logits[column]:+.2f}"], percentile=99.5)
            for title, relevance in maps.items()
        ]
        height = max(len(picture) for picture in pictures)
        rows.append(
            np.hstack([np.pad(p, ((0, height - len(p)), (0, 24), (0, 0)), constant_values=255) for p in pictures])
        )
    width = max(row.shape[1] for row in rows)
    page = np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows])
    cv2.imwrite(str(path), page[..., ::-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="demo")
    parser.add_argument("--text", type=Path)
    parser.add_argument("--correlation", type=float, default=0.0)
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    model, description = load_network(args.network)
    model.eval()
    if args.figure:
        draw(model, args.figure)
        return
    size = model.card.size
    cases = list(real(args.text, size, args.n)) if args.text else list(synthetic(size, args.n, args.correlation))
    print(f"{description}\n{len(cases)} {'real' if args.text else 'synthetic'} X-rays with text, {size} px\n")
    for composite in STOCK:
        print(f"### {composite}\n\n{table(measured(model, cases, composite))}\n", flush=True)
    twin = torchvision_twin(model.network)
    print(f"zennit's batch-norm merger on torchvision's: {merger_fails(twin, model.preprocess(cases[0][0][None]))}")


if __name__ == "__main__":
    main()
