"""Colours must mean numbers: the same number the same colour, more evidence more light, nothing neutral."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seewhy.core.errors import UnknownNameError
from seewhy.render.colours import DIVERGING, SEQUENTIAL, table
from seewhy.render.scales import Scale, opacity, scale_for
from seewhy.render.wording import number


def luminance(colours: np.ndarray) -> np.ndarray:
    """Returns the relative luminance of sRGB colours (IEC 61966-2-1)."""
    srgb = colours[..., :3] / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def oklab_lightness(colours: np.ndarray) -> np.ndarray:
    """Returns OKLab's L from sRGB by the forward formula (the package only uses the inverse)."""
    srgb = colours[..., :3] / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    return np.cbrt(cones) @ np.array([0.2104542553, 0.7936177850, -0.0040720468])


def test_more_evidence_is_lighter() -> None:
    assert (np.diff(luminance(table(SEQUENTIAL))) >= 0).all()
    arms = luminance(table(DIVERGING))
    assert (np.diff(arms[128:]) > 0).all()
    assert (np.diff(arms[:128]) < 0).all()


def test_evidence_for_and_against_are_equally_light() -> None:
    light = oklab_lightness(table(DIVERGING))
    assert np.allclose(light[128:], light[:128][::-1], atol=0.01)
    assert np.allclose(np.diff(light[128:]), (light[-1] - light[128]) / 127, atol=0.006)  # one unit, one step


def test_zero_is_neutral_grey_on_a_diverging_scale_whatever_the_range() -> None:
    for values in ([-1.0, 5.0], [0.0, 2.0], [-9.0, -1.0]):
        scale = scale_for([np.array(values)], signed=True)
        zero = scale.colours(np.array([0.0]))[0, :3].astype(int)
        assert np.ptp(zero) <= 2  # grey
        assert zero.max() < 40  # and dark


def test_diverging_limits_are_symmetric() -> None:
    scale = scale_for([np.array([-1.0, 5.0])], signed=True)
    assert (scale.low, scale.high) == (-5.0, 5.0)
    assert scale.position(np.array([-5.0, 0.0, 2.5, 5.0])).tolist() == [0.0, 0.5, 0.75, 1.0]
    assert [words for _, words in scale.ticks()] == ["−5", "0", "5"]


def test_the_lowest_number_of_an_unsigned_map_has_the_first_colour_and_the_highest_the_last() -> None:
    values = np.array([0.41, 0.5, 0.61])
    scale = scale_for([values], signed=False)
    assert (scale.colours(values)[[0, 2], :3] == table(SEQUENTIAL)[[0, 255]]).all()


def test_an_unsigned_map_that_begins_near_zero_is_drawn_from_zero() -> None:
    scale = scale_for([np.array([0.1, 0.5, 1.0])], signed=False)
    assert scale.position(np.array([0.0, 0.1, 0.5, 1.0])).tolist() == [0.0, 0.1, 0.5, 1.0]
    assert (scale.proportional, scale.whole()) == (True, "100% = 1")
    assert not scale_for([np.array([0.41, 0.61])], signed=False).proportional
    assert not scale_for([np.zeros(3)], signed=True).proportional


def test_a_shared_scale_gives_equal_numbers_equal_colours() -> None:
    small, large = np.array([0.0, 1.0]), np.array([0.0, 1.0, 4.0])
    own = scale_for([small], signed=False)
    shared = scale_for([small, large], signed=False)
    assert (shared.low, shared.high) == (0.0, 4.0)
    assert (shared.colours(small)[1] == shared.colours(large)[1]).all()
    assert (own.colours(small)[1] != shared.colours(small)[1]).any()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-320, 1e308])
def test_constant_maps_have_a_position_and_no_division_by_zero(signed: bool, value: float) -> None:
    with np.errstate(all="raise"):
        scale = scale_for([np.full((2, 2), value)], signed=signed)
        position = scale.position(np.full((2, 2), value))
    expected = (0.5 + 0.5 * np.sign(value)) if signed else 0.0
    assert (position == expected).all()


def test_nan_is_transparent_and_moves_no_limit() -> None:
    values = np.array([np.nan, 0.0, 2.0])
    scale = scale_for([values], signed=False)
    assert (scale.low, scale.high) == (0.0, 2.0)
    assert scale.colours(values)[:, 3].tolist() == [0, 255, 255]
    assert scale_for([np.array([np.nan])], signed=True).ticks() == ((0.5, "0"),)


def test_huge_and_infinite_numbers_stay_within_the_scale() -> None:
    values = np.array([-1.7e308, 0.0, 1.7e308, np.inf, -np.inf])
    scale = scale_for([values], signed=True)
    assert scale.position(values).tolist() == [0.0, 0.5, 1.0, 1.0, 0.0]


def test_robust_limits_are_the_percentile_and_say_so() -> None:
    values = np.arange(1000.0)
    values[-1] = 1e6
    scale = scale_for([values], signed=False)
    assert scale.high == np.quantile(values, 0.995)
    assert scale.clipped == pytest.approx(0.005)
    assert scale.ticks()[1][1].startswith("≥ ")
    assert "0.5% of pixels clipped" in scale.note()
    assert "1e6" in scale.note()
    full = scale_for([values], signed=False, robust=False)
    assert (full.high, full.clipped, full.note()) == (1e6, 0.0, "")


def test_robust_limits_of_a_signed_map_stay_symmetric() -> None:
    values = np.linspace(-1, 0.5, 1000)
    values[0] = -50.0
    scale = scale_for([values], signed=True)
    assert scale.low == -scale.high == -np.quantile(np.abs(values), 0.98)
    assert [words[:2] for _, words in scale.ticks()] == ["≤ ", "0", "0."]  # only the left end was clipped


def test_robust_limits_leave_a_map_with_one_hot_pixel_its_range() -> None:
    values = np.zeros(1000)
    values[0] = 1.0
    assert scale_for([values], signed=False).high == 1.0  # the percentile is 0: nothing would be seen


def test_smooth_maps_are_not_clipped() -> None:
    assert scale_for([np.linspace(0, 1, 1000)], signed=False).note() == ""


def test_an_overlay_shows_nothing_where_there_is_no_evidence() -> None:
    assert opacity(np.array([0.0]), "sequential")[0] == 0
    assert opacity(np.array([0.5]), "diverging")[0] == 0
    assert opacity(np.array([0.0, 1.0]), "diverging").tolist() == [0.95, 0.95]
    for signed in (False, True):
        scale = scale_for([np.array([-1.0, 1.0] if signed else [0.0, 1.0])], signed=signed)
        assert scale.colours(np.array([0.0]), solid=False)[0, 3] == 0


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=20), st.booleans())
def test_positions_keep_the_order_of_the_numbers(values: list[float], signed: bool) -> None:
    ordered = np.sort(np.array(values))
    position = scale_for([ordered], signed=signed).position(ordered)
    assert ((position >= 0) & (position <= 1)).all()
    assert (np.diff(position) >= 0).all()


def test_an_unknown_colour_map_is_named_with_its_neighbours() -> None:
    with pytest.raises(UnknownNameError, match="viridis"):
        scale_for([np.zeros(2)], signed=False, cmap="viridsi")
    assert (scale_for([np.arange(2.0)], signed=False, cmap="viridis").colours(np.zeros(1))[0, :3] == [68, 1, 84]).all()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0184, "0.0184"),
        (-1.5, "−1.5"),
        (123.4, "123"),
        (9999.6, "10000"),
        (1.2e-5, "1.2e−5"),
        (1e30, "1e30"),
    ],
)
def test_numbers_are_short_and_real(value: float, text: str) -> None:
    assert number(value) == text


def test_a_number_that_vanishes_beside_its_neighbour_is_zero() -> None:
    assert number(1e-9, 2.0) == "0"
    assert Scale("sequential", 1e-9, 2.0, SEQUENTIAL).ticks() == ((0.0, "0"), (1.0, "2"))
