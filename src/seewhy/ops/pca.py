"""Principal components: the few directions along which points differ most, by singular value decomposition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError, SettingError

Array: TypeAlias = NDArray[np.float64]

NOTHING = 1e-6
"""Spread below this share of the points' size is rounding of float32, and no direction."""


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Where points lie most apart.

    centre: (D,). axes: (count, D), orthonormal, the widest first; a row of zeros where the points fill fewer
    directions. explained: (count,), the share of the total variance along each axis; zeros where all points are one.
    """

    centre: Array
    axes: Array
    explained: Array

    @property
    def constant(self) -> bool:
        """True if the points that were fitted are all the same, so that there is nothing to tell apart."""
        return not self.explained.any()


def principal_components(points: NDArray[np.floating], count: int = 2) -> Components:
    """Returns the principal components of points (N, D), computed in float64.

    With X the points minus their mean and X = U S Vᵀ, the axes are the first rows of Vᵀ and explain S² / sum(S²).
    The sign of each axis makes its entry of largest magnitude positive, so that the same points always give the same
    picture.

    Raises:
        InputError: fewer than two points, or numbers that are not finite.
        SettingError: count is less than 1.

    Differences: scikit-learn's PCA up to the sign of an axis.

    Reference: Pearson, "On lines and planes of closest fit to systems of points in space", Phil. Mag. 2 (1901).
    """
    given = _checked(points)
    if count < 1:
        raise SettingError(f"count must be 1 or more; given {count}.")
    if len(given) < 2:
        raise InputError(
            f"Principal components need two points or more, of which to say how they differ; given {len(given)}."
        )
    centre = given.mean(0)
    axes, explained = np.zeros((count, given.shape[1])), np.zeros(count)
    _, spreads, rows = np.linalg.svd(given - centre, full_matrices=False)
    size = np.linalg.norm(given)
    kept = min(count, int((spreads > NOTHING * size).sum()))
    if kept:
        axes[:kept] = rows[:kept]
        largest = np.abs(axes[:kept]).argmax(1)
        axes[:kept] *= np.where(axes[np.arange(kept), largest] < 0, -1.0, 1.0)[:, None]
        explained[:kept] = spreads[:kept] ** 2 / (spreads**2).sum()
    return Components(centre, axes, explained)


def projected(points: NDArray[np.floating], components: Components) -> Array:
    """Returns the points' coordinates on the axes, (N, count)."""
    found: Array = (_checked(points) - components.centre) @ components.axes.T
    return found


def explained_by(points: NDArray[np.floating], components: Components) -> Array:
    """Returns the share of these points' own variance along each axis, (count,); the axes may be of other points."""
    centred = _checked(points)
    centred = centred - centred.mean(0)
    total = float((centred**2).sum())
    if total <= (NOTHING * np.linalg.norm(points)) ** 2:
        return np.zeros(len(components.axes))
    shares: Array = ((centred @ components.axes.T) ** 2).sum(0) / total
    return shares


def _checked(points: NDArray[np.floating]) -> Array:
    given = np.asarray(points, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] == 0:
        raise InputError(f"Points are (N, D), with one number or more each; given {given.shape}.")
    if not np.isfinite(given).all():
        raise InputError("Points must be finite; given NaN or infinity. Look at what the model gives for this text.")
    return given
