"""Settings of feature visualisation, and the optimiser's steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..core.errors import SettingError
from ..ops.jitter import STILL, Jitter


@dataclass(frozen=True, slots=True)
class Ascent:
    """How a feature is visualised.

    steps: the most that are made. rate: of Adam. final: the share of it that is left at the end, to which it falls
    along a cosine; 1 keeps the rate. jitter: how much the picture is moved at random in each step; scale and turn end
    after three quarters of the steps, and the last ones sharpen. tv, l2: weights of the picture's roughness (mean
    squared difference of neighbours) and of its squared distance from mid-grey, beside the feature's gain as a share
    of its value. diversity: with several pictures, how strongly their activations are pushed apart, as a share of the
    feature's value. every: steps between looks at the 8-bit picture; where there is jitter, the picture stays as it is
    in these steps, so that a look costs no pass of its own. patience: looks without a gain of 1 % after which it
    stops; 0 makes all steps. fourier: False works on pixels. bounded: keeps pixels between black and white.
    """

    steps: int = 128
    rate: float = 0.05
    final: float = 0.05
    jitter: Jitter = field(default_factory=Jitter)
    tv: float = 0.0
    l2: float = 0.0
    diversity: float = 0.5
    every: int = 8
    patience: int = 6
    fourier: bool = True
    bounded: bool = True

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("every", 1), ("patience", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise SettingError(f"{name} must be a whole number of {least} or more; given {value!r}.")
        for name in ("rate", "tv", "l2", "diversity"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise SettingError(f"{name} must be a number of 0 or more; given {value!r}.")
        if isinstance(self.final, bool) or not isinstance(self.final, (int, float)) or not 0 < self.final <= 1:
            raise SettingError(f"final must be a share above 0, up to 1; given {self.final!r}.")

    def rate_at(self, step: int) -> float:
        """Returns the rate of a step."""
        return self.rate * (self.final + (1 - self.final) * (1 + math.cos(math.pi * step / self.steps)) / 2)

    def jitter_at(self, step: int) -> Jitter:
        """Returns the jitter of a step."""
        if self.jitter == STILL or step < 0.75 * self.steps:
            return self.jitter
        return Jitter(self.jitter.shift, 0.0, 0.0)


EXERCISE = Ascent(
    steps=100, rate=0.1, final=1.0, jitter=STILL, diversity=0.0, every=20, patience=0, fourier=False, bounded=False
)
"""Plain Adam on the pixels of a given picture, 100 steps at a rate of 0.1 in the network's own units, nothing else.

Adam does not see how large a gradient is: the sum of a channel over its map gives the steps that its mean gives.
"""


@dataclass(slots=True)
class Adam:
    """Kingma and Ba's optimiser, for one tensor; moves up the gradient."""

    first: Tensor
    second: Tensor
    turn: int = 0

    @staticmethod
    def of(numbers: Tensor) -> Adam:
        """Returns the optimiser before its first step."""
        return Adam(torch.zeros_like(numbers), torch.zeros_like(numbers))

    def step(self, numbers: Tensor, gradient: Tensor, rate: float) -> Tensor:
        """Returns the numbers one step further up; a gradient's scale does not matter.

        Reference: Kingma, Ba, "Adam", ICLR 2015, arXiv 1412.6980, betas 0.9 and 0.999.
        """
        self.turn += 1
        self.first.mul_(0.9).add_(gradient, alpha=0.1)
        self.second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        size = (self.second / (1 - 0.999**self.turn)).sqrt_()
        tiny = 1e-8 * float(size.amax()) + torch.finfo(numbers.dtype).tiny
        return torch.addcdiv(numbers, self.first, size.add_(tiny), value=rate / (1 - 0.9**self.turn))


def prior(picture: Tensor, ascent: Ascent) -> Tensor | None:
    """Returns how rough and how far from grey pictures (n, C, H, W) are, weighted, (n,); None if neither counts."""
    if not ascent.tv and not ascent.l2:
        return None
    rough: Any = 0.0
    for axis in (2, 3):
        if picture.shape[axis] > 1:
            rough = rough + picture.diff(dim=axis).square().flatten(1).mean(1)
    penalty: Tensor = ascent.tv * rough + ascent.l2 * (picture - 0.5).square().flatten(1).mean(1)
    return penalty
