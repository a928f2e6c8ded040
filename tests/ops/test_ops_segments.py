"""Hiding pieces: every value that is left or put in its place is exactly that value, whatever its bits."""

from __future__ import annotations

import pytest
import torch

from seewhy.ops.seeds import generator
from seewhy.ops.segments import hide

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64]
SHAPES = [(1, 3, 8, 7), (1, 10), (1, 2, 5, 4, 3)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("several", [False, True], ids=["one baseline", "one each"])
def test_hidden_rows_equal_a_choice_by_torch(dtype: torch.dtype, shape: tuple[int, ...], several: bool) -> None:
    draws = generator("hide", *shape)
    x = torch.randn(shape, generator=draws).mul(100).to(dtype)
    baseline = torch.randn((5 if several else 1, *shape[1:]), generator=draws).mul(100).to(dtype)
    if dtype.is_floating_point:
        x.flatten()[0], baseline.view(-1)[1], baseline.view(-1)[2] = -0.0, torch.inf, torch.nan
    places = shape[2:] or shape[1:]
    labels = torch.randint(0, 4, places, generator=draws)
    keep = torch.rand(5, 4, generator=draws) > 0.5
    chosen = keep[:, labels].reshape(5, *[1] * (len(shape) > 2), *places)
    expected = torch.where(chosen, x, baseline)
    found = hide(x, baseline, labels, keep)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(torch.signbit(found), torch.signbit(expected))


def test_hidden_rows_carry_gradients() -> None:
    x = torch.tensor([[[1.0, 2.0, 3.0]]], requires_grad=True)
    keep = torch.tensor([[True, False], [False, True]])
    hide(x, torch.zeros(1, 1, 3), torch.tensor([0, 1, 1]), keep).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1, 1, 1]
