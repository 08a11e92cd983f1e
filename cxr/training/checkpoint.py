"""Checkpoints that survive a kill at any moment, and exactly the state that a resumed run needs.

``checkpoints/last.json`` names the folder of the last state and the file of the best weights; it is replaced
atomically after both are written and synced, so what it names is whole and belongs together. What it no longer names
is deleted afterwards. ``best.safetensors`` is a copy for readers, loadable by ``cxr.models.load_model``.
"""

from __future__ import annotations

import json
import random
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch

from cxr.errors import CxrError, RunError
from cxr.files import replacing, sync_folder
from cxr.models import XrayClassifier, load_model, save_model
from cxr.models.seen_images import Seen
from cxr.models.weights import read_seen
from cxr.networks import BEST
from cxr.runs.storage import write_json
from cxr.training.engine import Arithmetic

POINTER, PUBLISHED = "last.json", ".published"
WEIGHTS, STATE = "last.safetensors", "last.state.pt"


@dataclass
class Place:
    """How far a training is, and what it must remember to go on as if it had never stopped.

    Attributes
    ----------
    stage, epoch, step_in_epoch
        What comes next, counted from 0; ``epoch`` equals the stage's epochs once these are done.
    step
        Steps done in all stages.
    loss_sum, images_seen
        Of the present epoch.
    best_value, best_epoch, best_file
        The best epoch of the present stage by its monitor; the file lies in the folder of checkpoints.
    begun
        Whether the network was validated before the first step of the stage.
    kept_neurons
        ``{stage: {new class: old class}}``.
    """

    stage: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    images_seen: int = 0
    best_value: float | None = None
    best_epoch: int | None = None
    best_file: str | None = None
    begun: bool = False
    seconds: float = 0.0
    kept_neurons: dict[str, dict[str, str]] | None = None


@dataclass(frozen=True)
class Origin:
    """What a training learns from: it must be the same when the training goes on.

    Attributes
    ----------
    manifest_hash
        Of the manifest.
    images
        Fingerprint of all stages' images and targets.
    missing
        Files of images that could not be read.
    """

    manifest_hash: str
    images: str
    missing: tuple[str, ...] = ()


StateDict = dict[str, Any]
"""What ``state_dict()`` of an optimiser, a network or a precision gives: torch decides what is in it."""


class LoopState(TypedDict):
    """What, besides weights and place, a stage's loop needs to go on; stored in a checkpoint.

    Attributes
    ----------
    optimiser, precision
        Their ``state_dict()``.
    average
        That of the running mean of the weights, None if there is none.
    neurons
        The output neurons at the beginning of the stage, (K, F + 1) float64.
    """

    optimiser: StateDict
    average: StateDict | None
    neurons: torch.Tensor
    precision: StateDict


class Pointer(TypedDict):
    """Which checkpoint is the last one, and the file of the best weights, None before there are any."""

    last: str
    best: str | None


@dataclass
class Saved:
    """A checkpoint as it was read; ``loop`` is the state of the stage's loop.

    ``seen`` and ``arithmetic`` are None in an older one.
    """

    place: Place
    model: XrayClassifier
    loop: LoopState
    metrics_offset: int
    origin: Origin
    seen: Seen | None = None
    arithmetic: Arithmetic | None = None


class Checkpoints:
    """The folder of a run's checkpoints; one process writes.

    Attributes
    ----------
    seen
        The X-rays that the network has seen up to the end of the present stage; every file of weights carries them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: Seen | None = None

    def save(
        self,
        model: XrayClassifier,
        loop: LoopState,
        place: Place,
        metrics_offset: int,
        origin: Origin,
    ) -> None:
        """Save the whole state and make it the one that a resumed run starts from."""
        name = f"step-{place.step:08d}-{secrets.token_hex(3)}"
        target = self.folder / name
        target.mkdir(parents=True)
        try:
            self._write(target, model, loop, place, metrics_offset, origin)
        except OSError:
            shutil.rmtree(target, ignore_errors=True)  # a full disk needs the room
            raise
        self._point_to(name, place.best_file)

    def _write(
        self,
        target: Path,
        model: XrayClassifier,
        loop: LoopState,
        place: Place,
        metrics_offset: int,
        origin: Origin,
    ) -> None:
        save_model(model, target / WEIGHTS, self.seen)
        state = {
            "place": vars(place),
            "loop": loop,
            "metrics_offset": metrics_offset,
            "origin": vars(origin),
            "arithmetic": vars(Arithmetic.now()),
        }
        with replacing(target / STATE) as draft, draft.open("wb") as file:
            torch.save(state, file)  # to a file, whose errors say what is wrong: a path would hide a full disk

    def save_best(self, model: XrayClassifier, place: Place) -> str:
        """Write the weights that are the best so far and return their file's name; :meth:`save` then points to it."""
        name = f"best-{place.stage}-{place.step:08d}-{secrets.token_hex(3)}.safetensors"
        save_model(model, self.folder / name, self.seen)
        return name

    def load(self, publish: bool = True) -> Saved | None:
        """Return the last checkpoint, None if there is none yet; ``publish`` mends the copy of the best weights.

        Raises
        ------
        RunError
            If it is damaged.
        """
        pointer = self._pointer()
        if pointer is None:
            return None
        folder = self.folder / pointer["last"]
        try:
            state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
            model = load_model(folder / WEIGHTS)
            place, origin = Place(**state.pop("place")), Origin(**state.pop("origin"))
            arithmetic = Arithmetic(**state.pop("arithmetic")) if "arithmetic" in state else None
        except (CxrError, OSError, RuntimeError, TypeError, KeyError, EOFError) as error:
            raise RunError(
                f"the checkpoint {folder} is damaged ({error}): restart the training from the beginning"
            ) from None
        if publish:
            self._publish_best(place.best_file)
        seen = read_seen(folder / WEIGHTS)
        return Saved(place=place, model=model, origin=origin, seen=seen, arithmetic=arithmetic, **state)

    def load_best(self, place: Place) -> XrayClassifier:
        """Return the best weights of the present stage."""
        if place.best_file is None:
            raise RunError("there is no best checkpoint yet: no epoch has finished")
        return load_model(self.folder / place.best_file)

    def _pointer(self) -> Pointer | None:
        try:
            return json.loads((self.folder / POINTER).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RunError(
                f"{self.folder / POINTER} is damaged ({error}): restart the training from the beginning"
            ) from None

    def _point_to(self, name: str, best: str | None) -> None:
        for folder in (self.folder / name, self.folder):
            sync_folder(folder)
        write_json(self.folder / POINTER, {"last": name, "best": best})
        self._publish_best(best)
        self._delete_all_but(name, best)

    def _publish_best(self, best: str | None) -> None:
        if best is None or ((self.folder / BEST).exists() and self._published() == best):
            return
        with replacing(self.folder / BEST) as draft:
            shutil.copyfile(self.folder / best, draft)
        with replacing((self.folder / BEST).with_suffix(".json")) as draft:
            shutil.copyfile((self.folder / best).with_suffix(".json"), draft)
        (self.folder / PUBLISHED).write_text(best, encoding="utf-8")

    def _published(self) -> str | None:
        path = self.folder / PUBLISHED
        return path.read_text(encoding="utf-8") if path.exists() else None

    def _delete_all_but(self, last: str, best: str | None) -> None:
        names = {last} if best is None else {last, best, str(Path(best).with_suffix(".json"))}
        drafts = self.folder.glob(".*.tmp")  # of a process that was killed while it wrote
        for path in [*self.folder.glob("step-*"), *self.folder.glob("best-*"), *drafts]:
            if path.name not in names:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def seed_everything(seed: int) -> None:
    """Seed torch's, Python's and NumPy's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
