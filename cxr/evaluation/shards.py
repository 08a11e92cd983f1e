"""Logits of an evaluation in shards: what a shard writes of its X-rays, and what the run takes over."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from cxr.data import ImageCache
from cxr.evaluation.predict import predict
from cxr.files import replacing
from cxr.models.classifier import XrayClassifier
from cxr.runs.folder import RunFolder
from cxr.runs.shards.folders import ShardFolder, finished_shards

BATCH = 32
"""X-rays of a batch; shards are cut between batches, so that each is the one that a run in one piece has."""
LOGITS = "logits.npz"

Key = tuple[str, int, int]
"""An image's id, and 64 bits each for its file and its picture."""


def write_logits(folder: ShardFolder, weights: str, cache: ImageCache, ids: Sequence[str], logits: np.ndarray) -> None:
    """Write the logits (N, K) of a shard with what they are of: the weights' checksum, ids, files and pictures."""
    files, pictures = _digests(cache, ids)
    with replacing(folder.path / LOGITS) as draft, draft.open("wb") as file:
        np.savez(file, weights=weights, ids=np.array(ids, dtype=str), files=files, pictures=pictures, logits=logits)


def logits_of(
    folder: RunFolder,
    model: XrayClassifier,
    weights: str,
    cache: ImageCache,
    ids: Sequence[str],
    device: torch.device,
    progress: Callable[[int, int], None],
) -> np.ndarray:
    """Return the logits (N, K), float32, of images: those that the run's shards have predicted, and the rest computed.

    What a shard wrote counts where weights, file and picture are the same now. Arguments as for
    :func:`cxr.evaluation.predict.predict`; ``weights`` is the checksum of the network's file.
    """
    done = _predicted(folder, weights)
    if not done:
        return predict(model, cache, ids, batch=BATCH, device=device, progress=progress)
    keys = _keys(cache, ids)
    logits = np.zeros((len(ids), len(model.classes)), np.float32)
    rest = []
    for row, key in enumerate(keys):
        if key in done:
            logits[row] = done[key]
        else:
            rest.append(row)
    if rest:
        logits[rest] = predict(model, cache, [ids[row] for row in rest], batch=BATCH, device=device, progress=progress)
    return logits


def _predicted(folder: RunFolder, weights: str) -> dict[Key, np.ndarray]:
    """Return the logits (K,) that a run's finished shards wrote with these weights."""
    logits: dict[Key, np.ndarray] = {}
    for shard in finished_shards(folder):
        path = shard.path / LOGITS
        if not path.exists():  # a slice of which no X-ray could be read
            continue
        with np.load(path, allow_pickle=False) as part:
            if str(part["weights"]) != weights:
                continue
            names = (part["ids"].tolist(), part["files"].tolist(), part["pictures"].tolist())
            logits |= dict(zip(zip(*names, strict=True), part["logits"], strict=True))
    return logits


def _keys(cache: ImageCache, ids: Sequence[str]) -> list[Key]:
    files, pictures = _digests(cache, ids)
    return list(zip(ids, files.tolist(), pictures.tolist(), strict=True))


def _digests(cache: ImageCache, ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    return cache.digests(np.array([cache.index(image_id) for image_id in ids], dtype=np.int64))
