"""Where a layer's values lie in the picture: channels-last layers are turned, tokens become a grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from ..core.errors import LayerError, SettingError

Reshape: TypeAlias = "Callable[[Tensor], Tensor] | tuple[int, int] | None"
PREFIXES = (0, 1, 2, 5, 4, 3, 6, 7, 8, 9)
"""Numbers of tokens without a place (class token, registers) that are tried, most usual first."""


def place(values: Tensor, shape: torch.Size, reshape: Reshape, layer: str) -> tuple[Tensor, str]:
    """Returns a layer's (N, ...) tensor as (N, C, *places), and how that was decided.

    shape: the input's (1, C, *spatial). Token layers (N, T, D) become a grid of the picture's proportions, the
    first T - h*w tokens being set aside; channels-last layers are turned. Raises LayerError otherwise.
    """
    if reshape is not None:
        return _reshaped(values, reshape, layer), "reshape= as given"
    places = len(shape) - 2
    if values.dim() == 3 and places == 2:
        return _tokens(values, shape, layer)
    if values.dim() != places + 2 or places < 1:
        raise LayerError(
            f"A class activation map needs a layer with places: expected an output (N, C, *places) with "
            f"{max(places, 1)} axes of places; layer {layer!r} gives {tuple(values.shape)}. Choose another from "
            "model.layers(), or a method that needs no layer, such as 'saliency'."
        )
    if places == 1 and values.shape[2] > shape[2]:
        raise LayerError(
            f"A class activation map needs a layer with places behind its channels, no more than the input "
            f"{tuple(shape)} has; layer {layer!r} gives {tuple(values.shape)}, which looks like features on the last "
            "axis. Turn it with reshape=lambda values: values.movedim(-1, 1), or choose another layer."
        )
    if places == 2 and not _fits(values.shape[2:], shape[2:]) and _fits(values.shape[1:3], shape[2:]):
        return values.movedim(-1, 1), "channels on the last axis"
    return values, "channels on axis 1"


def _reshaped(values: Tensor, reshape: Any, layer: str) -> Tensor:
    if callable(reshape):
        placed: Tensor = reshape(values)
        if not isinstance(placed, Tensor) or placed.dim() < 3 or len(placed) != len(values):
            given = tuple(placed.shape) if isinstance(placed, Tensor) else type(placed).__name__
            raise SettingError(
                f"reshape must return (N, C, *places) from the layer's output {tuple(values.shape)}; it returned "
                f"{given}."
            )
        return placed
    rows, columns = reshape
    if values.dim() != 3 or values.shape[1] < rows * columns:
        raise SettingError(
            f"reshape=({rows}, {columns}) needs a layer of tokens (N, T, D) with at least {rows * columns} "
            f"tokens; layer {layer!r} gives {tuple(values.shape)}."
        )
    return _gridded(values[:, -rows * columns :], (rows, columns))


def _tokens(values: Tensor, shape: torch.Size, layer: str) -> tuple[Tensor, str]:
    tokens = values.shape[1]
    for prefix in PREFIXES:
        grid = _grid(tokens - prefix, shape[2:])
        if grid is not None:
            placed = _gridded(values[:, prefix:], grid)
            return placed, f"{tokens} tokens as {grid[0]}x{grid[1]} behind {prefix} without a place"
    raise LayerError(
        f"Layer {layer!r} gives {tokens} tokens, which make no grid of the picture's proportions "
        f"{tuple(shape[2:])}. Say how: reshape=(rows, columns), or a function from (N, T, D) to (N, D, h, w)."
    )


def _gridded(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Returns tokens (N, h * w, D) as (N, D, h, w)."""
    return tokens.reshape(len(tokens), *grid, -1).movedim(-1, 1)


def _grid(tokens: int, spatial: torch.Size) -> tuple[int, int] | None:
    """Returns (h, w) with h * w tokens in the picture's proportions, or None."""
    if tokens < 1:
        return None
    height = round(math.sqrt(tokens * spatial[0] / spatial[1]))
    if height < 1 or tokens % height:
        return None
    grid = (height, tokens // height)
    return grid if _fits(torch.Size(grid), spatial) else None


def _fits(grid: torch.Size, spatial: torch.Size) -> bool:
    """True if a grid has the picture's proportions, up to rounding to whole cells."""
    stride = max(spatial[0] / grid[0], spatial[1] / grid[1])
    return all(abs(size / stride - cells) < 1 for size, cells in zip(spatial, grid, strict=True))
