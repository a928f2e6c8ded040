"""The picture must survive under its map, and what the model did not see must look like it."""

from __future__ import annotations

import numpy as np
import pytest
from render_records import photo

from seewhy.core.errors import SettingError
from seewhy.render.overlay import BRIGHTNESS, UNSEEN, muted, overlay, seen_box, shrink, shrunk
from seewhy.render.scales import scale_for

SIZE = photo().shape[:2]


def test_the_picture_is_untouched_at_strength_zero() -> None:
    values = np.random.default_rng(0).normal(size=SIZE)
    values[:3] = np.nan
    scale = scale_for([values], signed=True)
    assert (overlay(photo(), values, scale, strength=0) == photo()).all()


def test_only_the_muted_picture_is_left_where_there_is_no_evidence() -> None:
    values = np.zeros(SIZE)
    values[5, 7] = 1.0
    drawn = overlay(photo(), values, scale_for([values], signed=False))
    expected = np.rint(muted(photo()))
    expected[5, 7] = 0.05 * muted(photo())[5, 7] + 0.95 * np.array([252, 255, 164])  # inferno's last colour
    assert np.abs(drawn - expected).max() <= 1


def test_muting_halves_colour_and_keeps_brightness_in_proportion() -> None:
    grey = np.full((1, 1, 3), 200, dtype=np.uint8)
    assert muted(grey) == pytest.approx(200 * BRIGHTNESS)
    red = np.array([[[255, 0, 0]]], dtype=np.uint8)
    weights = np.array([0.2126, 0.7152, 0.0722])
    assert (muted(red) @ weights)[0, 0] == pytest.approx(255 * 0.2126 * BRIGHTNESS)
    assert np.ptp(muted(red)) == pytest.approx(0.5 * 255 * BRIGHTNESS)


def test_what_was_cropped_away_is_dark_behind_a_frame() -> None:
    values = np.full(SIZE, np.nan)
    values[2:9, 4:15] = 0.0
    drawn = overlay(photo(), values, scale_for([values], signed=True))
    assert seen_box(values) == (2, 4, 9, 15)
    assert np.abs(drawn[:2] - photo()[:2] * UNSEEN).max() <= 0.5
    assert (drawn[2, 4:15] == 255).all()
    assert (drawn[2:9, 14] == 255).all()
    assert (drawn[3:8, 5:14] == np.rint(muted(photo()))[3:8, 5:14]).all()


def test_a_number_missing_inside_is_hatched_grey() -> None:
    values = np.ones(SIZE)
    values[4:6, 4:6] = np.nan
    hole = overlay(photo(), values, scale_for([values], signed=False))[4:6, 4:6]
    assert set(np.unique(hole)) <= {110, 150}
    nothing = overlay(photo(), np.full(SIZE, np.nan), scale_for([], signed=False))
    assert set(np.unique(nothing)) == {110, 150}


def test_contours_separate_bands_of_equal_evidence() -> None:
    values = np.tile(np.linspace(0, 1, SIZE[1]), (SIZE[0], 1))
    scale = scale_for([values], signed=False)
    lines = (overlay(photo(), values, scale, contours=2) == 255).all(-1)
    assert lines.all(0).sum() == 2  # two upright lines, at a third and at two thirds
    assert np.flatnonzero(lines.all(0)).tolist() == [5, 11]


@pytest.mark.parametrize(
    ("picture", "values", "strength"),
    [
        (np.zeros((4, 4, 3)), np.zeros((4, 4)), 1.0),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5)), 1.0),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4)), 1.5),
    ],
)
def test_what_does_not_fit_is_refused(picture: np.ndarray, values: np.ndarray, strength: float) -> None:
    with pytest.raises(SettingError):
        overlay(picture, values, scale_for([values], signed=False), strength=strength)


def test_shrinking_keeps_proportion_and_never_enlarges() -> None:
    assert shrunk((3000, 4000), 700) == (525, 700)
    assert shrunk((10, 4000), 400) == (1, 400)
    assert shrink(photo(), 100) is not None
    assert shrink(photo(), 100).shape == photo().shape
    half = shrink(np.kron(photo(), np.ones((8, 8, 1), np.uint8)), 72)
    assert half.shape == (48, 72, 3)
