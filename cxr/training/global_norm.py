"""Batch norm over the batch of all processes, on processors too.

torch's own synchronised batch norm works on GPUs alone. Without it two processes would normalise by the statistics of
half a batch each, and their training would not be that of one process.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import nn

from cxr.networks import is_gpu


def over_all_ranks(network: nn.Module, device: torch.device) -> nn.Module:
    """Return the network with batch norms that see all ranks; parameters, buffers and their names stay."""
    if is_gpu(device):
        return convert_sync_batchnorm(network)
    for module in network.modules():
        if type(module) in _KINDS:
            module.__class__ = _KINDS[type(module)]
    return network


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """As its base class, over the batches of all ranks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, C, H, W) normalised over N, H, W and ranks in training."""
        return _normalise(self, x) if self.training else super().forward(x)


class GlobalBatchNormAct2d(BatchNormAct2d):
    """As its base class, over the batches of all ranks."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (N, C, H, W), normalised over N, H, W and ranks in training, after the activation."""
        return self.act(self.drop(_normalise(self, x))) if self.training else super().forward(x)


_KINDS: dict[type, Any] = {nn.BatchNorm2d: GlobalBatchNorm2d, BatchNormAct2d: GlobalBatchNormAct2d}


class _Sum(torch.autograd.Function):
    """The sum over all ranks; so is the gradient, since each rank's loss depends on every rank's input."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


def _normalise(norm: Any, x: torch.Tensor) -> torch.Tensor:
    # Mean and variance in two passes: E[x^2] - E[x]^2 would cancel.
    wide = x.float()
    count = torch.tensor([x.numel() / x.shape[1]], dtype=torch.float32, device=x.device)
    dist.all_reduce(count)
    mean = _Sum.apply(wide.sum(dim=(0, 2, 3))) / count
    centred = wide - mean[None, :, None, None]
    variance = _Sum.apply((centred * centred).sum(dim=(0, 2, 3))) / count
    _note(norm, mean.detach(), variance.detach() * (count / (count - 1).clamp(min=1)))
    scale = torch.rsqrt(variance + norm.eps)
    if norm.affine:
        scale = scale * norm.weight
    out = centred * scale[None, :, None, None]
    return (out + norm.bias[None, :, None, None] if norm.affine else out).to(x.dtype)


def _note(norm: Any, mean: torch.Tensor, variance: torch.Tensor) -> None:
    """Move the running statistics as torch does."""
    if not norm.track_running_stats:
        return
    norm.num_batches_tracked.add_(1)
    momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, momentum)
    norm.running_var.lerp_(variance, momentum)
