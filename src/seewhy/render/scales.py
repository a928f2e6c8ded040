"""Which colour stands for which number: stated beside every map, so it must be a record, not a habit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import colours
from .wording import number

Kind: TypeAlias = Literal["sequential", "diverging"]
Array: TypeAlias = NDArray[np.float64]

ROBUST = 0.995
"""Share of the pixels that stays inside robust limits."""
ROBUST_SIGNED = 0.98
"""Lower for signed maps: pixel attributions are nearly all close to zero, and would be seen as nothing."""

_NEARLY_ZERO = 0.2  # of the largest number: unsigned maps that begin below it are drawn from zero
_WORTH_CLIPPING = 1.25  # the maximum exceeds that share's value by so much that the rest would look dark
_STRENGTH, _SOFTNESS = 0.95, 0.7  # most opaque an overlay gets; below 1 lifts weak evidence


@dataclass(frozen=True, slots=True)
class Scale:
    """`low` is drawn in the first colour of `cmap` and `high` in the last; what lies outside is clipped.

    Diverging scales are symmetric about zero. `extremes` are the smallest and largest number there is, and
    `clipped` is the share of pixels outside the limits. Where `low` equals `high` (an empty or constant map)
    every number sits at the neutral end, or for a diverging scale in the middle.
    """

    kind: Kind
    low: float
    high: float
    cmap: str
    units: str = ""
    clipped: float = 0.0
    extremes: tuple[float, float] | None = None

    def position(self, values: Array) -> Array:
        """Returns where the numbers lie between `low` (0) and `high` (1), NaN where they are NaN."""
        values = np.asarray(values, dtype=np.float64)
        neutral = 0.5 if self.kind == "diverging" else 0.0
        size = max(abs(self.low), abs(self.high))
        # Divided by the size first: the span of huge numbers would overflow, that of tiny ones underflow.
        span = self.high / size - self.low / size if size > 0 else 0.0
        if span == 0:
            return np.where(np.isnan(values), np.nan, neutral)
        inside = np.clip(values, self.low, self.high)
        return np.clip((inside / size - self.low / size) / span, 0.0, 1.0)

    def colours(self, values: Array, *, solid: bool = True) -> NDArray[np.uint8]:
        """Returns the numbers' colours, (..., 4): red, green, blue, alpha; NaN is fully transparent.

        solid: alpha is 255 everywhere; otherwise it grows with the evidence, so that a picture shows through
            where there is none.
        """
        drawn: NDArray[np.uint8] = self.palette(solid=solid)[self.index(values)]
        return drawn

    def index(self, values: Array) -> NDArray[np.uint8]:
        """Returns each number's entry in the palette, 0..254, and 255 where it is NaN."""
        position = self.position(values)
        missing = np.isnan(position)
        entries: NDArray[np.uint8] = np.rint(np.where(missing, 0, position) * 254).astype(np.uint8)
        entries[missing] = 255
        return entries

    def palette(self, *, solid: bool = True) -> NDArray[np.uint8]:
        """Returns 256 colours with alpha, (256, 4); 0..254 run from `low` to `high`, 255 is for NaN."""
        position = np.linspace(0, 1, 255)
        palette = np.zeros((256, 4), dtype=np.uint8)
        palette[:255, :3] = colours.table(self.cmap)[np.rint(position * 255).astype(int)]
        palette[:255, 3] = 255 if solid else np.rint(255 * opacity(position, self.kind))
        return palette

    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Returns (position, number in words) of the marks of the colour bar, from left to right."""
        neutral = 0.5 if self.kind == "diverging" else 0.0
        if self.low == self.high:
            return ((neutral, number(self.low)),)
        below = "≤ " if self.clipped and self.extremes and self.extremes[0] < self.low else ""
        above = "≥ " if self.clipped and self.extremes and self.extremes[1] > self.high else ""
        ends = (0.0, below + number(self.low, self.high)), (1.0, above + number(self.high, self.low))
        if self.kind == "diverging":
            return (ends[0], (0.5, "0"), ends[1])
        return ends

    @property
    def proportional(self) -> bool:
        """Whether colours are shares of the largest magnitude: the neutral colour is zero, and another one is not."""
        return self.high > 0 and (self.kind == "diverging" or self.low == 0)

    def whole(self) -> str:
        """Returns what number the full colour, 100%, stands for; of a clipped end it is the least one."""
        at_most, at_least = ((tick[1][:1] in "≤≥") for tick in (self.ticks()[0], self.ticks()[-1]))
        return f"100% {'≥' if at_most or at_least else '='} {number(self.high)}"

    def note(self) -> str:
        """Returns what the colour bar must say about clipped numbers; empty where none is clipped."""
        if not self.clipped or self.extremes is None:
            return ""
        least, most = self.extremes
        span = f"{number(least, most)} to {number(most, least)}"
        return f"{self.clipped:.1%} of pixels clipped; full range {span}"


def opacity(position: Array, kind: Kind) -> Array:
    """Returns how opaque an overlay is at these positions: 0 where there is no evidence, at most 0.95."""
    strength = np.abs(2 * position - 1) if kind == "diverging" else position
    shown: Array = _STRENGTH * strength**_SOFTNESS
    return shown


def scale_for(
    maps: Sequence[Any], *, signed: bool, cmap: str | None = None, robust: bool = True, units: str = ""
) -> Scale:
    """Returns one scale for all `maps` (arrays of any shapes; NaN and infinity do not count).

    Unsigned maps run from zero, or from their smallest number where that is negative or far above zero, to their
    largest; signed ones from minus to plus the largest magnitude. robust: where few pixels would darken all others,
    the limits are the 99.5th percentile instead, of signed maps the 98th of the magnitudes, and the scale says so
    (`clipped`, `note()`).
    """
    parts = [np.asarray(values, dtype=np.float64).ravel() for values in maps]
    finite = np.concatenate([part[np.isfinite(part)] for part in parts]) if parts else np.zeros(0)
    kind: Kind = "diverging" if signed else "sequential"
    name = cmap or (colours.DIVERGING if signed else colours.SEQUENTIAL)
    colours.table(name)  # a wrong name is an error here, before anything is drawn
    if not finite.size:
        return Scale(kind, 0.0, 0.0, name, units)
    extremes = float(finite.min()), float(finite.max())
    low, high = (-max(map(abs, extremes)), max(map(abs, extremes))) if signed else extremes
    if not signed and 0 <= low < _NEARLY_ZERO * high:
        low = 0.0
    if robust:
        low, high = _robust(finite, signed, low, high)
    outside = float(np.mean((finite < low) | (finite > high)))
    return Scale(kind, low, high, name, units, outside, extremes)


def _robust(finite: Array, signed: bool, low: float, high: float) -> tuple[float, float]:
    if signed:
        most = float(np.quantile(np.abs(finite), ROBUST_SIGNED))
        return (-most, most) if 0 < most * _WORTH_CLIPPING < high else (low, high)
    most = float(np.quantile(finite, ROBUST))
    return (low, most) if 0 < (most - low) * _WORTH_CLIPPING < high - low else (low, high)
