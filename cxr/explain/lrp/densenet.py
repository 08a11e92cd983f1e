"""Layer-wise relevance propagation through a DenseNet: one forward and one backward sweep, no hooks, no autograd.

The network of the definition has a copy of every producing convolution for each batch norm that reads it; here
consumers share one (:mod:`cxr.explain.lrp.rules`). Weights are folded in float64 and cast once
(:mod:`cxr.explain.lrp.folded_weights`); a sweep reads them and nothing else, so any number of threads may share them.

Layout: a feature map is (images, targets or 1, pixels, channels), row-major, so a dense block is one buffer, "its
first c channels" a view, and every convolution sees a channels-last picture. 1 x 1 convolutions go through ``conv2d``
too: its kernels are up to twice as fast as a matrix product on common CPUs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from cxr.explain.lrp.folded_weights import BlockKernels, Convolution, Kernels
from cxr.explain.lrp.ledger import Ledger
from cxr.explain.lrp.rules import TINY, Collector, Consumer, Parts, Released, Stock, Unit, inverse
from cxr.explain.lrp.stem import FirstLayer, StemTrace, as_rows, convolved, stem_backward, stem_forward


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


def forward(kernels: Kernels, inputs: torch.Tensor) -> Trace:
    """Run the forward sweep on the network's input (n, c, h, w), of the kernels' dtype."""
    stem, pooled = stem_forward(kernels, inputs)
    trace = Trace(stem, [], pooled)
    height, width = pooled.shape[2:]
    value = as_rows(pooled, 1)
    source = Parts(value, value)
    for block in kernels.blocks:
        kept = _block_forward(kernels, block, source, height, width)
        trace.blocks.append(kept)
        activation = _activation(kept.values, block.out)
        if block.transition is None:
            trace.logits = activation[:, 0].mean(dim=1) @ kernels.classifier.T + kernels.bias
        else:
            source, height, width = _transition_forward(kernels, block.transition, activation, height, width)
    return trace


def _activation(values: torch.Tensor, consumer: Consumer) -> torch.Tensor:
    """Return relu(S F + t) of the channels a consumer reads."""
    return torch.addcmul(consumer.shift, values[..., : consumer.channels], consumer.scale).relu_()


def _block_forward(kernels: Kernels, block: BlockKernels, source: Parts, height: int, width: int) -> BlockTrace:
    n, _, p, _ = source.value.shape
    rule = kernels.rule
    values = source.value.new_empty((n, 1, p, block.channels))
    values[..., block.source] = source.value
    # Rules that keep biases divide consumer by consumer, and need all sums of the block in one buffer.
    paged = rule.keep and rule.rows != "plain"
    kept = BlockTrace(
        values,
        torch.zeros_like(values) if paged else None,
        torch.zeros_like(values) if paged and (block.signed or rule.rows == "both") else None,
        height,
        width,
        source,
    )
    _page_sums(kept, block.source, source)
    for layer in block.layers:
        activation = _activation(values, layer.consumer)
        z = convolved(activation, layer.conv1.forward, height)
        unit = rule.unit(z, layer.bias1)
        z = convolved(unit.released_output(), layer.conv2.forward, height)
        parts = _parts(z, layer.conv2)
        values[..., layer.channels] = parts.value
        parts.value = values[..., layer.channels]
        _page_sums(kept, layer.channels, parts)
        kept.units.append(unit)
        kept.parts.append(parts)
    return kept


def _parts(z: torch.Tensor, conv: Convolution) -> Parts:
    o = conv.outputs
    plus = z[..., o : 2 * o] if z.shape[-1] > o else None
    minus = z[..., 2 * o :] if z.shape[-1] > 2 * o else None
    return Parts(z[..., :o], plus, minus, conv.minus_of)


def _page_sums(kept: BlockTrace, channels: slice, parts: Parts) -> None:
    if kept.plus is not None and parts.plus is not None:
        kept.plus[..., channels] = parts.plus
    if kept.minus is not None and parts.minus is not None:
        page = kept.minus[..., channels]
        if parts.minus_of is None:
            page.copy_(parts.minus)
        else:
            page[..., parts.minus_of] = parts.minus


def _transition_forward(
    kernels: Kernels, conv: Convolution, activation: torch.Tensor, height: int, width: int
) -> tuple[Parts, int, int]:
    """Average pooling commutes with a 1 x 1 convolution: the pool goes first, a quarter of the work."""
    n, _, _, c = activation.shape
    picture = activation.view(n, height, width, c).permute(0, 3, 1, 2)
    if isinstance(kernels.rule, Stock):  # the pool shares in proportion to signed values: both sizes are needed
        z = conv.forward(picture)
        value = F.avg_pool2d(z[:, : conv.outputs], 2)
        return Parts(as_rows(value, 1), as_rows(z, 1)), height // 2, width // 2
    pooled = F.avg_pool2d(picture, 2)
    return _parts(as_rows(conv.forward(pooled), 1), conv), height // 2, width // 2


def backward(
    kernels: Kernels, trace: Trace, columns: torch.Tensor, first: FirstLayer, stem_norm: str, epsilon: float
) -> tuple[torch.Tensor, Ledger]:
    """Propagate the logits in ``columns`` (n, t) down to the input.

    Returns relevance (n, t, c, h, w) and the ledger.
    """
    ledger = Ledger()
    above = _classifier_backward(kernels, trace, columns, epsilon, ledger)
    for i in range(len(kernels.blocks) - 1, 0, -1):
        collector = _block_backward(kernels, i, trace, above, ledger)
        above = _transition_backward(kernels, i, trace, collector, ledger)
    relevance = _pooled_backward(kernels, trace, above, stem_norm, ledger)
    return stem_backward(kernels, trace.stem, relevance, first, ledger), ledger


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
    index: int,
    trace: Trace,
    above: torch.Tensor,
    ledger: Ledger,
    passed: torch.Tensor | None = None,
) -> Collector:
    """Carry relevance from a block's reader through its layers, last first; return what its source received.

    ``passed`` (n, t, p, c), if given, gathers what consumers send to the source as it is, whatever their scales.
    """
    block, kept = kernels.blocks[index], trace.blocks[index]
    n, t = above.shape[:2]
    parts = Parts(kept.values, kept.plus, kept.minus)
    collector = kernels.rule.collector((n, t, *kept.values.shape[2:]), parts, block.signed)

    def collect(above: torch.Tensor, consumer: Consumer) -> None:
        activation = _activation(kept.values, consumer)
        if passed is not None:
            passed.addcmul_(above[..., block.source], activation[..., block.source])
        collector.add(above, activation, consumer)

    collect(above, block.out)
    for layer, unit, made in zip(reversed(block.layers), reversed(kept.units), reversed(kept.parts), strict=True):
        released = collector.release(layer.channels, made)
        _book(ledger, f"{layer.name}.conv2", released)
        below = convolved(released.rows(), layer.conv2.backward, kept.height)
        message, absorbed, lost = unit.message(below)
        ledger.book(f"{layer.name}.conv1", ledger.absorbed[0], absorbed, lost)
        collect(convolved(message, layer.conv1.backward, kept.height), layer.consumer)
    return collector


def _book(ledger: Ledger, name: str, released: Released) -> None:
    ledger.book(name, ledger.absorbed[0], released.absorbed, released.lost)


def _transition_backward(
    kernels: Kernels, index: int, trace: Trace, collector: Collector, ledger: Ledger
) -> torch.Tensor:
    """Through the convolution and the pool between block ``index - 1`` and ``index``."""
    before, kept = kernels.blocks[index - 1], trace.blocks[index]
    conv = before.transition
    assert conv is not None
    size = (trace.blocks[index - 1].height, trace.blocks[index - 1].width)
    if isinstance(kernels.rule, Stock):
        return _stock_transition(kernels, index, trace, collector, ledger)
    released = collector.release(kernels.blocks[index].source, kept.source)
    _book(ledger, before.out_name, released)
    below = convolved(released.rows(), conv.backward, kept.height)
    return _unpooled(below / 4, (kept.height, kept.width), size)


def _stock_transition(kernels: Kernels, index: int, trace: Trace, collector: Collector, ledger: Ledger) -> torch.Tensor:
    """iNNvestigate: the pool shares relevance in proportion to the convolution's signed values, then z+."""
    before, kept, upper = kernels.blocks[index - 1], trace.blocks[index - 1], trace.blocks[index]
    conv = before.transition
    assert conv is not None
    assert upper.source.plus is not None
    size = (kept.height, kept.width)
    released = collector.release(kernels.blocks[index].source, Parts(upper.source.value))
    made = upper.source.plus
    value, plus = made[..., : conv.outputs], made[..., conv.outputs :]
    per_value = released.plus * inverse(upper.source.value) / 4
    per_value = _unpooled(per_value, (upper.height, upper.width), size)
    relevance = value * per_value
    nothing = plus <= TINY[plus.dtype]
    ledger.book(
        before.out_name,
        ledger.absorbed[0],
        released.absorbed,
        torch.where(nothing, relevance, 0).sum(dim=(2, 3), dtype=torch.float64),
    )
    return convolved(relevance * inverse(plus), conv.backward, kept.height)


def _unpooled(rows: torch.Tensor, pooled: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    """Repeat each pixel of (n, t, p, c) on the 2 x 2 it was pooled from; what was left out gets zero."""
    n, t, _, c = rows.shape
    (h, w), (height, width) = pooled, size
    spread = rows.view(n, t, h, 1, w, 1, c).expand(-1, -1, -1, 2, -1, 2, -1)
    if (2 * h, 2 * w) == size:
        return spread.reshape(n, t, height * width, c)
    whole = rows.new_zeros((n, t, height, width, c))
    whole[:, :, : 2 * h, : 2 * w] = spread.reshape(n, t, 2 * h, 2 * w, c)
    return whole.view(n, t, height * width, c)


def _pooled_backward(
    kernels: Kernels, trace: Trace, above: torch.Tensor, stem_norm: str, ledger: Ledger
) -> torch.Tensor:
    """Through the first block and the batch norms that read the pooled stem directly; relevance (n, t, p, c)."""
    block, kept = kernels.blocks[0], trace.blocks[0]
    value = kept.source.value
    if stem_norm == "pass":
        passed = value.new_zeros((*above.shape[:2], *value.shape[2:]))
        _block_backward(kernels, 0, trace, above, ledger, passed)
        return passed
    collector = _block_backward(kernels, 0, trace, above, ledger)
    plain = kernels.rule.rows in ("plain", "stock")
    released = collector.release(block.source, Parts(value, None if plain else value))
    _book(ledger, f"{block.name} (batch norms of the pooled stem)", released)
    return released.plus if isinstance(kernels.rule, Stock) else released.plus * value
