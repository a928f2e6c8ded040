"""What chance makes of a measure: the same points shuffled, all layers alike, so that the best one is fair too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core.errors import SettingError
from .arrangement import Marks, Whole
from .distances import Array
from .seeds import derive_seed

LEVEL = 0.95
_SAME = 1e-9
"""Values that differ by rounding only are equal: an arrangement that chance repeats is no better than itself."""


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """A measure at each of L layers beside chance.

    value: as it is. mean, low, high: of the shuffled, their mean and middle 95%. p: the share of all, itself included,
    that is at least as large. anywhere: the same for the largest standardised value over the layers, which is what
    "this is seen at some layer" must be held to. best: the place of the layer with the least p and, among those, the
    largest value above the mean.
    """

    value: Array
    mean: Array
    low: Array
    high: Array
    p: Array
    anywhere: float
    best: int


def shuffled_orders(count: int, draws: int, *seed: str | int) -> Whole:
    """Returns the order 0 to count - 1, and behind it `draws` random ones, (draws + 1, count)."""
    _check(draws)
    generator = np.random.default_rng(derive_seed(*seed))
    plain = np.arange(count, dtype=np.int64)
    return np.concatenate([plain[None], generator.permuted(np.tile(plain, (draws, 1)), axis=1)])


def shuffled_subsets(subset: Marks, draws: int, *seed: str | int) -> Marks:
    """Returns the subset (n,), and behind it `draws` random ones of its size, (draws + 1, n)."""
    found: Marks = subset[shuffled_orders(len(subset), draws, *seed)]
    return found


def shifted_subsets(subset: Marks) -> Marks:
    """Returns the subset (n,), a run without gaps, and behind it all runs of its length that do not touch it."""
    places = np.flatnonzero(subset)
    size, start = len(places), int(places[0])
    free = [at for at in range(len(subset) - size + 1) if at + size <= start or at >= start + size]
    runs = np.zeros((len(free) + 1, len(subset)), dtype=bool)
    for row, at in enumerate((start, *free)):
        runs[row, at : at + size] = True
    return runs


def compared(values: Array, repeats: Marks | None = None) -> Compared:
    """Returns a measure beside chance, from its values (L layers, 1 + draws): first as it is, then of the shuffled.

    repeats: (draws,), those that chance has made the arrangement itself again, as it does with few points. They count
    for p, which would be too small without them, but not for mean, low and high, which say what others give.

    Each layer's values are standardised by the mean and standard deviation of all of them, itself included, before the
    largest over the layers is taken: under chance the first is then as likely as any other to be the largest, however
    the layers hang together. A layer where nothing varies counts as no difference.

    Reference: Westfall, Young, "Resampling-based multiple testing" (1993), single-step maximum.
    """
    draws = values[:, 1:]
    if repeats is not None and not repeats.all():
        draws = draws[:, ~repeats]
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)
    spread = values.std(1, keepdims=True)
    varied = spread > _SAME
    standard = np.where(varied, (values - values.mean(1, keepdims=True)) / np.where(varied, spread, 1.0), 0.0)
    largest = standard.max(0)
    mean, p = draws.mean(1), (values >= values[:, :1] - _SAME).mean(1)
    return Compared(
        value=values[:, 0],
        mean=mean,
        low=low,
        high=high,
        p=p,
        anywhere=float((largest >= largest[0] - _SAME).mean()),
        best=int(np.lexsort((mean - values[:, 0], p))[0]),
    )


def _check(draws: int) -> None:
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise SettingError(f"permutations must be a whole number of 1 or more; given {draws!r}.")
