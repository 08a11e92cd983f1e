"""Loaders: whole epochs from files, beside timm's training script (or its parts) and torchvision's ImageFolder.

Each turn is a process of its own: ``python benchmarks/training_loaders.py JOB``, a job in JSON.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet  # noqa: F401 - imports are counted for none, and pandas would import it when it is first used
import torch
from torch import nn
from training_setting import Page, Setting, median, private_folders, quartiles, training_set
from training_step import never_stopping, synchronise

from cxr.data import Manifest
from cxr.data.images.decode import decode
from cxr.data.images.resize import fit_square
from cxr.models import build
from cxr.models.backbones import ALIASES, make_network
from cxr.models.build import GREY_MEAN, GREY_STD
from cxr.runs.folder import RunFolder
from cxr.training import load_recipe
from cxr.training.checkpoint import Place
from cxr.training.data.stages import prepare
from cxr.training.engine import make_fabric, numerics
from cxr.training.loop import StageLoop
from cxr.training.ranks import Ranks
from cxr.training.recipe import Recipe
from cxr.training.report import Report

SIDE = 512  # of the synthetic X-rays
PILLOW_READS = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
OURS, TIMM, SCRIPT, TORCHVISION = "cxr", "timm, parts of its script", "timm, its script", "torchvision, ImageFolder"
_EPOCH = re.compile(r"Train: (\d+) \[.*\([\d.]+s, +([\d.]+)/s\)")  # the mean images/s of an epoch so far

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


@dataclass(frozen=True)
class Job:
    """One turn of a contestant; ``folders`` holds ``train`` and ``val`` with a folder per class."""

    who: str
    recipe: dict[str, Any]
    manifest: str
    folders: str
    classes: list[str]
    work: str
    script: str = ""

    def checked_recipe(self) -> Recipe:
        """Return the recipe."""
        return load_recipe(self.recipe)


class EpochTimes(Report):
    """A report that keeps the seconds of each epoch's steps."""

    def __init__(self, folder: RunFolder, steps: int, device: torch.device) -> None:
        super().__init__(folder, None, total_steps=steps)
        self.seconds: list[float] = []
        self._steps, self._device = steps, device
        self._began, self._done = 0.0, 0

    def pause(self) -> None:
        super().pause()
        self._began, self._done = time.perf_counter(), 0

    def step(self, row: dict[str, Any], loss: torch.Tensor, images: int, message: str) -> None:
        super().step(row, loss, images, message)
        self._done += 1
        if self._done == self._steps:
            synchronise(self._device)
            self.seconds.append(time.perf_counter() - self._began)


def ours(job: Job) -> list[float]:
    """Return the seconds of each epoch; the first includes reading the manifest and decoding every image."""
    recipe, run = job.checked_recipe(), RunFolder(Path(job.work) / "run")
    run.path.mkdir()
    with numerics(recipe.deterministic):
        fabric = make_fabric(recipe, Ranks())
        began = time.perf_counter()
        data = prepare(recipe, Manifest.load(job.manifest), lambda fraction, message: None)[0]
        read = time.perf_counter() - began
        model = build(recipe.backbone, data.classes, size=recipe.size)
        report = EpochTimes(run, data.steps(recipe.stages[0].batch), fabric.device)
        StageLoop(fabric, Ranks(), recipe, Place(kept_neurons={}), data, model, report).run(never_stopping())
    return [read + report.seconds[0], *report.seconds[1:]]


def timm_parts(job: Job) -> list[float]:
    """Return the seconds of each epoch of a loop of timm's own parts, with the script's defaults for images."""
    from timm.data import create_dataset, create_loader
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2
    from timm.utils import dispatch_clip_grad

    recipe = job.checked_recipe()
    stage, device = recipe.stages[0], torch.device(recipe.device)
    network = _network(recipe, len(job.classes), device)
    settings = stage.optimiser
    optimiser = create_optimizer_v2(network, opt=settings.name, lr=settings.lr, weight_decay=settings.weight_decay)
    scheduler, _ = create_scheduler_v2(optimiser, sched="cosine", num_epochs=stage.epochs)
    began = time.perf_counter()
    dataset = create_dataset(
        "", root=job.folders, split="train", is_training=True, batch_size=stage.batch, input_img_mode="L"
    )
    loader = create_loader(
        dataset,
        input_size=(1, recipe.size, recipe.size),
        batch_size=stage.batch,
        is_training=True,
        interpolation="random",
        mean=(GREY_MEAN,),
        std=(GREY_STD,),
        num_workers=cores(),
        pin_memory=device.type == "cuda",
        device=device,
    )
    updates = 0

    def clip() -> None:
        if stage.clip_gradients is not None:
            dispatch_clip_grad(network.parameters(), stage.clip_gradients)

    def after_step() -> None:
        nonlocal updates
        updates += 1
        scheduler.step_update(num_updates=updates)

    return _epochs(network, optimiser, loader, recipe, began, clip, after_step, scheduler.step)


def torchvision_parts(job: Job) -> list[float]:
    """Return the seconds of each epoch of a plain loop on torchvision's ImageFolder, changing images as ours does."""
    from torch.utils.data import DataLoader
    from torchvision import datasets
    from torchvision import transforms as tv

    recipe = job.checked_recipe()
    stage, device = recipe.stages[0], torch.device(recipe.device)
    augment, settings = stage.augment, stage.optimiser
    network = _network(recipe, len(job.classes), device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    began = time.perf_counter()
    shift, zoom = (augment.translate,) * 2, (1 - augment.scale, 1 + augment.scale)
    steps = [
        tv.Grayscale(),
        tv.Resize((recipe.size, recipe.size)),
        tv.RandomAffine(augment.rotate, shift, zoom, interpolation=tv.InterpolationMode.BILINEAR),
        tv.ColorJitter(augment.brightness, augment.contrast),
        tv.ToTensor(),
        tv.Normalize((GREY_MEAN,), (GREY_STD,)),
    ]
    loader = DataLoader(
        datasets.ImageFolder(f"{job.folders}/train", tv.Compose(steps)),
        batch_size=stage.batch,
        shuffle=True,
        drop_last=True,
        num_workers=cores(),
        persistent_workers=True,
        pin_memory=device.type == "cuda",
    )

    def clip() -> None:
        if stage.clip_gradients is not None:
            nn.utils.clip_grad_norm_(network.parameters(), stage.clip_gradients)

    return _epochs(network, optimiser, loader, recipe, began, clip, lambda: None, lambda epoch: None)


def timm_script(job: Job) -> list[float]:
    """Return the seconds of each epoch of timm's own script, from its log (without its search for files)."""
    recipe = job.checked_recipe()
    stage = recipe.stages[0]
    settings, size = stage.optimiser, str(recipe.size)
    arguments = ALIASES.get(recipe.backbone, {}) | recipe.backbone_args
    command = [sys.executable, job.script, job.folders, "--val-split", "val"]
    # Scripts before 2024 have no --device, and their prefetcher needs CUDA.
    newer = "'--device'" in Path(job.script).read_text(encoding="utf-8")
    command += ["--device", recipe.device] if newer else [] if recipe.device.startswith("cuda") else ["--no-prefetcher"]
    command += ["--model", "densenet121" if recipe.backbone in ALIASES else recipe.backbone]
    command += ["--model-kwargs", *(f"{name}={value}" for name, value in arguments.items())] if arguments else []
    command += ["--num-classes", str(len(job.classes)), "--in-chans", "1", "--input-size", "1", size, size]
    command += ["--mean", str(GREY_MEAN), "--std", str(GREY_STD), "--channels-last", "--smoothing", "0"]
    command += ["--batch-size", str(stage.batch), "--workers", str(cores()), "--log-interval", "1"]
    command += ["--opt", settings.name, "--lr", str(settings.lr), "--weight-decay", str(settings.weight_decay)]
    command += ["--clip-grad", str(stage.clip_gradients)] if stage.clip_gradients is not None else []
    command += ["--epochs", str(stage.epochs), "--warmup-epochs", "0", "--cooldown-epochs", "0"]
    command += ["--output", f"{job.work}/timm"]
    command += ["--amp", "--amp-dtype", "bfloat16"] if recipe.device.startswith("cuda") else []
    done = subprocess.run(command, capture_output=True, text=True, cwd=job.work)
    images = len(list(Path(job.folders, "train").glob("*/*")))
    last = {int(epoch): images / float(mean) for epoch, mean in _EPOCH.findall(done.stderr + done.stdout)}
    if done.returncode or len(last) != stage.epochs:
        raise SystemExit(f"{job.script} ended with {done.returncode}: {done.stderr[-1500:]}")
    return [last[epoch] for epoch in sorted(last)]


CONTESTANTS: dict[str, Callable[[Job], list[float]]] = {
    OURS: ours,
    TIMM: timm_parts,
    SCRIPT: timm_script,
    TORCHVISION: torchvision_parts,
}


def _network(recipe: Recipe, n_classes: int, device: torch.device) -> Any:
    arguments = ALIASES.get(recipe.backbone, {}) | recipe.backbone_args
    network = make_network(recipe.backbone, n_classes, 1, arguments)
    return network.to(device).to(memory_format=torch.channels_last)


def _epochs(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    loader: Batches,
    recipe: Recipe,
    began: float,
    clip: Callable[[], None],
    after_step: Callable[[], None],
    after_epoch: Callable[[int], None],
) -> list[float]:
    """Train and return the seconds of each epoch, the first counted from ``began``."""
    device, seconds = torch.device(recipe.device), []
    loss_of, autocast = (
        nn.CrossEntropyLoss().to(device),
        torch.autocast(device.type, torch.bfloat16, device.type == "cuda"),
    )
    for epoch in range(recipe.stages[0].epochs):
        began = time.perf_counter() if epoch else began
        network.train()
        for images, targets in loader:
            images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
            targets = targets.to(device, non_blocking=True)
            with autocast:
                loss = loss_of(network(images).float(), targets)
            optimiser.zero_grad()
            loss.backward()
            clip()
            optimiser.step()
            after_step()
        synchronise(device)
        seconds.append(time.perf_counter() - began)
        after_epoch(epoch + 1)
    return seconds


def cores() -> int:
    """Return how many processes load images: one per core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def folders_of(manifest: Manifest, root: Path) -> None:
    """Write ``root/split/class/`` of links to the images; what Pillow cannot read becomes a PNG."""
    import cv2

    for row in manifest.table.to_dict("records"):
        source = manifest.resolve(row["image"])
        target = root / row["split"] / row["label"] / f"{row['image_id']}{source.suffix.lower()}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix.lower() in PILLOW_READS:
            target.symlink_to(source.resolve())
        else:
            pixels = decode(source)
            cv2.imwrite(str(target.with_suffix(".png")), fit_square(pixels, min(pixels.shape), "pad"))


def measure(setting: Setting, page: Page, images: int | None, epochs: int, script: Path | None) -> None:
    """Print images/s of the first epoch and of the later ones, and the ratio of ours to each rival's."""
    steps = (images or (256 if setting.backbone in ALIASES else 64)) // setting.batch
    steps, epochs = (2, 2) if setting.quick else (max(1, steps), max(2, epochs))
    seconds: dict[str, list[list[float]]] = {}
    with private_folders() as work:
        manifest = training_set(work, steps * setting.batch, SIDE, setting.data)
        folders_of(manifest, work / "folders")
        rivals = [SCRIPT if script else TIMM, TORCHVISION]
        recipe = setting.recipe(epochs).model_dump(mode="json")
        for _ in range(setting.rounds):
            for who in (OURS, *rivals):
                turn = work / "turn"
                turn.mkdir()
                places = str(manifest.path), str(work / "folders"), list(manifest.classes), str(turn)
                job = Job(who, recipe, *places, script=str(script.resolve()) if script else "")
                seconds.setdefault(who, []).append(_in_a_process(job))
                shutil.rmtree(turn)
    _report(setting, page, {who: np.array(rows) for who, rows in seconds.items()}, steps * setting.batch)


def _in_a_process(job: Job) -> list[float]:
    """Return what the contestant measures in a process with a cold cache; files are in the system's memory for all."""
    command = [sys.executable, __file__, json.dumps(dataclasses.asdict(job))]
    environment = {**os.environ, "CXR_DATA": f"{job.work}/data", "CXR_RUNS": f"{job.work}/runs"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{job.who} failed: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _report(setting: Setting, page: Page, seconds: dict[str, np.ndarray], images: int) -> None:
    epochs = len(seconds[OURS][0])
    page.section(f"Whole epochs from files: {setting.describe()}, {setting.device}")
    page.say(
        f"{images} grey images {'of the manifest' if setting.data else f'of {SIDE} px (synthetic, PNG)'}, {epochs} "
        f"epochs, AdamW, one channel, channels last, gradients clipped, {cores()} loading processes for the others and "
        f"as many decoding ones for ours; a fresh process per turn, {setting.rounds} rounds in turn, median and "
        "quartiles. The first epoch counts from the search for files on, so ours includes decoding into the cache; "
        "imports, validation and checkpoints are counted for none. timm changes images by its script's defaults "
        "(random crop, flip, colour), torchvision as our recipe does as far as it can (no gamma, no noise). "
        "Aim: a ratio of 1.0 or more."
    )
    page.say()
    page.table("loader | first epoch, images/s | ours / theirs | quartiles | later epochs | ours / theirs | quartiles")
    for who, rows in seconds.items():
        cells = []
        for own, base in zip(_first_and_later(rows), _first_and_later(seconds[OURS]), strict=True):
            ratio = own / base
            cells += [median(images / own, 1), *(["1", ""] if who == OURS else [median(ratio), quartiles(ratio)])]
        page.row(who, *cells)


def _first_and_later(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return seconds of the first epoch and mean seconds of the others, by round."""
    return rows[:, 0], rows[:, 1:].mean(1)


if __name__ == "__main__":
    work = Job(**json.loads(sys.argv[1]))
    print(json.dumps(CONTESTANTS[work.who](work)))
