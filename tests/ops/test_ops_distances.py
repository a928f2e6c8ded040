"""Distances and similarities against SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics.pairwise import cosine_similarity

from seewhy.core.errors import InputError, SettingError
from seewhy.ops.distances import cosine_similarities, directions, distances, euclidean_distances


def test_both_are_those_of_other_libraries():
    points = np.random.default_rng(0).normal(size=(9, 5))
    np.testing.assert_allclose(euclidean_distances(points), cdist(points, points), atol=1e-12)
    np.testing.assert_allclose(cosine_similarities(points), cosine_similarity(points), atol=1e-12)
    np.testing.assert_allclose(distances(points, "cosine"), cdist(points, points, "cosine"), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(directions(points), axis=1), 1)
    assert (np.diag(cosine_similarities(points)) == 1).all()


def test_points_far_out_and_close_together_keep_their_digits():
    points = np.array([[1e8, 0.0], [1e8 + 1e-3, 0.0], [1e8, 2e-3]])
    exact = np.float64(1e8 + 1e-3) - 1e8
    assert euclidean_distances(points)[0, 1] == exact
    assert euclidean_distances(points)[1, 2] == pytest.approx(np.hypot(exact, 2e-3), rel=1e-12)


def test_zeros_have_no_cosine():
    points = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    found = cosine_similarities(points)
    assert np.isnan(found[0]).all()
    assert found[1, 2] == pytest.approx(1)
    assert not directions(points)[0].any()
    with pytest.raises(InputError, match="zeros"):
        distances(points, "cosine")
    with pytest.raises(SettingError, match="cosine"):
        distances(points, "manhattan")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="finite"):
        euclidean_distances(np.array([[np.inf, 0.0]]))
