"""Principal components against scikit-learn, and on points whose axes are known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from seewhy.core.errors import InputError, SettingError
from seewhy.ops.pca import explained_by, principal_components, projected


@pytest.mark.parametrize("shape", [(30, 7), (6, 40), (2, 5)])
def test_coordinates_and_shares_are_those_of_scikit_learn(shape):
    points = np.random.default_rng(0).normal(size=shape) * np.linspace(3, 0.5, shape[1]) + 5
    oracle = PCA(2, svd_solver="full").fit(points)
    found = principal_components(points)
    signs = np.sign((found.axes * oracle.components_).sum(1))
    if shape[0] == 2:  # two points have one axis; what stands second is ours to say
        assert found.explained[1] == 0
        assert not found.axes[1].any()
        np.testing.assert_allclose(projected(points, found)[:, 0], signs[0] * oracle.transform(points)[:, 0])
        return
    np.testing.assert_allclose(projected(points, found), oracle.transform(points) * signs, atol=1e-9)
    np.testing.assert_allclose(found.explained, oracle.explained_variance_ratio_, atol=1e-12)
    np.testing.assert_allclose(explained_by(points, found), found.explained, atol=1e-12)


def test_points_on_a_line_are_all_explained_and_the_sign_is_fixed():
    direction = np.array([1.0, -3.0, 0.5])
    points = np.linspace(-2, 5, 9)[:, None] * direction
    found = principal_components(points)
    np.testing.assert_allclose(found.axes[0], -direction / np.linalg.norm(direction))
    np.testing.assert_allclose(found.explained, [1, 0], atol=1e-12)
    np.testing.assert_array_equal(projected(points, found), projected(points, principal_components(points[::-1])))
    assert not projected(points, found)[:, 1].any()


def test_axes_of_other_points_explain_their_share():
    points = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 2, 0], [0, -2, 0]])
    axes = principal_components(np.array([[1.0, 0, 0], [-1, 0, 0], [0, 0, 0.1]]))
    assert explained_by(points, axes)[0] == pytest.approx(2 / 10)
    assert not explained_by(np.ones((4, 3)), axes).any()


@pytest.mark.parametrize("noise", [0.0, 1e-8])
def test_equal_points_have_no_direction_not_even_that_of_rounding(noise):
    points = 50.0 + noise * np.random.default_rng(0).normal(size=(12, 6))
    found = principal_components(points)
    assert found.constant
    assert not projected(points, found).any()
    assert not principal_components(points + 0.01 * np.eye(12, 6)).constant


def test_what_has_no_components_is_refused():
    for wrong, words in ((np.zeros((1, 4)), "two points"), (np.full((3, 4), np.nan), "finite"), (np.zeros(4), "N, D")):
        with pytest.raises(InputError, match=words):
            principal_components(wrong)
    with pytest.raises(SettingError, match="count"):
        principal_components(np.zeros((3, 4)), 0)
