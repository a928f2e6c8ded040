"""Means of ordered rows: their errors come from neighbours, however the rows are batched."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from seewhy.ops.seeds import generator
from seewhy.ops.successive import Successive


def stream(rows: Tensor, length: int, sizes: list[int]) -> Successive:
    found = Successive.empty(length)
    for batch in rows.split(sizes):
        found = found.update(batch)
    return found


def by_loop(rows: np.ndarray, length: int) -> np.ndarray:
    """The standard error by its formula: groups of three or more by second differences, of two by first ones."""
    groups = [rows] if length == 1 else [rows[i : i + length] for i in range(0, len(rows), length)]
    squares = []
    for group in groups:
        if length > 2:
            squares += [(a - 2 * b + c) ** 2 / 6 for a, b, c in zip(group, group[1:], group[2:], strict=False)]
        else:
            squares += [(a - b) ** 2 / 2 for a, b in pairwise(group)]
    return np.sqrt(np.mean(squares, axis=0) / len(rows))


@pytest.mark.parametrize("length", [1, 2, 3, 5, 30])
@pytest.mark.parametrize("sizes", [[30], [1] * 30, [7, 0, 16, 7], [2, 28]], ids=str)
def test_equal_to_the_formula_however_batched(length: int, sizes: list[int]) -> None:
    rows = torch.randn(30, 2, 3, dtype=torch.float64, generator=generator("successive", length))
    found = stream(rows, length, sizes)
    assert found.count == 30
    np.testing.assert_allclose(found.mean.numpy(), rows.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.standard_error.numpy(), by_loop(rows.numpy(), length), rtol=1e-12)


def test_groups_and_straight_lines_are_no_error_but_noise_is() -> None:
    line = torch.arange(5, dtype=torch.float64).repeat(4) + 100 * torch.arange(4.0).repeat_interleave(5)
    assert float(stream(line[:, None], 5, [3, 17]).standard_error) < 1e-12
    levels = torch.arange(10.0).repeat_interleave(2)[:, None]
    assert float(stream(levels, 2, [20]).standard_error) == 0
    for length in (1, 2, 3, 10):
        noise = torch.randn(6000, 1, dtype=torch.float64, generator=generator("noise", length))
        assert float(stream(noise, length, [6000]).standard_error) == pytest.approx(6000**-0.5, rel=0.06)


def test_blocks_merge_without_a_difference_between_them() -> None:
    rows = torch.randn(24, 2, dtype=torch.float64, generator=generator("blocks"))
    parts = [stream(rows[i : i + 12] + 50 * i, 4, [12]) for i in (0, 12)]
    both = parts[0].merge(parts[1])
    shifted = torch.cat([rows[:12], rows[12:] + 600])
    np.testing.assert_allclose(both.mean.numpy(), shifted.numpy().mean(0), rtol=1e-12)
    np.testing.assert_allclose(both.standard_error.numpy(), by_loop(shifted.numpy(), 4), rtol=1e-9)


def test_a_row_alone_has_no_error_to_tell() -> None:
    assert bool(Successive.empty(1).update(torch.ones(1, 2)).standard_error.isnan().all())
    assert bool(Successive.empty(1).mean.isnan().all())
