"""What a training reports while it runs: rows of metrics, progress, throughput."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from cxr.errors import RunError
from cxr.runs.folder import RunFolder
from cxr.runs.metrics.metrics_file import MetricsRow
from cxr.training.watching.worst import WorstOfValidation, write_worst

if TYPE_CHECKING:
    import torch

FLUSH_S = 0.5
ADVICE = "choose a smaller optimiser.lr, clip_gradients, or precision 32-true"
_READING, _ENDING = 0.03, 0.03  # shares of the progress bar before the first and after the last step

Progress = Callable[[float, str], None]


class Report:
    """Collects rows and writes them twice a second, so that neither the disk nor the GPU waits for each step.

    Parameters
    ----------
    folder
        Takes the rows; None for a process that helps and reports nothing.
    total_steps
        Of all stages, for the progress.
    """

    def __init__(self, folder: RunFolder | None, progress: Progress | None, total_steps: int = 1) -> None:
        self.folder = folder
        self._progress = progress or (lambda fraction, message: None)
        self.total_steps = total_steps
        self._rows: list[MetricsRow] = []
        self._written = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque(maxlen=20)

    def reading(self, fraction: float, message: str) -> None:
        """Report how far the images are read."""
        self._progress(_READING * fraction, message)

    def ending(self, fraction: float, message: str) -> None:
        """Report how far the evaluation at the end is."""
        self._progress(1 - _ENDING * (1 - fraction), message)

    def pause(self) -> None:
        """Forget the time since the last step: what follows is not training."""
        self._recent.clear()

    def step(self, row: MetricsRow, loss: torch.Tensor, images: int, message: str) -> None:
        """Add the row of a step; ``loss`` stays on its device until the rows are written."""
        now = time.monotonic()
        speed = self._speed(now, images)
        self._rows.append({"kind": "step", **row, "loss": loss, "images_per_s": speed, "time": time.time()})
        share = row["step"] / self.total_steps
        throughput = f", {speed:.0f} images/s" if speed else ""
        self._progress(_READING + (1 - _READING - _ENDING) * share, message + throughput)
        if now - self._written >= FLUSH_S:
            self.flush()

    def epoch(self, row: MetricsRow, kind: str = "epoch") -> None:
        """Add a row about an epoch: ``epoch`` its metrics, ``start`` those before the first, ``neurons`` the head's."""
        self._rows.append({"kind": kind, **row, "time": time.time()})
        self.flush()

    def worst(self, worst: WorstOfValidation) -> None:
        """Keep the X-rays that the last validation got most wrong, in the place of those of the one before."""
        if self.folder is not None:
            write_worst(self.folder, worst)

    def flush(self) -> None:
        """Write all rows.

        Raises
        ------
        RunError
            If a loss is not finite; the rows are written before.
        """
        steps = [row for row in self._rows if row["kind"] == "step"]
        if steps:
            import torch

            losses = torch.stack([row["loss"] for row in steps]).float().tolist()
            for row, value in zip(steps, losses, strict=True):
                row["loss"] = value
        if self.folder is not None:
            self.folder.append_metrics(self._rows)
        self._rows, self._written = [], time.monotonic()
        for row in steps:
            if not math.isfinite(row["loss"]):
                raise RunError(
                    f"the loss became {row['loss']} at step {row['step']} (learning rate {row['lr']:.3g}): {ADVICE}"
                )

    def _speed(self, now: float, images: int) -> float | None:
        """Return images/s over the last steps; None at the first step after a pause."""
        self._recent.append((now, images))
        elapsed = now - self._recent[0][0]
        return round(sum(n for _, n in list(self._recent)[1:]) / elapsed, 2) if elapsed > 0 else None
