"""The job ``train``: all stages of a recipe in a run's folder, from the images to the measured network."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from cxr.data import ImageCache, Manifest
from cxr.data.openings import locked_splits
from cxr.earlier_names import renamed
from cxr.errors import RecipeError, RunError, WeightsError
from cxr.evaluation.job import results, table_of
from cxr.evaluation.predict import predict_rows
from cxr.evaluation.provenance import provenance, with_opening
from cxr.evaluation.seen import SeenAmong, seen_among
from cxr.evaluation.selection import OWN, Selection, select
from cxr.evaluation.summary import validation_summary
from cxr.machine import give_back_memory
from cxr.models import XrayClassifier, build, save_model, with_classes
from cxr.models.licences import joined_licences
from cxr.models.seen_images import Seen, SeenImages
from cxr.models.weights import find_weights, read_card, seen_before
from cxr.networks import BEST
from cxr.runs.folder import RunFolder, Stopped
from cxr.training.checkpoint import Checkpoints, LoopState, Origin, Place, seed_everything
from cxr.training.data.stages import StageData, derived_seed, prepare
from cxr.training.engine import Arithmetic, make_fabric, numerics
from cxr.training.loop import Hooks, StageLoop
from cxr.training.ranks import Ranks, together
from cxr.training.recipe import Recipe
from cxr.training.report import Progress, Report
from cxr.training.results import StageOutcome, TrainingResults
from cxr.training.seen_in_stage import seen_in_stage
from cxr.training.settings import TrainingParams
from cxr.training.watching.usage import recorded

log = logging.getLogger(__name__)


@renamed(spec="params")
def train(folder: RunFolder, params: TrainingParams | Mapping[str, Any], *, progress: Progress | None = None) -> None:
    """Train by a recipe, or go on where the folder's last checkpoint stands.

    ``params`` may be plain values, or a whole spec that holds them.

    Writes metrics, checkpoints, predictions.parquet and results.json (see
    :func:`cxr.evaluation.job.results`). The best epoch is chosen on validation images alone. A recipe with several
    devices is trained by as many processes, of which this one is the first (see :mod:`cxr.training.ranks`).

    Raises
    ------
    CxrError
        For a recipe, a manifest or weights that cannot be used.
    Stopped
        After a checkpoint, if the folder asks to stop.
    """
    params = params if isinstance(params, TrainingParams) else TrainingParams.of(params.get("params", params))
    recipe = params.recipe
    with numerics(recipe.deterministic), together(recipe.devices, folder) as ranks:
        training = Training(folder, params, ranks, progress)
        with recorded(folder, training.fabric.device) if ranks.is_main else contextlib.nullcontext():
            training.run()


class Training:
    """One training in this process, alone or as one of several ranks; rank 0 alone writes."""

    def __init__(self, folder: RunFolder, params: TrainingParams, ranks: Ranks, progress: Progress | None) -> None:
        self.folder, self.params, self.ranks = folder, params, ranks
        self.recipe = params.recipe
        self.report = Report(folder, progress) if ranks.is_main else Report(None, None)
        self.checkpoints = Checkpoints(folder.checkpoints)
        self.place = Place(kept_neurons={})
        self.fabric = make_fabric(self.recipe, ranks)
        self.manifest = params.data

    def run(self) -> None:
        """Do all stages from where the folder stands, then measure."""
        recipe = self.recipe
        log.info("recipe %s: %s at %d px on %s", recipe.name, recipe.backbone, recipe.size, self._device_text())
        self.data = prepare(recipe, self.manifest, self._reading)
        self.origin = _origin(self.manifest, self.data)
        give_back_memory()
        self.report.total_steps = sum(
            stage.epochs * data.steps(stage.batch) for stage, data in zip(recipe.stages, self.data, strict=True)
        )
        model, state = self._resume()
        while True:
            if model is None:
                model = self._first_model()
            self._train_stage(model, state)
            if self.place.stage == len(recipe.stages) - 1:
                break
            model, state = self._next_model(), None
        if self.ranks.is_main:
            self._measure()

    def _device_text(self) -> str:
        device, now = self.fabric.device, Arithmetic.now()
        name = f"{self.ranks.world} x {device.type}" if self.ranks.world > 1 else str(device)
        return f"{name} ({now.threads} threads, {now.instructions})"

    def _reading(self, fraction: float, message: str) -> None:
        if self.folder.stop_requested():
            raise Stopped
        self.report.reading(fraction, message)

    def _resume(self) -> tuple[XrayClassifier | None, LoopState | None]:
        """Go back to the last checkpoint, or to the beginning if there is none; metrics go back with it."""
        saved = self.checkpoints.load(publish=self.ranks.is_main)
        if saved is not None:
            _refuse_another_origin(saved.origin, self.origin)
        if self.ranks.is_main:
            self.folder.truncate_metrics(saved.metrics_offset if saved else 0)
        if saved is None:
            return None, None
        if saved.arithmetic is not None:
            saved.arithmetic.go_on()
        self.place = saved.place
        if saved.seen is None:  # a checkpoint of an older version: the data are the same, so the list can be made
            self._begin_seen()
            self._add_seen(*range(self.place.stage + 1))
        else:
            self.checkpoints.seen = saved.seen
        log.info("resuming from step %d", self.place.step)
        return saved.model, saved.loop

    def _first_model(self) -> XrayClassifier:
        recipe, stage, classes = self.recipe, self.recipe.stages[0], self.data[0].classes
        self._begin_seen()
        self._add_seen(0)
        seed_everything(derived_seed(recipe.seed, 0))
        network = partial(
            build,
            recipe.backbone,
            weights=recipe.weights,
            size=recipe.size,
            channels=recipe.channels,
            backbone_args=recipe.backbone_args,
        )
        if not stage.keep_neurons:
            return self._with_card(network(classes, task=stage.task))
        card = read_card(find_weights(str(recipe.weights)))
        if card is None:
            raise RecipeError(
                f"stages.0.keep_neurons: {recipe.weights} has no card, so its classes are unknown. Allowed: false"
            )
        old = network(card.classes, task=card.task)
        return self._transfer(old, classes)

    def _begin_seen(self) -> None:
        """Begin the list of X-rays that the network has seen with those of the weights that it begins with."""
        try:
            self.checkpoints.seen = seen_before(self.recipe.weights)
        except WeightsError:  # resumed after the file has gone
            self.checkpoints.seen = Seen(
                unknown=(f"the weights {self.recipe.weights}, from which the training started",)
            )

    def _add_seen(self, *stages: int) -> None:
        """Have all weights that are written from now on carry what these stages learn from and choose on."""
        if self.ranks.is_main and self.checkpoints.seen is not None:
            entries = [entry for k in stages for entry in self._seen_in(k)]
            self.checkpoints.seen = self.checkpoints.seen.plus(*entries)

    def _seen_in(self, index: int) -> tuple[SeenImages, ...]:
        return seen_in_stage(self.folder.id, self.recipe.stages[index].name, self.data[index])

    def _next_model(self) -> XrayClassifier:
        """Return the best network of the stage that is done, with the head of the next one, and go there."""
        old = self.checkpoints.load_best(self.place)
        self._keep_stage(old)
        index = self.place.stage + 1
        self.place = Place(
            stage=index, step=self.place.step, seconds=self.place.seconds, kept_neurons=self.place.kept_neurons
        )
        self._add_seen(index)
        seed_everything(derived_seed(self.recipe.seed, index))
        return self._transfer(old, self.data[index].classes)

    def _keep_stage(self, model: XrayClassifier) -> None:
        """Keep the network of a stage that is not the last one, and what it achieved on its validation images."""
        if not self.ranks.is_main:
            return
        index, stage = self.place.stage, self.recipe.stages[self.place.stage]
        outcome = self._outcome(model)
        model.card = dataclasses.replace(model.card, metrics={"val": outcome["validation"]})
        save_model(model, self.folder.checkpoints / f"stage-{index}-{stage.name}.safetensors", self.checkpoints.seen)
        self.folder.write_json(stage_file(index), outcome)

    def _outcome(self, model: XrayClassifier) -> StageOutcome:
        """Return what the present stage is and what its best network achieved on its validation images."""
        place, data, stage = self.place, self.data[self.place.stage], self.recipe.stages[self.place.stage]
        logits = predict_rows(model.to(self.fabric.device), data.cache.images, data.val_rows, 2 * stage.batch)
        outcome: StageOutcome = {
            "name": stage.name,
            "task": stage.task,
            "classes": list(data.classes),
            "manifest_hash": data.manifest.hash(),
            "n_train": len(data.train_rows),
            "n_val": len(data.val_rows),
            "epochs": place.epoch,
            "kept_neurons": (place.kept_neurons or {}).get(stage.name, {}),
            "best": {"epoch": (place.best_epoch or 0) + 1, stage.monitor: place.best_value},
            "validation": validation_summary(stage.task, data.val_targets, logits, data.classes, data.val_patients),
        }
        if data.text:
            outcome["text"] = data.text
        if data.left_out:
            outcome["left_out"] = data.left_out
        return outcome

    def _transfer(self, old: XrayClassifier, classes: tuple[str, ...]) -> XrayClassifier:
        stage = self.recipe.stages[self.place.stage]
        model, kept_neurons = with_classes(
            old, classes, task=stage.task, keep=stage.keep_neurons, aliases=stage.aliases
        )
        pairs = ", ".join(f"{new} (was {was})" for new, was in kept_neurons.items())
        log.info("stage %s keeps the output neurons of: %s", stage.name, pairs or "none")
        if stage.keep_neurons and not kept_neurons:
            raise RecipeError(
                f"stages.{self.place.stage}.keep_neurons: {', '.join(old.classes)} and {', '.join(classes)} have no "
                "class in common. Allowed: false, or `aliases` that name the common ones"
            )
        self.place.kept_neurons = {**(self.place.kept_neurons or {}), stage.name: kept_neurons}
        return self._with_card(model)

    def _with_card(self, model: XrayClassifier) -> XrayClassifier:
        """Fill the card with what this run knows."""
        data = self.data[self.place.stage]
        name = self.params.data_name or self.params.data_set
        trained = data.manifest.table.set_index("image_id").loc[[data.cache.ids[row] for row in data.train_rows]]
        model.card = dataclasses.replace(
            model.card,
            name=self.recipe.name,
            trained_on=f"{len(trained):,} X-rays of {name}{_and_masked(self.recipe)}",
            recipe=self.recipe.model_dump(mode="json"),
            stages=[self.folder.read_json(stage_file(index)) for index in range(self.place.stage)],
            metrics={},
            manifest_hash=data.manifest.hash(),
            split_hash=data.manifest.split_hash(),
            licence=joined_licences([model.card.licence, *sorted(set(trained["licence"]))]),
        )
        return model

    def _train_stage(self, model: XrayClassifier, state: LoopState | None) -> None:
        if self.place.epoch >= self.recipe.stages[self.place.stage].epochs:
            return
        data = self.data[self.place.stage]
        loop = StageLoop(self.fabric, self.ranks, self.recipe, self.place, data, model, self.report, state=state)
        loop.run(self._hooks(model))

    def _hooks(self, model: XrayClassifier) -> Hooks:
        def save(state: LoopState) -> None:
            self.report.flush()
            if self.ranks.is_main:
                self.checkpoints.save(model, state, self.place, self.folder.metrics_size(), self.origin)

        def save_best(validated: XrayClassifier) -> str:
            return self.checkpoints.save_best(validated, self.place) if self.ranks.is_main else ""

        return Hooks(save, save_best, self.folder.stop_requested)

    def _measure(self) -> None:
        """Predict every held-out split with the best network, write the results, and put them on its card."""
        model, data, place = self.checkpoints.load_best(self.place), self.data[-1], self.place
        locked = locked_splits(self.params.data)
        selection = select(data.manifest, model.classes, model.card.task, relation=OWN, locked=locked)
        selection = selection.without([i for i in selection.ids if i not in data.cache])
        among = self._seen_among(selection, data)
        table = self._predictions(model.to(self.fabric.device), data, selection, among)
        self.folder.write_predictions(table)
        self.report.ending(0.9, "computing intervals")
        stages: list[StageOutcome] = [
            *(self.folder.read_json(stage_file(k)) for k in range(place.stage)),
            self._outcome(model),
        ]
        measured: TrainingResults = {
            **results(table, model.card, selection, among, own=True),
            "unreadable": len(data.cache.missing),
            "best": {"stage": stages[-1]["name"], **stages[-1]["best"]},
            "kept_neurons": place.kept_neurons,
            "seconds": round(place.seconds, 1),
            "arithmetic": {"device": self.fabric.device.type, **dataclasses.asdict(Arithmetic.now())},
            "stages": stages,
        }
        if data.text:
            measured["text"] = data.text
        model.card = dataclasses.replace(model.card, metrics=measured["splits"], stages=stages)
        path = save_model(model, self.folder.checkpoints / BEST, self.checkpoints.seen)
        rests_on = provenance(data.manifest, path, self.params.data_name)
        measured["provenance"] = with_opening(rests_on, data.manifest, selection.ids, self.folder.id, "train")
        self.folder.write_json("results.json", measured)
        self.report.ending(1.0, "finished")

    def _seen_among(self, selection: Selection, data: StageData) -> SeenAmong:
        """Compare the X-rays to measure, with their text, with all that the stages have seen."""
        chosen = data.manifest.select(ids=selection.ids)
        return seen_among(self.checkpoints.seen, chosen, ImageCache.build(chosen, self.recipe.size))

    def _predictions(
        self, model: XrayClassifier, data: StageData, selection: Selection, among: SeenAmong
    ) -> pd.DataFrame:
        ids = selection.ids
        cache = self._measured_on(ids, data)
        rows = np.array([cache.index(image_id) for image_id in ids], np.int64)

        def step(done: int, n: int) -> None:
            if self.folder.stop_requested():
                raise Stopped  # the last checkpoint holds everything: a resumed run measures again
            self.report.ending(0.8 * done / n, f"predicting {done:,}/{n:,}")

        batch = 2 * self.recipe.stages[-1].batch
        return table_of(
            data.manifest, selection, predict_rows(model, cache.images, rows, batch, step), model.card, among
        )

    def _measured_on(self, ids: Sequence[str], data: StageData) -> ImageCache:
        """Return the pixels that results are of: those of the training, or the images with their text."""
        if not self.recipe.text.is_masked or self.recipe.text.measure_on == "masked":
            return data.cache
        return ImageCache.build(data.manifest.select(ids=ids), self.recipe.size)


def _and_masked(recipe: Recipe) -> str:
    return f", their text masked ({recipe.text.mode})" if recipe.text.is_masked else ""


def stage_file(index: int) -> str:
    """Return the name of the file, in a run's folder, that says how a stage before the last one ended."""
    return f"stage-{index}.json"


def _origin(manifest: Manifest, data: Sequence[StageData]) -> Origin:
    missing = sorted({file for stage in data for file in stage.missing})
    fingerprint = hashlib.blake2b(" ".join(stage.fingerprint() for stage in data).encode(), digest_size=16)
    return Origin(manifest.hash(), fingerprint.hexdigest(), tuple(missing))


def _refuse_another_origin(saved: Origin, current: Origin) -> None:
    """Refuse to go on with other data than the run began with."""
    if saved.manifest_hash != current.manifest_hash:
        raise RunError(
            f"the manifest has changed since the run began (hash {saved.manifest_hash[:12]}, now "
            f"{current.manifest_hash[:12]}): put it back, or start a new run"
        )
    gone = sorted(set(current.missing) - set(saved.missing))
    if gone:
        more = f" and {len(gone) - 3} more" if len(gone) > 3 else ""
        raise RunError(
            f"{len(gone):,} images that the run began with cannot be read now ({', '.join(gone[:3])}{more}): put them "
            "back, then resume the run"
        )
    if saved.images != current.images:
        raise RunError("the images or the labels have changed since the run began: put them back, or start a new run")
