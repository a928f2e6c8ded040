"""Occlusion: how far the score falls while a window slides over the input and hides what is under it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..core.attribution import Attribution
from ..core.errors import InputError, SettingError
from ..core.method import Method, MethodInfo
from ..core.query import Flow
from ..core.rows import Case
from ..core.targets import Target
from ..ops.baselines import BaselineSpec, check_baseline
from ..ops.segments import spatial, windows
from .common import absences, attribution
from .hiding import Parts, drops

SHARE = 7
"""The window's side is this part of the input's, where none is given."""


@dataclass(frozen=True, slots=True)
class Occlusion(Method):
    """Mean score drop over the windows that cover a pixel, signed; (N, *spatial).

    mean over windows around the pixel of S(x) - S(x with the window at the baseline), in units of the score.

    window: its size along each spatial axis, one number or one for each. None is a seventh of each side, rounded;
        one feature in vectors, whose order means nothing.
    stride: how far it moves, likewise; at most the window. None is half the window, rounded up.
    baseline: what the window puts in: a name ("black", "zero", "white", "blur", "maximum-distance", "uniform",
        "gaussian"), a number, a tensor, or a list of these, whose drops are averaged. None is black where the
        model's value range is known, else zero.

    Windows start at 0, stride, 2 stride, ... until the border is reached; the last one may stick out over it.

    Differences: the paper paints the probability itself with a grey square in place, so that low means important;
    here high does. captum.attr.Occlusion slides over the channels as well, unless its window spans them, and is
    equal then; it refuses a window larger than the input, which here is the input.

    Reference: Zeiler, Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, arXiv 1311.2901,
    sec. 4.2.
    """

    window: int | Sequence[int] | None = None
    stride: int | Sequence[int] | None = None
    baseline: BaselineSpec | None = None

    info: ClassVar[MethodInfo] = MethodInfo(
        name="occlusion",
        family="perturbation",
        title="Occlusion",
        reduce="none",
        signed=True,
        units="score",
        needs=frozenset(),
        cost="169 forward (windows x baselines), and the picture",
        reference="Zeiler and Fergus 2014, arXiv 1311.2901",
        avoid="Not for evidence much larger or smaller than the window, nor where a patch of black is itself evidence.",
    )

    def __post_init__(self) -> None:
        _check_sizes("window", self.window)
        _check_sizes("stride", self.stride)
        if self.baseline is not None:
            check_baseline(self.baseline)

    def flow(self, case: Case, target: Target) -> Flow[Attribution]:
        """Yields the input and its copies under each window, and returns the mean drops."""
        grids = [self._windows(leaf) for leaf in case.x]
        hidden = absences(self.baseline, case)
        found = yield from drops(case, target, [_parts(*pair) for pair in zip(grids, hidden, strict=True)])
        maps = zip(found.values, grids, case.x, strict=True)
        return attribution(
            self,
            case,
            tuple(_mean(values, grid, spatial(leaf))[None] for values, grid, leaf in maps),
            (found.target, found.score),
            diagnostics={"windows": sum(map(len, found.values)), "baselines": len(hidden[0])},
        )

    def _windows(self, leaf: Tensor) -> list[list[range]]:
        """Returns the windows along each spatial axis of one leaf."""
        places = spatial(leaf)
        if not leaf.numel() or leaf.dim() < 2:
            raise InputError(
                f"occlusion slides a window over inputs (N, C, *spatial) or (N, F) with at least one value; given "
                f"{tuple(leaf.shape)}."
            )
        default = [1 if leaf.dim() == 2 else max(1, round(size / SHARE)) for size in places]
        sizes = [min(pair) for pair in zip(_along("window", self.window, default), places, strict=True)]
        steps = _along("stride", self.stride, [-(-size // 2) for size in sizes])
        for size, step, length in zip(sizes, steps, places, strict=True):
            if step > size and size < length:
                raise SettingError(
                    f"stride must be at most window, or places stay that no window covers; given a stride of {step} "
                    f"with a window of {size} on {length} places."
                )
        return [windows(*along) for along in zip(places, sizes, steps, strict=True)]


def _check_sizes(name: str, sizes: object) -> None:
    numbers = sizes if isinstance(sizes, Sequence) and not isinstance(sizes, (str, bytes)) else (sizes,)
    whole = all(isinstance(number, int) and not isinstance(number, bool) and number > 0 for number in numbers)
    if sizes is not None and not (whole and numbers):
        raise SettingError(
            f"{name} takes None, a whole number of at least 1, or one for each spatial axis; given {sizes!r}."
        )


def _along(name: str, sizes: int | Sequence[int] | None, default: list[int]) -> list[int]:
    """Returns one size for each spatial axis."""
    if sizes is None:
        return default
    if isinstance(sizes, int):
        return [sizes] * len(default)
    if len(sizes) != len(default):
        raise SettingError(
            f"{name} has one number for each of the input's {len(default)} spatial axes, or is one for all; "
            f"given {sizes!r}."
        )
    return list(sizes)


def _parts(grid: list[list[range]], baseline: Tensor) -> Parts:
    counts = [len(along) for along in grid]
    under = [torch.zeros(len(along), along[-1].stop, dtype=torch.bool, device="cpu") for along in grid]
    for rows, along in zip(under, grid, strict=True):
        for row, window in zip(rows, along, strict=True):
            row[window.start : window.stop] = True

    def covers(numbers: Tensor) -> Tensor:
        found = torch.ones([len(numbers), *[1] * len(grid)], dtype=torch.bool, device="cpu")
        for axis, number in enumerate(torch.unravel_index(numbers, counts)):
            shape = [len(numbers), *[-1 if other == axis else 1 for other in range(len(grid))]]
            found = found & under[axis][number].reshape(shape)
        return found

    key = ("windows", tuple(tuple((window.start, window.stop) for window in along) for along in grid))
    return Parts(math.prod(counts), covers, baseline, key)


def _mean(values: Tensor, grid: list[list[range]], places: tuple[int, ...]) -> Tensor:
    """Returns the mean value of the windows over each place."""
    total = torch.zeros(places, dtype=torch.float64, device="cpu")
    count = torch.zeros(places, dtype=torch.float64, device="cpu")
    for value, along in zip(values, itertools.product(*grid), strict=True):
        where = tuple(slice(window.start, window.stop) for window in along)
        total[where] += value
        count[where] += 1
    return total / count
