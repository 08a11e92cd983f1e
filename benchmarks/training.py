"""How fast training is, beside a plain loop, other loaders and a GPU's published figures, in one run each.

    python benchmarks/training.py [--part step|loaders|startup|memory|gpu|all] [--backbone densenet121] [--size 224]
        [--batch 32] [--rounds 5] [--device cpu|cuda] [--data MANIFEST] [--quick] [--out benchmarks/results/training.md]

step      from the cache to the optimiser's step, beside the same network on one tensor in memory
loaders   whole epochs from files, beside timm's script (or its parts) and torchvision's ImageFolder
startup   from the click to the first step, part by part
memory    a worker on a cache of 112,000 images at 256 px
gpu       DenseNets in bfloat16 on a GPU

Whoever is compared takes turns, and figures are medians over rounds with quartiles of the ratios. Without ``--data``
the X-rays are synthetic. ``--out`` writes each part as a section of a Markdown file, in the place of an older one.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path

import training_gpu
import training_loaders
import training_memory
import training_startup
import training_step
from training_setting import Page, Setting, machine

PARTS = ("step", "loaders", "startup", "memory", "gpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--backbone", default="densenet121", help="of the parts step and startup")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data", type=Path, help="a manifest of X-rays (CSV or Parquet); default: synthetic ones")
    parser.add_argument("--loaders-with", nargs="+", default=["densenet-small"], help="backbones of the part loaders")
    parser.add_argument("--images", type=int, help="of the part loaders; default: as many as take minutes")
    parser.add_argument("--epochs", type=int, default=3, help="of the part loaders")
    parser.add_argument("--timm-train", type=Path, help="timm's own train.py, for the part loaders")
    parser.add_argument("--gpu-batch", type=int, default=256, help="of the part gpu")
    parser.add_argument("--quick", action="store_true", help="as few steps and images as show that it works")
    parser.add_argument("--out", type=Path, help="a Markdown file for the results")
    args = parser.parse_args()
    setting = Setting(args.backbone, args.size, args.batch, args.rounds, args.device, args.data, args.quick)
    page = Page()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that started workers and large files go too
    print(machine())
    for part in PARTS if args.part == "all" else [args.part]:
        if part == "step":
            training_step.measure(setting, page)
        elif part == "loaders":
            for backbone in args.loaders_with:
                with_it = replace(setting, backbone=backbone)
                training_loaders.measure(with_it, page, args.images, args.epochs, args.timm_train)
        elif part == "startup":
            training_startup.measure(setting, page)
        elif part == "memory":
            training_memory.measure(setting, page)
        else:
            training_gpu.measure(replace(setting, batch=args.gpu_batch), page)
        if args.out:
            page.write(args.out, "python benchmarks/training.py " + shlex.join(sys.argv[1:]))


if __name__ == "__main__":
    main()
