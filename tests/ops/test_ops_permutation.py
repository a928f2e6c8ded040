"""Shuffling: what is drawn, and that chance is called chance as often as it should be."""

from __future__ import annotations

import numpy as np
import pytest

from seewhy.core.errors import SettingError
from seewhy.ops.permutation import compared, shifted_subsets, shuffled_orders, shuffled_subsets


def test_the_first_order_is_the_one_that_is_there_and_the_seed_repeats():
    orders = shuffled_orders(6, 40, "words", 3)
    np.testing.assert_array_equal(orders[0], np.arange(6))
    assert (np.sort(orders, axis=1) == np.arange(6)).all()
    assert len(np.unique(orders, axis=0)) > 30
    np.testing.assert_array_equal(orders, shuffled_orders(6, 40, "words", 3))
    assert (orders != shuffled_orders(6, 40, "words", 4)).any()
    subsets = shuffled_subsets(np.array([1, 1, 0, 0, 0], dtype=bool), 30, "words")
    assert (subsets.sum(1) == 2).all()
    np.testing.assert_array_equal(subsets[0], [1, 1, 0, 0, 0])
    for wrong in (0, True, 2.5):
        with pytest.raises(SettingError, match="permutations"):
            shuffled_orders(3, wrong)  # type: ignore[arg-type]


def test_runs_are_all_others_of_the_same_length_that_do_not_touch():
    found = shifted_subsets(np.array([0, 0, 0, 1, 1, 0, 0, 0], dtype=bool))
    starts = [int(np.flatnonzero(row)[0]) for row in found]
    assert starts == [3, 0, 1, 5, 6]
    assert (found.sum(1) == 2).all()
    assert len(shifted_subsets(np.array([1, 1, 0], dtype=bool))) == 1


def test_numbers_beside_chance_are_what_they_say():
    values = np.array([[3.0, 1, 2, 3, 4], [0.0, 0, 0, 0, 0]])
    found = compared(values)
    assert (found.value[0], found.mean[0]) == (3.0, 2.5)
    assert found.p.tolist() == [pytest.approx(3 / 5), 1.0]  # itself, its equal, and the larger one
    assert found.anywhere == pytest.approx(3 / 5)  # a layer where nothing varies takes no part
    assert found.best == 0
    assert (found.low[0], found.high[0]) == pytest.approx(tuple(np.quantile([1, 2, 3, 4], [0.025, 0.975])))


def test_draws_that_repeat_the_arrangement_count_for_p_and_not_for_what_others_give():
    values = np.array([[9.0, 1, 9, 3, 2]])
    found = compared(values, np.array([False, True, False, False]))
    assert (found.mean[0], found.high[0]) == (2.0, pytest.approx(np.quantile([1, 2, 3], 0.975)))
    assert found.p[0] == pytest.approx(2 / 5)
    assert found.anywhere == pytest.approx(2 / 5)
    assert compared(values, np.ones(4, dtype=bool)).mean[0] == 15 / 4  # all are: nothing else can be told


def test_chance_is_striking_at_some_layer_in_one_case_of_twenty():
    generator = np.random.default_rng(0)
    hits, alone = 0, 0
    for _ in range(600):
        shared = generator.normal(size=(1, 60))
        found = compared(generator.normal(size=(8, 60)) + shared)
        hits += found.anywhere <= 0.05
        alone += bool((found.p <= 0.05).any())
    assert 600 * 0.05 - 20 < hits < 600 * 0.05 + 20  # 3.7 standard deviations
    assert alone > 3 * hits  # what a look at each layer by itself would have called striking


def test_an_effect_at_one_layer_is_found_there():
    generator = np.random.default_rng(0)
    values = generator.normal(size=(6, 200))
    values[4, 0] += 8
    found = compared(values)
    assert found.best == 4
    assert found.anywhere == pytest.approx(1 / 200)
