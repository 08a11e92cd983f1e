"""Groups of pooled maps: told from gradual change by valleys of density, in few and in many dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from cxr.experiments.clusters.groups.gradual import gradual_points, noise_for
from cxr.experiments.clusters.groups.partition import by_k_means, ends, stability
from cxr.experiments.clusters.groups.spectral import components, gaps
from cxr.experiments.clusters.groups.structure import Structure, structure
from cxr.experiments.clusters.groups.valleys import SMOOTHINGS, Neighbours, deepest, divided, labels_of

DRAWS = 39


def three_groups(sizes: tuple[int, int, int] = (60, 40, 20), dimensions: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return points and the group of each."""
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], sizes)
    centres = 9 * np.eye(dimensions)[:3]
    return rng.normal(size=(len(labels), dimensions)) + centres[labels], labels


@pytest.mark.parametrize("dimensions", [3, 20])
def test_groups_of_unequal_size_are_found_and_their_number_with_them(dimensions: int):
    points, labels = three_groups(dimensions=dimensions)
    found = structure(components(points), DRAWS)
    assert found.p == 1 / (DRAWS + 1)
    assert np.array_equal(found.labels, labels)
    assert found.valley > 3
    assert found.gaps == gaps(components(points))
    halves = stability(components(points), found, halves=6)
    assert halves.agreement > 0.9
    assert halves.by_cluster.min() > 0.8


def test_a_small_group_among_many_is_found():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(160, 12))
    points[:9] = points[:9] * 0.5 + 6
    labels = structure(components(points), DRAWS).labels
    assert np.array_equal(labels == 1, np.arange(160) < 9)


@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_points_along_a_curve_are_one_group_with_much_and_with_little_noise(noise: float):
    rng = np.random.default_rng(5)
    claimed = [structure(components(gradual_points(rng, 60, noise)), DRAWS, k).n_clusters > 1 for k in range(3)]
    assert not any(claimed)


def test_points_spread_evenly_over_a_square_are_one_group():
    square = np.random.default_rng(2).random((150, 2))
    found = structure(components(square), DRAWS)
    assert found.n_clusters == 1
    assert set(found.labels) == {0}
    assert len(np.unique(by_k_means(components(square), 3, 0))) == 3  # which k-means does not tell


def test_the_depth_of_a_valley_does_not_depend_on_the_scale():
    points, _ = three_groups()
    assert Neighbours(points).depths() == pytest.approx(Neighbours(1000 * points).depths())
    assert Neighbours(points).depths().max() > np.log(3)
    few = Neighbours(points[:24])
    assert few.smoothings() == [5]
    assert few.depths()[1:].tolist() == [0] * (len(SMOOTHINGS) - 1)


def test_dimension_is_that_of_the_spread_and_noise_raises_it():
    rng = np.random.default_rng(0)
    line, cube = rng.random((200, 1)), rng.random((200, 6))
    assert Neighbours(line).dimension() < 1.3
    assert Neighbours(cube).dimension() > 3
    low, high = (Neighbours(gradual_points(rng, 120, noise)).dimension() for noise in (0.02, 0.4))
    assert low < 1.5 < 5 < high
    assert noise_for(120, low) < 0.1 < 0.3 < noise_for(120, high)


def test_points_between_groups_go_where_their_neighbours_are():
    points, labels = three_groups()
    between = np.vstack([points, [[0.0, 30.0, 0, 0, 0, 0, 0, 0]]])
    tree = Neighbours(between).tree(5)
    groups = deepest(tree, 3)
    assert sum(map(len, groups)) < len(between)
    again = labels_of(groups, between, 5)
    assert np.array_equal(again[:-1], labels)
    assert again[-1] == 1
    (whole,) = divided(tree, np.inf)
    assert whole.tolist() == list(range(len(between)))


def test_halves_disagree_on_clusters_that_are_not_there():
    points = components(np.random.default_rng(3).normal(size=(80, 6)))
    invented = Structure((points[:, 0] > 0).astype(np.int64), 0.01, 2.0)
    assert stability(points, invented, halves=6).agreement < 0.3


def test_a_stable_cut_through_gradual_change_is_called_that_and_no_other():
    rng = np.random.default_rng(4)
    length = components(np.c_[8 * rng.random(90), rng.normal(size=(90, 3))])
    cut = ends(length, 0)
    assert cut is not None
    assert cut[1].agreement > 0.75
    assert set(cut[0]) == {0, 1}
    assert ends(components(rng.normal(size=(90, 12))), 0) is None
