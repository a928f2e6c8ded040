"""Blur: equal to scipy at every size, sigma and dtype, and exact in its derivative."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from seewhy.core.errors import InputError, InputTypeError, SettingError
from seewhy.ops.blur import gaussian_blur
from seewhy.ops.seeds import generator

SHAPES = [(2, 3, 17), (2, 3, 1), (1, 3, 12, 9), (2, 1, 1, 7), (1, 2, 1, 1), (1, 2, 5, 6, 4), (1, 1, 2, 2)]


def _scipy(x: torch.Tensor, sigma: float) -> torch.Tensor:
    return torch.from_numpy(ndimage.gaussian_filter(x.double().numpy(), (0, 0, *[sigma] * (x.ndim - 2))))


def _random(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=generator("blur", *shape))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0, 2.5, 11.0, 40.0])
def test_equals_scipy(shape: tuple[int, ...], sigma: float) -> None:
    x = _random(shape)
    torch.testing.assert_close(gaussian_blur(x, sigma), _scipy(x, sigma), rtol=0, atol=1e-13)
    single = gaussian_blur(x.float(), sigma)
    torch.testing.assert_close(single.double(), _scipy(x.float(), sigma), rtol=0, atol=3e-6)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float16, 2**-11), (torch.bfloat16, 2**-8)])
def test_half_precision_loses_only_the_last_rounding(dtype: torch.dtype, error: float) -> None:
    x = _random((1, 3, 20, 20)).to(dtype)
    found, exact = gaussian_blur(x, 1.5), _scipy(x, 1.5)
    assert found.dtype == dtype
    assert bool(((found.double() - exact).abs() <= error * exact.abs() + 1e-6).all())


@pytest.mark.parametrize("sigma", [100.0, 639.0, 641.0, 1e12])
def test_very_wide_kernels_become_the_mean(sigma: float) -> None:
    x = _random((1, 2, 10, 10))
    mean = x.mean((2, 3), keepdim=True).expand_as(x)
    torch.testing.assert_close(gaussian_blur(x, sigma), mean, rtol=0, atol=3 * 2e-4 * 10 / min(sigma, 640))


def test_total_and_constants_are_kept() -> None:
    x = _random((1, 2, 13, 8))
    torch.testing.assert_close(gaussian_blur(x, 3.0).sum((2, 3)), x.sum((2, 3)))
    grey = torch.full((1, 1, 30, 40), 0.3)
    torch.testing.assert_close(gaussian_blur(grey, 4.0), grey, rtol=0, atol=1e-6)


def test_derivative_is_exact_also_on_a_constant_input() -> None:
    x = torch.full((1, 1, 4, 3), 0.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: gaussian_blur(values, 1.3), (x,))


def test_other_memory_orders_and_autocast_change_nothing() -> None:
    x = _random((2, 3, 8, 6)).float()
    expected = gaussian_blur(x, 1.2)
    assert torch.equal(gaussian_blur(x.to(memory_format=torch.channels_last), 1.2), expected)
    assert torch.equal(gaussian_blur(x.mT.contiguous().mT, 1.2), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(gaussian_blur(x, 1.2), expected)


def test_zero_sigma_and_no_rows() -> None:
    x = _random((1, 1, 3, 3))
    same = gaussian_blur(x, 0)
    assert torch.equal(same, x)
    same += 1
    assert not torch.equal(same, x)
    one = torch.ones(1, 1, 1, 1)
    gaussian_blur(one, 2.0).add_(1)
    assert float(one) == 1
    assert gaussian_blur(torch.zeros(0, 3, 4, 4), 2.0).shape == (0, 3, 4, 4)


def test_long_signal_and_large_sigma_stay_cheap() -> None:
    x = torch.zeros(1, 1, 20_000)
    x[..., 10_000] = 1.0
    found = gaussian_blur(x, 1000.0)[0, 0].double().numpy()
    bell = np.exp(-0.5 * ((np.arange(20_000) - 10_000) / 1000) ** 2) / (1000 * math.sqrt(2 * math.pi))
    assert np.abs(found - bell).max() < 1e-6


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf])
def test_impossible_sigma(sigma: float) -> None:
    with pytest.raises(SettingError, match="sigma"):
        gaussian_blur(torch.zeros(1, 1, 2, 2), sigma)


def test_inputs_that_are_no_pictures() -> None:
    with pytest.raises(InputError, match="spatial"):
        gaussian_blur(torch.zeros(1, 4), 1.0)
    with pytest.raises(InputError, match="spatial"):
        gaussian_blur(torch.zeros(1, 1, 2, 2, 2, 2), 1.0)
    with pytest.raises(InputTypeError, match="int64"):
        gaussian_blur(torch.zeros(1, 1, 2, 2, dtype=torch.int64), 1.0)
    with pytest.raises(InputTypeError, match="complex64"):
        gaussian_blur(torch.zeros(1, 1, 2, 2, dtype=torch.complex64), 1.0)
