"""What a heatmap costs: LRP beside one forward and input-gradient pass and beside stock zennit, in one run.

    python benchmarks/lrp.py [--backbones densenet121 densenet201] [--batches 1 8] [--rounds 11] [--device cpu]

Every contestant takes turns with the gradient, call by call, so that both meet the same machine; figures are medians
over the rounds, with the quartiles of the ratio to the gradient of the same round. (All in one round robin would
measure something else: together they need more compiled kernels than oneDNN keeps.) Memory is what a fresh process adds
at its peak during one call, over what it held before (weights and folded weights loaded). Scales of batch norms lie
above zero, as in networks that were trained from the usual start; one row has a network where 2 % do not.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.models.densenet import DenseNet
from torch import nn

import cxr
from cxr.explain import explain
from cxr.explain.precision import least_cosine

CLASSES = 3
Work = Callable[[], object]


def network(backbone: str, device: str = "cpu", negative: float = 0.0) -> DenseNet:
    """Return a DenseNet whose batch norms are not the identity; a share of their scales may lie below zero."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model(backbone, num_classes=CLASSES).eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.uniform_(0.5, 1.5)
            module.weight[torch.rand_like(module.weight) < negative] *= -1
            module.bias.normal_(0, 0.1)
            assert module.running_mean is not None
            module.running_mean.normal_(0, 0.1)
    assert isinstance(model, DenseNet)
    return model.to(device)


def gradient(model: nn.Module, images: torch.Tensor) -> None:
    """One forward and input-gradient pass, as any heatmap by gradients needs."""
    leaf = images.clone().requires_grad_()
    torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)


def stock_zennit(model: nn.Module, images: torch.Tensor, name: str) -> torch.Tensor:
    """The composite of that name as zennit puts it on the model as it stands."""
    from zennit.composites import EpsilonAlpha2Beta1Flat, EpsilonPlusFlat

    composite = {"epsilon-plus-flat": EpsilonPlusFlat, "epsilon-alpha2-beta1-flat": EpsilonAlpha2Beta1Flat}[name]()
    leaf = images.clone().requires_grad_()
    with composite.context(model) as ruled:
        logits = ruled(leaf)
        start = torch.zeros_like(logits)
        start[:, 0] = logits.detach()[:, 0]
        return torch.autograd.grad(logits, leaf, grad_outputs=start)[0]


def contestants(model: DenseNet, signed: DenseNet, images: torch.Tensor) -> dict[str, Work]:
    """Return what is compared, by name; the gradient first. ``signed`` has scales below zero."""
    n = len(images)

    def ours(composite: str, targets: Any = 0, **options: Any) -> Work:
        return lambda: explain(model, images, targets, composite, batch=n, **options)

    every = [list(range(CLASSES))] * n
    return {
        "gradient": lambda: gradient(model, images),
        "epsilon-plus-flat": ours("epsilon-plus-flat"),
        "epsilon-plus-flat, 2 % of scales below zero": lambda: explain(signed, images, 0, batch=n),
        "epsilon-plus-flat, biases kept": ours("epsilon-plus-flat", bias="keep"),
        "epsilon-plus-flat, 3 classes": ours("epsilon-plus-flat", every),
        "epsilon-plus-flat, bfloat16": ours("epsilon-plus-flat", precision="bfloat16", trial=False),
        "epsilon-alpha2-beta1-flat": ours("epsilon-alpha2-beta1-flat"),
        "epsilon": ours("epsilon"),
        "epsilon-gamma-box": ours("epsilon-gamma-box", low=-3.0, high=3.0),
        "innvestigate-a-flat": ours("innvestigate-a-flat"),
        "stock zennit EpsilonPlusFlat": lambda: stock_zennit(model, images, "epsilon-plus-flat"),
        "stock zennit EpsilonAlpha2Beta1Flat": lambda: stock_zennit(model, images, "epsilon-alpha2-beta1-flat"),
    }


def timed(work: Work, base: Work, rounds: int, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Return seconds per round of a contestant and of the gradient, called in turn."""
    seconds: list[list[float]] = []
    for _ in range(rounds + 1):
        row = []
        for each in (base, work):
            began = time.perf_counter()
            each()
            if device != "cpu":
                torch.cuda.synchronize()
            row.append(time.perf_counter() - began)
        seconds.append(row)
    base_seconds, own = np.array(seconds[1:]).T  # the first round warms up
    return own, base_seconds


def peak_memory(backbone: str, batch: int, name: str, device: str) -> float:
    """Return MB that one call adds at its peak, measured in a fresh process."""
    command = [sys.executable, __file__, "--one", json.dumps([backbone, batch, name, device])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def one(backbone: str, batch: int, name: str, device: str) -> None:
    """Print the memory that one call adds. A small call before it loads and folds whatever is kept."""
    models = network(backbone, device), network(backbone, device, 0.02)
    contestants(*models, torch.randn(1, 3, 32, 32, device=device))[name]()
    work = contestants(*models, torch.randn(batch, 3, 224, 224, device=device))[name]
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        print((torch.cuda.max_memory_allocated() - before) / 2**20)
        return
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what folding has freed would hide what the call takes
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _status("VmRSS")
    work()
    print((_status("VmHWM") - before) / 1024)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    raise KeyError(key)


def bfloat16_cosine(model: DenseNet, images: torch.Tensor) -> float:
    """Return the smallest cosine between maps in bfloat16 and float32."""
    rough, fine = (explain(model, images, 0, precision=way, trial=False).relevance for way in ("bfloat16", None))
    return least_cosine(rough, fine)


WEIGHED = (
    "gradient",
    "epsilon-plus-flat",
    "epsilon-plus-flat, 3 classes",
    "epsilon-plus-flat, bfloat16",
    "epsilon-alpha2-beta1-flat",
    "stock zennit EpsilonPlusFlat",
)
"""Contestants whose memory is measured."""


def report(backbone: str, batch: int, rounds: int, device: str) -> None:
    """Print one table."""
    model, images = network(backbone, device), torch.randn(batch, 3, 224, 224, device=device)
    works = contestants(model, network(backbone, device, 0.02), images)
    print(f"\n### {backbone}, batch {batch}, 224 px\n")
    print("| what | ms | ratio to gradient | quartiles | peak memory, MB |")
    print("|---|---|---|---|---|")
    ratios = {}
    for name, work in works.items():
        own, base = timed(work, works["gradient"], rounds, device)
        ratio = own / base
        ratios[name] = float(np.median(ratio))
        low, high = np.quantile(ratio, [0.25, 0.75])
        memory = f"{peak_memory(backbone, batch, name, device):.0f}" if name in WEIGHED else ""
        cells = f"{ratios[name]:.2f} | {low:.2f} to {high:.2f} | {memory}"
        print(f"| {name} | {np.median(own) * 1e3:.0f} | {cells} |", flush=True)
    faster = ratios["stock zennit EpsilonPlusFlat"] / ratios["epsilon-plus-flat"]
    print(f"\nepsilon-plus-flat is {faster:.1f} times as fast as stock zennit.", end=" ")
    print(f"bfloat16 against float32: smallest cosine {bfloat16_cosine(model, images):.5f}.", flush=True)


def whole_set(backbone: str, n: int, device: str) -> None:
    """Print the throughput of explaining a set: every class of every image."""
    model = network(backbone, device)
    images = torch.randn(n, 3, 224, 224)
    began = time.perf_counter()
    explain(model, images, [list(range(CLASSES))] * n, batch=4 if device == "cpu" else 64)
    seconds = time.perf_counter() - began
    print(f"\n{backbone}: {n} images, {CLASSES} classes each, in {seconds:.1f} s: {n * CLASSES / seconds:.1f} maps/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=["densenet121", "densenet201"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--set", type=int, default=32, help="images of the whole-set measurement")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(*json.loads(args.one))
        return
    print(f"cxr {cxr.__version__}, torch {torch.__version__}, {args.device}, {torch.get_num_threads()} threads")
    for backbone in args.backbones:
        for batch in args.batches:
            report(backbone, batch, args.rounds, args.device)
        whole_set(backbone, args.set, args.device)


if __name__ == "__main__":
    main()
