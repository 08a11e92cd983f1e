import numpy as np
import pytest

from cxr.errors import ExplainError
from cxr.explain.quality.agreement import class_sensitivity, cosine, spearman


def test_rank_correlation_sees_order_alone_and_the_cosine_sees_size():
    one = np.arange(12.0).reshape(3, 4)
    assert spearman(one, np.exp(one)) == pytest.approx(1)
    assert spearman(one, -one) == pytest.approx(-1)
    assert cosine(one, 3 * one) == pytest.approx(1)
    assert cosine(one, np.exp(one)) < 0.9


def test_agreement_with_a_map_of_one_value_is_not_a_number():
    one, flat = np.arange(4.0), np.zeros(4)
    assert np.isnan(cosine(one, flat))
    assert np.isnan(spearman(one, flat + 2))


def test_equal_values_share_their_rank():
    assert spearman(np.array([1, 1, 2, 2]), np.array([5, 5, 9, 9])) == pytest.approx(1)
    assert spearman(np.array([1, 1, 2, 2]), np.array([1, 2, 1, 2])) == pytest.approx(0)


def test_classes_with_the_same_map_are_distinguished_from_those_with_their_own():
    one = np.random.default_rng(0).normal(size=(2, 8, 8))
    maps = {"covid19": one, "normal": 2 * one, "pneumonia": -one}
    found = class_sensitivity(maps, "covid19")
    assert found.others == ("normal", "pneumonia")
    assert found.cosine == pytest.approx([1, -1])
    assert found.spearman == pytest.approx([1, -1])
    assert list(found.table()["class"]) == ["normal", "pneumonia"]


@pytest.mark.parametrize("names", [("normal",), ("pneumonia", "covid19")])
def test_a_target_without_a_map_or_without_others_is_refused(names):
    with pytest.raises(ExplainError, match=r"for target 'normal'. Accepted: its own and another class's"):
        class_sensitivity({name: np.ones((2, 2)) for name in names}, "normal")
