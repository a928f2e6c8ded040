"""What pictures are drawn with: spectra, colours, jitter and tiles, each against an independent formula."""

from __future__ import annotations

import math

import pytest
import torch

from seewhy.core.errors import SettingError
from seewhy.ops.fourier import COLOURS, correlated, frequency_scale, from_spectrum
from seewhy.ops.jitter import STILL, Jitter, jittered
from seewhy.ops.tiling import Tiling


@pytest.mark.parametrize("size", [(4, 4), (3, 5)])
def test_the_spectrum_gives_its_gradient_in_float64(size):
    height, width = size
    numbers = torch.randn(1, 3, height, width // 2 + 1, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: correlated(from_spectrum(z, width)), (numbers,))


@pytest.mark.parametrize("wave", [(0, 3), (2, 1), (5, 0)])
def test_one_coefficient_is_one_wave_whose_height_falls_with_its_frequency(wave):
    height, width = 12, 16
    down, right = wave
    numbers = torch.zeros(1, 1, height, width // 2 + 1, 2, dtype=torch.float64)
    numbers[0, 0, down, right, 0] = 1.0
    rows, columns = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    turn = 2 * math.pi * (down * rows / height + right * columns / width)
    # columns of frequency 0 hold both waves of a pair, so a lone coefficient counts once there
    twice = 2 if right else 1
    frequency = math.hypot(down / height if down <= height / 2 else (height - down) / height, right / width)
    expected = twice * torch.cos(turn) / frequency / math.sqrt(height * width) / 4
    torch.testing.assert_close(from_spectrum(numbers, width)[0, 0], expected)


def test_power_falls_with_the_square_of_frequency():
    numbers = torch.randn(200, 1, 32, 17, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    power = torch.fft.rfft2(from_spectrum(numbers, 32)).abs().square().mean((0, 1))[1:16, 1:16]
    frequency = 1 / frequency_scale(32, 32)[1:16, 1:16]
    level = power * frequency.square()
    assert float(level.std() / level.mean()) < 0.12  # 200 draws: 7 % each


def test_colours_have_the_published_covariance_and_other_channels_are_left_alone():
    white = torch.randn(1, 3, 300, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = torch.cov(correlated(white)[0].flatten(1))
    root = torch.tensor(COLOURS, dtype=torch.float64)
    expected = root @ root.T / root.square().sum(0).max()
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0.03)
    single = torch.randn(1, 1, 4, 4)
    assert correlated(single) is single


def test_a_shift_moves_by_whole_pixels_and_mirrors_the_rest():
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    padded = torch.nn.functional.pad(x, (3, 3, 3, 3), mode="reflect")
    windows = padded.unfold(2, 8, 1).unfold(3, 8, 1)[0, 0].reshape(-1, 8, 8)
    places = set()
    for seed in range(30):
        moved = jittered(x, Jitter(3, 0.0, 0.0), seed)[0, 0]
        hits = [place for place, window in enumerate(windows) if torch.equal(window, moved)]
        assert len(hits) == 1
        places.add(hits[0])
    assert len(places) > 15


def test_a_turn_keeps_a_ramp_straight_and_stays_within_its_limits():
    height, width = 40, 60
    rows, columns = torch.meshgrid(torch.arange(height).double(), torch.arange(width).double(), indexing="ij")
    ramps = torch.stack([rows, columns])[None]
    angles = []
    for seed in range(10):
        moved = jittered(ramps, Jitter(2, 0.1, 20.0), "ramp", seed)[0, :, 12:28, 18:42]
        ones = torch.ones(16, 24, dtype=torch.float64)
        design = torch.stack([rows[12:28, 18:42], columns[12:28, 18:42], ones], -1).reshape(-1, 3)
        fit = torch.linalg.lstsq(design, moved.reshape(2, -1).T)
        assert float((design @ fit.solution - moved.reshape(2, -1).T).abs().max()) < 1e-9
        (a, b), (c, d) = fit.solution[:2].tolist()
        size = math.sqrt(a * d - b * c)
        assert 0.9 <= size <= 1.1
        assert max(abs(a - d), abs(b + c)) < 1e-9  # no shear in pixels that are square
        angles.append(math.degrees(math.atan2(b, a)))
    assert max(map(abs, angles)) <= 20
    assert max(map(abs, angles)) > 8


def test_jitter_is_fixed_by_its_seed_and_differentiable():
    x = torch.rand(2, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    jitter = Jitter(2, 0.1, 10.0)
    assert torch.equal(jittered(x, jitter, 3, "a"), jittered(x, jitter, 3, "a"))
    assert not torch.equal(jittered(x, jitter, 3, "a"), jittered(x, jitter, 4, "a"))
    assert jittered(x, STILL, 3) is x
    assert torch.autograd.gradcheck(lambda v: jittered(v, jitter, 1), (x,))
    assert torch.autograd.gradcheck(lambda v: jittered(v, Jitter(2, 0.0, 0.0), 1), (x,))
    with pytest.raises(SettingError, match="turn of 0 to 180"):
        Jitter(turn=-1.0)


@pytest.mark.parametrize("size", [(50, 70), (16, 70), (9, 9)])
@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.4, 0.99)])
def test_cores_of_tiles_cover_the_picture_and_give_it_back(size, shift):
    tiling = Tiling.of(size, 24, 4, shift)
    picture = torch.rand(1, 2, *size)
    total, weight = torch.zeros_like(picture), torch.zeros(size)
    for at in range(0, len(tiling.starts), 2):
        tiling.join(tiling.cut(picture, slice(at, at + 2)), total, weight, slice(at, at + 2))
    assert float(weight.min()) >= 1
    torch.testing.assert_close(total / weight, picture)
    assert max(tiling.window) <= 24


def test_a_tile_needs_room_beside_its_margins():
    with pytest.raises(SettingError, match="twice the margin"):
        Tiling.of((50, 50), 8, 4)
