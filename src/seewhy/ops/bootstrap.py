"""Intervals for means over images: drawn again and again from the same values, the same draws every time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..core.errors import SettingError

DRAWS = 10_000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over `count` values with its bootstrap interval."""

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class Total:
    """The values of one measure by the image's id. Shards merge exactly: nothing is summed before all is there."""

    values: Mapping[str, float] = field(default_factory=dict)

    def __or__(self, other: Total) -> Total:
        return Total({**self.values, **other.values})

    def interval(self, level: float = LEVEL, draws: int = DRAWS) -> Interval:
        """Returns the mean with its percentile bootstrap interval (Efron 1979).

        It does not depend on the order in which values came. One value has no interval: NaN at both ends.
        """
        return interval([self.values[key] for key in sorted(self.values)], level, draws)

    def minus(self, other: Total, level: float = LEVEL, draws: int = DRAWS) -> Interval:
        """Returns the mean difference over the images that both have, paired."""
        common = sorted(self.values.keys() & other.values.keys())
        return interval([self.values[key] - other.values[key] for key in common], level, draws)


def interval(values: list[float], level: float = LEVEL, draws: int = DRAWS) -> Interval:
    """Returns the mean of the values with the interval that holds `level` of the means of samples drawn from them."""
    if not 0 < level < 1:
        raise SettingError(f"level must lie between 0 and 1; given {level}.")
    finite = np.array([value for value in values if np.isfinite(value)], dtype=np.float64)
    count = len(finite)
    if not count:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    mean = float(finite.mean())
    if count == 1:
        return Interval(mean, float("nan"), float("nan"), 1)
    low, high = np.quantile(_means(finite, draws), [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), count)


def _means(values: NDArray[np.float64], draws: int) -> NDArray[np.float64]:
    """Returns the means of `draws` samples with replacement, some at a time: memory does not grow with the draws."""
    generator = np.random.default_rng(0)  # the same samples for all measures: paired, and the same at every run
    step = max(1, 2_000_000 // len(values))
    parts = [
        values[generator.integers(0, len(values), (min(step, draws - start), len(values)))].mean(1)
        for start in range(0, draws, step)
    ]
    return np.concatenate(parts)
