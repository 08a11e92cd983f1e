"""The job ``train``: all stages of a recipe in a run's folder, from the images to the measured network."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from cxr.data import Manifest
from cxr.errors import RecipeError, RunError
from cxr.evaluation.predict import predict_rows, predictions_table
from cxr.evaluation.run import images_to_measure, results
from cxr.models import XrayClassifier, build, save_model, with_classes
from cxr.models.weights import find_weights, read_card
from cxr.runs.folder import RunFolder, Stopped
from cxr.training.checkpoint import BEST, Checkpoints, Place, restore_random_state, seed_everything
from cxr.training.data import StageData, derived_seed, prepare
from cxr.training.loop import Hooks, StageLoop
from cxr.training.recipe import Recipe, load_recipe
from cxr.training.report import Progress, Report

log = logging.getLogger(__name__)


def train(folder: RunFolder, spec: dict[str, Any], *, progress: Progress | None = None) -> None:
    """Train by a recipe, or go on where the folder's last checkpoint stands.

    ``spec["params"]``: ``recipe`` (plain values or a preset's name), ``manifest`` (a file with splits) and, for the
    card, ``data_name``. Writes metrics, checkpoints, predictions.parquet and results.json (see
    :func:`cxr.evaluation.run.results`). The best epoch is chosen on validation images alone.

    Raises
    ------
    CxrError
        For a recipe, a manifest or weights that cannot be used.
    Stopped
        After a checkpoint, if the folder asks to stop.
    """
    Training(folder, spec, progress).run()


class Training:
    """One training in one process."""

    def __init__(self, folder: RunFolder, spec: dict[str, Any], progress: Progress | None = None) -> None:
        params = spec["params"]
        self.folder, self.params = folder, params
        self.recipe: Recipe = load_recipe(params["recipe"])
        self.report = Report(folder, progress)
        self.checkpoints = Checkpoints(folder.checkpoints)
        self.place = Place(kept_neurons={})
        if self.recipe.threads is not None:
            torch.set_num_threads(self.recipe.threads)
        self.fabric = make_fabric(self.recipe)
        self.manifest = Manifest.load(Path(params["manifest"]).expanduser())
        self.manifest_hash = self.manifest.hash()

    def run(self) -> None:
        """Do all stages from where the folder stands, then measure."""
        recipe = self.recipe
        log.info("recipe %s: %s at %d px on %s", recipe.name, recipe.backbone, recipe.size, self.fabric.device)
        self.data = prepare(recipe, self.manifest, self._reading)
        self.report.total_steps = sum(
            stage.epochs * data.steps(stage.batch) for stage, data in zip(recipe.stages, self.data, strict=True)
        )
        model, optimiser_state = self._resume()
        while True:
            if model is None:
                model = self._first_model()
            self._train_stage(model, optimiser_state)
            if self.place.stage == len(recipe.stages) - 1:
                break
            model, optimiser_state = self._next_model(), None
        self._measure()

    def _reading(self, fraction: float, message: str) -> None:
        if self.folder.stop_requested():
            raise Stopped
        self.report.reading(fraction, message)

    def _resume(self) -> tuple[XrayClassifier | None, dict[str, Any] | None]:
        """Go back to the last checkpoint, or to the beginning if there is none; metrics go back with it."""
        saved = self.checkpoints.load()
        if saved is None:
            self.folder.truncate_metrics(0)
            return None, None
        if saved.manifest_hash != self.manifest_hash:
            raise RunError(
                f"the manifest has changed since the run began (hash {saved.manifest_hash[:12]}, now "
                f"{self.manifest_hash[:12]}): put it back, or start a new run"
            )
        self.folder.truncate_metrics(saved.metrics_offset)
        self.place = saved.place
        log.info("going on from step %d", self.place.step)
        restore_random_state(saved.random_state)
        return saved.model, saved.optimiser

    def _first_model(self) -> XrayClassifier:
        recipe, stage, classes = self.recipe, self.recipe.stages[0], self.data[0].classes
        seed_everything(derived_seed(recipe.seed, 0))
        options: dict[str, Any] = {
            "weights": recipe.weights,
            "size": recipe.size,
            "channels": recipe.channels,
            "backbone_args": recipe.backbone_args,
        }
        if not stage.keep_neurons:
            return self._with_card(build(recipe.backbone, classes, task=stage.task, **options))
        card = read_card(find_weights(str(recipe.weights)))
        if card is None:
            raise RecipeError(
                f"stages.0.keep_neurons: {recipe.weights} has no card, so nobody knows its classes. Allowed: false"
            )
        old = build(recipe.backbone, card.classes, task=card.task, **options)
        return self._transfer(old, classes)

    def _next_model(self) -> XrayClassifier:
        """Return the best network of the stage that is done, with the head of the next one, and go there."""
        old = self.checkpoints.load_best(self.place)
        finished = self.recipe.stages[self.place.stage]
        save_model(old, self.folder.checkpoints / f"stage-{self.place.stage}-{finished.name}.safetensors")
        index = self.place.stage + 1
        self.place = Place(
            stage=index, step=self.place.step, seconds=self.place.seconds, kept_neurons=self.place.kept_neurons
        )
        seed_everything(derived_seed(self.recipe.seed, index))
        return self._transfer(old, self.data[index].classes)

    def _transfer(self, old: XrayClassifier, classes: tuple[str, ...]) -> XrayClassifier:
        stage = self.recipe.stages[self.place.stage]
        model, kept = with_classes(old, classes, task=stage.task, keep=stage.keep_neurons, aliases=stage.aliases)
        pairs = ", ".join(f"{new} (was {was})" for new, was in kept.items())
        log.info("stage %s keeps the output neurons of: %s", stage.name, pairs or "none")
        if stage.keep_neurons and not kept:
            raise RecipeError(
                f"stages.{self.place.stage}.keep_neurons: {', '.join(old.classes)} and {', '.join(classes)} have no "
                "class in common. Allowed: false, or `aliases` that name the common ones"
            )
        self.place.kept_neurons = {**(self.place.kept_neurons or {}), stage.name: kept}
        return self._with_card(model)

    def _with_card(self, model: XrayClassifier) -> XrayClassifier:
        """Fill the card with what this run knows."""
        data = self.data[self.place.stage]
        name = str(self.params.get("data_name") or Path(self.params["manifest"]).parent.name)
        trained = data.manifest.table.set_index("image_id").loc[[data.cache.ids[row] for row in data.train_rows]]
        model.card = dataclasses.replace(
            model.card,
            name=self.recipe.name,
            trained_on=f"{len(trained)} X-rays of {name}",
            recipe=self.recipe.model_dump(mode="json"),
            manifest_hash=data.manifest.hash(),
            split_hash=data.manifest.split_hash(),
            licence="; ".join(sorted(set(trained["licence"]) - {""})),
        )
        return model

    def _train_stage(self, model: XrayClassifier, optimiser_state: dict[str, Any] | None) -> None:
        stage_data = self.data[self.place.stage]
        if self.place.epoch >= self.recipe.stages[self.place.stage].epochs:
            return
        loop = StageLoop(
            self.fabric, self.recipe, self.place, stage_data, model, self.report, optimiser_state=optimiser_state
        )
        loop.run(self._hooks(model))

    def _hooks(self, model: XrayClassifier) -> Hooks:
        def save(optimiser: torch.optim.Optimizer) -> None:
            self.report.flush()
            self.checkpoints.save(model, optimiser, self.place, self.folder.metrics_size(), self.manifest_hash)

        return Hooks(save, lambda: self.checkpoints.save_best(model, self.place), self.folder.stop_requested)

    def _measure(self) -> None:
        """Predict every held-out split with the best network, write the results, and put them on its card."""
        model, data, place = self.checkpoints.load_best(self.place), self.data[-1], self.place
        table = self._predictions(model.to(self.fabric.device), data)
        self.folder.write_predictions(table)
        self.report.ending(0.9, "computing intervals")
        found = results(table, model, left_out=len(data.cache.missing))
        monitor = self.recipe.stages[-1].monitor
        best = {"stage": self.recipe.stages[-1].name, "epoch": (place.best_epoch or 0) + 1, monitor: place.best_value}
        extra = {"best": best, "kept_neurons": place.kept_neurons, "seconds": round(place.seconds, 1)}
        self.folder.write_json("results.json", found | extra)
        model.card = dataclasses.replace(model.card, metrics=found["splits"])
        save_model(model, self.folder.checkpoints / BEST)
        self.report.ending(1.0, "finished")

    def _predictions(self, model: XrayClassifier, data: StageData) -> Any:
        by_split = images_to_measure(data.manifest, model.classes)
        ids = [image_id for ids in by_split.values() for image_id in ids if image_id in data.cache]
        rows = np.array([data.cache.index(image_id) for image_id in ids], np.int64)

        def step(done: int, n: int) -> None:
            if self.folder.stop_requested():
                raise Stopped  # the last checkpoint holds everything: a resumed run measures again
            self.report.ending(0.8 * done / n, f"predicting {done}/{n}")

        batch = 2 * self.recipe.stages[-1].batch
        return predictions_table(
            data.manifest, ids, predict_rows(model, data.cache.images, rows, batch, step), model.classes
        )


def make_fabric(recipe: Recipe) -> Fabric:
    """Return the engine for a recipe's device and precision.

    Raises
    ------
    RecipeError
        If this machine has no such device, or it cannot compute in that precision.
    """
    device = resolve_device(recipe.device)
    on_gpu = device.type == "cuda"
    precision = recipe.precision
    if precision == "auto":
        precision = "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported() else "32-true"
    if precision == "16-mixed" and not on_gpu:
        raise RecipeError("precision: '16-mixed' needs a GPU. Allowed on the CPU: auto, 32-true, bf16-mixed")
    return Fabric(
        accelerator="cuda" if on_gpu else "cpu", devices=[device.index or 0] if on_gpu else 1, precision=precision
    )


def resolve_device(name: str) -> torch.device:
    """Return the device that a recipe means; ``auto`` is the first GPU where there is one.

    Raises
    ------
    RecipeError
        If it is not there.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= there:
        others = "".join(f", cuda:{i}" for i in range(there))
        raise RecipeError(f"device: {name!r} is not on this machine. Allowed: auto, cpu{others}")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device
