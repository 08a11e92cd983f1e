"""How busy a GPU is, and how much of its memory this process takes."""

from __future__ import annotations

import torch

_MB = 1e6


class GpuUse:
    """Asks about ``device`` again and again; of a processor there is nothing to say."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._is_gpu = self._tells_share = device.type == "cuda"

    def memory_mb(self) -> int | None:
        """Return the most that this process's tensors took since the last call, in MB; None without a GPU in use."""
        if not self._is_gpu or not torch.cuda.is_initialized():
            return None
        most = torch.cuda.max_memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        return round(most / _MB)

    def share(self) -> int | None:
        """Return how much of the time the GPU is busy, in per cent; None where NVIDIA's library does not tell."""
        if not self._tells_share:
            return None
        try:
            return int(torch.cuda.utilization(self._device))
        except Exception:  # the library is absent or has an error of its own: it will not come
            self._tells_share = False
            return None
