import numpy as np
import pytest
from scipy.stats import binomtest

from cxr.evaluation import bootstrap, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 20), (1, 7), (50, 100), (99, 100), (20, 20), (713, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_wilson_agrees_with_scipy(k, n, level):
    theirs = binomtest(k, n).proportion_ci(level, method="wilson")
    assert wilson(k, n, level) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_nothing_has_no_interval():
    assert wilson(0, 0) is None


def test_the_bootstrap_of_a_mean_has_the_width_of_its_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    (low, high), *_ = bootstrap(lambda w: (w @ values / w.sum(1))[:, None], np.arange(400), 2000)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.08)


def test_images_of_a_patient_are_drawn_together():
    groups = np.repeat(np.arange(40), 10)
    values = np.repeat(np.random.default_rng(1).normal(size=40), 10)
    mean = lambda w: (w @ values / w.sum(1))[:, None]  # noqa: E731
    (low, high), *_ = bootstrap(mean, groups, 1000)
    (narrow_low, narrow_high), *_ = bootstrap(mean, np.arange(400), 1000)
    assert high - low > 2.5 * (narrow_high - narrow_low)


def test_one_patient_gives_no_interval_and_a_seed_repeats_it():
    statistic = lambda w: w[:, :2]  # noqa: E731
    assert bootstrap(statistic, ["a", "a", "a"]) == [None, None]
    groups = list("abcdef")
    assert bootstrap(statistic, groups, 50, seed=4) == bootstrap(statistic, groups, 50, seed=4)
