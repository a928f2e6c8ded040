"""From many dimensions to the two of a page: principal components, t-SNE or UMAP, for each layer or for all at once."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, MissingExtraError, SettingError, nearest
from ..ops.distances import Array, Distance
from ..ops.pca import explained_by, principal_components, projected

_LEAST = 4
"""Points that a map of neighbours needs: with fewer everyone is everyone's neighbour."""
_PERPLEXITY, _NEIGHBOURS = 30.0, 15  # the customary settings of t-SNE and UMAP, where there are points enough
_MANY = 1000
"""Points above which t-SNE is approximated."""

Fit: TypeAlias = Callable[[Array], Array]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Points on a page.

    coordinates: (L, T, 2). explained: (L, 2) for PCA, else None. flat: places of layers at which all points are one.
    """

    coordinates: Array
    explained: Array | None
    flat: tuple[int, ...]


def on_a_plane(vectors: Array, reduction: str, distance: Distance, seed: int, *, common: bool) -> Layout:
    """Returns vectors (L, T, D) in two dimensions, each layer by itself, or all in one fit (`common`).

    "pca": principal components (linear; distances on the page are at most the true ones). Each axis's sign is chosen so
    that points move least from the layer before. "tsne", "umap": neighbours stay neighbours, and all other distances
    mean little; they use `distance`, and begin from the principal components.

    Raises:
        InputError: fewer than two points; of t-SNE and UMAP, fewer than four.
        SettingError: another reduction.
        MissingExtraError: "umap" without its package.
    """
    if reduction not in REDUCTIONS:
        raise SettingError(
            f"reduction takes {', '.join(REDUCTIONS)}; given {reduction!r}." + nearest(str(reduction), REDUCTIONS)
        )
    count, least = vectors.shape[1], 2 if reduction == "pca" else _LEAST
    if count < least:
        raise InputError(
            f"{reduction} in two dimensions needs {least} tokens or more, to say how they differ; given {count}. "
            "Give a longer text."
        )
    fits = [principal_components(layer) for layer in vectors]
    flat = tuple(place for place, fit in enumerate(fits) if fit.constant)
    if reduction == "pca":
        coordinates, explained = _common(vectors) if common else (_each(vectors), np.stack([f.explained for f in fits]))
        return Layout(coordinates, explained, flat)
    fit = _tsne(distance, seed) if reduction == "tsne" else _umap(distance, seed)
    if common and len(flat) < len(vectors):
        return Layout(fit(vectors.reshape(-1, vectors.shape[2])).reshape(*vectors.shape[:2], 2), None, flat)
    nothing = np.zeros((count, 2))
    found = [nothing if place in flat else fit(layer) for place, layer in enumerate(vectors)]
    return Layout(np.stack(found), None, flat)


REDUCTIONS = ("pca", "tsne", "umap")


def _each(vectors: Array) -> Array:
    found: list[Array] = []
    for layer in vectors:
        points = projected(layer, principal_components(layer))
        if found:  # the sign of an axis means nothing: keep the picture still where nothing moved
            points *= np.where((points * found[-1]).sum(0) < 0, -1.0, 1.0)
        found.append(points)
    return np.stack(found)


def _common(vectors: Array) -> tuple[Array, Array]:
    axes = principal_components(vectors.reshape(-1, vectors.shape[2]))
    coordinates = np.stack([projected(layer, axes) for layer in vectors])
    return coordinates, np.stack([explained_by(layer, axes) for layer in vectors])


def _tsne(distance: Distance, seed: int) -> Fit:
    manifold = importlib.import_module("sklearn.manifold")

    def fit(points: Array) -> Array:
        maker = manifold.TSNE(
            perplexity=min(_PERPLEXITY, (len(points) - 1) / 3),
            init=_start(points, 1e-4),
            learning_rate="auto",
            metric=distance,
            random_state=seed,
            method="barnes_hut" if len(points) > _MANY else "exact",
        )
        found: Array = np.asarray(maker.fit_transform(points.astype(np.float32)), dtype=np.float64)
        return found

    return fit


def _umap(distance: Distance, seed: int) -> Fit:
    try:
        umap: Any = importlib.import_module("umap")
    except ImportError as error:
        raise MissingExtraError(
            "reduction 'umap': expected the package umap-learn, which is not installed; install it with: pip install "
            "'seewhy[umap]', or take reduction='pca' or 'tsne'"
        ) from error

    def fit(points: Array) -> Array:
        maker = umap.UMAP(
            n_neighbors=min(_NEIGHBOURS, len(points) - 1),
            init=_start(points, 10.0),
            metric=distance,
            random_state=seed,
            n_jobs=1,
        )
        found: Array = np.asarray(maker.fit_transform(points.astype(np.float32)), dtype=np.float64)
        return found

    return fit


def _start(points: Array, size: float) -> NDArray[np.float32]:
    """Returns the principal components, spread as wide as the method wants its start: the same picture at every run."""
    found = projected(points, principal_components(points))
    return (found / (found[:, 0].std() or 1.0) * size).astype(np.float32)
