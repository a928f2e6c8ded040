"""Baselines: each name against its definition written out, each shape, and each way to get it wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from seewhy.core.errors import InputError, InputTypeError, SettingError
from seewhy.ops.baselines import NAMES, BaselineSpec, baselines, check_baseline
from seewhy.ops.noise import gaussian_rows, uniform_rows
from seewhy.ops.seeds import generator

LOW, HIGH = torch.tensor([-2.0, -1.0, 0.0]), torch.tensor([2.0, 3.0, 1.0])


def _picture(height: int = 30, width: int = 45) -> torch.Tensor:
    ends = [end.reshape(1, 3, 1, 1) for end in (LOW, HIGH)]
    return torch.lerp(*ends, torch.rand(1, 3, height, width, generator=generator("picture")))


def _make(spec: BaselineSpec, x: torch.Tensor, low: Any = LOW, high: Any = HIGH, seed: int = 0) -> torch.Tensor:
    return baselines(spec, x, low, high, seed=seed, case_id="case")


def test_black_white_zero_and_numbers() -> None:
    x = _picture()
    for spec, values in (
        ("black", LOW),
        ("white", HIGH),
        ("zero", torch.zeros(3)),
        (0.25, torch.full((3,), 0.25)),
    ):
        found = _make(spec, x)
        assert found.shape == x.shape
        assert torch.equal(found, values.reshape(1, 3, 1, 1).expand_as(x))


def test_black_and_white_need_the_range_and_say_so() -> None:
    for name in ("black", "white"):
        with pytest.raises(SettingError, match=f"{name}.*value_range"):
            _make(name, _picture(), None, None)
    assert _make("zero", _picture(), None, None).abs().max() == 0


def test_one_range_for_all_channels() -> None:
    x = _picture()
    for low in (torch.tensor(0.5), torch.tensor([0.5])):
        assert torch.equal(_make("black", x, low, None), torch.full_like(x, 0.5))


def test_blur_is_scipys_at_a_fifteenth_of_the_shorter_side() -> None:
    x = _picture(30, 45)
    expected = ndimage.gaussian_filter(x.double().numpy(), (0, 0, 2, 2))
    np.testing.assert_allclose(_make("blur", x, None, None).numpy(), expected, rtol=0, atol=2e-6)
    volume = torch.rand(1, 1, 30, 60, 45, generator=generator("volume"))
    expected = ndimage.gaussian_filter(volume.double().numpy(), (0, 0, 2, 2, 2))
    np.testing.assert_allclose(_make("blur", volume, None, None).numpy(), expected, rtol=0, atol=2e-6)
    pixel = torch.ones(1, 3, 1, 1)
    torch.testing.assert_close(_make("blur", pixel), pixel)


@pytest.mark.parametrize("shape", [(1, 5), (1, 7, 4)])
def test_blur_refuses_what_is_no_picture_and_the_others_work(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=generator("table"))
    with pytest.raises(SettingError, match="pictures"):
        _make("blur", x, None, None)
    for name in set(NAMES) - {"blur"}:
        assert _make(name, x, torch.tensor(-5.0), torch.tensor(5.0)).shape == shape


def test_maximum_distance_is_the_farther_end() -> None:
    x = _picture()
    found = _make("maximum-distance", x)
    for channel in range(3):
        for value, chosen in zip(x[0, channel].flatten().tolist(), found[0, channel].flatten().tolist(), strict=True):
            ends = float(LOW[channel]), float(HIGH[channel])
            assert chosen == max(ends, key=lambda end: abs(value - end))
    tie = torch.zeros(1, 1, 1, 1)
    assert float(_make("maximum-distance", tie, torch.tensor(-1.0), torch.tensor(1.0))) == -1.0
    assert torch.equal(_make("max-distance", x), found)


def test_uniform_is_the_seeded_row_within_the_range() -> None:
    x = _picture()
    unit = uniform_rows((3, 30, 45), range(1), seed=9, case_id="case", purpose="baseline-uniform")
    low, high = LOW.reshape(3, 1, 1), HIGH.reshape(3, 1, 1)
    found = _make("uniform", x, seed=9)
    torch.testing.assert_close(found, low + (high - low) * unit)
    assert torch.equal(_make("uniform-noise", x, seed=9), found)
    assert not torch.equal(_make("uniform", x, seed=8), found)
    assert stats.kstest(found[0, 1].flatten().numpy(), "uniform", args=(-1, 4)).pvalue > 0.01


def test_gaussian_is_the_input_plus_half_the_range_clipped() -> None:
    x = _picture()
    normal = gaussian_rows((3, 30, 45), range(1), seed=0, case_id="case", purpose="baseline-gaussian")
    low, high = LOW.reshape(3, 1, 1).numpy(), HIGH.reshape(3, 1, 1).numpy()
    expected = np.clip(x.numpy() + (high - low) / 2 * normal.numpy(), low, high)
    found = _make("gaussian", x)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(_make("gaussian-noise", x), found)


def test_unknown_range_falls_back_on_the_inputs_own() -> None:
    x = _picture()
    low, high = x.min(), x.max()
    for name in ("maximum-distance", "uniform", "gaussian"):
        assert torch.equal(_make(name, x, None, None), _make(name, x, low, high))
        assert torch.equal(_make(name, x, LOW, None), _make(name, x, low, high))
        with pytest.raises(SettingError, match=f"{name}.*value_range"):
            _make(name, torch.ones(1, 3, 4, 4), None, None)


def test_black_may_be_the_larger_number() -> None:
    x = _picture().clamp(0, 1)
    black, white = torch.tensor(1.0), torch.tensor(0.0)
    assert torch.equal(_make("maximum-distance", x, black, white), (x <= 0.5).float())
    for name in ("uniform", "gaussian"):
        found = _make(name, x, black, white)
        assert 0 <= float(found.min()) < 0.1
        assert 0.9 < float(found.max()) <= 1


@pytest.mark.parametrize(
    "shape", [(3, 4, 5), (1, 3, 4, 5), (6, 3, 4, 5), (3, 1, 1), (1, 1, 4, 5), (2, 1, 1, 1), ()], ids=str
)
def test_tensors_that_fit(shape: tuple[int, ...]) -> None:
    x = torch.zeros(1, 3, 4, 5)
    given = torch.randn(shape, dtype=torch.float64, generator=generator("given", *shape))
    found = _make(given, x)
    rows = shape[0] if len(shape) == 4 else 1
    assert found.shape == (rows, 3, 4, 5)
    assert found.dtype == torch.float32
    assert torch.equal(found, given.float().expand(rows, 3, 4, 5))
    kept = given.clone()
    found += 1
    assert torch.equal(given, kept)


@pytest.mark.parametrize("shape", [(2, 4, 5), (1, 3, 5, 4), (4, 5), (3,), (0, 3, 4, 5), (1, 1, 3, 4, 5)])
def test_tensors_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(SettingError) as caught:
        _make(torch.zeros(shape), torch.zeros(1, 3, 4, 5))
    assert "(1, 3, 4, 5)" in str(caught.value)
    assert str(shape) in str(caught.value)


def test_table_rows() -> None:
    x = torch.arange(4.0).reshape(1, 4)
    assert _make(torch.ones(4), x, None, None).tolist() == [[1.0] * 4]
    assert _make(torch.zeros(7, 4), x, None, None).shape == (7, 4)
    assert _make("black", x, torch.tensor([1.0, 2.0, 3.0, 4.0]), None).tolist() == [[1.0, 2.0, 3.0, 4.0]]


def test_lists_are_joined_in_order_and_noise_is_drawn_anew() -> None:
    x = _picture()
    found = _make(["black", [0.5, torch.ones(2, 3, 1, 1)], "uniform", "blur", "uniform", "gaussian"], x)
    assert found.shape == (8, 3, 30, 45)
    assert torch.equal(found[:1], _make("black", x))
    assert torch.equal(found[1:4], torch.tensor([0.5, 1, 1]).reshape(3, 1, 1, 1).expand(3, 3, 30, 45))
    assert torch.equal(found[4:5], _make("uniform", x))
    assert torch.equal(found[5:6], _make("blur", x))
    assert not torch.equal(found[6:7], found[4:5])
    assert torch.equal(found[7:8], _make("gaussian", x))
    assert torch.equal(_make(["uniform", "uniform-noise"], x), found[[4, 6]])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_of_the_input_and_no_graph(dtype: torch.dtype) -> None:
    x = _picture().to(dtype).requires_grad_()
    for name in NAMES:
        found = _make(name, x)
        assert found.dtype == dtype
        assert not found.requires_grad
        # The noise is the same draw in every dtype.
        expected = _make(name, x.detach().float()).double()
        close = 1e-6 if dtype == torch.float64 else torch.finfo(dtype).eps
        torch.testing.assert_close(found.double(), expected, rtol=close, atol=close)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("blakc", "Did you mean 'black'"),
        ("uniform noise", "Did you mean"),
        ("", "one of black"),
        ([], "at least one"),
        (["black", []], "at least one"),
        (math.nan, "finite"),
        (math.inf, "finite"),
        (True, "bool"),
        (None, "NoneType"),
        (b"black", "bytes"),
        (np.zeros(3), "as_tensor"),
        (torch.tensor([1.0, math.nan]), "finite"),
        (torch.zeros(2, dtype=torch.complex64), "complex64"),
    ],
)
def test_impossible_specifications(spec: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        check_baseline(spec)
    with pytest.raises(SettingError, match=message):
        _make(spec, _picture())


def test_possible_specifications_pass_the_early_check() -> None:
    check_baseline([*NAMES, "max-distance", 1, np.float32(0.5), torch.zeros(3, 1, 1)])


def test_values_that_overflow_the_inputs_dtype() -> None:
    with pytest.raises(SettingError, match="float16"):
        _make(1e6, torch.zeros(1, 3, 2, 2, dtype=torch.float16))


def test_ranges_that_do_not_fit() -> None:
    with pytest.raises(SettingError, match="3 channels"):
        _make("black", _picture(), torch.zeros(2))
    with pytest.raises(SettingError, match="finite"):
        _make("black", _picture(), torch.tensor([0.0, math.nan, 0.0]))


def test_inputs_without_a_baseline() -> None:
    for shape in ((2, 3, 4, 4), (0, 3, 4, 4), (1, 3, 0, 4), (3,), ()):
        with pytest.raises(InputError, match="one row"):
            _make("zero", torch.zeros(shape), None, None)
    with pytest.raises(InputTypeError, match="int64"):
        _make("zero", torch.zeros(1, 3, dtype=torch.int64), None, None)
