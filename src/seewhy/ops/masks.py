"""Random soft masks kept as small grids: thousands of them take no memory until a batch needs some."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.errors import SettingError
from .seeds import derive_seed, generator

Sampler = Literal["sobol", "iid"]


@dataclass(frozen=True, slots=True)
class Layout:
    """A grid of cells along the spatial axes (*places) of an input.

    A cell is `width` places long. Along an axis whose cells are single places the grid is the mask; along the others
    it is stretched linearly over one cell more than there are, and cropped at a random place.
    """

    places: tuple[int, ...]
    cells: tuple[int, ...]

    @staticmethod
    def of(places: Sequence[int], cells: Sequence[int]) -> Layout:
        """Returns the layout with at most one cell for each place."""
        return Layout(tuple(places), tuple(min(pair) for pair in zip(cells, places, strict=True)))

    @property
    def widths(self) -> tuple[int, ...]:
        """Places in a cell, along each axis."""
        return tuple(-(-size // cells) for size, cells in zip(self.places, self.cells, strict=True))

    def stretches(self, axis: int) -> Tensor:
        """Returns how much of each cell along a cropped axis each place shows at each crop: (crops, places, cells)."""
        cells, width = self.cells[axis], self.widths[axis]
        single = torch.eye(cells, dtype=torch.float64, device="cpu")
        crops = torch.arange(width, device="cpu").repeat_interleave(cells)
        grown = _stretched(single.repeat(width, 1), 1, self.places[axis], (cells + 1) * width / cells, crops)
        return grown.reshape(width, cells, -1).mT.contiguous()

    @property
    def numbers(self) -> int:
        """Random numbers that one mask is made of: one for each cell and one for each axis that is cropped."""
        return math.prod(self.cells) + sum(width > 1 for width in self.widths)


@dataclass(frozen=True, slots=True, eq=False)
class Masks:
    """n masks as grids: which cells are visible, bool (n, *cells), and where they are cropped, long (n, axes)."""

    layout: Layout
    visible: Tensor
    shifts: Tensor

    @staticmethod
    def of(layout: Layout, points: Tensor, probability: float) -> Masks:
        """Returns the masks made of numbers (n, layout.numbers) in [0, 1): cells below `probability` are visible."""
        cells = math.prod(layout.cells)
        shifts = torch.zeros((len(points), len(layout.cells)), dtype=torch.long, device="cpu")
        cropped = [axis for axis, width in enumerate(layout.widths) if width > 1]
        for column, axis in enumerate(cropped, cells):
            shifts[:, axis] = (points[:, column] * layout.widths[axis]).long()
        return Masks(layout, (points[:, :cells] < probability).reshape(-1, *layout.cells), shifts)

    def build(self, numbers: Tensor, device: torch.device | str, dtype: torch.dtype) -> Tensor:
        """Returns the masks with these numbers (n,), (n, *places) in 0..1, each the same whatever the others are."""
        found = self.visible[numbers].to(device, dtype)
        shifts = self.shifts[numbers].to(device)
        for axis, (size, cells) in enumerate(zip(self.layout.places, self.layout.cells, strict=True)):
            width = self.layout.widths[axis]
            if width > 1:
                found = _stretched(found, axis + 1, size, (cells + 1) * width / cells, shifts[:, axis])
        return found


def _stretched(grid: Tensor, axis: int, size: int, scale: float, shift: Tensor) -> Tensor:
    """Returns grids (n, ...) stretched along an axis by `scale`, linearly between the cells' centres, and cropped."""
    last = grid.shape[axis] - 1
    # In float32 on purpose where the grid is: positions are exact to 1e-7 of a cell, and Apple's GPUs have no float64.
    place = torch.arange(size, device=grid.device) + shift[:, None]
    at = ((place.to(grid.dtype) + 0.5) / scale - 0.5).clamp(0, last)
    lower = at.long()
    shape = [len(grid), *[1] * (grid.dim() - 1)]
    shape[axis] = size
    part = (at - lower).reshape(shape)
    whole = [len(grid), *grid.shape[1:]]
    whole[axis] = size
    below = grid.gather(axis, lower.reshape(shape).expand(whole))
    above = grid.gather(axis, (lower + 1).clamp(max=last).reshape(shape).expand(whole))
    return below + part * (above - below)


def unit_points(count: int, numbers: int, sampler: Sampler, *seed: str | int) -> Tensor:
    """Returns `count` points (count, numbers) in [0, 1), float64 on the CPU; equal seeds give equal points.

    "iid": independent. "sobol": a scrambled Sobol' sequence from its start, its coordinates in random order; each
    point on its own is uniform, and together they are evenly spread where `count` is a power of two. Differently
    seeded sequences are independent of each other.

    Thresholded at 1/2 a coordinate is its first binary digit, which scrambling only flips. Over 2^m points the
    digits of two coordinates are balanced against each other unless they are the same up to a flip; there are
    2^(m-1) that differ, so 2^m should be more than twice the numbers. The random order moves what is left of
    such coincidences to other cells each time.

    Raises:
        SettingError: more numbers than a Sobol' sequence has coordinates, 21201.

    Reference: Owen, "Randomly permuted (t,m,s)-nets and (t,s)-sequences", 1995; Joe, Kuo, "Constructing Sobol
    sequences with better two-dimensional projections", SIAM J. Sci. Comput. 30, 2008.
    """
    draw = generator(*seed, "order")
    if sampler == "iid":
        return torch.rand((count, numbers), generator=draw, dtype=torch.float64, device="cpu")
    most = torch.quasirandom.SobolEngine.MAXDIM
    if numbers > most:
        raise SettingError(
            f"A Sobol' sequence has at most {most} coordinates; {numbers} are needed. Set sampler='iid' or fewer cells."
        )
    with torch.device("cpu"):
        engine: Any = torch.quasirandom.SobolEngine(numbers, scramble=True, seed=derive_seed(*seed))  # type: ignore[no-untyped-call]
        points: Tensor = engine.draw(count, dtype=torch.float64)
    return points[:, torch.randperm(numbers, generator=draw, device="cpu")]
