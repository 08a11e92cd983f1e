"""Layer-wise relevance propagation through a DenseNet: one forward and one backward sweep, no hooks, no autograd.

The network of the definition has a copy of every producing convolution for each batch norm that reads it; here
consumers share one (:mod:`cxr.explain.lrp.feature_maps`). Weights are folded in float64 and cast once
(:mod:`cxr.explain.lrp.densenet.folded_weights`); a sweep reads them and nothing else, so any number of threads may
share them. 1 x 1 convolutions go through ``conv2d`` too: its kernels are up to twice as fast as a matrix product on
common CPUs.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from cxr.explain.lrp.collectors import Collector
from cxr.explain.lrp.convolution import as_rows, convolved
from cxr.explain.lrp.densenet.densenet_weights import is_densenet, read_densenet
from cxr.explain.lrp.densenet.folded_weights import BlockKernels, Kernels
from cxr.explain.lrp.densenet.stem import StemTrace, stem_backward, stem_forward
from cxr.explain.lrp.division import inverse
from cxr.explain.lrp.feature_maps import Consumer, Parts, Released, Unit
from cxr.explain.lrp.ledger import Ledger
from cxr.explain.lrp.propagator import LayerRules, Propagated, Propagator, as_numpy
from cxr.explain.lrp.rules import Rule
from cxr.networks import is_gpu

TARGETS_AT_ONCE = 8
"""Targets of one batch that go down in one sweep; the forward sweep is shared by all."""


class DenseNetPropagator(Propagator[Kernels]):
    """Relevance through timm's DenseNets, whose batch norms are folded into the convolutions that they read."""

    precisions = ("bfloat16",)

    def supports(self, network: nn.Module) -> bool:
        """Return whether ``network`` is a timm DenseNet."""
        return is_densenet(network)

    def key(self, rules: LayerRules, dtype: torch.dtype) -> str:
        """Rules of one layout share folded weights."""
        return f"{rules.convolution.layout} {dtype}"

    def prepare(self, frozen: nn.Module, rules: LayerRules, dtype: torch.dtype) -> Kernels:
        """Fold, stack and cast the weights."""
        return Kernels(read_densenet(frozen), rules.convolution.layout, dtype)

    def propagate(
        self, prepared: Kernels, inputs: torch.Tensor, columns: np.ndarray, rules: LayerRules, dtype: torch.dtype
    ) -> Propagated:
        """Propagate by one forward sweep and one backward sweep for every eight targets."""
        device = inputs.device
        with torch.inference_mode(), torch.autocast(device.type, enabled=False), _full_float32(device):
            trace = forward(prepared, rules.convolution, inputs.to(dtype))
            sweeps = [
                backward(prepared, rules, trace, torch.as_tensor(batch_columns, device=device))
                for batch_columns in np.split(
                    columns, range(TARGETS_AT_ONCE, columns.shape[1], TARGETS_AT_ONCE), axis=1
                )
            ]
        return Propagated(
            relevance=np.concatenate([as_numpy(values) for values, _ in sweeps], axis=1),
            logits=as_numpy(trace.logits),
            layers=tuple(sweeps[0][1].layers),
            absorbed=np.concatenate([_stacked(ledger.absorbed) for _, ledger in sweeps], axis=1),
            lost=np.concatenate([_stacked(ledger.lost) for _, ledger in sweeps], axis=1),
        )


def _full_float32(device: torch.device) -> AbstractContextManager[object]:
    # TensorFloat-32 has 10 bits of mantissa: quotients of relevance would be off in the third digit.
    return torch.backends.cudnn.flags(allow_tf32=False) if is_gpu(device) else torch.no_grad()


def _stacked(entries: Iterable[torch.Tensor]) -> np.ndarray:
    return torch.stack(list(entries), dim=-1).double().cpu().numpy()


@dataclass
class BlockTrace:
    """What a block's forward sweep leaves behind: buffer, height, width, units and parts of its feature maps."""

    values: torch.Tensor
    plus: torch.Tensor | None
    minus: torch.Tensor | None
    height: int
    width: int
    source: Parts
    units: list[Unit] = field(default_factory=list)
    parts: list[Parts] = field(default_factory=list)


@dataclass
class Trace:
    """What the forward sweep leaves behind; ``logits`` (n, classes)."""

    stem: StemTrace
    blocks: list[BlockTrace]
    logits: torch.Tensor


def forward(kernels: Kernels, rule: Rule, inputs: torch.Tensor) -> Trace:
    """Run the forward sweep on the network's input (n, c, h, w), of the kernels' dtype."""
    stem, pooled = stem_forward(kernels, rule, inputs)
    trace = Trace(stem, [], pooled)
    height, width = pooled.shape[2:]
    value = as_rows(pooled, 1)
    source = Parts(value, value)
    for block in kernels.blocks:
        block_trace = _block_forward(rule, block, source, height, width)
        trace.blocks.append(block_trace)
        activation = _activation(block_trace.values, block.out)
        if block.transition is None:
            trace.logits = activation[:, 0].mean(dim=1) @ kernels.classifier.T + kernels.bias
        else:
            n, _, _, c = activation.shape
            picture = activation.view(n, height, width, c).permute(0, 3, 1, 2)
            source = rule.transition_forward(block.transition, picture)
            height, width = height // 2, width // 2
    return trace


def _activation(values: torch.Tensor, consumer: Consumer) -> torch.Tensor:
    """Return relu(S F + t) of the channels a consumer reads."""
    return torch.addcmul(consumer.shift, values[..., : consumer.channels], consumer.scale).relu_()


def _block_forward(rule: Rule, block: BlockKernels, source: Parts, height: int, width: int) -> BlockTrace:
    n, _, p, _ = source.value.shape
    values = source.value.new_empty((n, 1, p, block.channels))
    values[..., block.source] = source.value
    plus, minus = rule.layout.block_sums(block.signed)
    block_trace = BlockTrace(
        values,
        torch.zeros_like(values) if plus else None,
        torch.zeros_like(values) if minus else None,
        height,
        width,
        source,
    )
    _page_sums(block_trace, block.source, source)
    for layer in block.layers:
        activation = _activation(values, layer.consumer)
        z = convolved(activation, layer.conv1.forward, height)
        unit = rule.unit(z, layer.bias1)
        z = convolved(unit.released_output(), layer.conv2.forward, height)
        parts = layer.conv2.parts(z)
        values[..., layer.channels] = parts.value
        parts.value = values[..., layer.channels]
        _page_sums(block_trace, layer.channels, parts)
        block_trace.units.append(unit)
        block_trace.parts.append(parts)
    return block_trace


def _page_sums(block_trace: BlockTrace, channels: slice, parts: Parts) -> None:
    if block_trace.plus is not None and parts.plus is not None:
        block_trace.plus[..., channels] = parts.plus
    if block_trace.minus is not None and parts.minus is not None:
        page = block_trace.minus[..., channels]
        if parts.minus_of is None:
            page.copy_(parts.minus)
        else:
            page[..., parts.minus_of] = parts.minus


def backward(kernels: Kernels, rules: LayerRules, trace: Trace, columns: torch.Tensor) -> tuple[torch.Tensor, Ledger]:
    """Propagate the logits in ``columns`` (n, t) down to the input.

    Returns relevance (n, t, c, h, w) and the ledger.
    """
    ledger = Ledger()
    above = _classifier_backward(kernels, trace, columns, rules.classifier.epsilon, ledger)
    for i in range(len(kernels.blocks) - 1, 0, -1):
        collector = _block_backward(kernels, rules.convolution, i, trace, above, ledger)
        above = _transition_backward(kernels, rules.convolution, i, trace, collector, ledger)
    relevance = _pooled_backward(kernels, rules, trace, above, ledger)
    return stem_backward(kernels, trace.stem, relevance, rules, ledger), ledger


def _classifier_backward(
    kernels: Kernels, trace: Trace, columns: torch.Tensor, epsilon: float, ledger: Ledger
) -> torch.Tensor:
    """Epsilon rule, then global average pooling in proportion: both are a factor on the activation."""
    logits = trace.logits.gather(1, columns)
    stabilised = logits + epsilon * logits.sign()
    share = logits * inverse(stabilised)
    bias = kernels.bias[columns] + epsilon * logits.sign()
    ledger.book("classifier", logits.double(), absorbed=(share * bias).double())
    pixels = trace.blocks[-1].values.shape[2]
    return (share[..., None] * kernels.classifier[columns] / pixels)[:, :, None, :]


def _block_backward(
    kernels: Kernels,
    rule: Rule,
    index: int,
    trace: Trace,
    above: torch.Tensor,
    ledger: Ledger,
    passed: torch.Tensor | None = None,
) -> Collector:
    """Carry relevance from a block's reader through its layers, last first; return what its source received.

    ``passed`` (n, t, p, c), if given, gathers what consumers send to the source as it is, whatever their scales.
    """
    block, block_trace = kernels.blocks[index], trace.blocks[index]
    n, t = above.shape[:2]
    parts = Parts(block_trace.values, block_trace.plus, block_trace.minus)
    collector = rule.collector((n, t, *block_trace.values.shape[2:]), parts, block.signed)

    def collect(above: torch.Tensor, consumer: Consumer) -> None:
        activation = _activation(block_trace.values, consumer)
        if passed is not None:
            passed.addcmul_(above[..., block.source], activation[..., block.source])
        collector.add(above, activation, consumer)

    collect(above, block.out)
    for layer, unit, made in zip(
        reversed(block.layers), reversed(block_trace.units), reversed(block_trace.parts), strict=True
    ):
        released = collector.release(layer.channels, made)
        _book(ledger, f"{layer.name}.conv2", released)
        below = convolved(released.rows(), layer.conv2.backward, block_trace.height)
        message, absorbed, lost = unit.message(below)
        ledger.book(f"{layer.name}.conv1", ledger.absorbed[0], absorbed, lost)
        collect(convolved(message, layer.conv1.backward, block_trace.height), layer.consumer)
    return collector


def _book(ledger: Ledger, name: str, released: Released) -> None:
    ledger.book(name, ledger.absorbed[0], released.absorbed, released.lost)


def _transition_backward(
    kernels: Kernels, rule: Rule, index: int, trace: Trace, collector: Collector, ledger: Ledger
) -> torch.Tensor:
    """Through the convolution and the pool between block ``index - 1`` and ``index``."""
    before, lower, upper = kernels.blocks[index - 1], trace.blocks[index - 1], trace.blocks[index]
    assert before.transition is not None
    pooled, size = (upper.height, upper.width), (lower.height, lower.width)
    below, released = rule.transition_backward(
        before.transition, collector, kernels.blocks[index].source, upper.source, pooled, size
    )
    _book(ledger, before.out_name, released)
    return below


def _pooled_backward(
    kernels: Kernels, rules: LayerRules, trace: Trace, above: torch.Tensor, ledger: Ledger
) -> torch.Tensor:
    """Through the first block and the batch norms that read the pooled stem directly; relevance (n, t, p, c)."""
    block, value = kernels.blocks[0], trace.blocks[0].source.value
    if rules.pass_stem_norms:
        passed = value.new_zeros((*above.shape[:2], *value.shape[2:]))
        _block_backward(kernels, rules.convolution, 0, trace, above, ledger, passed)
        return passed
    collector = _block_backward(kernels, rules.convolution, 0, trace, above, ledger)
    relevance, released = rules.convolution.through_stem_norms(collector, block.source, value)
    _book(ledger, f"{block.name} (batch norms of the pooled stem)", released)
    return relevance
