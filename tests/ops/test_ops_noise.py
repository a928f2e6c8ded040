"""Noise rows: bit-equal under any slicing, of the right distribution, and without side effects."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor

from seewhy.core.errors import SettingError
from seewhy.ops.noise import gaussian_rows, uniform_rows
from seewhy.ops.seeds import generator

KINDS = pytest.mark.parametrize(
    ("rows_of", "torch_of"),
    [(gaussian_rows, torch.randn), (uniform_rows, torch.rand)],
    ids=["gaussian", "uniform"],
)
Draw = Callable[..., Tensor]
KEY = {"seed": 3, "case_id": "c0ffee", "purpose": "test"}


@KINDS
@pytest.mark.parametrize("shape", [(3, 8, 9), (1,), (), (2, 7)])
def test_rows_are_the_documented_draws(rows_of: Draw, torch_of: Draw, shape: tuple[int, ...]) -> None:
    found = rows_of(shape, slice(2, 6), **KEY)
    expected = [torch_of(shape, generator=generator(3, "c0ffee", "test", row)) for row in range(2, 6)]
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.stack(expected))


@KINDS
@pytest.mark.parametrize("size", [1, 3, 7, 20])
def test_any_slicing_gives_equal_bits(rows_of: Draw, torch_of: Draw, size: int) -> None:
    whole = rows_of((3, 5, 5), slice(0, 20), **KEY)
    parts = [rows_of((3, 5, 5), slice(at, min(at + size, 20)), **KEY) for at in reversed(range(0, 20, size))]
    assert torch.equal(torch.cat(parts[::-1]), whole)
    assert torch.equal(rows_of((3, 5, 5), range(1, 20, 4), **KEY), whole[1::4])
    assert torch.equal(rows_of((3, 5, 5), range(19, -1, -1), **KEY), whole.flip(0))
    assert torch.equal(rows_of((3, 5, 5), slice(None, 20, 3), **KEY), whole[::3])


@KINDS
def test_every_part_of_the_key_counts(rows_of: Draw, torch_of: Draw) -> None:
    base = rows_of((50,), slice(0, 1), **KEY)
    for other in ({"seed": 4}, {"case_id": "c0ffef"}, {"purpose": "rest"}):
        assert not torch.equal(base, rows_of((50,), slice(0, 1), **(KEY | other)))
    assert not torch.equal(base, rows_of((50,), slice(1, 2), **KEY))


@KINDS
def test_no_rows(rows_of: Draw, torch_of: Draw) -> None:
    assert rows_of((3, 4), slice(5, 5), **KEY).shape == (0, 3, 4)
    assert rows_of((3, 4), range(0), **KEY).shape == (0, 3, 4)
    assert rows_of((3, 0), slice(0, 2), **KEY).shape == (2, 3, 0)


def test_distributions_across_and_within_rows() -> None:
    normal = gaussian_rows((40,), slice(0, 500), **KEY)
    uniform = uniform_rows((40,), slice(0, 500), **KEY)
    # Kolmogorov-Smirnov against the exact laws; the seed is fixed, so the test is too.
    assert stats.kstest(normal.flatten().numpy(), "norm").pvalue > 0.01
    assert stats.kstest(uniform.flatten().numpy(), "uniform").pvalue > 0.01
    assert stats.kstest(normal[:, 0].numpy(), "norm").pvalue > 0.01
    assert float(uniform.min()) >= 0
    assert float(uniform.max()) < 1


def test_global_state_is_neither_read_nor_changed() -> None:
    expected = gaussian_rows((4,), slice(0, 3), **KEY)
    before = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            found = gaussian_rows((4,), slice(0, 3), **KEY)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.device.type == "cpu"
    assert torch.equal(found, expected)
    assert torch.equal(before, torch.get_rng_state())


@KINDS
@pytest.mark.parametrize("rows", [slice(0, None), slice(-2, 3), slice(0, -1), range(-1, 2), range(2, -2, -1)])
def test_rows_that_are_no_count_are_refused(rows_of: Draw, torch_of: Draw, rows: slice | range) -> None:
    with pytest.raises(SettingError, match="Rows"):
        rows_of((2,), rows, **KEY)
