"""Feature visualisation and DeepDream: what is reached, determinism, shared rounds, and units that say nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seewhy
from seewhy.core.errors import CancelledError, LayerError, SeewhyError, SettingError
from seewhy.features import Channel, Direction, Logit, Neuron
from seewhy.testing.fingerprint import changes, fingerprint


class Small(nn.Module):
    """A convolution, a rectifier, a dead channel, and a linear head over pooled channels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.act = nn.ReLU()
        self.head = nn.Linear(6, 4)
        with torch.no_grad():
            self.conv.weight[5] = 0
            self.conv.bias[5] = -1.0

    def forward(self, x: Tensor) -> Tensor:
        """Returns (N, 4)."""
        found: Tensor = self.head(self.act(self.conv(x)).mean((2, 3)))
        return found


@pytest.fixture
def model() -> seewhy.Model:
    low, high = torch.zeros(3), torch.ones(3)
    return seewhy.wrap(Small().eval(), value_range=(low, high))


SIZE = (12, 12)


def value(model: seewhy.Model, x: Tensor, channel: int) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.module.conv(x)[:, channel].mean((1, 2))
    return found


def test_a_linear_channel_beats_what_pictures_by_chance_reach(model: seewhy.Model) -> None:
    found = seewhy.visualize(model, Channel("conv", 0), size=SIZE, steps=80)
    generator = torch.Generator().manual_seed(1)
    by_chance = value(model, torch.rand(256, 3, *SIZE, generator=generator), 0)
    assert float(found.reached[0]) > float(by_chance.max())


def test_what_is_reached_is_measured_on_the_8_bit_picture(model: seewhy.Model) -> None:
    found = seewhy.visualize(model, Channel("conv", 1), size=SIZE, steps=20)
    again = torch.from_numpy(found.images).permute(0, 3, 1, 2).float() / 255
    torch.testing.assert_close(found.inputs, again, atol=1e-6, rtol=0)
    torch.testing.assert_close(value(model, again, 1).double(), found.reached, atol=1e-5, rtol=0)
    assert found.activation[-1] == pytest.approx(float(found.reached.max()), abs=1e-6)
    assert list(found.activation) == sorted(found.activation)


def test_a_direction_and_sums_are_what_they_say(model: seewhy.Model) -> None:
    ways = Channel("conv", 0) + 2 * Channel("conv", 1)
    same = Direction("conv", (1.0, 2.0, 0.0, 0.0, 0.0, 0.0))
    one, other = (seewhy.visualize(model, feature, size=SIZE, steps=15) for feature in (ways, same))
    assert float(one.reached[0]) == pytest.approx(float(other.reached[0]), rel=5e-3)  # sums round otherwise
    x = one.inputs
    expected = value(model, x, 0) + 2 * value(model, x, 1)
    assert float(one.reached[0]) == pytest.approx(float(expected[0]), rel=1e-4)


def test_the_negative_direction_goes_down(model: seewhy.Model) -> None:
    up = seewhy.visualize(model, Channel("conv", 0), size=SIZE, steps=20)
    down = seewhy.visualize(model, -Channel("conv", 0), size=SIZE, steps=20)
    assert float(value(model, down.inputs, 0)[0]) < float(value(model, up.inputs, 0)[0])


def test_the_seed_decides_and_units_together_are_units_alone(model: seewhy.Model) -> None:
    features = [Channel("conv", 0), Neuron("conv", 2), Logit(1)]
    together = seewhy.visualize(model, features, size=SIZE, steps=12, seed=3)
    for feature, found in zip(features, together, strict=True):
        alone = seewhy.visualize(model, feature, size=SIZE, steps=12, seed=3)
        assert np.abs(alone.images.astype(int) - found.images.astype(int)).max() <= 1
    other = seewhy.visualize(model, features[0], size=SIZE, steps=12, seed=4)
    assert not np.array_equal(other.images, together[0].images)


def test_the_given_picture_is_the_start(model: seewhy.Model) -> None:
    x = torch.rand(1, 3, *SIZE)
    found = seewhy.visualize(model, Channel("conv", 0), image=x, steps=10)
    assert found.start == pytest.approx(float(value(model, x, 0)[0]), abs=0.02)  # of its 8-bit picture
    assert float(found.reached[0]) > found.start


def test_a_dead_unit_is_called_so(model: seewhy.Model) -> None:
    found = seewhy.visualize(model, Channel("act", 5), size=SIZE, steps=10)
    assert found.status in ("dead", "constant")
    assert float(found.reached[0]) == 0


def test_an_interrupted_run_leaves_its_last_frames(model: seewhy.Model) -> None:
    frames: list[seewhy.Visualization] = []
    options = seewhy.Options(cancelled=lambda: len(frames) >= 1)
    with pytest.raises(CancelledError) as caught:
        seewhy.visualize(model, Channel("conv", 0), size=SIZE, steps=400, options=options, on_frame=frames.append)
    (left,) = caught.value.finished
    assert left.status == "running"
    assert np.array_equal(left.images, frames[-1].images)


def test_linear_layers_have_units_too(model: seewhy.Model) -> None:
    found = seewhy.visualize(model, Channel("head", 2), size=SIZE, steps=15)
    with torch.no_grad():
        assert float(found.reached[0]) == pytest.approx(float(model.module(found.inputs)[0, 2]), rel=1e-4)


@pytest.mark.parametrize(
    ("feature", "error"),
    [(Channel("conv", 6), SeewhyError), (Channel("nowhere", 0), LayerError), (Direction("conv", (1.0,)), SeewhyError)],
)
def test_what_does_not_exist_is_refused(model: seewhy.Model, feature: Channel, error: type[Exception]) -> None:
    with pytest.raises(error):
        seewhy.visualize(model, feature, size=SIZE, steps=2)


def test_settings_are_checked_and_the_model_is_left_alone(model: seewhy.Model) -> None:
    before = fingerprint(model.module)
    with pytest.raises(SettingError):
        seewhy.visualize(model, "conv", size=SIZE)  # type: ignore[call-overload]
    with pytest.raises(SettingError):
        seewhy.visualize(model, Channel("conv", 0), size=SIZE, count=0)
    seewhy.visualize(model, Channel("conv", 0), size=SIZE, steps=3)
    assert changes(before, fingerprint(model.module)) == []


def test_a_dream_excites_its_layer_and_repeats(model: seewhy.Model) -> None:
    x = torch.rand(1, 3, 40, 48)
    found = seewhy.dream(model, x, layers=["conv"], octaves=2, steps=4, seed=1)
    again = seewhy.dream(model, x, layers=["conv"], octaves=2, steps=4, seed=1)
    assert found.image.shape == (40, 48, 3)
    assert np.array_equal(found.image, again.image)

    def energy(picture: Tensor) -> float:
        with torch.no_grad():
            return float(model.module.conv(picture).square().mean())

    dreamt = torch.from_numpy(found.image.copy()).permute(2, 0, 1)[None].float() / 255
    assert energy(dreamt) > 1.05 * energy(x)
