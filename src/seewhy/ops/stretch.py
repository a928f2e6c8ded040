"""Coarse masks at the size of their input, and what a gradient there means for the mask: linear maps, no graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.upsample import resize_map
from .blur import gaussian_blur


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """The linear map from a mask (*cells) to (*places): a matrix (places, cells) for each axis, float64 on the CPU."""

    matrices: tuple[Tensor, ...]

    @staticmethod
    def of(places: Sequence[int], cells: Sequence[int], smooth: float = 0.0) -> Stretch:
        """Returns linear interpolation (align_corners=False) to *places, then a blur with a sigma of `smooth` cells."""
        return Stretch(tuple(_interpolation(*pair, smooth) for pair in zip(places, cells, strict=True)))

    @property
    def places(self) -> tuple[int, ...]:
        """The input's spatial shape."""
        return tuple(matrix.shape[0] for matrix in self.matrices)

    @property
    def cells(self) -> tuple[int, ...]:
        """The mask's shape."""
        return tuple(matrix.shape[1] for matrix in self.matrices)

    def shifted(self, offsets: Sequence[int]) -> Stretch:
        """Returns the map whose masks lie `offsets` places further along each axis; the edge is repeated."""
        moved = []
        for matrix, offset in zip(self.matrices, offsets, strict=True):
            last = len(matrix) - 1
            moved.append(matrix[(torch.arange(last + 1, device="cpu") - offset).clamp(0, last)])
        return Stretch(tuple(moved))

    def up(self, mask: Tensor) -> Tensor:
        """Returns masks (..., *cells) at the input's size, (..., *places)."""
        return self._along_axes(mask, [matrix.T for matrix in self.matrices])

    def down(self, gradient: Tensor) -> Tensor:
        """Returns what a gradient (..., *places) is for the mask, (..., *cells): the transpose of `up`."""
        return self._along_axes(gradient, list(self.matrices))

    @staticmethod
    def _along_axes(values: Tensor, matrices: list[Tensor]) -> Tensor:
        for axis, matrix in enumerate(matrices, -len(matrices)):
            values = torch.tensordot(values, matrix, dims=([axis], [0])).movedim(-1, axis)
        return values


def _interpolation(places: int, cells: int, smooth: float) -> Tensor:
    """Returns the matrix (places, cells) along one axis."""
    alone = torch.eye(cells, dtype=torch.float64, device="cpu")
    wide = resize_map(alone, (places,))
    if smooth and places > 1:
        wide = gaussian_blur(wide[:, None], smooth * places / cells)[:, 0]
    return wide.T.contiguous()
