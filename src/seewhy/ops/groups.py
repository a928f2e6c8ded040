"""How well labelled points fall into their groups: silhouette, and similarity within groups against across them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..core.errors import InputError

Array: TypeAlias = NDArray[np.float64]


def group_numbers(labels: Sequence[Hashable]) -> NDArray[np.int64]:
    """Returns each label as a number, counted from 0 in the order of their first appearance."""
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(label, len(known)) for label in labels], dtype=np.int64)


def silhouettes(distances: Array, labels: Sequence[Hashable]) -> Array:
    """Returns how much better each point fits its own group than the nearest other one, (N,), within -1 and 1.

        s_i = (b_i - a_i) / max(a_i, b_i),

    a_i the mean distance to the other points of its group, b_i the least mean distance to another group. 0 for a
    point that is alone in its group, and where both distances are 0.

    distances: (N, N), zeros on the diagonal.

    Raises:
        InputError: the labels are not as many as the points, or there are fewer than two groups.

    Reference: Rousseeuw, "Silhouettes: a graphical aid to the interpretation and validation of cluster analysis",
    J. Comput. Appl. Math. 20 (1987).
    """
    members = _members(distances, labels)
    if members.shape[1] < 2:
        raise InputError("Silhouettes compare groups: expected labels of two kinds or more, given one kind.")
    own = members.argmax(1)
    sizes = members.sum(0)
    sums = distances @ members
    rows = np.arange(len(own))
    others = np.where(members > 0, np.inf, sums / sizes)
    nearest = others.min(1)
    alone = sizes[own] < 2
    inner = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    larger = np.maximum(inner, nearest)
    found: Array = np.where(alone | (larger == 0), 0.0, (nearest - inner) / np.where(larger == 0, 1.0, larger))
    return found


@dataclass(frozen=True, slots=True)
class Cohesion:
    """Mean similarity of pairs within a group and of pairs across groups; NaN where there is no such pair."""

    within: float
    across: float

    @property
    def margin(self) -> float:
        """How much more alike two points of one group are than two of different groups."""
        return self.within - self.across


def cohesion(similarities: Array, labels: Sequence[Hashable]) -> Cohesion:
    """Returns the mean similarity over all pairs within the groups, and over all pairs across them.

    similarities: (N, N), symmetric; pairs without a number do not count. Every pair counts once, so that a large group
    counts more.

    Raises:
        InputError: the labels are not as many as the points.
    """
    members = _members(similarities, labels)
    same = (members @ members.T) > 0
    pairs = np.triu(np.isfinite(similarities), 1)
    return Cohesion(*(_mean(similarities[pairs & chosen]) for chosen in (same, ~same)))


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else math.nan


def _members(square: Array, labels: Sequence[Hashable]) -> Array:
    """Returns which point is in which group, (N, groups), 1 or 0."""
    if square.ndim != 2 or square.shape[0] != square.shape[1] or len(labels) != len(square):
        raise InputError(f"Expected a label for each point of a square matrix; given {len(labels)} for {square.shape}.")
    numbers = group_numbers(labels)
    found: Array = (numbers[:, None] == np.arange(numbers.max(initial=-1) + 1)).astype(np.float64)
    return found
