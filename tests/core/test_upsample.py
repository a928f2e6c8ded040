"""Resizing of maps: equal to the interpolation formula written out, in every dtype and dimension."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from seewhy.core.errors import InputError, InputTypeError, SettingError
from seewhy.core.upsample import resize_map
from seewhy.ops.seeds import generator


def _weights(length: int, wanted: int) -> np.ndarray:
    """The matrix (wanted, length) of linear interpolation between pixel centres, constant outside them."""
    matrix = np.zeros((wanted, length))
    for place in range(wanted):
        at = min(max((place + 0.5) * length / wanted - 0.5, 0), length - 1)
        below = int(at)
        above = min(below + 1, length - 1)
        matrix[place, below] += 1 - (at - below)
        matrix[place, above] += at - below
    return matrix


def _oracle(values: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    out = values.double().numpy()
    for dim, wanted in enumerate(size, start=1):
        out = np.moveaxis(np.tensordot(_weights(out.shape[dim], wanted), out, (1, dim)), 0, dim)
    return torch.from_numpy(out.copy())


def _random(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator("resize", *shape))


CASES = [
    ((2, 5), (13,)),
    ((2, 5), (3,)),
    ((2, 7, 7), (32, 20)),
    ((1, 7, 4), (7, 9)),
    ((3, 1, 1), (5, 4)),
    ((1, 6, 5), (1, 1)),
    ((2, 3, 2, 4), (5, 7, 6)),
    ((2, 1, 1, 1), (2, 2, 3)),
]


@pytest.mark.parametrize(("shape", "size"), CASES, ids=str)
def test_equals_the_formula(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    values = _random(shape)
    torch.testing.assert_close(resize_map(values, size), _oracle(values, size), rtol=0, atol=1e-13)
    single = resize_map(values.float(), size)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), _oracle(values.float(), size), rtol=0, atol=5e-6)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 2**-11), (torch.bfloat16, 2**-8)])
@pytest.mark.parametrize(("shape", "size"), CASES, ids=str)
def test_half_precision_loses_only_the_last_rounding(
    dtype: torch.dtype, error: float, shape: tuple[int, ...], size: tuple[int, ...]
) -> None:
    values = _random(shape).to(dtype)
    found, exact = resize_map(values, size), _oracle(values, size)
    assert found.dtype == dtype
    assert bool(((found.double() - exact).abs() <= error * exact.abs() + 1e-6).all())


def test_equal_size_is_the_identity_and_one_pixel_spreads_evenly() -> None:
    values = _random((2, 4, 3))
    assert resize_map(values, (4, 3)) is values
    pixel = values[:, :1, :1]
    torch.testing.assert_close(resize_map(pixel, (6, 2)), pixel.expand(2, 6, 2), rtol=1e-15, atol=0)


def test_axes_are_not_exchanged_and_place_is_kept() -> None:
    for axis in range(3):
        ramp = torch.zeros(1, 4, 4, 4).movedim(axis + 1, -1) + torch.arange(4.0)
        found = resize_map(ramp.movedim(-1, axis + 1), (8, 8, 8)).movedim(axis + 1, -1)
        expected = ((torch.arange(8) + 0.5) / 2 - 0.5).clamp(0, 3)
        torch.testing.assert_close(found, expected.expand_as(found))


def test_derivative_is_exact() -> None:
    values = _random((1, 2, 3)).requires_grad_()
    assert torch.autograd.gradcheck(lambda rows: resize_map(rows, (4, 5)), (values,))


def test_no_rows() -> None:
    for dims, dtype in itertools.product((1, 2, 3), (torch.float16, torch.float32)):
        found = resize_map(torch.zeros((0, *[2] * dims), dtype=dtype), [5] * dims)
        assert found.shape == (0, *[5] * dims)
        assert found.dtype == dtype


def test_impossible_maps_and_sizes() -> None:
    with pytest.raises(SettingError, match="2 spatial dimensions"):
        resize_map(torch.zeros(1, 2, 2), (4,))
    with pytest.raises(SettingError, match="at least 1"):
        resize_map(torch.zeros(1, 2, 2), (4, 0))
    with pytest.raises(InputError, match="one to three"):
        resize_map(torch.zeros(3), ())
    with pytest.raises(InputError, match="one to three"):
        resize_map(torch.zeros(1, 2, 2, 2, 2), (2, 2, 2, 2))
    with pytest.raises(InputError, match="at least 1"):
        resize_map(torch.zeros(1, 0, 2), (2, 2))
    with pytest.raises(InputTypeError, match="bool"):
        resize_map(torch.zeros(1, 2, 2, dtype=torch.bool), (4, 4))
