"""What gradient ascent works on: numbers that stand for a picture between black and white."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import InputError
from ..core.rows import Case
from ..ops.fourier import correlated, from_spectrum
from ..ops.seeds import generator

USUAL_RANGE = (-2.0, 2.0)
"""Black and white where the model does not tell: about what normalised photographs span."""


@dataclass(frozen=True, slots=True, eq=False)
class Paper:
    """The size of a picture and what black and white are in it, (1, C, 1, 1) each."""

    shape: tuple[int, int, int]
    low: Tensor
    high: Tensor
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(case: Case) -> Paper:
        """Returns the paper of a case's one picture; raises InputError for other inputs."""
        shapes = [tuple(leaf.shape) for leaf in case.x]
        if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (1, 3):
            raise InputError(
                f"Features are visualised as one picture (1, C, H, W) with 1 or 3 channels; the input is {shapes}."
            )
        (x,) = case.x
        known = case.facts.value_range
        low, high = (x.new_tensor(level).reshape(1) for level in USUAL_RANGE) if known is None else known
        note = (
            f"the model does not tell what black and white are in its input: {USUAL_RANGE[0]} and {USUAL_RANGE[1]} "
            "were taken; say so with value_range= of seewhy.wrap"
        )
        bounds = [bound.to(x).reshape(1, -1, 1, 1).expand(1, x.shape[1], 1, 1) for bound in (low, high)]
        return Paper((x.shape[1], x.shape[2], x.shape[3]), bounds[0], bounds[1], () if known is not None else (note,))

    def to_input(self, picture: Tensor) -> Tensor:
        """Returns a picture between 0 (black) and 1 (white) as the network's input."""
        return self.low + picture * (self.high - self.low)

    def from_input(self, x: Tensor) -> Tensor:
        """Returns an input as a picture, cut to black and white."""
        return ((x - self.low) / (self.high - self.low)).clamp(0, 1)


def to_levels(picture: Tensor) -> Tensor:
    """Returns pictures (N, C, H, W) between 0 and 1 as 8-bit levels."""
    return picture.detach().clamp(0, 1).mul(255).round().to(torch.uint8)


class Canvas(ABC):
    """Numbers, (n, ...), and the pictures that they stand for."""

    @abstractmethod
    def start(self, count: int, contrast: float, *seed: str | int) -> Tensor:
        """Returns the numbers that `count` pictures start from: a fixed function of `seed` and the row."""

    @abstractmethod
    def picture(self, numbers: Tensor) -> Tensor:
        """Returns the pictures (n, C, H, W) between 0 and 1, differentiable in the numbers."""

    def settle(self, numbers: Tensor) -> Tensor:
        """Returns the numbers brought back into their limits."""
        return numbers

    def shaken(self, numbers: Tensor, size: float, *seed: str | int) -> Tensor:
        """Returns the numbers with noise of `size` times their own spread: a fixed function of `seed` and the row."""
        noise = torch.empty(numbers.shape, dtype=torch.float64, device="cpu")
        for row in range(len(numbers)):
            noise[row].normal_(generator=generator(*seed, row))
        spread = numbers.flatten(1).std(1, correction=0).clamp(min=1e-3).reshape(-1, *[1] * (numbers.dim() - 1))
        return self.settle(numbers + size * spread * noise.to(numbers))


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum(Canvas):
    """A picture as its spectrum in decorrelated colours, kept between black and white by a sigmoid."""

    paper: Paper

    def start(self, count: int, contrast: float, *seed: str | int) -> Tensor:
        """Returns faint noise, of standard deviation `contrast` times 0.01."""
        channels, height, width = self.paper.shape
        numbers = torch.empty(count, channels, height, width // 2 + 1, 2, dtype=torch.float64, device="cpu")
        for row in range(count):
            numbers[row].normal_(generator=generator(*seed, row))
        return (0.01 * contrast * numbers).to(self.paper.low)

    def picture(self, numbers: Tensor) -> Tensor:
        """Returns the pictures."""
        return torch.sigmoid(correlated(from_spectrum(numbers, self.paper.shape[2])))


@dataclass(frozen=True, slots=True, eq=False)
class Pixels(Canvas):
    """A picture as its pixels in the network's own units; begins at a given picture or noise.

    image: (1, C, H, W) in the network's input. bounded: keeps the numbers between black and white; otherwise they are
    cut there only where they become 8-bit levels.
    """

    paper: Paper
    image: Tensor | None = None
    bounded: bool = True

    def start(self, count: int, contrast: float, *seed: str | int) -> Tensor:
        """Returns the given picture; without one, or beyond the first of several, noise is added around it."""
        channels, height, width = self.paper.shape
        middle = (self.paper.low + self.paper.high) / 2
        base = middle.expand(1, channels, height, width) if self.image is None else self.image
        numbers = base.repeat(count, 1, 1, 1)
        for row in range(count):
            if self.image is None or row or contrast != 1:
                noise = torch.empty(channels, height, width, dtype=torch.float64, device="cpu")
                noise.normal_(generator=generator(*seed, row))
                numbers[row] += 0.02 * contrast * (self.paper.high - self.paper.low)[0] * noise.to(numbers)
        return self.settle(numbers)

    def picture(self, numbers: Tensor) -> Tensor:
        """Returns the pictures."""
        return (numbers - self.paper.low) / (self.paper.high - self.paper.low)

    def settle(self, numbers: Tensor) -> Tensor:
        """Returns the numbers between black and white, where they are bounded."""
        if not self.bounded:
            return numbers
        return torch.minimum(torch.maximum(numbers, self.paper.low), self.paper.high)
