"""A weighted mean and its standard error, for weights that are as random as what they weigh."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Ratio:
    """Sums over independent units of weights d and weighted numbers n, float64 on the CPU: the ratio sum n / sum d.

    A unit is what is drawn independently: one sample, or a block of samples that belong together. The standard error
    is the delta method's, sqrt(u / (u - 1) * sum (n - R d)^2) / sum d for u units. Numbers should be small beside
    their spread (take an offset off first), or the squares cancel.

    Reference: Cochran, "Sampling Techniques", 3rd ed. 1977, sec. 6.4.
    """

    units: int
    weight: Tensor
    number: Tensor
    squares: tuple[Tensor, Tensor, Tensor]
    """Sums of d d, n d and n n."""

    @staticmethod
    def empty() -> Ratio:
        """Returns the sums of nothing; the first units bring the shape."""
        nothing = torch.zeros((), dtype=torch.float64, device="cpu")
        return Ratio(0, nothing, nothing, (nothing, nothing, nothing))

    def update(self, weight: Tensor, number: Tensor) -> Ratio:
        """Returns these sums with further units added: weight and number (u, ...)."""
        pairs = ((weight, weight), (number, weight), (number, number))
        new = [old + (a * b).sum(0) for old, (a, b) in zip(self.squares, pairs, strict=True)]
        return Ratio(
            self.units + len(weight),
            self.weight + weight.sum(0),
            self.number + number.sum(0),
            (new[0], new[1], new[2]),
        )

    @property
    def mean(self) -> Tensor:
        """The ratio (...), NaN where nothing weighs."""
        return self.number / self.weight

    @property
    def standard_error(self) -> Tensor:
        """The ratio's standard error (...); infinite where nothing weighs, NaN for fewer than two units."""
        if self.units < 2:
            return torch.full_like(self.weight, math.nan)
        mean = self.mean
        dd, nd, nn = self.squares
        spread = (nn - 2 * mean * nd + mean.square() * dd).clamp(min=0) * (self.units / (self.units - 1))
        return torch.where(self.weight == 0, math.inf, spread.sqrt() / self.weight)
