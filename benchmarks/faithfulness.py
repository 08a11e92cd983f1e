"""Which maps are faithful on real X-rays: every LRP composite and gradients, on the test split of a trained run.

    python benchmarks/faithfulness.py --network RUN --data NAME_OR_MANIFEST [--n 40]

Explained is the predicted class. Faithfulness is the area between the logit's curves when regions are taken out in
random order and by relevance (linear imputation), in logits: above 0 is better than random. Intervals: 95 %,
over patients. "wins" is the share of X-rays on which a way is more faithful than the default one.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from cxr.data import ImageCache, Manifest
from cxr.data.library import resolve_manifest
from cxr.evaluation import predict
from cxr.evaluation.intervals import mean_intervals
from cxr.explain import COMPOSITES, DEFAULT_COMPOSITE, explain
from cxr.explain.quality.faithfulness import random_baseline, region_perturbation
from cxr.networks import load_network


def ways(names: list[str]) -> dict[str, tuple[str, str | None]]:
    """Title of a row -> composite and bias mode."""
    rows: dict[str, tuple[str, str | None]] = {}
    for name in names:
        modes = ("ignore", "keep") if COMPOSITES[name].chooses_bias else (None,)
        rows |= {f"{name}, biases {mode}" if mode else name: (name, mode) for mode in modes}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--n", type=int, default=40)
    parser.add_argument("--ways", nargs="+", default=[name for name, known in COMPOSITES.items() if not known.slow])
    args = parser.parse_args()
    began = time.perf_counter()
    model, _ = load_network(args.network)
    test = Manifest.load(resolve_manifest(args.data)).select(split="test")
    ids = list(np.random.default_rng(0).permutation(test.ids)[: args.n])
    cache = ImageCache.build(test.select(ids=ids), model.card.size)
    images = cache.rows(ids)
    patients = test.table.set_index("image_id").loc[ids, "patient_id"].to_numpy()
    targets = [model.classes[k] for k in predict(model, images).argmax(1)]
    baselines = [random_baseline(model, image) for image in images]
    areas: dict[str, np.ndarray] = {}
    for title, (name, bias) in ways(args.ways).items():
        maps = explain(model, images, targets, name, bias=bias).relevance
        maps = np.abs(maps) if COMPOSITES[name].sensitivity else maps
        cases = zip(images, maps, targets, baselines, strict=True)
        areas[title] = np.array([region_perturbation(model, i, m, t, baseline=b).area for i, m, t, b in cases])
    print(f"{len(ids)} test X-rays, {model.card.size} px\n")
    print("| way of explaining | faithfulness, logits | wins |\n|---|---|---|")
    default = areas.get(f"{DEFAULT_COMPOSITE}, biases {COMPOSITES[DEFAULT_COMPOSITE].bias}")
    for title, values in areas.items():
        (interval,) = mean_intervals(values, patients)
        low, high = interval or (np.nan, np.nan)
        wins = "" if default is None or values is default else f"{np.mean(values > default):.0%}"
        print(f"| {title} | {values.mean():.2f} [{low:.2f}, {high:.2f}] | {wins} |")
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
