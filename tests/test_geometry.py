"""Maps must come back to the photograph where they belong: analytic cases and torch's own interpolation."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from seewhy.core.errors import InputError, InputTypeError, SettingError
from seewhy.core.geometry import Geometry

sizes = st.tuples(st.integers(1, 60), st.integers(1, 60))
boxes = st.tuples(st.integers(-30, 50), st.integers(-30, 50), st.integers(1, 40), st.integers(1, 40))


def covered(geometry: Geometry) -> Tensor:
    """Which original pixels overlap the crop, by a fine-grained look at each (slow, independent)."""
    seen = torch.zeros(geometry.original, dtype=torch.bool)
    for row in range(geometry.original[0]):
        for column in range(geometry.original[1]):
            inside = True
            for index, axis in ((row, 0), (column, 1)):
                scale, start = geometry.resized[axis] / geometry.original[axis], geometry.crop[axis]
                low, high = index * scale, (index + 1) * scale
                inside &= min(high, start + geometry.crop[2 + axis]) - max(low, start) > 1e-9
            seen[row, column] = inside
    return seen


@given(original=sizes, resized=sizes, crop=boxes, shape=sizes, value=st.floats(-1e6, 1e6, width=32))
@settings(max_examples=60, deadline=None)
def test_constant_maps_come_back_exactly_and_only_where_the_crop_looked(
    original: tuple[int, int],
    resized: tuple[int, int],
    crop: tuple[int, int, int, int],
    shape: tuple[int, int],
    value: float,
) -> None:
    geometry = Geometry(original, resized, crop)
    back = geometry.to_original(torch.full(shape, value))
    assert back.shape == original
    seen = covered(geometry)
    assert torch.equal(~back.isnan(), seen)
    assert bool((back[seen] == torch.tensor(value)).all())


@pytest.mark.parametrize(
    ("original", "resized", "crop"),
    [
        ((300, 451), (256, 384), (16, 80, 224, 224)),  # the usual way: shrink, then crop the middle
        ((451, 300), (384, 256), (80, 10, 224, 200)),  # portrait, non-square crop
        ((500, 400), (240, 320), (10, 20, 200, 280)),  # squashed: other factors along each side
        ((40, 60), (256, 384), (16, 80, 224, 224)),  # enlarged by 6.4
        ((120, 90), (100, 75), (-14, -26, 128, 128)),  # padded on every side
        ((97, 131), (97, 131), (5, 7, 80, 100)),  # not resized at all
    ],
)
def test_a_blob_comes_back_within_a_pixel(
    original: tuple[int, int], resized: tuple[int, int], crop: tuple[int, int, int, int]
) -> None:
    geometry = Geometry(original, resized, crop)
    top, left, height, width = crop
    rows, columns = torch.arange(height)[:, None] + 0.5, torch.arange(width)[None, :] + 0.5
    scale = [resized[i] / original[i] for i in (0, 1)]
    low = [max(0, start) + 0.2 * min(n, length) for start, n, length in zip(crop, resized, crop[2:], strict=False)]
    for share in (0.0, 0.37, 0.8):
        # The blob's centre in the resized picture, and hence in the photograph (edges at 0 and at the size).
        y, x = (low[i] + share * 0.6 * min(resized[i], crop[2 + i]) for i in (0, 1))
        blob = torch.exp(-(((rows + top - y) / 8) ** 2 + ((columns + left - x) / 8) ** 2))
        back = geometry.to_original(blob).nan_to_num()
        peak = divmod(int(back.argmax()), original[1])
        mass = back / back.sum()
        centre = (
            float((mass.sum(1) * (torch.arange(original[0]) + 0.5)).sum()),
            float((mass.sum(0) * (torch.arange(original[1]) + 0.5)).sum()),
        )
        for i, wanted in enumerate((y / scale[0], x / scale[1])):
            assert abs(peak[i] + 0.5 - wanted) <= 1
            assert abs(centre[i] - wanted) < 0.25 / min(1, scale[i])


def test_without_a_crop_it_is_torchs_bilinear_interpolation() -> None:
    values = torch.randn(2, 3, 12, 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    back = Geometry((50, 70), (12, 17), (0, 0, 12, 17)).to_original(values)
    expected = F.interpolate(values, size=(50, 70), mode="bilinear", align_corners=False)
    torch.testing.assert_close(back, expected, rtol=0, atol=1e-12)


def test_a_coarse_map_is_first_interpolated_to_the_crop() -> None:
    values = torch.randn(7, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    geometry = Geometry((64, 96), (64, 96), (4, 8, 56, 63))
    back = geometry.to_original(values)
    expected = F.interpolate(values[None, None], size=(56, 63), mode="bilinear", align_corners=False)[0, 0]
    torch.testing.assert_close(back[4:60, 8:71], expected, rtol=0, atol=1e-12)
    assert back.isnan().sum() == 64 * 96 - 56 * 63


def test_an_enlarged_photograph_gets_area_means() -> None:
    values = torch.randn(60, 80, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    back = Geometry((6, 8), (60, 80), (0, 0, 60, 80)).to_original(values)
    torch.testing.assert_close(back, F.avg_pool2d(values[None], 10)[0], rtol=0, atol=1e-12)


def test_a_two_pixel_picture_keeps_the_parts_that_the_crop_touched() -> None:
    back = Geometry((2, 2), (256, 256), (78, 78, 100, 100)).to_original(torch.ones(100, 100))
    assert torch.equal(back, torch.ones(2, 2))


def test_identity_returns_the_same_numbers() -> None:
    values = torch.randn(3, 9, 11)
    assert torch.equal(Geometry((9, 11), (9, 11), (0, 0, 9, 11)).to_original(values), values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    back = Geometry((9, 11), (18, 5), (2, 0, 10, 5)).to_original(torch.full((3, 3), 0.5, dtype=dtype))
    assert back.dtype == dtype
    assert bool((back[1:6] == 0.5).all())


def test_whole_numbers_become_float32_and_no_rows_stay_no_rows() -> None:
    geometry = Geometry((9, 11), (18, 5), (2, 0, 10, 5))
    assert geometry.to_original(torch.ones(3, 3, dtype=torch.int64)).dtype == torch.float32
    assert geometry.to_original(torch.zeros(0, 3, 3)).shape == (0, 9, 11)


def test_gradients_and_autocast_do_not_disturb_it() -> None:
    values = torch.randn(60, 80, requires_grad=True)
    geometry = Geometry((6, 8), (60, 80), (0, 0, 60, 80))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        back = geometry.to_original(values)
    assert torch.equal(back, geometry.to_original(values))
    torch.autograd.backward(back.sum())
    torch.testing.assert_close(values.grad, torch.full((60, 80), 0.01))


def test_clear_errors() -> None:
    geometry = Geometry((9, 11), (9, 11), (0, 0, 9, 11))
    with pytest.raises(InputError, match=r"\(4,\)"):
        geometry.to_original(torch.ones(4))
    with pytest.raises(InputError, match=r"\(2, 0, 4\)"):
        geometry.to_original(torch.ones(2, 0, 4))
    with pytest.raises(InputTypeError, match="complex64"):
        geometry.to_original(torch.ones(2, 2, dtype=torch.complex64))
    with pytest.raises(SettingError, match="original"):
        Geometry((9, 11, 3), (9, 11), (0, 0, 9, 11))  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="at least 1"):
        Geometry((9, 11), (9, 0), (0, 0, 9, 11))
    with pytest.raises(SettingError, match="crop"):
        Geometry((9, 11), (9, 11), (0, 0, 9.5, 11))  # type: ignore[arg-type]
