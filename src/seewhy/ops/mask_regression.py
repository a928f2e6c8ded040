"""A linear model of the score in random masks: what it explains no longer counts as chance in their average."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .masks import Layout, Masks

PENALTIES = 48
"""Ridges that are compared, from 1e-4 to 1e4 of the mean squared singular value."""


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """One box for each cell of a layout, and what masks are there; all float64 on the CPU.

    Of an axis whose cells are single places nothing is kept: box, cell and place are the same.

    stretched: for each axis (crops, places, cells), how much of each cell each place shows at each crop. means: for
    each axis (places, boxes), the weights that average over a box. shared: for each axis (places, boxes), the mean over
    the crops of sum_c a_c(place) * mean over the box of a_c, for the weights a of the cells c.
    """

    layout: Layout
    stretched: tuple[Tensor | None, ...]
    means: tuple[Tensor | None, ...]
    shared: tuple[Tensor | None, ...]

    @staticmethod
    def of(layout: Layout) -> Boxes:
        """Returns the boxes of a layout."""
        axes = [_axis(layout, axis) for axis in range(len(layout.places))]
        return Boxes(layout, *(tuple(part) for part in zip(*axes, strict=True)))

    @property
    def count(self) -> int:
        """How many boxes there are."""
        return math.prod(self.layout.cells)

    def features(self, masks: Masks) -> Tensor:
        """Returns the mean of each mask over each box, (n, boxes)."""
        found = masks.visible.double()
        for axis, (stretch, mean) in enumerate(zip(self.stretched, self.means, strict=True)):
            if stretch is not None and mean is not None:
                found = _along(found, axis + 1, (mean.T @ stretch)[masks.shifts[:, axis]])
        return found.flatten(1)

    def total(self, masks: Masks, weights: Tensor) -> Tensor:
        """Returns sum_i weights_i M_i over the masks, (*places); no mask is ever built.

        The last axis is stretched for each mask, the others only once for each crop that occurs along them.
        """
        found = weights.double().reshape(-1, *[1] * len(self.stretched)) * masks.visible.double()
        shifts = masks.shifts
        for axis in reversed(range(len(self.stretched))):
            stretch = self.stretched[axis]
            if stretch is not None:
                found = _along(found, axis + 1, stretch[shifts[:, axis]])
            if axis:
                shifts, group = torch.unique(shifts[:, :axis], dim=0, return_inverse=True)
                found = found.new_zeros((len(shifts), *found.shape[1:])).index_add(0, group, found)
        return found.sum(0)

    def expected(self, slopes: Tensor, probability: float) -> Tensor:
        """Returns E[M(x) sum_k slopes_k f_k] / E[M(x)] at each place x, (*places): the features f while x is visible.

        Cells are visible independently with this probability p, crops are uniform: p sum_k slopes_k + (1 - p) sum_k
        slopes_k shared_k(x).
        """
        found = slopes.reshape(1, *self.layout.cells)
        for axis, shared in enumerate(self.shared):
            if shared is not None:
                found = _along(found, axis + 1, shared[None])
        return probability * slopes.sum() + (1 - probability) * found[0]


def _axis(layout: Layout, axis: int) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Returns what is kept of an axis: how cells are stretched, the boxes' means, and what both share."""
    if layout.widths[axis] == 1:
        return None, None, None
    stretched, mean = layout.stretches(axis), _averages(layout.places[axis], layout.cells[axis])
    return stretched, mean, (stretched @ stretched.mT).mean(0) @ mean


def _averages(size: int, boxes: int) -> Tensor:
    """Returns the weights (size, boxes) of means over boxes that differ by at most one place."""
    member = torch.zeros((size, boxes), dtype=torch.float64, device="cpu")
    member[torch.arange(size), torch.arange(size) * boxes // size] = 1
    return member / member.sum(0)


def _along(values: Tensor, axis: int, matrices: Tensor) -> Tensor:
    """Returns values (n, ...) with their axis multiplied by matrices (n, out, in), each row by its own."""
    moved = values.movedim(axis, -1)
    made = moved.flatten(1, -2) @ matrices.mT if moved.dim() > 2 else (moved.unsqueeze(1) @ matrices.mT).squeeze(1)
    return made.reshape(*moved.shape[:-1], made.shape[-1]).movedim(-1, axis)


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A linear model of the score: intercept + rows @ slopes."""

    slopes: Tensor
    intercept: float


def left_out(rows: Tensor, values: Tensor, blocks: int) -> list[Line]:
    """Returns for each of `blocks` equal blocks of rows (n, P) a ridge fit to all the other blocks.

    So what a model says of a block was not learned from it, and no chance of the block is in it. The ridge is the one
    under which all the values are likeliest (slopes and noise normal); where the values follow no line it is large,
    and the slopes are next to 0.

    Reference: MacKay, "Bayesian interpolation", Neural Computation 4, 1992; Chernozhukov et al., "Double/debiased
    machine learning", Econometrics Journal 21, 2018, for fitting on what is left out.
    """
    penalty = likeliest_ridge(rows, values)
    size = len(rows) // blocks
    lines = []
    for block in range(blocks):
        others = torch.ones(len(rows), dtype=torch.bool, device="cpu")
        others[block * size : (block + 1) * size] = False
        lines.append(_ridge(rows[others], values[others], penalty))
    return lines


def likeliest_ridge(rows: Tensor, values: Tensor) -> float:
    """Returns the ridge of the largest marginal likelihood; infinite where the values or the rows are all equal."""
    z, y = rows - rows.mean(0), values - values.mean()
    left, sizes, _ = torch.linalg.svd(z, full_matrices=False)
    squares, spread = sizes.square(), float(y @ y)
    scale = float(squares.mean())
    if spread == 0 or scale == 0:
        return math.inf
    along = (left.T @ y).square()
    beside = max(0.0, spread - float(along.sum()))
    ridges = scale * torch.logspace(-4, 4, PENALTIES, dtype=torch.float64, device="cpu")
    widths = squares + ridges[:, None]
    noise = ((along * ridges[:, None] / widths).sum(1) + beside) / (len(y) - 1)
    likelihood = -((len(y) - 1) * noise.log() + (widths / ridges[:, None]).log().sum(1))
    return float(ridges[likelihood.argmax()])


def _ridge(rows: Tensor, values: Tensor, penalty: float) -> Line:
    if math.isinf(penalty):
        return Line(rows.new_zeros(rows.shape[1]), float(values.mean()))
    centre, mean = rows.mean(0), values.mean()
    z = rows - centre
    square = z.T @ z
    square.diagonal().add_(penalty)
    slopes = torch.linalg.solve(square, z.T @ (values - mean))
    return Line(slopes, float(mean - centre @ slopes))
