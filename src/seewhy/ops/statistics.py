"""Streaming moments and correlations in float64: thousands of rows are averaged without being kept."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Mean and variance of the rows seen so far, float64 on the CPU; `update` and `merge` return new moments.

    Two parts merge by Chan's formula, so how rows were batched changes the result by rounding only, and
    nothing cancels when the mean is large beside the spread.

    Differences: the usual running sum of squares loses every digit at a mean of 1e8 and a spread of 1.

    Reference: Chan, Golub, LeVeque, "Algorithms for computing the sample variance", The American Statistician
    37 (1983).
    """

    count: int
    """Rows seen."""
    centre: Tensor
    """Mean of the rows (zeros before the first row)."""
    squares: Tensor
    """Sum of squared deviations from `centre`."""

    @staticmethod
    def empty() -> Moments:
        """Returns the moments of no rows; the first batch brings the shape."""
        nothing = torch.zeros((), dtype=torch.float64, device="cpu")
        return Moments(0, nothing, nothing)

    @staticmethod
    def of(batch: Tensor) -> Moments:
        """Returns the moments of `batch` (n, ...), reduced over its rows on the device it is on.

        Raises:
            InputError: the batch has no row dimension.
        """
        if batch.ndim == 0:
            raise InputError("Moments need rows (n, ...), but got a single number. Add a dimension first.")
        rows = batch.detach()
        if len(rows) == 0:
            nothing = torch.zeros(rows.shape[1:], dtype=torch.float64, device="cpu")
            return Moments(0, nothing, nothing)
        # Apple's GPUs have no float64; deviations from the first row keep float32 accurate enough there.
        return _reduce(rows, torch.float32 if rows.device.type == "mps" else torch.float64)

    def update(self, batch: Tensor) -> Moments:
        """Returns these moments with the rows of `batch` (n, ...) added; n may be 0.

        Raises:
            InputError: the rows have another shape than those before.
        """
        return self.merge(Moments.of(batch))

    def merge(self, other: Moments) -> Moments:
        """Returns the moments of both sets of rows together.

        Raises:
            InputError: the two have rows of different shapes.
        """
        if self.count == 0 or other.count == 0:
            # Of two without rows, the one that knows the shape.
            return max(self, other, key=lambda part: (part.count, part.centre.ndim))
        if self.centre.shape != other.centre.shape:
            raise InputError(
                f"Rows of one shape are averaged, but got {tuple(other.centre.shape)} after "
                f"{tuple(self.centre.shape)}. Bring them to one shape first."
            )
        count = self.count + other.count
        shift = other.centre - self.centre
        centre = self.centre + shift * (other.count / count)
        squares = self.squares + other.squares + shift.square() * (self.count * other.count / count)
        return Moments(count, centre, squares)

    @property
    def mean(self) -> Tensor:
        """The mean of the rows (...), NaN where there are none."""
        return self.centre.clone() if self.count else torch.full_like(self.centre, math.nan)

    @property
    def variance(self) -> Tensor:
        """The unbiased variance of the rows (...), divided by count - 1; NaN for fewer than two rows."""
        if self.count < 2:
            return torch.full_like(self.squares, math.nan)
        return self.squares / (self.count - 1)

    @property
    def standard_error(self) -> Tensor:
        """The standard error of the mean (...), the root of variance / count; NaN for fewer than two rows."""
        return (self.variance / max(self.count, 1)).sqrt()


@dataclass(frozen=True, slots=True, eq=False)
class FourMoments:
    """Moments up to the fourth of the rows seen so far, float64 on the CPU: they say how sure a variance is.

    As `Moments`, which are kept inside and cost less: rows may come in any batches. Equal rows have exact zeros.

    Reference: Pébay, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
    statistical moments", Sandia report SAND2008-6212 (2008).
    """

    base: Moments
    cubes: Tensor
    """Sum of cubed deviations from the mean."""
    fourths: Tensor
    """Sum of the deviations' fourth powers."""

    @staticmethod
    def empty() -> FourMoments:
        """Returns the moments of no rows; the first batch brings the shape."""
        base = Moments.empty()
        return FourMoments(base, base.squares, base.squares)

    @staticmethod
    def of(batch: Tensor) -> FourMoments:
        """Returns the moments of `batch` (n, ...), reduced over its rows on the device it is on.

        Raises:
            InputError: the batch has no row dimension.
        """
        # Fourth powers leave float32's range, so Apple's GPUs, which have no float64, are no help here.
        rows = batch.detach().cpu() if batch.device.type == "mps" else batch.detach()
        base = Moments.of(rows)
        if base.count == 0:
            return FourMoments(base, base.squares, base.squares)
        _, _, deviations = _deviations(rows, torch.float64)
        squares = deviations.square()
        cubes = (squares * deviations).sum(0)
        return FourMoments(base, _to_double(cubes), _to_double(squares.square_().sum(0)))

    def update(self, batch: Tensor) -> FourMoments:
        """Returns these moments with the rows of `batch` (n, ...) added; n may be 0.

        Raises:
            InputError: the rows have another shape than those before.
        """
        return self.merge(FourMoments.of(batch))

    def merge(self, other: FourMoments) -> FourMoments:
        """Returns the moments of both sets of rows together.

        Raises:
            InputError: the two have rows of different shapes.
        """
        base = self.base.merge(other.base)
        if self.count == 0 or other.count == 0:
            filled = max(self, other, key=lambda part: part.count)
            return FourMoments(base, filled.cubes.expand_as(base.squares), filled.fourths.expand_as(base.squares))
        n, a, b = base.count, self.count / base.count, other.count / base.count
        shift = other.base.centre - self.base.centre
        square = shift.square()
        mixed = a * other.base.squares - b * self.base.squares
        cubes = self.cubes + other.cubes + shift * (square * (n * a * b * (a - b)) + 3 * mixed)
        fourths = self.fourths + other.fourths + 4 * shift * (a * other.cubes - b * self.cubes)
        fourths += square * (6 * (a * a * other.base.squares + b * b * self.base.squares))
        fourths += square.square() * (n * a * b * (a * a - a * b + b * b))
        return FourMoments(base, cubes, fourths)

    @property
    def count(self) -> int:
        """Rows seen."""
        return self.base.count

    @property
    def variance(self) -> Tensor:
        """The unbiased variance of the rows (...), divided by count - 1; NaN for fewer than two rows."""
        return self.base.variance

    @property
    def variance_error(self) -> Tensor:
        """The standard error of the variance (...), sqrt((m4 - (n-3)/(n-1) s^4) / n); NaN for fewer than two rows."""
        n = self.count
        if n < 2:
            return torch.full_like(self.fourths, math.nan)
        spread = self.fourths / n - (n - 3) / (n - 1) * self.variance.square()
        return (spread.clamp(min=0) / n).sqrt()


def relative_error(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Returns the norm of all errors as a share of the norm of all values, over pairs (values, their errors).

    0 where there is no error, infinity where there is one and all values are 0.
    """
    size = error = 0.0
    for values, errors in pairs:
        size += float(values.square().sum())
        error += float(errors.square().sum())
    return 0.0 if error == 0 else (error / size) ** 0.5 if size > 0 else math.inf


def pearson(a: Tensor, b: Tensor) -> float:
    """Returns Pearson's correlation of the elements of `a` and `b`, in [-1, 1].

    NaN where it is undefined: fewer than two elements, a constant side, or a value that is not finite.

    Raises:
        InputError: `a` and `b` differ in shape.
    """
    first, second = _pair(a, b)
    left, right = _direction(first), _direction(second)
    if left is None or right is None:
        return math.nan
    return max(-1.0, min(1.0, float((left * right).sum())))


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Returns Spearman's rank correlation of the elements of `a` and `b`, in [-1, 1].

    Ties share their mean rank, and infinities are ranked. NaN where it is undefined: fewer than two elements,
    a constant side, or a NaN.

    Raises:
        InputError: `a` and `b` differ in shape.
    """
    first, second = _pair(a, b)
    if bool(first.isnan().any()) or bool(second.isnan().any()):
        return math.nan
    return pearson(_ranks(first), _ranks(second))


def _reduce(rows: Tensor, dtype: torch.dtype) -> Moments:
    """Returns the moments of at least one row, computed in `dtype`."""
    first, mean, deviations = _deviations(rows, dtype)
    squares = deviations.square().sum(0)
    return Moments(len(rows), _to_double(first) + _to_double(mean), _to_double(squares))


def _deviations(rows: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the first row, how far the mean is from it, and the rows' deviations from their mean, in `dtype`."""
    wide = rows.to(dtype)
    first = wide[0]
    deviations = wide - first
    mean = deviations.mean(0)
    return first, mean, deviations - mean


def _to_double(values: Tensor) -> Tensor:
    return values.cpu().to(torch.float64)


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.shape != b.shape:
        raise InputError(
            f"A correlation needs two tensors of one shape, but got {tuple(a.shape)} and {tuple(b.shape)}. "
            f"Resize one of the maps first."
        )
    return _to_double(a.detach()).flatten(), _to_double(b.detach()).flatten()


def _direction(values: Tensor) -> Tensor | None:
    """Returns the centred values at length 1, or None where they have no direction."""
    # Equality, not a small spread: the mean of equal numbers may differ from them by rounding.
    if len(values) < 2 or not bool(values.isfinite().all()) or bool((values == values[0]).all()):
        return None
    centred = values - values.mean()
    centred = centred / centred.abs().max()  # so that tiny or huge values can be squared
    return centred / centred.square().sum().sqrt()


def _ranks(values: Tensor) -> Tensor:
    """Returns the rank of each value from 1 on; equal values share the mean of their ranks."""
    _, place, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    ranks: Tensor = (last - (counts.double() - 1) / 2)[place]
    return ranks
