"""Takes a map over what the model saw back to the photograph: people look at photographs, not at crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import InputError, InputTypeError, SettingError

# One direction: pixels of the original, of the resized picture; start and length of the crop.
_Axis: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a picture became a model's input: resized as a whole, then cropped.

    `original` and `resized` are (height, width) in pixels. `crop` is (top, left, height, width) in pixels of
    the resized picture; it may stick out on any side, and what sticks out is padding. Pixel i covers i to
    i + 1, its centre is i + 0.5, and resizing maps 0..height to 0..resized height (`align_corners=False`).

    Raises SettingError for sizes that are not positive whole numbers.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    crop: tuple[int, int, int, int]

    def __post_init__(self) -> None:
        for name, count in (("original", 2), ("resized", 2), ("crop", 4)):
            given = tuple(getattr(self, name))
            if len(given) != count or any(int(number) != number for number in given):
                raise SettingError(f"{name} must be {count} whole numbers, but is {given!r}; give pixels.")
            object.__setattr__(self, name, tuple(int(number) for number in given))
        if min(*self.original, *self.resized, *self.crop[2:]) < 1:
            raise SettingError(f"Sizes must be at least 1 pixel, but are {self}; check picture and crop.")

    def to_original(self, values: Tensor) -> Tensor:
        """Returns the map on the photograph's grid: (..., h, w) over the crop becomes (..., H, W).

        A map of another resolution than the crop is first interpolated to it (bilinear,
        `align_corners=False`). Then each original pixel takes the bilinear value at its centre or, where the
        model saw the photograph enlarged, the mean over the area it covers. Pixels that no part of the crop
        covers are NaN. A constant map comes back as exactly that constant. Dtype and device are kept (whole
        numbers become float32).

        Raises InputError for a map without height and width, or with an empty one; InputTypeError for complex
        values.
        """
        if values.ndim < 2 or 0 in values.shape[-2:]:
            raise InputError(
                "A map (..., h, w) with at least one pixel is needed, but its shape is "
                f"{tuple(values.shape)}; give the map over the model's input."
            )
        if values.is_complex():
            raise InputTypeError(f"A map of real numbers is needed, but it is {values.dtype}; take its abs().")
        dtype = values.dtype if values.is_floating_point() else torch.float32
        work = values.to(torch.float64 if dtype == torch.float64 else torch.float32)
        top, left, height, width = self.crop
        rows: _Axis = (self.original[0], self.resized[0], top, height)
        columns: _Axis = (self.original[1], self.resized[1], left, width)
        for dim, axis in ((-2, rows), (-1, columns)):
            work = _back(_stretch(work, dim, axis[3]), dim, axis)
        (above, until_row), (before, until_column) = _seen(rows), _seen(columns)
        margins = (before, self.original[1] - until_column, above, self.original[0] - until_row)
        return F.pad(work, margins, value=float("nan")).to(dtype)


def _seen(axis: _Axis) -> tuple[int, int]:
    """Returns the first original pixel that the crop overlaps and the one after the last, unrounded."""
    original, resized, start, length = axis
    first = min(max(start * original // resized, 0), original)
    stop = -(-(start + length) * original // resized)
    return first, max(first, min(stop, original))


def _stretch(values: Tensor, dim: int, length: int) -> Tensor:
    """Returns the values interpolated to `length` entries along `dim`."""
    given = values.shape[dim]
    if given == length:
        return values
    centres = torch.arange(length, dtype=torch.float64) + 0.5
    return _interpolate(values, dim, centres * given / length - 0.5)


def _back(values: Tensor, dim: int, axis: _Axis) -> Tensor:
    """Returns, for the seen original pixels along `dim`, the value of the crop there."""
    original, resized, start, _ = axis
    pixels = torch.arange(*_seen(axis), dtype=torch.float64)
    if resized <= original:
        return _interpolate(values, dim, (pixels + 0.5) * resized / original - 0.5 - start)
    return _average(values, dim, pixels * resized / original - start, resized / original)


def _interpolate(values: Tensor, dim: int, positions: Tensor) -> Tensor:
    """Returns the values at fractional positions along `dim`, the first and last value continued outwards."""
    last = values.shape[dim] - 1
    positions = positions.clamp(0, last)
    lower = positions.floor().long()
    shape = (-1, 1) if dim == -2 else (-1,)
    share = (positions - lower).to(values.dtype).reshape(shape).to(values.device)
    below = values.index_select(dim, lower.to(values.device))
    above = values.index_select(dim, (lower + 1).clamp(max=last).to(values.device))
    return below + share * (above - below)  # this form returns a constant unrounded


def _average(values: Tensor, dim: int, starts: Tensor, width: float) -> Tensor:
    """Returns the mean over starts..starts + width along `dim`, over as much of it as there are values."""
    cells = torch.arange(values.shape[dim], dtype=torch.float64)
    low, high = starts[:, None], starts[:, None] + width
    overlap = (torch.minimum(high, cells + 1) - torch.maximum(low, cells)).clamp(min=0)
    weights = (overlap / overlap.sum(1, keepdim=True)).to(values.dtype).to(values.device)
    first = values.narrow(dim, 0, 1)  # taken off and added again, so that a constant comes back unrounded
    with torch.autocast(values.device.type, enabled=False):
        rest = values - first
        return first + (weights @ rest if dim == -2 else rest @ weights.T)
