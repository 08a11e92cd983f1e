"""What a network answers when regions of one image are taken out, in an order given."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from cxr.errors import ExplainError, ImageError, unknown, wrong_use
from cxr.evaluation.metrics import probabilities
from cxr.explain.explainer import Explainable
from cxr.explain.frozen import prepared
from cxr.explain.quality.imputation import fill_named
from cxr.explain.quality.perturbation import Curve, Removal, removal_shares
from cxr.explain.render import relevance_2d
from cxr.models.card import SINGLE_LABEL
from cxr.models.image_batch import as_batch

Progress = Callable[[float, str], None]


def one_image(image: Any) -> Any:
    """Return one image as a batch of one."""
    try:
        return as_batch([image])
    except ImageError as error:
        raise ExplainError(str(error)) from None


class Scorer:
    """One image at a network's input and a private, still copy of the network that says what it thinks of changes."""

    def __init__(self, model: Explainable, image: Any, batch: int) -> None:
        self.classes = tuple(model.classes)
        self.task = str(getattr(getattr(model, "card", None), "task", SINGLE_LABEL))
        self.batch = max(1, batch)
        self.network = prepared(model.network, _in_fast_layout, "forward in the fast layout")
        parameter = next(self.network.parameters(), torch.zeros(0))
        self.dtype = parameter.dtype
        working = torch.float64 if self.dtype == torch.float64 else torch.float32
        with torch.no_grad():
            self.input = model.preprocess(one_image(image))[0].to(parameter.device, working)  # (C, H, W)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input."""
        return self.input.shape[-2], self.input.shape[-1]

    def column(self, target: str) -> int:
        """Return the place of a class among the logits; raises ExplainError for an unknown one."""
        if target not in self.classes:
            raise wrong_use(ExplainError(unknown("target", target, self.classes)))
        return self.classes.index(target)

    def highest(self, target: str, n: int) -> tuple[str, ...]:
        """Return the n classes of the highest logits on the whole image, without the target."""
        self.column(target)
        with torch.inference_mode():
            logits = self._forward(self.input[None])[0]
        return tuple(name for name in (self.classes[k] for k in np.argsort(-logits)) if name != target)[:n]

    def logits(self, holes: np.ndarray, fill: str, seed: int, progress: Progress) -> np.ndarray:
        """Return logits (N, K), float64, of the image with holes (N, H, W) filled."""
        apply, parts = fill_named(fill).apply, []
        with torch.inference_mode():
            for start in range(0, len(holes), self.batch):
                batch = torch.from_numpy(holes[start : start + self.batch]).to(self.input.device)
                parts.append(self._forward(apply(self.input, batch, seed)))
                progress(
                    min(1.0, (start + self.batch) / len(holes)), f"{start + len(batch):,} of {len(holes):,} pictures"
                )
        return np.concatenate(parts)

    def _forward(self, inputs: torch.Tensor) -> np.ndarray:
        with torch.autocast(self.input.device.type, enabled=False):
            return self.network(inputs.to(self.dtype)).double().cpu().numpy()

    def curve(self, share: np.ndarray, logits: np.ndarray, column: int) -> Curve:
        """Return the curve of one class of logits (S, K)."""
        return Curve(share, logits[:, column], probabilities(logits, self.task)[:, column])

    def flat(self, relevance: np.ndarray) -> np.ndarray:
        """Return relevance (H, W) of this input, checked."""
        flat = relevance_2d(relevance)
        if flat.shape != self.size:
            raise ExplainError(f"relevance of shape {flat.shape} does not fit the network's input {self.size}")
        if not np.isfinite(flat).all():
            raise ExplainError("relevance holds values that are not finite: their order is not defined")
        return flat


def _in_fast_layout(frozen: nn.Module) -> nn.Module:
    """Return a copy in the memory layout in which convolutions are fastest: on processors, by half."""
    twin = copy.deepcopy(frozen)
    on_processor = all(p.device.type == "cpu" for p in twin.parameters())
    return twin.to(memory_format=torch.channels_last) if on_processor else twin  # type: ignore[call-overload]


@dataclass(frozen=True)
class Regions:
    """An input cut into squares, those at the right and lower edge may be cut off; ``labels`` is (H, W)."""

    labels: np.ndarray
    patch: int
    sizes: np.ndarray = field(repr=False)

    @classmethod
    def of(cls, size: tuple[int, int], removal: Removal) -> Regions:
        """Cut an input of this height and width."""
        patch = removal.patch_of(min(size))
        rows, columns = (np.arange(side) // patch for side in size)
        labels = rows[:, None] * (columns[-1] + 1) + columns
        return cls(labels, patch, np.bincount(labels.ravel()))

    @property
    def n(self) -> int:
        """How many regions there are."""
        return len(self.sizes)

    def means(self, values: np.ndarray) -> np.ndarray:
        """Return the mean of values (H, W) in each region."""
        return np.bincount(self.labels.ravel(), weights=values.ravel()) / self.sizes

    def holes(self, order: np.ndarray, shares: np.ndarray) -> np.ndarray:
        """Return (S, H, W) bool: the first regions of ``order`` that cover about each share of the pixels."""
        covered = np.cumsum(self.sizes[order]) / self.labels.size
        counts = np.array([1 + np.abs(covered - share).argmin() for share in shares], dtype=int)
        place = np.empty(self.n, dtype=int)
        place[order] = np.arange(self.n)
        return place[self.labels] < counts[:, None, None]


def follow(
    scorer: Scorer, regions: Regions, orders: Sequence[np.ndarray], removal: Removal, progress: Progress
) -> np.ndarray:
    """Return logits (orders, S, K) along orders of regions. All orders share their two ends, which are passed once."""
    shares = removal_shares(removal.steps)
    between = [regions.holes(order, shares[1:-1]) for order in orders]
    ends = np.stack([np.full(scorer.size, gone) for gone in (False, True)])
    logits = scorer.logits(np.concatenate([ends, *between]), removal.fill, removal.seed, progress)
    first, last, rest = logits[0], logits[1], logits[2:].reshape(len(orders), len(shares) - 2, -1)
    return np.stack([np.concatenate([first[None], values, last[None]]) for values in rest])


def descending(values: np.ndarray, seed: int) -> np.ndarray:
    """Return the order of falling values; equal ones in random order."""
    shuffled = np.random.default_rng((seed, 1)).permutation(len(values))
    return shuffled[np.argsort(-values[shuffled], kind="stable")]


class ProgressParts:
    """Shares one progress among parts of known lengths, each with a progress of its own from 0 to 1."""

    def __init__(self, progress: Progress, lengths: Sequence[float]) -> None:
        self._ends = iter(np.cumsum(lengths) / sum(lengths))
        self._progress, self._done = progress, 0.0

    def next(self, message: str) -> Progress:
        """Return the progress of the next part."""
        start, self._done = self._done, float(next(self._ends))
        return partial(self._tell, start, self._done - start, message)

    def _tell(self, start: float, length: float, message: str, fraction: float, detail: str) -> None:
        self._progress(start + length * fraction, f"{message}: {detail}")


def silent(fraction: float, message: str) -> None:
    """Take a progress and do nothing with it."""
