import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cxr.experiments.study import statistics as s

numbers = st.floats(-10, 10, allow_nan=False).map(lambda x: round(x, 3))
samples = st.lists(numbers, min_size=2, max_size=8)
curves = st.lists(st.floats(0, 1), min_size=1, max_size=12).map(lambda values: dict(enumerate(values, start=1)))


def by_seed(values):
    return dict(enumerate(values))


@given(samples, samples)
def test_a_paired_difference_has_the_interval_of_the_paired_t_test(a, b):
    n = min(len(a), len(b))
    a, b = np.array(a[:n]), np.array(b[:n])
    if np.std(a - b) < 1e-6:
        return
    found = s.paired(by_seed(a), by_seed(b)).mean
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert found.low == pytest.approx(expected.low, abs=1e-9)
    assert found.high == pytest.approx(expected.high, abs=1e-9)
    assert found.value == pytest.approx((a - b).mean(), abs=1e-12)


@given(st.lists(numbers, min_size=2, max_size=7))
def test_the_exact_p_is_scipy_s_permutation_test_of_one_sample(differences):
    x = np.array(differences)
    expected = stats.permutation_test((x,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert s.sign_flip_p(x) == pytest.approx(expected.pvalue, abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 10])
def test_differences_of_one_sign_reach_the_smallest_p_there_can_be(n):
    assert s.sign_flip_p(np.linspace(1, 2, n)) == s.smallest_p(n) == min(1, 2.0 ** (1 - n))


def test_three_seeds_cannot_fall_below_a_quarter():
    assert s.smallest_p(3) == 0.25


@pytest.mark.parametrize("values", [[0.5, 0.6, 0.7], [0.1 + 0.2, 0.3 + 1e-16]])
def test_without_any_difference_p_is_one_and_there_is_no_interval(values):
    found = s.paired(by_seed(values), by_seed(values))
    assert (found.p, found.mean.low, found.mean.high, found.together) == (1.0, None, None, None)
    assert found.mean.constant
    assert not found.shown


def test_equal_scores_of_several_seeds_give_a_mean_and_no_interval():
    found = s.mean_over_seeds([0.7, 0.7, 0.7])
    assert (found.value, found.low, found.high, found.n) == (pytest.approx(0.7), None, None, 3)
    assert found.constant
    assert not s.mean_over_seeds([0.7]).constant
    assert not s.mean_over_seeds([0.7, 0.71]).constant


@given(samples, samples)
def test_no_interval_is_without_width(a, b):
    found = s.paired(by_seed(a), by_seed(b), 20)
    for limits in ((found.mean.low, found.mean.high), found.together):
        assert limits in (None, (None, None)) or limits[0] < limits[1]


@given(samples, samples, st.integers(1, 100))
def test_the_interval_for_all_comparisons_is_the_paired_t_test_s_at_bonferroni_s_level(a, b, n_comparisons):
    n = min(len(a), len(b))
    a, b = np.array(a[:n]), np.array(b[:n])
    if np.std(a - b) < 1e-6:
        return
    found = s.paired(by_seed(a), by_seed(b), n_comparisons)
    expected = stats.ttest_rel(a, b)
    interval = expected.confidence_interval(1 - 0.05 / n_comparisons)
    assert found.together == pytest.approx((interval.low, interval.high), rel=1e-6, abs=1e-6)
    p = n_comparisons * expected.pvalue
    if abs(p - 0.05) > 1e-6:
        assert found.shown == (p < 0.05), "interval and test agree"
    assert found.together[0] <= found.mean.low < found.mean.high <= found.together[1]


def test_an_interval_ends_at_the_largest_difference_that_there_can_be():
    found = s.paired(by_seed([0.9, 0.1]), by_seed([0.1, 0.2]), 10, largest=1.0)
    assert found.together == (-1.0, 1.0)
    assert (found.mean.low, found.mean.high) == (-1.0, 1.0)
    assert not found.shown


def test_all_comparisons_of_studies_hold_together_in_95_of_100():
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(300):
        scores = [by_seed(rng.normal(size=4) * (3 if k == 0 else 1)) for k in range(4)]
        pairs = [(a, b) for a in range(4) for b in range(a)]
        missed += any(s.paired(scores[a], scores[b], len(pairs)).shown for a, b in pairs)
    assert missed <= 22  # 15 are expected at most; more than 22 in one of thirty such tests


@given(samples, samples)
def test_turning_a_pair_round_turns_the_sign_and_nothing_else(a, b):
    ab, ba = s.paired(by_seed(a), by_seed(b)), s.paired(by_seed(b), by_seed(a))
    assert ab.p == ba.p
    assert ab.mean.value == pytest.approx(-ba.mean.value, abs=1e-12)
    assert ab.mean.constant == ba.mean.constant
    if ab.mean.low is not None:
        assert ab.mean.low == pytest.approx(-ba.mean.high, abs=1e-9)
    assert ab.shown == ba.shown


@given(samples, st.randoms())
def test_the_order_of_seeds_does_not_matter(values, random):
    seeds = list(range(len(values)))
    random.shuffle(seeds)
    one, other = by_seed(values), {seed: values[seed] for seed in seeds}
    zeros = by_seed([0.0] * len(values))
    assert s.paired(one, zeros) == s.paired(other, zeros)


def test_only_seeds_that_both_have_are_paired():
    found = s.paired({0: 1.0, 1: 2.0, 2: 3.0}, {1: 1.0, 2: 1.0, 9: 0.0})
    assert (found.mean.n, found.mean.value) == (2, 1.5)
    assert s.paired({0: 1.0}, {1: 1.0}).mean.n == 0


def test_one_seed_has_a_mean_and_no_interval():
    found = s.mean_over_seeds([0.7])
    assert (found.value, found.low, found.high, found.n) == (0.7, None, None, 1)


def test_the_area_is_the_mean_height_by_trapezoids():
    curve = {0: 0.2, 1: 0.4, 2: 0.8, 3: 1.0}
    assert s.area(curve, 3, start=True) == pytest.approx((0.1 + 0.4 + 0.8 + 0.5) / 3)
    assert s.area(curve, 3, start=False) == pytest.approx((0.2 + 0.8 + 0.5) / 2)
    assert s.area(curve, 1, start=False) == 0.4


def test_a_curve_that_is_not_long_enough_has_no_area():
    assert s.area({1: 0.5, 2: 0.6}, 3, start=False) is None
    assert s.area({1: 0.5, 2: 0.6}, 2, start=True) is None
    assert s.area({1: 0.5, 3: 0.6}, 3, start=False) is None


@given(st.floats(0, 1), st.integers(1, 9), st.booleans())
def test_the_area_of_a_flat_curve_is_its_height(height, k, start):
    assert s.area(dict.fromkeys(range(10), height), k, start=start) == pytest.approx(height)


@given(curves)
def test_a_level_is_reached_at_the_first_epoch_at_or_above_it(curve):
    found = s.first_reached(curve, 0.5, horizon=100)
    above = [epoch for epoch, value in curve.items() if value >= 0.5]
    assert found == (min(above) if above else None)


def test_a_level_reached_after_the_horizon_counts_as_not_reached_and_a_loss_is_reached_from_above():
    assert s.first_reached({1: 0.1, 5: 0.9}, 0.7, horizon=4) is None
    assert s.first_reached({1: 0.9, 2: 0.4, 3: 0.2}, 0.5, horizon=4, lower=True) == 2


def test_the_end_is_the_mean_of_the_last_epochs():
    assert s.late({1: 0.0, 2: 0.4, 3: 0.6}, 2) == 0.5
    assert s.late({1: 0.0, 3: 0.6}, 2) is None
    assert s.late({}, 2) is None
