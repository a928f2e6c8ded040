"""Measures of arrangement against loops that spell their definitions out."""

from __future__ import annotations

import numpy as np
import pytest

from seewhy.ops.arrangement import (
    farther_shares,
    pair_nearness,
    separation,
    stratified_nearness,
    subset_nearness,
)
from seewhy.ops.distances import euclidean_distances
from seewhy.ops.permutation import shuffled_orders


def win(nearer: float, farther: float) -> float:
    return 1.0 if nearer < farther else 0.5 if nearer == farther else 0.0


@pytest.fixture
def square():
    # Small whole numbers, so that distances tie
    return euclidean_distances(np.random.default_rng(3).integers(0, 4, (9, 3)).astype(float))


def test_farther_shares_count_third_points(square):
    found = farther_shares(square)
    for i in range(9):
        for j in range(9):
            if i != j:
                third = [k for k in range(9) if k not in (i, j)]
                assert found[i, j] == pytest.approx(np.mean([win(square[i, j], square[i, k]) for k in third]))
    assert np.isnan(np.diag(found)).all()
    assert np.isnan(farther_shares(square[:2, :2])).all()


def test_pair_nearness_is_the_weighted_mean_of_probabilities(square):
    partners = np.zeros((9, 9), dtype=bool)
    for group in ((0, 4), (1, 2, 7)):
        partners[np.ix_(group, group)] = True
    np.fill_diagonal(partners, False)
    weights = np.array([0.5, 1 / 3, 1 / 3, 1, 0.5, 1, 1, 1 / 3, 1])
    orders = shuffled_orders(9, 6, "test")
    found = pair_nearness(farther_shares(square), partners, weights, orders)
    for order, value in zip(orders, found, strict=True):
        moved = square[np.ix_(order, order)]
        terms, weight = [], []
        for i in np.flatnonzero(partners.any(1)):
            others = [k for k in range(9) if k != i and not partners[i, k]]
            wins = [win(moved[i, j], moved[i, k]) for j in np.flatnonzero(partners[i]) for k in others]
            terms.append(np.mean(wins))
            weight.append(weights[i])
        assert value == pytest.approx(np.average(terms, weights=weight))


def test_pair_nearness_is_one_if_partners_are_always_nearer_and_needs_others():
    points = np.array([[0.0], [0.1], [0.2], [10.0], [10.1], [30.0]])
    partners = np.zeros((6, 6), dtype=bool)
    partners[:3, :3] = partners[3:5, 3:5] = True
    np.fill_diagonal(partners, False)
    shares = farther_shares(euclidean_distances(points))
    assert pair_nearness(shares, partners, np.ones(6), np.arange(6)[None]) == pytest.approx([1.0])
    everyone = ~np.eye(6, dtype=bool)
    assert np.isnan(pair_nearness(shares, everyone, np.ones(6), np.arange(6)[None])).all()


def test_stratified_nearness_compares_pairs_of_a_stratum_only(square):
    pairs = np.array([(i, j) for i in range(9) for j in range(i + 1, 9)])
    generator = np.random.default_rng(5)
    near, strata = generator.random(len(pairs)) < 0.4, generator.integers(1, 5, len(pairs))
    near[strata == 4] = True  # a stratum with nothing to compare with
    orders = shuffled_orders(9, 4, "test")
    found = stratified_nearness(square, pairs, near, strata, orders)
    for order, value in zip(orders, found, strict=True):
        length = square[order[pairs[:, 0]], order[pairs[:, 1]]]
        wins = [
            win(length[a], length[b])
            for a in np.flatnonzero(near)
            for b in np.flatnonzero(~near)
            if strata[a] == strata[b]
        ]
        assert value == pytest.approx(np.mean(wins))
    assert np.isnan(stratified_nearness(square, pairs, np.ones(len(pairs), bool), strata, orders)).all()


def test_subset_nearness_is_the_mean_probability():
    distances = np.random.default_rng(0).integers(0, 5, (3, 8)).astype(float)
    subsets = np.array([[1, 1, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0, 1]], dtype=bool)
    for subset, value in zip(subsets, subset_nearness(distances, subsets), strict=True):
        wins = [
            win(row[a], row[c]) for row in distances for a in np.flatnonzero(subset) for c in np.flatnonzero(~subset)
        ]
        assert value == pytest.approx(np.mean(wins))


def test_separation_is_the_distance_of_means_over_the_rests_spread():
    points = np.random.default_rng(0).normal(size=(10, 4)) + 7
    subsets = np.zeros((2, 10), dtype=bool)
    subsets[0, [2, 5, 6]] = subsets[1, 9] = True
    for subset, value in zip(subsets, separation(points, subsets), strict=True):
        own, rest = points[subset], points[~subset]
        spread = np.sqrt(((rest - rest.mean(0)) ** 2).sum(1).mean())
        assert value == pytest.approx(np.linalg.norm(own.mean(0) - rest.mean(0)) / spread)
    assert not separation(np.full((5, 3), 4.0), np.eye(5, dtype=bool)[:1]).any()


def test_no_measure_knows_the_scale(square):
    partners = np.zeros((9, 9), dtype=bool)
    partners[0, 3] = partners[3, 0] = True
    orders = np.arange(9)[None]
    one, other = (
        pair_nearness(farther_shares(scale * square), partners, np.ones(9), orders) for scale in (1.0, 1000.0)
    )
    assert one == other
    points = np.random.default_rng(0).normal(size=(9, 3))
    subset = np.eye(9, dtype=bool)[:1]
    assert separation(points, subset) == pytest.approx(separation(1000 * points, subset))
