"""Seeded random rows that are the same bit for bit however the engine slices them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.errors import SettingError
from .seeds import derive_seed


def gaussian_rows(shape: Sequence[int], rows: slice | range, *, seed: int, case_id: str, purpose: str) -> Tensor:
    """Returns (n, *shape) float32 standard normal numbers on the CPU, one independent draw for each row.

    Row i is `torch.randn(shape, generator=generator(seed, case_id, purpose, i))`: it depends on nothing else,
    so any slicing of the rows gives equal bits.

    Raises:
        SettingError: `rows` has no end or a negative row.
    """
    out, numbers = _empty(shape, rows)
    source = torch.Generator(device="cpu")
    for place, row in enumerate(numbers):
        source.manual_seed(derive_seed(seed, case_id, purpose, row))
        out[place].normal_(generator=source)
    return out


def uniform_rows(shape: Sequence[int], rows: slice | range, *, seed: int, case_id: str, purpose: str) -> Tensor:
    """Returns (n, *shape) float32 numbers uniform in [0, 1) on the CPU, one independent draw for each row.

    Row i is `torch.rand(shape, generator=generator(seed, case_id, purpose, i))`. Give noise of another kind
    another purpose: the same purpose would draw from the same stream.

    Raises:
        SettingError: `rows` has no end or a negative row.
    """
    out, numbers = _empty(shape, rows)
    source = torch.Generator(device="cpu")
    for place, row in enumerate(numbers):
        source.manual_seed(derive_seed(seed, case_id, purpose, row))
        out[place].uniform_(generator=source)
    return out


def _empty(shape: Sequence[int], rows: slice | range) -> tuple[Tensor, range]:
    """Returns room for the rows, and their numbers."""
    numbers = _numbers(rows)
    # Device and dtype are spelt out because callers may have changed torch's defaults.
    return torch.empty((len(numbers), *shape), dtype=torch.float32, device="cpu"), numbers


def _numbers(rows: slice | range) -> range:
    if isinstance(rows, slice):
        if rows.stop is None:
            raise SettingError(f"Rows need an end, but got {rows}. Give slice(start, stop).")
        start, stop = rows.start or 0, rows.stop
        if start < 0 or stop < 0:
            raise SettingError(f"Rows count from 0 upwards, but got {rows}. Give slice(start, stop).")
        rows = range(start, stop, 1 if rows.step is None else rows.step)
    if len(rows) and min(rows[0], rows[-1]) < 0:
        raise SettingError(f"Rows count from 0 upwards, but got {rows}. Give range(start, stop).")
    return rows
