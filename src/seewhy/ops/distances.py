"""Between every two of some points: Euclidean distance and cosine similarity, in float64."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, SettingError

Array: TypeAlias = NDArray[np.float64]
Distance: TypeAlias = Literal["euclidean", "cosine"]


def euclidean_distances(points: NDArray[np.floating]) -> Array:
    """Returns |x_i - x_j| for points (N, D), as (N, N) with zeros on the diagonal.

    Taken from the differences themselves: the usual |x|² + |y|² - 2xy loses all digits where points are close.
    """
    given = _checked(points)
    found = np.zeros((len(given), len(given)))
    for row, point in enumerate(given[:-1]):
        found[row, row + 1 :] = np.linalg.norm(given[row + 1 :] - point, axis=1)
    both: Array = found + found.T
    return both


def cosine_similarities(points: NDArray[np.floating]) -> Array:
    """Returns x_i·x_j / (|x_i| |x_j|) for points (N, D), as (N, N) within -1 and 1; NaN beside a point that is zero.

    The diagonal is exactly 1.
    """
    given = _checked(points)
    lengths = np.linalg.norm(given, axis=1, keepdims=True)
    unit = np.divide(given, lengths, out=np.full_like(given, np.nan), where=lengths > 0)
    found: Array = np.clip(unit @ unit.T, -1.0, 1.0)
    found = (found + found.T) / 2
    np.fill_diagonal(found, np.where(lengths[:, 0] > 0, 1.0, np.nan))
    return found


def distances(points: NDArray[np.floating], kind: Distance = "euclidean") -> Array:
    """Returns distances between points (N, D), (N, N): Euclidean, or 1 minus cosine similarity.

    Raises:
        SettingError: another kind.
        InputError: a point is zero, which has no cosine.
    """
    if kind == "euclidean":
        return euclidean_distances(points)
    if kind != "cosine":
        raise SettingError(f"distance is 'euclidean' or 'cosine'; given {kind!r}.")
    found = 1.0 - cosine_similarities(points)
    if np.isnan(found).any():
        raise InputError("A vector of zeros has no cosine. Take distance='euclidean'.")
    return found


def directions(points: NDArray[np.floating]) -> Array:
    """Returns the points (N, D) scaled to length 1, which is all that the cosine sees; zeros stay zeros."""
    given = _checked(points)
    lengths = np.linalg.norm(given, axis=1, keepdims=True)
    scaled: Array = np.divide(given, lengths, out=np.zeros_like(given), where=lengths > 0)
    return scaled


def _checked(points: NDArray[np.floating]) -> Array:
    given = np.asarray(points, dtype=np.float64)
    if given.ndim != 2:
        raise InputError(f"Points are (N, D); given {given.shape}.")
    if not np.isfinite(given).all():
        raise InputError("Points must be finite; given NaN or infinity. Look at what the model gives for this text.")
    return given
