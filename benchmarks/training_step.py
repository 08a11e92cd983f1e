"""The step: what the way from the cache to the optimiser costs beside the same network on one tensor in memory."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from training_setting import Page, Setting, median, private_folders, quartiles, training_set

from cxr.data import Manifest
from cxr.models import XrayClassifier, build
from cxr.paths import runs_root
from cxr.runs.folder import RunFolder
from cxr.training.checkpoint import Place
from cxr.training.data.batches import Reader
from cxr.training.data.stages import StageData, prepare
from cxr.training.engine import make_fabric, numerics
from cxr.training.loop import Hooks, StageLoop
from cxr.training.optim import make_optimiser
from cxr.training.ranks import Ranks
from cxr.training.recipe import Recipe
from cxr.training.report import Report

SIDE = 256  # of the synthetic X-rays
AIM = 0.97


class InMemory:
    """The plain loop: the same network, optimiser, loss, precision and clipping, on one batch that never moves."""

    def __init__(self, model: XrayClassifier, recipe: Recipe, device: torch.device, precision: str) -> None:
        stage = recipe.stages[0]
        network = copy.deepcopy(model.network).to(device).to(memory_format=torch.channels_last)
        shape = (stage.batch, model.card.channels, recipe.size, recipe.size)
        self.images = torch.randn(shape, device=device).to(memory_format=torch.channels_last)
        self.targets = torch.arange(stage.batch, device=device) % len(model.classes)
        self.weights = list(network.parameters())
        self.optimiser = make_optimiser(stage.optimiser, self.weights)
        self.clip = stage.clip_gradients
        self.network: Any = torch.compile(network) if recipe.compile else network
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")
        self.device = device

    def turn(self, steps: int) -> float:
        """Return the seconds that ``steps`` steps take."""
        synchronise(self.device)
        began = time.perf_counter()
        self.network.train()
        for _ in range(steps):
            self.optimiser.zero_grad(set_to_none=True)
            with self.autocast:
                logits = self.network(self.images)
            F.cross_entropy(logits.float(), self.targets).backward()
            if self.clip is not None:
                torch.nn.utils.clip_grad_norm_(self.weights, self.clip)
            self.optimiser.step()
        synchronise(self.device)
        return time.perf_counter() - began


@dataclass
class Turns:
    """Seconds of each round: ``memory`` of the plain loop, ``ours`` of the stage's loop; the first warms up.

    ``waited`` are those of ``ours`` that the training stood still for its images; ``peak`` is the memory on the GPU
    in bytes that our steps needed at most, without what the plain loop holds.
    """

    memory: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    peak: int = 0

    @property
    def ratios(self) -> np.ndarray:
        """Our images/s divided by the plain loop's, round by round."""
        return np.array(self.memory[1:]) / np.array(self.ours[1:])

    def waiting(self) -> float:
        """Share of our time in which nothing was computed for want of images."""
        return sum(self.waited[1:]) / sum(self.ours[1:])


class TakingTurns(Report):
    """The report of a loop that lets the plain loop have its turn before each epoch, and times both."""

    def __init__(self, folder: RunFolder, rival: InMemory, steps: int, held: int) -> None:
        super().__init__(folder, None, total_steps=steps)
        self.turns, self._rival, self._steps, self._held = Turns(), rival, steps, held
        self._done, self._began, self._waited = 0, 0.0, 0.0

    def pause(self) -> None:
        super().pause()
        self.turns.memory.append(self._rival.turn(self._steps))
        if self._rival.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._rival.device)
        self._done, self._waited, self._began = 0, 0.0, time.perf_counter()

    def step(self, row: dict[str, Any], loss: torch.Tensor, images: int, message: str) -> None:
        super().step(row, loss, images, message)
        self._done, self._waited = self._done + 1, self._waited + row["wait_s"]
        if self._done < self._steps:
            return
        synchronise(self._rival.device)
        self.turns.ours.append(time.perf_counter() - self._began)
        self.turns.waited.append(self._waited)
        if self._rival.device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._rival.device) - self._held
            self.turns.peak = max(self.turns.peak, peak)


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def never_stopping() -> Hooks:
    """Return hooks that save nothing: a training does that once a minute."""
    return Hooks(save=lambda state: None, save_best=lambda model: "none", stop_requested=lambda: False)


def take_turns(setting: Setting, manifest: Manifest, steps: int, **changes: Any) -> tuple[Turns, StageData, Recipe]:
    """Train for one epoch of ``steps`` steps per round, the plain loop before each, and return the times."""
    recipe = setting.recipe(setting.rounds + 1, **changes)
    with numerics(recipe.deterministic):
        fabric = make_fabric(recipe, Ranks())
        data = prepare(recipe, manifest, lambda fraction, message: None)[0]
        torch.manual_seed(recipe.seed)
        model = build(recipe.backbone, data.classes, size=recipe.size, channels=recipe.channels)
        device, precision = fabric.device, str(fabric.strategy.precision.precision)
        before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
        rival = InMemory(model, recipe, device, precision)
        rival.turn(1)  # makes the optimiser's state and, if asked to, compiles
        held = torch.cuda.memory_allocated(device) - before if device.type == "cuda" else 0
        report = TakingTurns(RunFolder.create(runs_root(), "train", {}), rival, steps, held)
        loop = StageLoop(fabric, Ranks(), recipe, Place(kept_neurons={}), data, model, report)
        loop.run(never_stopping())
    return report.turns, data, recipe


def parts_of_a_step(data: StageData, recipe: Recipe, device: torch.device, rounds: int) -> tuple[float, float]:
    """Return the median milliseconds of reading one batch from the cache and of changing it at random."""
    stage, rows = recipe.stages[0], data.train_rows
    reader, generator = Reader(data.cache.images, rows, stage.augment, device), torch.Generator(device=device)
    reading, changing = [], []
    for k in range(rounds + 1):
        positions = np.random.default_rng(k).permutation(len(rows))[: stage.batch]
        began = time.perf_counter()
        pixels = reader.read(positions)
        reading.append(time.perf_counter() - began)
        synchronise(device)
        began = time.perf_counter()
        stage.augment(pixels.to(device).float() / 255, generator.manual_seed(k))
        synchronise(device)
        changing.append(time.perf_counter() - began)
    return 1e3 * float(np.median(reading[1:])), 1e3 * float(np.median(changing[1:]))


def measure(setting: Setting, page: Page) -> None:
    """Print the ratio of our loop's images/s to the plain loop's."""
    steps = 1 if setting.quick else (3 if setting.device == "cpu" else 30)
    with private_folders() as work:
        manifest = training_set(work, steps * setting.batch, SIDE, setting.data)
        turns, data, recipe = take_turns(setting, manifest, steps)
        reading, changing = parts_of_a_step(data, recipe, torch.device(setting.device), max(5, setting.rounds))
    images = steps * setting.batch
    page.section(f"From the cache to the optimiser's step: {setting.describe()}, {setting.device}")
    page.say(
        "Images per second of a stage's loop (memory map, default augmentation, metrics; no checkpoints) and of a "
        "plain loop of torch on one tensor in memory, with the same network, optimiser, loss, precision, clipping and "
        f"memory format. They take turns: {steps} steps each, {setting.rounds} rounds; the first round, which warms "
        f"up, is left out. Median and quartiles. Aim: {AIM}."
    )
    page.say()
    page.table("what | images/s | ratio to the tensor in memory | quartiles | waiting for images")
    page.row("one tensor in memory", median(images / np.array(turns.memory[1:])), "1", "", "")
    ours = median(images / np.array(turns.ours[1:]))
    row = [median(turns.ratios, 3), quartiles(turns.ratios, 3), f"{turns.waiting():.2%}"]
    page.row("from the cache", ours, *row)
    page.say()
    step = 1e3 * float(np.median(turns.ours[1:])) / steps
    page.say(
        f"A step takes {step:.0f} ms. Of these, changing the images at random takes {changing:.1f} ms "
        f"({changing / step:.2%}); a thread beside it reads a batch from the cache in {reading:.1f} ms."
    )
