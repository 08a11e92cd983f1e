"""The loop of one stage: from rows of the cache to the optimiser's step, on Lightning Fabric.

Everything random in a step is seeded by (seed, stage, epoch, step) or kept in the checkpoint, so on the CPU a training
that was stopped or killed and resumed ends with the same weights, bit for bit, as one that ran through.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from cxr.evaluation.metrics import multilabel_metrics, point_metrics
from cxr.evaluation.predict import predict_rows
from cxr.models import XrayClassifier
from cxr.runs.folder import Stopped
from cxr.training.checkpoint import Place
from cxr.training.data import StageData, derived_seed, epoch_batches
from cxr.training.optim import choose_parameters, learning_rate, make_loss, make_optimiser, set_training_mode
from cxr.training.recipe import LOWER_IS_BETTER, Recipe, Stage
from cxr.training.report import Report

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hooks:
    """What a loop asks of the training around it.

    Attributes
    ----------
    save
        Writes a checkpoint of the model and the optimiser at the present place.
    save_best
        Writes the weights as the best so far and returns the file's name.
    stop_requested
        Asked before each step.
    """

    save: Callable[[torch.optim.Optimizer], None]
    save_best: Callable[[], str]
    stop_requested: Callable[[], bool]


class StageLoop:
    """Trains one stage from the place where it is.

    Parameters
    ----------
    place
        Where the training is; moved forward by every step and read by the hooks.
    optimiser_state
        Of the checkpoint that a training resumes from.
    """

    def __init__(
        self,
        fabric: Fabric,
        recipe: Recipe,
        place: Place,
        data: StageData,
        model: XrayClassifier,
        report: Report,
        optimiser_state: dict[str, Any] | None = None,
    ) -> None:
        self.fabric, self.recipe, self.place, self.data, self.report = fabric, recipe, place, data, report
        self.stage: Stage = recipe.stages[place.stage]
        # Convolutions are a quarter to a half faster with channels last, on processors as on GPUs.
        self.model = model.to(fabric.device).to(memory_format=torch.channels_last)
        optimiser = make_optimiser(self.stage.optimiser, choose_parameters(self.model, self.stage.train))
        if optimiser_state is not None:
            optimiser.load_state_dict(optimiser_state)
        self.network, self.optimiser = fabric.setup(self.model.network, optimiser)
        self.loss = make_loss(self.stage, data.train_targets, len(data.classes), fabric.device)
        self._loss_sum = torch.tensor(place.loss_sum, dtype=torch.float64, device=fabric.device)
        self._saved = time.monotonic()

    def run(self, hooks: Hooks) -> None:
        """Train until the stage's last epoch is done and saved.

        Raises
        ------
        Stopped
            After a checkpoint, if a stop was asked for.
        """
        while self.place.epoch < self.stage.epochs:
            self._train_epoch(hooks)
            self._end_epoch(hooks)

    def _train_epoch(self, hooks: Hooks) -> None:
        place, recipe = self.place, self.recipe
        set_training_mode(self.model, self.stage.train)
        self.report.pause()
        batches = epoch_batches(len(self.data.train_rows), self.stage.batch, recipe.seed, place.stage, place.epoch)
        for number in range(place.step_in_epoch, len(batches)):
            if hooks.stop_requested():
                self._save(hooks)
                raise Stopped
            began = time.monotonic()
            lr = self._set_learning_rate(place.epoch * len(batches) + number, len(batches))
            loss = self._step(batches[number], number)
            self._advance(loss, len(batches[number]), time.monotonic() - began)
            message = f"epoch {place.epoch + 1}/{self.stage.epochs}, step {number + 1}/{len(batches)}"
            self.report.step(self._row() | {"lr": lr}, loss, len(batches[number]), self._titled(message))
            if self._is_due():
                self._save(hooks)

    def _advance(self, loss: torch.Tensor, images: int, seconds: float) -> None:
        place = self.place
        # The sum stays on the device: reading it at every step would make a GPU wait.
        self._loss_sum += loss.double() * images
        place.step, place.step_in_epoch = place.step + 1, place.step_in_epoch + 1
        place.images_seen, place.seconds = place.images_seen + images, place.seconds + seconds

    def _step(self, positions: np.ndarray, number: int) -> torch.Tensor:
        """Do one step on the training images at ``positions`` and return its loss, detached."""
        images, targets = self._batch(positions, number)
        self.optimiser.zero_grad(set_to_none=True)
        logits = self.network(self.model.normalise(images))
        loss = self.loss(logits.float(), targets)
        self.fabric.backward(loss)
        if self.stage.clip_gradients is not None:
            self.fabric.clip_gradients(self.network, self.optimiser, max_norm=self.stage.clip_gradients)
        self.optimiser.step()
        return loss.detach()

    def _batch(self, positions: np.ndarray, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return augmented grey floats (n, 1, size, size) in [0, 1] and targets, on the device."""
        pixels = np.asarray(self.data.cache.images[self.data.train_rows[positions]])
        images = torch.from_numpy(pixels).to(self.fabric.device)[:, None].float() / 255
        targets = torch.from_numpy(self.data.train_targets[positions]).to(self.fabric.device)
        generator = torch.Generator(device=self.fabric.device)
        generator.manual_seed(derived_seed(self.recipe.seed, self.place.stage, self.place.epoch, number))
        return self.stage.augment(images, generator), targets

    def _end_epoch(self, hooks: Hooks) -> None:
        place = self.place
        metrics = {"train_loss": self._loss_sum.item() / place.images_seen} | self.validate()
        self.report.epoch(self._row() | metrics)
        value = metrics[self.stage.monitor]
        log.info("%s", self._titled(f"epoch {place.epoch + 1}/{self.stage.epochs}: {_in_words(metrics)}"))
        if place.best_file is None or is_better(value, place.best_value, self.stage.monitor):
            place.best_value, place.best_epoch = value, place.epoch
            place.best_file = hooks.save_best()
        place.epoch, place.step_in_epoch, place.images_seen = place.epoch + 1, 0, 0
        self._loss_sum.zero_()
        self._save(hooks)

    def validate(self) -> dict[str, float | None]:
        """Return loss and metrics on the validation images, with the stage's own loss."""
        logits = predict_rows(self.model, self.data.cache.images, self.data.val_rows, 2 * self.stage.batch)
        targets = self.data.val_targets
        with torch.no_grad():
            device = self.fabric.device
            loss = self.loss(torch.from_numpy(logits).to(device), torch.from_numpy(targets).to(device)).item()
        measure = multilabel_metrics if self.stage.task == "multi-label" else point_metrics
        return {"val_loss": loss} | {f"val_{name}": value for name, value in measure(targets, logits).items()}

    def _set_learning_rate(self, step: int, steps_per_epoch: int) -> float:
        settings = self.stage.optimiser
        lr = learning_rate(self.stage.schedule, settings.lr, step, steps_per_epoch, self.stage.epochs)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        return lr

    def _is_due(self) -> bool:
        every = self.recipe.checkpoint_every_steps
        by_steps = every is not None and self.place.step % every == 0
        return by_steps or time.monotonic() - self._saved >= self.recipe.checkpoint_every_seconds

    def _save(self, hooks: Hooks) -> None:
        self.place.loss_sum = self._loss_sum.item()
        hooks.save(self.optimiser)
        self._saved = time.monotonic()

    def _row(self) -> dict[str, Any]:
        place = self.place
        return {"stage": self.stage.name, "stage_index": place.stage, "epoch": place.epoch + 1, "step": place.step}

    def _titled(self, message: str) -> str:
        return message if len(self.recipe.stages) == 1 else f"{self.stage.name}: {message}"


def is_better(value: float | None, best: float | None, monitor: str) -> bool:
    """Tell whether ``value`` is better than ``best``; a tie is not, None is the worst."""
    if value is None or best is None:
        return value is not None
    return value < best if monitor in LOWER_IS_BETTER else value > best


def _in_words(metrics: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if value is not None)
