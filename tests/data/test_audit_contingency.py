"""Cramer's V, mutual information and its permutation test, against other libraries and exact values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import hypergeom
from scipy.stats.contingency import association
from sklearn.metrics import mutual_info_score

from cxr.data.audit.contingency import cramers_v, information, permutation_test

TABLES = [
    np.array([[30, 5], [10, 25]]),
    np.array([[12, 3, 9], [4, 14, 2], [7, 7, 30], [1, 0, 5]]),
    np.array([[500, 20, 10], [3, 700, 80]]),
]


@pytest.mark.parametrize("table", TABLES)
def test_mutual_information_is_that_of_scikit_learn_in_bits(table: np.ndarray):
    assert information(table) == pytest.approx(mutual_info_score(None, None, contingency=table) / np.log(2))
    assert information(np.stack([table, 2 * table])) == pytest.approx([float(information(table))] * 2)


@pytest.mark.parametrize("table", TABLES)
def test_cramers_v_is_that_of_scipy_less_its_bias(table: np.ndarray):
    raw, n, (rows, columns) = association(table, method="cramer"), table.sum(), table.shape
    phi2 = raw**2 * (min(rows, columns) - 1) - (rows - 1) * (columns - 1) / (n - 1)
    smaller = min(size - (size - 1) ** 2 / (n - 1) for size in (rows, columns))
    assert cramers_v(table) == pytest.approx((phi2 / (smaller - 1)) ** 0.5)
    assert cramers_v(1000 * table) == pytest.approx(raw, abs=1e-4)
    assert cramers_v(np.vstack([table, np.zeros(columns)])) == pytest.approx(cramers_v(table))


def test_where_property_or_class_has_one_value_alone_nothing_is_told():
    for table in ([[5, 0], [7, 0]], [[3, 4]], [[0, 0], [0, 0]]):
        assert cramers_v(table) is None
        assert permutation_test(table) is None


def test_v_of_independent_things_is_nothing_and_of_equal_ones_everything():
    rng = np.random.default_rng(0)
    values = [cramers_v(rng.multinomial(100, np.full(12, 1 / 12)).reshape(4, 3)) for _ in range(200)]
    assert np.median(values) < 0.05
    assert cramers_v(np.diag([10, 20, 30])) == pytest.approx(1)


def test_p_and_chance_of_a_small_table_are_the_exact_ones():
    table = np.array([[9, 3], [4, 11]])
    (first, second), carriers = table.sum(1), table[:, 0].sum()
    counts = np.arange(max(0, carriers - second), min(first, carriers) + 1)
    weights = hypergeom(first + second, first, carriers).pmf(counts)
    every = np.array([[[k, first - k], [carriers - k, second - carriers + k]] for k in counts])
    exact = weights[information(every) >= information(table) - 1e-12].sum()
    p, chance = permutation_test(table, n_tests=100)
    assert p == pytest.approx(exact, abs=0.006)
    assert chance == pytest.approx(float(weights @ information(every)), rel=0.06)


def test_a_strong_association_survives_the_correction_for_many_tests():
    p, _ = permutation_test(np.diag([40, 40]), n_tests=500)
    assert 500 * p < 0.05
