"""The loop of one stage: from rows of the cache to the optimiser's step, on Lightning Fabric.

Everything random in a step is seeded by (seed, stage, epoch, step), so on the CPU a training that was stopped or killed
and resumed ends with the same weights, bit for bit, as one that ran through (with its threads, see
:class:`cxr.training.engine.Arithmetic`). Several ranks do each step together: each
computes its share of the batch, and the sum of the gradients is that of the whole batch.
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
from timm.utils import ModelEmaV3

from cxr.errors import RunError
from cxr.evaluation.metrics import point_metrics
from cxr.evaluation.multilabel import multilabel_metrics
from cxr.evaluation.predict import predict_rows
from cxr.models import XrayClassifier
from cxr.models.classifier import head_of
from cxr.runs.folder import Stopped
from cxr.runs.metrics.metrics_file import MetricsRow
from cxr.training.checkpoint import LoopState, Place
from cxr.training.data.batches import Batch, Reader, Share
from cxr.training.data.stages import StageData, derived_seed, epoch_batches
from cxr.training.freezing import ever_trained, set_training_mode, thaw
from cxr.training.global_norm import over_all_ranks
from cxr.training.losses import make_loss
from cxr.training.neurons import Neurons
from cxr.training.optim import learning_rate, make_optimiser
from cxr.training.ranks import Ranks, split_evenly
from cxr.training.recipe import LOWER_IS_BETTER, Recipe, Stage
from cxr.training.report import ADVICE, Report
from cxr.training.watching.heatmaps import MOST, HeatmapDrawer
from cxr.training.watching.worst import WorstOfValidation, worst_xrays

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Hooks:
    """What a loop asks of the training around it.

    Attributes
    ----------
    save
        Writes a checkpoint of the model, the loop's state (see :meth:`StageLoop.state`) and the present place.
    save_best
        Writes the given network as the best so far and returns the file's name.
    stop_requested
        Asked before each step.
    """

    save: Callable[[LoopState], None]
    save_best: Callable[[XrayClassifier], str]
    stop_requested: Callable[[], bool]


class StageLoop:
    """Trains one stage from the place where it is.

    Parameters
    ----------
    place
        Where the training is; moved forward by every step and read by the hooks.
    state
        Of the checkpoint that a training resumes from.
    """

    def __init__(
        self,
        fabric: Fabric,
        ranks: Ranks,
        recipe: Recipe,
        place: Place,
        data: StageData,
        model: XrayClassifier,
        report: Report,
        state: LoopState | None = None,
    ) -> None:
        self.fabric, self.ranks, self.recipe, self.place = fabric, ranks, recipe, place
        self.data, self.report = data, report
        self.stage: Stage = recipe.stages[place.stage]
        self.drawer = HeatmapDrawer(report.folder, model if recipe.heatmaps_every and ranks.world > 1 else None)
        # Convolutions are a quarter to a half faster with channels last, on processors as on GPUs.
        self.model = model.to(fabric.device).to(memory_format=torch.channels_last)
        if ranks.world > 1:
            self.model.network = over_all_ranks(self.model.network, fabric.device)
        parts = [self.stage.train, *self.stage.unfreeze.values()]
        optimiser = make_optimiser(self.stage.optimiser, ever_trained(self.model, parts))
        self.average = self._make_average()
        self.neurons = Neurons(head_of(self.model.network)[1], self.model.classes, self._kept_neurons())
        if state is not None:
            self._restore(optimiser, state)
        self.optimiser: Any = fabric.setup_optimizers(optimiser)
        self.loss = make_loss(self.stage, data.classes, data.train_targets, fabric.device)
        self.reader = Reader(data.cache.images, data.train_rows, self.stage.augment, fabric.device)
        self._network: Any = None  # the network as it is trained: wrapped for ranks and precision, perhaps compiled
        self._trained = ""
        self._worst: WorstOfValidation | None = None  # of the last validation
        self._loss_sum = torch.tensor(place.loss_sum, dtype=torch.float64, device=fabric.device)
        self._saved = time.monotonic()

    def run(self, hooks: Hooks) -> None:
        """Train until the stage is done and saved: after its last epoch, or once it stops getting better.

        Raises
        ------
        Stopped
            After a checkpoint, if a stop was requested.
        """
        if not self.place.begun:
            beginning = {"epoch": 0, "steps_per_epoch": self.data.steps(self.stage.batch)}
            self.report.epoch(self._row() | beginning | self.validate(), kind="start")
            self.place.begun = True
        while self.place.epoch < self.stage.epochs and not self._has_converged():
            self._train_epoch(hooks)
            self._end_epoch(hooks)

    @property
    def validated(self) -> XrayClassifier:
        """The network that is validated and kept: the mean of the weights if there is one, else the trained one."""
        return self.model if self.average is None else XrayClassifier(self.average.module, self.model.card)

    def state(self) -> LoopState:
        """Return what, besides weights and place, a resumed training needs: plain values and tensors."""
        return {
            "optimiser": self.optimiser.state_dict(),
            "average": None if self.average is None else self.average.module.state_dict(),
            "neurons": self.neurons.state(),
            "precision": self.fabric.strategy.precision.state_dict(),
        }

    def _restore(self, optimiser: torch.optim.Optimizer, state: LoopState) -> None:
        optimiser.load_state_dict(state["optimiser"])
        self.neurons.restore(state["neurons"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])
        if state["precision"]:
            self.fabric.strategy.precision.load_state_dict(state["precision"])

    def _make_average(self) -> ModelEmaV3 | None:
        if self.stage.ema is None:
            return None
        # With warm-up the mean of a short training is not one of its random beginning.
        return ModelEmaV3(self.model.network, decay=self.stage.ema, use_warmup=True)

    def _kept_neurons(self) -> dict[str, str]:
        return (self.place.kept_neurons or {}).get(self.stage.name, {})

    def _set_up(self) -> None:
        """Make what is trained in this epoch move, and wrap the network for it if that has changed."""
        trained = self.stage.trained_in(self.place.epoch)
        if trained != self._trained:
            thaw(self.model, trained)
            network: Any = self.model.network
            if self.recipe.compile:
                network = torch.compile(network)
            self._network = self.fabric.setup_module(network)
            self._trained = trained
        set_training_mode(self.model)

    def _train_epoch(self, hooks: Hooks) -> None:
        place, steps = self.place, self.data.steps(self.stage.batch)
        self._set_up()
        self.report.pause()
        shares = self._shares()
        reading = self.reader.ahead(shares)
        for share in shares:
            if self.ranks.any(hooks.stop_requested()):
                self._save(hooks)
                raise Stopped
            began = time.monotonic()
            batch = next(reading)
            step = place.epoch * steps + share.number
            lr = self._set_learning_rate(step, steps)
            loss = self._step(batch)
            if self.average is not None:
                self.average.update(self.model.network, step=step + 1)
            self._advance(loss, len(share.positions), time.monotonic() - began)
            message = f"epoch {place.epoch + 1}/{self.stage.epochs}, step {share.number + 1}/{steps}"
            numbers = {"lr": lr, "wait_s": round(batch.waited, 5)}
            self.report.step(self._row() | numbers, loss, len(share.positions), self._titled(message))
            if self.ranks.from_main(self._is_due()):
                self._save(hooks)

    def _advance(self, loss: torch.Tensor, images: int, seconds: float) -> None:
        place = self.place
        # The sum stays on the device: reading it at every step would make a GPU wait.
        self._loss_sum += loss.double() * images
        place.step, place.step_in_epoch = place.step + 1, place.step_in_epoch + 1
        place.images_seen, place.seconds = place.images_seen + images, place.seconds + seconds

    def _step(self, batch: Batch) -> torch.Tensor:
        """Do one step and return the mean loss of all its images, on all ranks, detached."""
        share, device = batch.share, self.fabric.device
        weight = self.loss.weight_of(self.data.train_targets[share.positions])
        total = torch.zeros((), device=device)
        parts = split_evenly(np.arange(len(share.local)), self.stage.accumulate)
        for number, part in enumerate(parts):
            # The ranks exchange gradients once per step.
            with self.fabric.no_backward_sync(self._network, enabled=number < len(parts) - 1):
                targets = torch.from_numpy(self.data.train_targets[share.local[part]]).to(device)
                torch.manual_seed(derived_seed(share.seed, share.first + int(part[0])))  # of dropout
                logits = self._network(self.model.normalise(batch.images(part)))
                loss = self.loss.summed(logits.float(), targets) / weight
                # DDP takes the mean over the ranks, the loss is a sum over them.
                self.fabric.backward(loss * self.ranks.world)
            total += loss.detach()
        if self.stage.clip_gradients is not None:
            self.fabric.clip_gradients(self._network, self.optimiser, max_norm=self.stage.clip_gradients)
        self.optimiser.step()
        # Now, not before the next step: they would lie among what that one allocates.
        self.optimiser.zero_grad(set_to_none=True)
        return self.ranks.sum(total)

    def _shares(self) -> list[Share]:
        """Return what this process has to do of each step that is left of the epoch."""
        place, seed = self.place, self.recipe.seed
        batches = epoch_batches(len(self.data.train_rows), self.stage.batch, seed, place.stage, place.epoch)
        return [
            Share(k, batches[k], *self.ranks.share(batches[k]), derived_seed(seed, place.stage, place.epoch, k))
            for k in range(place.step_in_epoch, len(batches))
        ]

    def _end_epoch(self, hooks: Hooks) -> None:
        place = self.place
        metrics = {"train_loss": self._loss_sum.item() / place.images_seen} | self.validate()
        self.report.epoch(self._row() | metrics)
        self.report.epoch(self._row() | {"neurons": self.neurons.changes()}, kind="neurons")
        self._draw_heatmaps()
        value = metrics[self.stage.monitor]
        log.info("%s", self._titled(f"epoch {place.epoch + 1}/{self.stage.epochs}: {_in_words(metrics)}"))
        if place.best_file is None or is_better(value, place.best_value, self.stage.monitor):
            place.best_value, place.best_epoch = value, place.epoch
            place.best_file = self.ranks.from_main(hooks.save_best(self.validated))
        place.epoch, place.step_in_epoch, place.images_seen = place.epoch + 1, 0, 0
        self._loss_sum.zero_()
        if self._has_converged():
            log.info("%s", self._titled(f"stopped early: {self.stage.early_stop} epochs without a better value"))
        self._save(hooks)

    def _has_converged(self) -> bool:
        """Return whether the stage's patience is at its end."""
        if self.stage.early_stop is None or self.place.best_epoch is None:
            return False
        return self.place.epoch - 1 - self.place.best_epoch >= self.stage.early_stop

    def validate(self) -> dict[str, float | None]:
        """Return loss and metrics on the validation images, with the stage's own loss; each rank predicts a share."""
        rows, _ = self.ranks.share(self.data.val_rows)
        local_predictions = predict_rows(self.validated, self.data.cache.images, rows, 2 * self.stage.batch)
        logits, targets = self.ranks.gather(local_predictions), self.data.val_targets
        if not np.isfinite(logits).all():
            self.report.flush()  # which says it of a loss with its learning rate, if one was already infinite
            raise RunError(f"the network's outputs became infinite by step {self.place.step}: {ADVICE}")
        if self.ranks.is_main:
            self._report_worst(logits)
        with torch.no_grad():
            loss = self.loss.mean(torch.from_numpy(logits).to(self.fabric.device), targets).item()
        measure = multilabel_metrics if self.stage.task == "multi-label" else point_metrics
        return {"val_loss": loss} | {f"val_{name}": value for name, value in measure(targets, logits).items()}

    def _report_worst(self, logits: np.ndarray) -> None:
        data, place, stage = self.data, self.place, self.stage
        ids = [data.cache.ids[row] for row in data.val_rows]
        self._worst = {
            "stage": stage.name,
            "stage_index": place.stage,
            "epoch": place.epoch + 1 if place.begun else 0,
            "n_val": len(ids),
            "manifest": None if stage.data is None else str(data.manifest.path),
            "masked": self.recipe.text.is_masked,
            "xrays": worst_xrays(ids, data.classes, data.val_targets, logits),
        }
        self.report.worst(self._worst)

    def _draw_heatmaps(self) -> None:
        every, worst = self.recipe.heatmaps_every, self._worst
        if every is None or worst is None or worst["epoch"] % every or not worst["xrays"]:
            return
        row_of = {self.data.cache.ids[row]: row for row in self.data.val_rows}
        rows = [row_of[xray["image_id"]] for xray in worst["xrays"][:MOST]]
        self.drawer.draw(self.validated, np.stack([self.data.cache.images[row] for row in rows]), worst)

    def _set_learning_rate(self, step: int, steps_per_epoch: int) -> float:
        settings = self.stage.optimiser
        lr = learning_rate(self.stage.schedule, settings.lr, step, steps_per_epoch, self.stage.epochs)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        return lr

    def _is_due(self) -> bool:
        n_steps = self.recipe.checkpoint_every_steps
        by_steps = n_steps is not None and self.place.step % n_steps == 0
        return by_steps or time.monotonic() - self._saved >= self.recipe.checkpoint_every_seconds

    def _save(self, hooks: Hooks) -> None:
        self.place.loss_sum = self._loss_sum.item()
        hooks.save(self.state())
        self._saved = time.monotonic()

    def _row(self) -> MetricsRow:
        place = self.place
        return {"stage": self.stage.name, "stage_index": place.stage, "epoch": place.epoch + 1, "step": place.step}

    def _titled(self, message: str) -> str:
        return message if len(self.recipe.stages) == 1 else f"{self.stage.name}: {message}"


def is_better(value: float | None, best: float | None, monitor: str) -> bool:
    """Return whether ``value`` is better than ``best``; a tie is not, None is the worst."""
    if value is None or best is None:
        return value is not None
    return value < best if monitor in LOWER_IS_BETTER else value > best


def _in_words(metrics: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if value is not None)
