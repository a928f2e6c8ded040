"""Silhouettes against scikit-learn, and similarity within and across groups by hand."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import silhouette_samples

from seewhy.core.errors import InputError
from seewhy.ops.distances import cosine_similarities, euclidean_distances
from seewhy.ops.groups import cohesion, silhouettes


@pytest.mark.parametrize("groups", [2, 3, 7])
def test_silhouettes_are_those_of_scikit_learn_also_of_points_alone_in_their_group(groups):
    generator = np.random.default_rng(groups)
    points = generator.normal(size=(15, 4))
    labels = [*range(groups), *generator.integers(0, groups, 15 - groups)]
    labels[0] = 99  # alone
    square = euclidean_distances(points)
    np.testing.assert_allclose(silhouettes(square, labels), silhouette_samples(square, labels, metric="precomputed"))


def test_two_points_twice_have_perfect_silhouettes_and_equal_points_none():
    square = euclidean_distances(np.array([[0.0], [0.0], [1.0], [1.0]]))
    np.testing.assert_array_equal(silhouettes(square, ["a", "a", "b", "b"]), [1, 1, 1, 1])
    np.testing.assert_array_equal(silhouettes(np.zeros((4, 4)), ["a", "a", "b", "b"]), [0, 0, 0, 0])


def test_cohesion_is_the_mean_over_pairs():
    points = np.random.default_rng(0).normal(size=(8, 3))
    labels = list("aabbbacc")
    square = cosine_similarities(points)
    pairs = list(combinations(range(8), 2))
    within = [square[i, j] for i, j in pairs if labels[i] == labels[j]]
    across = [square[i, j] for i, j in pairs if labels[i] != labels[j]]
    found = cohesion(square, labels)
    assert (found.within, found.across) == pytest.approx((np.mean(within), np.mean(across)))
    assert found.margin == pytest.approx(np.mean(within) - np.mean(across))


def test_pairs_that_do_not_exist_have_no_mean():
    square = cosine_similarities(np.array([[1.0, 0], [0, 1.0], [1, 1]]))
    assert math.isnan(cohesion(square, "abc").within)
    assert math.isnan(cohesion(square, "aaa").across)
    holed = square.copy()
    holed[0, 2] = holed[2, 0] = np.nan
    assert cohesion(holed, "aaa").within == pytest.approx((square[0, 1] + square[1, 2]) / 2)


def test_labels_must_fit():
    with pytest.raises(InputError, match="label for each"):
        silhouettes(np.zeros((3, 3)), ["a", "b"])
    with pytest.raises(InputError, match="two kinds"):
        silhouettes(np.zeros((2, 2)), ["a", "a"])
