"""How the relevance that many consumers send to one feature map is gathered and released as one message.

A denominator of exactly zero passes nothing on; that relevance is booked as lost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch

from cxr.explain.lrp.division import TINY, divided, inverse, total
from cxr.explain.lrp.feature_maps import Consumer, Parts, Released


class Collector(ABC):
    """Relevance that the consumers of one dense block send to its feature maps.

    ``entered`` (n, t, channels) counts what came in per channel where a rule's bias takes a share of it.
    """

    def __init__(self, shape: tuple[int, ...], like: torch.Tensor) -> None:
        self.shape, self.like = shape, like
        self.entered = like.new_zeros((shape[0], shape[1], shape[3]), dtype=torch.float64)
        self.dropped = torch.zeros_like(self.entered)

    def zeros(self, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Return an empty page of the block's size."""
        return self.like.new_zeros(self.shape, dtype=dtype)

    @abstractmethod
    def add(self, above: torch.Tensor, activation: torch.Tensor, consumer: Consumer) -> None:
        """Take the relevance ``activation x above`` of one consumer. ``activation`` may be overwritten."""

    @abstractmethod
    def release(self, channels: slice, parts: Parts) -> Released:
        """Return the messages of the feature map in ``channels``."""

    def _booked(self, channels: slice) -> tuple[torch.Tensor, torch.Tensor]:
        return self.entered[..., channels].sum(-1), self.dropped[..., channels].sum(-1)


class SignCollector(Collector):
    """Alpha-beta without biases: S_k cancels but for its sign, so relevance is added up before any division."""

    def __init__(self, alpha: float, beta: float, shape: tuple[int, ...], like: torch.Tensor, signed: bool) -> None:
        super().__init__(shape, like)
        self.alpha, self.beta = alpha, beta
        # Dozens of consumers are added up: bfloat16 would lose the small ones.
        self.wide = torch.promote_types(like.dtype, torch.float32)
        self.up: torch.Tensor | None = None
        self.down = self.zeros(self.wide) if signed else None

    def add(self, above: torch.Tensor, activation: torch.Tensor, consumer: Consumer) -> None:
        """Take relevance as it is, by the sign of the reader's scale."""
        if not consumer.positive:
            self._set_apart(above, activation, consumer)
        if self.up is None:
            self.up = (above * activation).expand(self.shape).to(self.wide).contiguous()
        elif self.wide == above.dtype:
            self.up[..., : consumer.channels].addcmul_(above, activation)
        else:
            self.up[..., : consumer.channels] += above * activation

    def _set_apart(self, above: torch.Tensor, activation: torch.Tensor, consumer: Consumer) -> None:
        """Book channels with scales below or at zero, and clear them in ``activation``."""
        if len(consumer.negative):
            assert self.down is not None
            sent = above[..., consumer.negative] * activation[..., consumer.negative]
            self.down.index_add_(-1, consumer.negative, sent.to(self.wide).expand(*self.shape[:3], -1))
        if len(consumer.zero):
            sent = (above[..., consumer.zero] * activation[..., consumer.zero]).sum(dim=2, dtype=torch.float64)
            self.dropped.index_add_(-1, consumer.zero, sent.expand(*self.shape[:2], -1))
        activation.index_fill_(-1, consumer.rest, 0)

    def release(self, channels: slice, parts: Parts) -> Released:
        """Divide what was added up, and book what had nothing to be shared over."""
        alpha, beta = self.alpha, self.beta
        assert self.up is not None
        up, down = self.up[..., channels], None if self.down is None else self.down[..., channels]
        plus, lost_up = divided(_weighted(alpha, up, -beta, down), parts.plus)
        minus: torch.Tensor | None = None
        lost_down: torch.Tensor | float = 0.0
        against = _weighted(-beta, up, alpha, down) if beta else down
        if against is not None:
            minus, lost_down = _divided_at(against, parts)
        return Released(plus, minus, 0.0, lost_up + lost_down + self._booked(channels)[1])


def _weighted(first: float, up: torch.Tensor, second: float, down: torch.Tensor | None) -> torch.Tensor:
    weighted = up if first == 1 else first * up
    return weighted if down is None or not second else weighted + second * down


def _divided_at(relevance: torch.Tensor, parts: Parts) -> tuple[torch.Tensor | None, torch.Tensor | float]:
    """As :func:`divided` for the negative side, which may cover some channels only."""
    if parts.minus is None:
        return None, total(relevance)
    if parts.minus_of is None:
        return divided(relevance, parts.minus)
    # Channels without a negative consumer have nothing here: with beta = 0 no relevance was sent to them.
    return divided(relevance[..., parts.minus_of], parts.minus)


class PagedCollector(Collector):
    """Collectors that divide before adding up, because a denominator holds the consumer's own bias."""

    def __init__(self, shape: tuple[int, ...], parts: Parts, signed: bool) -> None:
        super().__init__(shape, parts.value)
        self.parts = parts
        self.up = self.zeros()
        self.down = self.zeros() if signed else None

    def release(self, channels: slice, parts: Parts) -> Released:
        """Return both pages, and book what biases kept of all that came in."""
        up, down = self.up[..., channels], None if self.down is None else self.down[..., channels]
        left = total(up * (parts.value if parts.plus is None else parts.plus))
        minus = down if parts.minus is None or down is None or parts.minus_of is None else down[..., parts.minus_of]
        if minus is not None and parts.minus is not None:
            left = left + total(minus * parts.minus)
        entered, lost = self._booked(channels)
        return Released(up, None if parts.minus is None else minus, entered - left - lost, lost)


class BiasCollector(PagedCollector):
    """Alpha-beta with biases: consumer k's denominators over S_k are z+ + b/S_k and z- + b/S_k."""

    def __init__(self, alpha: float, beta: float, shape: tuple[int, ...], parts: Parts, signed: bool) -> None:
        super().__init__(shape, parts, signed or bool(beta))
        self.alpha, self.beta = alpha, beta

    def add(self, above: torch.Tensor, activation: torch.Tensor, consumer: Consumer) -> None:
        """Divide by the denominators of this reader and add to the pages."""
        sent = above * activation
        c = consumer.channels
        self.entered[..., :c] += sent.sum(dim=2, dtype=torch.float64)
        assert self.parts.plus is not None
        signs = consumer.signs(self.alpha, self.beta)
        self._page(self.up, sent, self.parts.plus, signs.up, signs.bias_up)
        if self.down is not None and (self.beta or len(consumer.negative)):
            assert self.parts.minus is not None
            self._page(self.down, sent, self.parts.minus, signs.down, signs.bias_down)
        if self.beta and len(consumer.zero):
            # Scale 0: alpha's part is the bias's, which is all there is; beta's denominator is zero.
            lost = sent[..., consumer.zero].sum(dim=2, dtype=torch.float64) * -self.beta
            self.dropped.index_add_(-1, consumer.zero, lost.expand(*self.shape[:2], -1))

    def _page(
        self, page: torch.Tensor, sent: torch.Tensor, sums: torch.Tensor, factor: torch.Tensor, bias: torch.Tensor
    ) -> None:
        c = sent.shape[-1]
        denominator = sums[..., :c] + bias
        page[..., :c].addcmul_(sent * factor, inverse(denominator))
        if self.beta:
            nothing = denominator.abs() <= TINY[denominator.dtype]
            self.dropped[..., :c] += torch.where(nothing, sent * factor, 0).sum(dim=2, dtype=torch.float64)


class Shares(Protocol):
    """What :class:`ShareCollector` asks of a rule: one denominator for each consumer, and a weight for either page."""

    def denominator(self, activation: torch.Tensor, parts: Parts, consumer: Consumer) -> torch.Tensor:
        """Return the denominator of a consumer's relevance, (n, 1, p, c), c being the channels that it reads.

        ``activation`` is relu(S F + t); ``parts`` are those of the whole block.
        """
        ...

    def page_weights(self, consumer: Consumer) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return what W+ (or W) and W- get of each share, per channel; None for rules that read W alone."""
        ...


class ShareCollector(PagedCollector):
    """Rules with one denominator for each consumer: its relevance over that, weighted, is added to the pages."""

    def __init__(self, rule: Shares, shape: tuple[int, ...], parts: Parts, signed: bool) -> None:
        super().__init__(shape, parts, signed)
        self.rule = rule

    def add(self, above: torch.Tensor, activation: torch.Tensor, consumer: Consumer) -> None:
        """Divide by the denominator of this reader and add to the pages."""
        c = consumer.channels
        sent = above * activation
        self.entered[..., :c] += sent.sum(dim=2, dtype=torch.float64)
        share = sent * inverse(self.rule.denominator(activation, self.parts, consumer))
        up, down = self.rule.page_weights(consumer)
        self.up[..., :c].addcmul_(share, up)
        if down is not None and self.down is not None:
            self.down[..., :c].addcmul_(share, down)


class UnfoldedCollector(ShareCollector):
    """As :class:`ShareCollector`, where batch norms are layers of their own: the convolution below divides again."""

    def release(self, channels: slice, parts: Parts) -> Released:
        """Take the share of the batch norms, then divide by the convolution's sums."""
        relevance = self.up[..., channels] * parts.value
        absorbed = self._booked(channels)[0] - total(relevance)
        if parts.plus is None:  # no convolution below: the batch norm's relevance is the feature map's
            return Released(relevance, None, absorbed)
        plus, lost = divided(relevance, parts.plus)
        return Released(plus, None, absorbed, lost)
