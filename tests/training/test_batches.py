"""Batches come in their order, whole, and the same however they are cut into parts."""

from __future__ import annotations

import numpy as np
import torch

from cxr.training.data.augment import Augment
from cxr.training.data.batches import Reader, Share

RNG = np.random.default_rng(0)


def share(number: int, positions: np.ndarray) -> Share:
    return Share(number, positions, positions, 0, seed=number)


def test_the_reader_gives_each_position_s_own_image_in_the_order_requested(tmp_path):
    np.save(tmp_path / "images.npy", RNG.integers(0, 256, (40, 9, 9), np.uint8))
    images, rows = np.load(tmp_path / "images.npy", mmap_mode="r"), RNG.permutation(40)[:30]
    reader = Reader(images, rows, Augment(), torch.device("cpu"))
    shares = [share(k, RNG.permutation(30)[:7]) for k in range(9)]
    seen = 0
    for k, batch in enumerate(reader.ahead(shares)):
        pixels = batch.images(np.arange(7))
        assert batch.share is shares[k]
        assert pixels.shape == (7, 1, 9, 9)
        np.testing.assert_array_equal(np.rint(pixels[:, 0].numpy() * 255), images[rows[shares[k].local]])
        seen += 1
    assert seen == len(shares)


def test_a_batch_in_parts_is_the_whole_batch():
    images, augment = RNG.integers(0, 256, (12, 16, 16), np.uint8), Augment(rotate=20, contrast=0.3, noise=0.1)
    reader = Reader(images, np.arange(12), augment, torch.device("cpu"))
    (batch,) = reader.ahead([share(0, np.arange(10))])
    whole = batch.images(np.arange(10))
    parts = [batch.images(part) for part in (np.arange(4), np.arange(4, 7), np.arange(7, 10))]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(whole, torch.from_numpy(images[:10, None]) / 255)
