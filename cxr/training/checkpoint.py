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
from typing import Any

import numpy as np
import torch

from cxr.errors import CxrError, RunError
from cxr.files import replacing, sync_folder
from cxr.models import XrayClassifier, load_model, save_model
from cxr.runs.folder import write_json

POINTER, BEST, PUBLISHED = "last.json", "best.safetensors", ".published"
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
    seconds: float = 0.0
    kept_neurons: dict[str, dict[str, str]] | None = None


@dataclass
class Saved:
    """A checkpoint as it was read."""

    place: Place
    model: XrayClassifier
    optimiser: dict[str, Any]
    random_state: dict[str, Any]
    metrics_offset: int
    manifest_hash: str


class Checkpoints:
    """The folder of a run's checkpoints; one process writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self,
        model: XrayClassifier,
        optimiser: torch.optim.Optimizer,
        place: Place,
        metrics_offset: int,
        manifest_hash: str,
    ) -> None:
        """Save the whole state and make it the one that a resumed run starts from."""
        name = f"step-{place.step:08d}-{secrets.token_hex(3)}"
        target = self.folder / name
        target.mkdir(parents=True)
        save_model(model, target / WEIGHTS)
        state = {
            "place": vars(place),
            "optimiser": optimiser.state_dict(),
            "random_state": random_state(),
            "metrics_offset": metrics_offset,
            "manifest_hash": manifest_hash,
        }
        with replacing(target / STATE) as draft:
            torch.save(state, draft)
        self._point_to(name, place.best_file)

    def save_best(self, model: XrayClassifier, place: Place) -> str:
        """Write the weights that are the best so far and return their file's name; :meth:`save` then points to it."""
        name = f"best-{place.stage}-{place.step:08d}-{secrets.token_hex(3)}.safetensors"
        save_model(model, self.folder / name)
        return name

    def load(self) -> Saved | None:
        """Return the last checkpoint, None if there is none yet.

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
            place = Place(**state.pop("place"))
        except (CxrError, OSError, RuntimeError, TypeError, KeyError, EOFError) as error:
            raise RunError(f"the checkpoint {folder} is damaged ({error}): start the training anew") from None
        self._publish_best(place.best_file)
        return Saved(place=place, model=model, **state)

    def load_best(self, place: Place) -> XrayClassifier:
        """Return the best weights of the present stage."""
        if place.best_file is None:
            raise RunError("there is no best checkpoint: no epoch has ended yet")
        return load_model(self.folder / place.best_file)

    def _pointer(self) -> dict[str, Any] | None:
        try:
            return json.loads((self.folder / POINTER).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RunError(f"{self.folder / POINTER} is damaged ({error}): start the training anew") from None

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
        kept = {last} if best is None else {last, best, str(Path(best).with_suffix(".json"))}
        drafts = self.folder.glob(".*.tmp")  # of a process that was killed while it wrote
        for path in [*self.folder.glob("step-*"), *self.folder.glob("best-*"), *drafts]:
            if path.name not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def random_state() -> dict[str, Any]:
    """Return the state of torch's, Python's and NumPy's global generators, as tensors and plain values."""
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(np.asarray(keys, np.int64)), int(position), int(has_gauss), float(gauss)),
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Set what :func:`random_state` returned; a GPU's generators only where there are as many GPUs."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))


def seed_everything(seed: int) -> None:
    """Seed torch's, Python's and NumPy's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
