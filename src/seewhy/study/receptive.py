"""What a unit sees: its receptive field, measured by the input gradient, and its place on the photograph."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from ..core.errors import CancelledError, SeewhyError
from ..core.filters import Box, Field
from ..core.geometry import Geometry
from ..core.queries import gradient
from ..core.query import Flow, ask_all
from ..core.rows import Case
from ..core.targets import Unit
from ..engine import Engine, Options
from ..models.model import Model
from .filter_layers import Layout, unit_index

DRAWS = 4
"""Noisy pictures for each of the two units: a rectifier that is shut in one is open in another."""
_LEAST = 1e-6
"""Share of the largest gradient below which a pixel is not seen: rounding leaves smaller ones outside of the field."""
_TAIL = 0.05


def measure(model: Model, case: Case, layer: str, layout: Layout, options: Options) -> tuple[Field | None, str]:
    """Returns what a unit of the layer sees, and how that was found; None where that is the whole picture.

    The gradient of one unit in the middle of the layer, and of its neighbour down and across, is taken at the picture
    with noise, for channels spread over the layer. Where it is not zero is what the unit sees.
    """
    if not layout.grid or "gradient" not in model.gives:
        return None, "Every unit of this layer may see the whole picture: crops are all that the model saw."
    middle, beside = _neighbours(layout.cells)
    try:
        found = Engine(model, options).run(
            [(cell, _support(case, layer, layout, cell)) for cell in dict.fromkeys((middle, beside))]
        )
        one, other = found[middle].result(), found[beside].result()
    except CancelledError:
        raise
    except (SeewhyError, RuntimeError, NotImplementedError) as error:
        return None, f"What a unit sees could not be measured ({error}); crops are all that the model saw."
    if one is None or other is None:
        return None, "No gradient leads from the units to the input: crops are all that the model saw."
    made = _field(one, other, middle, layout.cells)
    return made, _words(made)


def _neighbours(cells: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the unit in the middle, and the next one down and across."""
    rows, columns = cells
    row, column = (rows - 1) // 2, (columns - 1) // 2
    return (row, column), (min(row + 1, rows - 1), min(column + 1, columns - 1))


def _support(case: Case, layer: str, layout: Layout, cell: tuple[int, int]) -> Flow[Tensor | None]:
    """Returns the mean size of the gradient of a cell's units, (H, W), None where there is none."""
    x = case.x[0]
    noise = torch.Generator("cpu").manual_seed(0)
    queries = []
    for draw in range(DRAWS):
        noisy = x + float(x.std() or 1.0) * torch.randn(x.shape, generator=noise, device="cpu").to(x)
        at = unit_index(layout, x.shape, draw * (layout.channels - 1) // max(DRAWS - 1, 1), cell)
        rows = case.vary(1, partial(_given, noisy), ("field", draw))
        queries.append(gradient(rows, Unit(layer, at[0], at[1:])))
    replies = yield from ask_all(*queries)
    sizes = [reply.values[0][0].abs().amax(0).double().cpu() for reply in replies]
    seen = [size / size.max() for size in sizes if float(size.max()) > 0]
    return torch.stack(seen).mean(0) if seen else None


def _given(values: Tensor, _: slice) -> tuple[Tensor]:
    return (values,)


def _field(one: Tensor, other: Tensor, cell: tuple[int, int], grid: tuple[int, int]) -> Field:
    parts: list[tuple[float, ...]] = []
    for axis in (0, 1):
        length, at = one.shape[axis], cell[axis]
        first, last = _extent(one, axis)
        low, high = _extent(other, axis)
        whole = first == 0 and last == length
        stride = length / grid[axis]
        if at + 1 < grid[axis] and first > 0 and low > 0:
            stride = float(low - first)
        elif at + 1 < grid[axis] and last < length and high < length:
            stride = float(high - last)
        inner_first, inner_last = _quantiles(one, axis)
        starts = (first - at * stride, last - first, stride, inner_first - at * stride, inner_last - inner_first)
        parts.append((*starts, float(whole)))
    start, size, stride_, inner_start, inner_size, whole_ = zip(*parts, strict=True)
    return Field(start, size, stride_, inner_start, inner_size, (bool(whole_[0]), bool(whole_[1])))


def _extent(gradient: Tensor, axis: int) -> tuple[int, int]:
    """Returns the first pixel along an axis that has a gradient, and the one after the last."""
    seen = torch.nonzero(gradient.amax(1 - axis) > _LEAST * gradient.max()).flatten()
    return int(seen[0]), int(seen[-1]) + 1


def _quantiles(gradient: Tensor, axis: int) -> tuple[float, float]:
    """Returns the borders of the middle 90% of the gradient along an axis."""
    share = gradient.sum(1 - axis).cumsum(0)
    share = share / share[-1]
    low, high = int((share <= _TAIL).sum()), int((share < 1 - _TAIL).sum()) + 1
    return float(low), float(max(high, low + 1))


def _words(found: Field) -> str:
    size = " x ".join(f"{length:.0f}" for length in found.size)
    inner = " x ".join(f"{length:.0f}" for length in found.inner_size)
    how = (
        "measured: where the input gradient of a unit in the middle of the layer is more than a millionth of "
        f"its largest, in any of {DRAWS} channels, each on the first picture with noise"
    )
    if all(found.whole):
        return (
            f"A unit sees the whole input ({how}), so crops are all that the model saw; the frame in them holds the "
            f"middle 90% of the gradient down and across, {inner} pixels of the input."
        )
    return f"A unit sees {size} pixels of the input ({how}). The middle 90% of the gradient are {inner} pixels."


def on_photograph(box: tuple[float, ...], geometry: Geometry) -> Box:
    """Returns a box of the model's input, (top, left, bottom, right), in whole pixels of the photograph."""
    sides = []
    for axis in (0, 1):
        share, offset = geometry.original[axis] / geometry.resized[axis], geometry.crop[axis]
        length = geometry.original[axis]
        low = min(max(math.floor((box[axis] + offset) * share + 1e-6), 0), length - 1)
        high = min(max(math.ceil((box[axis + 2] + offset) * share - 1e-6), low + 1), length)
        sides.append((low, high))
    (top, bottom), (left, right) = sides
    return top, left, bottom, right
