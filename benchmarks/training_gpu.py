"""A GPU: images/s and memory of DenseNets in bfloat16, and whether the GPU waits for images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from training_setting import Page, Setting, median, private_folders, quartiles, training_set
from training_step import SIDE, Turns, take_turns

from cxr.data import Manifest

PUBLISHED = {"densenet121": 914, "densenet201": 563}
"""images/s of one training step in memory that timm publishes for one RTX 3090 (mixed precision, channels last)."""

STEPS = 30


def measure(setting: Setting, page: Page) -> None:
    """Print throughput, memory and waiting of both networks, with and without compilation."""
    page.section("On a GPU")
    if not torch.cuda.is_available():
        page.say("Not measured: there is no CUDA device on this machine.")
        return
    setting = replace(setting, device="cuda" if setting.device == "cpu" else setting.device)
    steps = 3 if setting.quick else STEPS
    page.say(
        f"{setting.size} px, batch {setting.batch}, bfloat16, channels last, {steps} steps per turn, {setting.rounds} "
        "rounds, from the cache with the default augmentation; the ratio is to the same network on one tensor in "
        "memory, in turn, compiled or not as ours. Memory: what our steps need at their peak. Beside them what timm "
        "publishes for one RTX 3090, which is another GPU unless that is the one named above."
    )
    page.say()
    page.table("network | images/s | ratio | quartiles | memory, GB | waiting for images | timm on an RTX 3090")
    with private_folders() as work:
        manifest = training_set(work, steps * setting.batch, SIDE, setting.data)
        _rows(setting, page, manifest, steps)


def _rows(setting: Setting, page: Page, manifest: Manifest, steps: int) -> None:
    for backbone, published in PUBLISHED.items():
        for compiled in (False, True):
            turns = _turns(replace(setting, backbone=backbone), manifest, steps, compiled)
            ours = median(steps * setting.batch / np.array(turns.ours[1:]), 0)
            row = [ours, median(turns.ratios, 3), quartiles(turns.ratios, 3), f"{turns.peak / 2**30:.1f}"]
            name = f"{backbone}, compiled" if compiled else backbone
            page.row(name, *row, f"{turns.waiting():.2%}", str(published))


def _turns(setting: Setting, manifest: Manifest, steps: int, compiled: bool) -> Turns:
    turns, _, _ = take_turns(setting, manifest, steps, precision="bf16-mixed", compile=compiled)
    torch.cuda.empty_cache()
    return turns
