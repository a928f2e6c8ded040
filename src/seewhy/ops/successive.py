"""Mean and standard error of rows in order, neighbours being alike: what stratified sampling gives."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Successive:
    """Running mean of ordered rows and its standard error from neighbours' differences, float64 on the CPU.

    Rows come in groups of `length`, each with one sample in each of `length` equal strata, in order. What differs
    from group to group, and steadily along a group, is no sampling error: the plain variance of the rows would
    count it. Second differences inside the groups see what is left: v1 - 2 v2 + v3 of independent rows has six
    times their variance, of a straight line none. Groups of two use first differences, and then a slope along the
    group makes the error too large, never too small on average. Single rows are all one group without strata.

    Rows may come in any batches: the last ones are kept until their neighbours are there. Rows are samples of one
    block; `merge` joins blocks.

    Reference: von Neumann, Kent, Bellinson, Hart, "The mean square successive difference", Annals of Mathematical
    Statistics 12 (1941), for first differences; Wolter, "Introduction to Variance Estimation", 2007, sec. 8.2, for
    second ones.
    """

    length: int
    count: int
    total: Tensor
    """Sum of the rows."""
    squares: Tensor
    """Sum of squared differences, each divided by what it has of a row's variance."""
    used: int
    """Differences in that sum."""
    tail: Tensor | None = None
    """The last rows, whose differences to the next ones are still to come."""

    @staticmethod
    def empty(length: int) -> Successive:
        """Returns the moments of no rows; the first batch brings the shape."""
        nothing = torch.zeros((), dtype=torch.float64, device="cpu")
        return Successive(length, 0, nothing, nothing, 0)

    @property
    def order(self) -> int:
        """Order of the differences."""
        return 2 if self.length > 2 else 1

    def update(self, rows: Tensor) -> Successive:
        """Returns these moments with the next rows (n, ...) added; reduced on the device that the rows are on."""
        # Apple's GPUs have no float64.
        wide = rows.detach().to(torch.float32 if rows.device.type == "mps" else torch.float64)
        seen = wide if self.tail is None else torch.cat([self.tail, wide])
        last = self.count + len(rows)
        total = self.total + _to_double(wide.sum(0))
        squares, used = self.squares, self.used
        if len(seen) > self.order:
            ends = torch.arange(last - len(seen) + self.order, last, device="cpu")
            inside = (ends % self.length >= self.order) if self.length > 1 else ends >= 0
            differences = torch.diff(seen, n=self.order, dim=0)[inside.to(seen.device)]
            squares = squares + _to_double(differences.square().sum(0)) / math.comb(2 * self.order, self.order)
            used += len(differences)
        return Successive(self.length, last, total, squares, used, seen[-self.order :].clone())

    def merge(self, other: Successive) -> Successive:
        """Returns the moments of two finished blocks together: no difference is taken between them."""
        return replace(
            self,
            count=self.count + other.count,
            total=self.total + other.total,
            squares=self.squares + other.squares,
            used=self.used + other.used,
            tail=None,
        )

    @property
    def mean(self) -> Tensor:
        """The mean of the rows (...), NaN where there are none."""
        return self.total / self.count if self.count else torch.full_like(self.total, math.nan)

    @property
    def standard_error(self) -> Tensor:
        """The standard error of the mean (...); NaN where no row has a neighbour."""
        if not self.used:
            return torch.full_like(self.squares, math.nan)
        return (self.squares / self.used / self.count).sqrt()


def _to_double(values: Tensor) -> Tensor:
    return values.cpu().to(torch.float64)
