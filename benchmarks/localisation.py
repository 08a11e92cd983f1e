"""Do heatmaps lie where a network looks? Every way of explaining on synthetic X-rays, whose lungs, lesions and text
have masks, and whether the network answers as the maps say.

Two kinds of small DenseNets are trained: with text that is independent of the class (correlation 0: only the lesion
tells it) and with text that always tells it (correlation 1: networks read the text). Held-out X-rays like those trained
on are explained for the predicted class. At correlation 1 there are also X-rays whose text belongs to another class
than their lesion, explained for the class that the text speaks for: relevance should lie in the text.

    OMP_NUM_THREADS=2 python benchmarks/localisation.py [--n 90] [--networks 0 1] [--keep FOLDER]

Trained networks are taken instead with ``--at0`` and ``--at1`` (run ids, run folders, weights files), or from a folder
that ``--keep`` filled before.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from synthetic_networks import HELD_OUT, SIDE, label_of, pictures, train, written_on, xray

from cxr.data.images.resize import fit_square
from cxr.data.phantom import CLASSES, Phantom
from cxr.evaluation import predict
from cxr.evaluation.intervals import jackknife
from cxr.explain import COMPOSITES, explain
from cxr.explain.quality.faithfulness import random_baseline, region_perturbation
from cxr.explain.quality.localisation import localise
from cxr.explain.quality.perturbation import Baseline, Removal
from cxr.models import XrayClassifier, build, save_model
from cxr.networks import load_network

RESULTS = Path(__file__).parent / "results" / "localisation.md"

ABSOLUTE = ", absolute values"
MEASURES = ("mass", "rank", "pointing")
BATCH = 8


class Cases(NamedTuple):
    """Test X-rays of one kind: as they are, at the network's size, and the classes to explain."""

    phantoms: list[Phantom]
    images: np.ndarray
    targets: list[str]
    baselines: list[Baseline]  # none where faithfulness is not measured
    masks: tuple[str, ...]  # columns by name of the mask
    prefix: str


def ways(names: Iterable[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Title of a row -> name of a composite and options; ABSOLUTE in a title asks for absolute values."""
    rows: dict[str, tuple[str, dict[str, Any]]] = {}
    for name in names:
        if COMPOSITES[name].chooses_bias:
            rows |= {f"{name}, bias {mode}": (name, {"bias": mode}) for mode in ("ignore", "keep")}
        else:
            rows[name] = (name, {})
        if COMPOSITES[name].sensitivity:
            rows[name + ABSOLUTE] = (name, {})
    return rows


def network(correlation: int, seed: int, args: argparse.Namespace) -> XrayClassifier:
    """Train a network, or take the one kept from before."""
    kept = args.keep / f"correlation-{correlation}-seed-{seed}.safetensors" if args.keep else None
    if kept is not None and kept.exists():
        return load_network(kept)[0]
    print(f"training at correlation {correlation}, seed {seed}", flush=True)
    torch.manual_seed(seed)
    model = build("densenet-small", CLASSES, size=SIDE)
    x, y = pictures((1 + seed) * 100_000, args.train, correlation=float(correlation))
    train(model, lambda batch: model.network(model.normalise(batch)), x, y, args.epochs, seed)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        save_model(model, kept)
    return model


def networks(correlation: int, args: argparse.Namespace) -> list[XrayClassifier]:
    given = args.at1 if correlation else args.at0
    return [load_network(name)[0] for name in given] or [network(correlation, seed, args) for seed in args.networks]


def ordinary(model: XrayClassifier, correlation: int, n: int) -> Cases:
    """X-rays like those trained on, to be explained for the predicted class."""
    phantoms = [xray(HELD_OUT, i, correlation=float(correlation)) for i in range(n)]
    images = at_size(phantoms, model.card.size)
    predicted = [model.classes[k] for k in predict(model, images).argmax(1)]
    baselines = [random_baseline(model, image) for image in images]
    return Cases(phantoms, images, predicted, baselines, ("lung", "lesion", "token"), "")


def contradicting(model: XrayClassifier, n: int) -> Cases:
    """X-rays with the text of another class, to be explained for that class."""
    phantoms = [xray(HELD_OUT, i, wrong_set=True) for i in range(n)]
    targets = [written_on(i) for i in range(n)]
    return Cases(phantoms, at_size(phantoms, model.card.size), targets, [], ("token",), "contradicting ")


def at_size(phantoms: list[Phantom], size: int) -> np.ndarray:
    return np.stack([fit_square(phantom.image, size) for phantom in phantoms])


def measure(model: XrayClassifier, cases: Cases, title: str, name: str, options: dict[str, Any]) -> pd.DataFrame:
    """Explain all cases in one way; one row per X-ray: its measures and the time."""
    rows: list[dict[str, Any]] = []
    explain(model, cases.images[:1], cases.targets[:1], name, **options)  # what is made once for a network
    for start in range(0, len(cases.images), BATCH):
        part = slice(start, start + BATCH)
        began = time.perf_counter()
        maps = explain(model, cases.images[part], cases.targets[part], name, **options).relevance
        maps = np.abs(maps) if title.endswith(ABSOLUTE) else maps
        seconds = (time.perf_counter() - began) / len(maps)
        rows += [one_case(model, cases, start + i, maps[i]) | {"ms": 1000 * seconds} for i in range(len(maps))]
    return pd.DataFrame(rows).assign(way=title)


def one_case(model: XrayClassifier, cases: Cases, i: int, relevance: np.ndarray) -> dict[str, Any]:
    row: dict[str, Any] = {"image": i, "nothing": not (relevance.sum(axis=0) > 0).any()}
    for mask in cases.masks:
        found = localise(relevance, getattr(cases.phantoms[i], f"{mask}_mask"))
        row |= {f"{cases.prefix}{mask} {measure}": getattr(found, measure) for measure in MEASURES}
        row[f"{cases.prefix}{mask} area"] = found.area if found.area else np.nan
    if cases.baselines:
        order = region_perturbation(model, cases.images[i], relevance, cases.targets[i], baseline=cases.baselines[i])
        row["faithfulness"] = order.area
    return row


def tables(correlation: int, args: argparse.Namespace) -> list[str]:
    """Measure everything at one correlation; return lines of Markdown."""
    measured, right, follows = [], [], []
    for k, model in enumerate(networks(correlation, args)):
        kinds = [ordinary(model, correlation, args.n)]
        right.append(np.mean([target == label_of(i) for i, target in enumerate(kinds[0].targets)]))
        if correlation:
            kinds.append(contradicting(model, args.n))
            guess = predict(model, kinds[1].images).argmax(1)
            follows.append(np.mean([model.classes[g] == t for g, t in zip(guess, kinds[1].targets, strict=True)]))
        for title, (name, options) in ways(args.ways or COMPOSITES).items():
            for cases in kinds:
                measured.append(measure(model, cases, title, name, options).assign(network=k))
            print(f"correlation {correlation}, network {k}: {title}", flush=True)
    facts = f"{len(right)} network{'s' * (len(right) > 1)}, accuracy {np.mean(right):.1%}"
    facts += f", following a contradicting text in {np.mean(follows):.1%}" if follows else ""
    return ["", f"## Correlation {correlation}", "", f"{facts}; {args.n} X-rays.", "", *markdown(pd.concat(measured))]


def markdown(measured: pd.DataFrame) -> list[str]:
    """One row per way of explaining, cells with 95 % intervals over X-rays."""
    shown = [c for c in measured if c.endswith(MEASURES) or c == "faithfulness"]
    lines = ["| way of explaining | " + " | ".join(shown) + " | ms |", "|---" * (len(shown) + 2) + "|"]
    for way, rows in measured.groupby("way", sort=False):
        # An X-ray's networks are averaged first: X-rays are what is drawn anew.
        values = rows.groupby("image")[shown].mean()
        cells = intervals(values.to_numpy())
        nothing = rows["nothing"].mean()
        title = f"{way} ({nothing:.0%} of the maps without positive relevance)" if nothing else way
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {rows['ms'].mean():.0f} |")
    chance = [f"{measured[c.rsplit(' ', 1)[0] + ' area'].mean():.3f}" if " " in c else "0" for c in shown]
    return [*lines, "| *chance* | " + " | ".join(chance) + " | |"]


def intervals(values: np.ndarray) -> list[str]:
    """Means over X-rays (N, S), those without a value left out, with their intervals, as text."""
    there = np.isfinite(values)
    filled = np.where(there, values, 0)

    def means(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            return weights @ filled / (weights @ there)

    centre = means(np.ones((1, len(values))))[0]
    found = jackknife(means, np.arange(len(values)))
    half = np.full(len(centre), np.nan) if found is None else found.quantile() * np.sqrt(found.variance)
    return [f"{c:.3f} [{c - h:.3f}, {c + h:.3f}]" if h > 0 else f"{c:.3f}" for c, h in zip(centre, half, strict=True)]


def report(lines: list[str]) -> str:
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    command = shlex.join(["python", "benchmarks/localisation.py", *sys.argv[1:]])
    head = f"""\
# Where heatmaps lie on synthetic X-rays

Command: `{command}`; {platform.machine()}, {os.cpu_count()} cores, {gpu}.

Small DenseNets at {SIDE} px explained in every way there is. Correlation 0: the text is independent of the class, only
the lesion tells it. Correlation 1: the text always tells it, and networks read it. Explained is the predicted class;
in the columns "contradicting token" it is the class that the text speaks for, on X-rays whose lesion is another's.

- mass: share of the positive relevance inside the mask. rank: of the K most relevant pixels the share inside, K being
  the mask's size (Arras et al. 2022). pointing: the maximum lies inside (Zhang et al. 2016). X-rays without the
  structure (normal ones have no lesion) and maps without positive relevance are left out. *chance* is the mask's share
  of the picture
- gradient and SmoothGrad are sensitivities: their sign says which way a pixel would have to change, so that their
  absolute values are measured too
- faithfulness: area between the explained logit's curves when regions are taken out in random order and by relevance
  (linear imputation, {settings()}), in logits; above 0 is better than random
- ms: of explaining one X-ray, in batches of {BATCH}
- in brackets: 95 % interval over X-rays (Student's, jackknife)
"""
    return head + "\n".join(lines) + "\n"


def settings() -> str:
    removal = Removal()
    return f"regions of {removal.patch_of(SIDE)} px, {removal.steps} steps, {removal.draws} random orders"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=90, help="test X-rays of each kind")
    parser.add_argument("--networks", type=int, nargs="+", default=[0, 1], help="seeds of the networks to train")
    parser.add_argument("--train", type=int, default=1500, help="X-rays to train on")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--at0", nargs="+", default=[], metavar="NETWORK", help="trained at correlation 0")
    parser.add_argument("--at1", nargs="+", default=[], metavar="NETWORK", help="trained at correlation 1")
    parser.add_argument("--keep", type=Path, help="folder where trained networks are kept and looked for")
    parser.add_argument("--ways", nargs="+", choices=list(COMPOSITES), help="composites (default: all)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    began = time.perf_counter()
    text = report([line for correlation in (0, 1) for line in tables(correlation, args)])
    print(text)
    args.out.write_text(text, encoding="utf-8")
    print(f"{time.perf_counter() - began:.0f} s; written to {args.out}")


if __name__ == "__main__":
    main()
