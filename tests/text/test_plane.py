"""Points on a page: principal components layer by layer, one fit for all, and maps of neighbours."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from sklearn.decomposition import PCA

from seewhy.core.errors import InputError, MissingExtraError, SettingError
from seewhy.text import plane
from seewhy.text.plane import on_a_plane


@pytest.fixture
def vectors() -> np.ndarray:
    start = np.random.default_rng(0).normal(size=(12, 6)) * np.array([4, 3, 1, 1, 1, 1])
    layers = [start + 0.1 * step for step in range(3)]
    layers[1] = layers[1] @ np.diag([-1, 1, 1, 1, 1, 1])  # the same points, mirrored
    return np.stack(layers)


def test_pca_is_that_of_each_layer_and_signs_follow_the_layer_before(vectors):
    found = on_a_plane(vectors, "pca", "euclidean", 0, common=False)
    for layer, own, explained in zip(vectors, found.coordinates, found.explained, strict=True):
        oracle = PCA(2, svd_solver="full").fit(layer)
        np.testing.assert_allclose(np.abs(own), np.abs(oracle.transform(layer)), atol=1e-9)
        np.testing.assert_allclose(explained, oracle.explained_variance_ratio_)
    # Moved and mirrored alike, the picture stays the same
    np.testing.assert_allclose(found.coordinates[0], found.coordinates[1], atol=1e-9)
    np.testing.assert_allclose(found.coordinates[0], found.coordinates[2], atol=1e-9)


def test_one_fit_for_all_layers_keeps_what_moves(vectors):
    found = on_a_plane(vectors, "pca", "euclidean", 0, common=True)
    oracle = PCA(2, svd_solver="full").fit(vectors.reshape(-1, 6))
    np.testing.assert_allclose(
        np.abs(found.coordinates.reshape(-1, 2)), np.abs(oracle.transform(vectors.reshape(-1, 6))), atol=1e-9
    )
    assert not np.allclose(found.coordinates[0], found.coordinates[1], atol=0.1)
    centred = found.coordinates[0] - found.coordinates[0].mean(0)
    total = ((vectors[0] - vectors[0].mean(0)) ** 2).sum()
    np.testing.assert_allclose(found.explained[0], (centred**2).sum(0) / total)


@pytest.mark.parametrize("reduction", ["pca", "tsne"])
@pytest.mark.parametrize("common", [False, True])
def test_equal_points_are_said_to_be_flat(vectors, reduction, common):
    vectors[1] = 2.5
    found = on_a_plane(vectors, reduction, "euclidean", 0, common=common)
    assert found.flat == (1,)
    assert np.isfinite(found.coordinates).all()
    everywhere = on_a_plane(np.ones((2, 5, 3)), reduction, "euclidean", 0, common=common)
    assert everywhere.flat == (0, 1)
    assert not everywhere.coordinates.any()


@pytest.mark.parametrize("reduction", ["tsne", pytest.param("umap", marks=pytest.mark.slow)])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_maps_of_neighbours_keep_clusters_and_repeat_with_the_seed(reduction, distance):
    if reduction == "umap" and importlib.util.find_spec("umap") is None:
        pytest.skip("needs umap-learn")
    generator = np.random.default_rng(0)
    centres = np.repeat(10 * np.eye(3, 8), 10, axis=0)
    vectors = (centres + 0.3 * generator.normal(size=(30, 8)))[None]
    found = on_a_plane(vectors, reduction, distance, 3, common=False)
    again = on_a_plane(vectors, reduction, distance, 3, common=False)
    np.testing.assert_array_equal(found.coordinates, again.coordinates)
    assert found.explained is None
    square = np.linalg.norm(found.coordinates[0][:, None] - found.coordinates[0][None], axis=2)
    np.fill_diagonal(square, np.inf)
    assert (square.argmin(1) // 10 == np.arange(30) // 10).all()
    small = on_a_plane(vectors[:, :4], reduction, distance, 0, common=False)
    assert np.isfinite(small.coordinates).all()


def test_too_few_points_and_unknown_names_are_refused(vectors, monkeypatch):
    with pytest.raises(InputError, match="needs 2 tokens"):
        on_a_plane(vectors[:, :1], "pca", "euclidean", 0, common=False)
    with pytest.raises(InputError, match="needs 4 tokens"):
        on_a_plane(vectors[:, :3], "tsne", "euclidean", 0, common=False)
    with pytest.raises(SettingError, match="Did you mean 'tsne'"):
        on_a_plane(vectors, "tnse", "euclidean", 0, common=False)

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(plane.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"seewhy\[umap\]"):
        on_a_plane(vectors, "umap", "euclidean", 0, common=False)
