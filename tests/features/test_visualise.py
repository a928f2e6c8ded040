"""Feature visualisation and DeepDream: what is reached, determinism, shared rounds, and units that say nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seewhy
from seewhy import Options
from seewhy.core.errors import CancelledError, LayerError, SeewhyError, SettingError, TargetError
from seewhy.core.queries import Gradient
from seewhy.core.query import Flow, ask_all
from seewhy.core.targets import Unit
from seewhy.engine.run import drive
from seewhy.features import EXERCISE, Ascent, Channel, Direction, Logit, Neuron
from seewhy.features.ascent import Adam
from seewhy.features.canvas import Paper, Spectrum
from seewhy.features.diversity import Crowd
from seewhy.ops.jitter import STILL
from seewhy.study.cases import cases
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
PIXELS = Ascent(steps=16, rate=0.1, fourier=False, jitter=STILL)
"""Sixteen steps lead a pixel from grey to black or white."""


def value(model: seewhy.Model, x: Tensor, channel: int) -> Tensor:
    with torch.no_grad():
        found: Tensor = model.module.conv(x)[:, channel].mean((1, 2))
    return found


def ends(model: seewhy.Model, channel: int) -> tuple[float, float, float]:
    """Returns what a linear channel gives for grey, and the least and the most that any picture gives."""
    x = torch.full((1, 3, *SIZE), 0.5, requires_grad=True)
    grey = model.module.conv(x)[:, channel].mean()
    (slope,) = torch.autograd.grad(grey, x)
    reach = float(slope.abs().sum()) / 2
    return float(grey.detach()), float(grey.detach()) - reach, float(grey.detach()) + reach


def test_the_pixels_of_a_linear_channel_reach_the_optimum(model: seewhy.Model) -> None:
    _, least, most = ends(model, 0)
    up, down = (seewhy.visualize(model, sign * Channel("conv", 0), size=SIZE, ascent=PIXELS) for sign in (1, -1))
    assert float(up.reached[0]) == pytest.approx(most, abs=1e-5)
    assert float(down.reached[0]) == pytest.approx(-least, abs=1e-5)
    assert set(np.unique(up.images)) == {0, 255}


def test_the_spectrum_nears_the_optimum_of_a_linear_score_with_the_steps() -> None:
    """A number moves by about the rate a step, weak axes of colour move it less, the sigmoid flattens at the ends."""
    weights = torch.randn(1, 3, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    bound = torch.zeros(1, 3, 1, 1, dtype=torch.float64)
    canvas = Spectrum(Paper((3, *SIZE), bound, bound + 1))
    numbers = canvas.start(1, 1.0, "linear")
    adam, shares = Adam.of(numbers), []
    for step in range(1, 401):
        leaf = numbers.clone().requires_grad_()
        score = ((canvas.picture(leaf) - 0.5) * weights).sum()
        (slope,) = torch.autograd.grad(score, leaf)
        numbers = adam.step(numbers, slope, 0.4)
        if step in (6, 25, 100, 400):
            shares.append(float(score.detach()) / float(weights.abs().sum() / 2))
    assert shares == sorted(shares)
    assert shares[0] < 0.6
    assert 0.9 < shares[-1] <= 1


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
    bits = [seewhy.visualize(model, features[0], size=SIZE, steps=12, seed=3, count=2).images for _ in range(2)]
    assert np.array_equal(bits[0], bits[1])
    other = seewhy.visualize(model, features[0], size=SIZE, steps=12, seed=4)
    assert not np.array_equal(other.images, together[0].images)


def test_a_given_picture_goes_the_way_of_the_exercise(model: seewhy.Model) -> None:
    """Adam on the pixels from the picture itself, 100 steps at 0.1, the activation summed over the map: torch's own."""
    x = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(4))
    leaf = x.clone().requires_grad_()
    adam = torch.optim.Adam([leaf], lr=0.1)
    for _ in range(100):
        adam.zero_grad()
        (-model.module.act(model.module.conv(leaf))[0, 2].sum()).backward()
        adam.step()
    found = seewhy.visualize(model, Channel("act", 2), image=x)
    assert found.steps[-1] == 100
    assert found.start == pytest.approx(float(model.module.act(model.module.conv(x)).detach()[0, 2].mean()), abs=0.01)
    expected = (leaf.detach().clamp(0, 1) * 255).round()
    best = torch.from_numpy(found.image.copy()).permute(2, 0, 1).float()
    assert float((best - expected[0]).abs().max()) <= 1
    assert float(found.reached[0]) > 2 * found.start
    assert EXERCISE.rate_at(0) == EXERCISE.rate_at(99) == 0.1


def test_a_dead_unit_is_called_so(model: seewhy.Model) -> None:
    found = seewhy.visualize(model, Channel("act", 5), size=SIZE, steps=10)
    assert found.status == "dead"
    assert found.dead
    assert float(found.reached[0]) == 0
    before = seewhy.visualize(model, Channel("conv", 5), size=SIZE, steps=10)
    assert (before.status, float(before.reached[0])) == ("constant", -1.0)


def test_units_of_pooled_layers_tokens_and_last_axes(model: seewhy.Model) -> None:
    class Patches(nn.Module):
        """Tokens of 4 x 4 pixels behind a class token, channels last; then values of one token; then classes."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(2)
            self.embed = nn.Conv2d(3, 5, 4, stride=4)
            self.tokens, self.pool, self.head = nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            """Returns (N, 3)."""
            grid = self.embed(x).tanh()
            pooled = self.pool(grid)
            rows = torch.cat([pooled.flatten(2), grid.flatten(2)], 2).transpose(1, 2)
            found: Tensor = self.head(self.tokens(rows)[:, 0])
            return found

    made = seewhy.wrap(Patches().eval(), value_range=(torch.zeros(3), torch.ones(3)))

    def kept(layer: str, x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = made.module.get_submodule(layer).register_forward_hook(lambda _, __, out: seen.append(out))
        with torch.no_grad():
            made.module(x)
        handle.remove()
        return seen[0]

    features = [Channel("tokens", 4), Neuron("tokens", 1), Neuron("tokens", 1, (0,)), Channel("pool", 3), Logit(2)]
    found = seewhy.visualize(made, features, size=SIZE, steps=8)
    expected = [
        lambda x: kept("tokens", x)[0, :, 4].mean(),
        lambda x: kept("tokens", x)[0, 1 + 4, 1],  # 3 x 3 patches behind the class token: the middle one is the fifth
        lambda x: kept("tokens", x)[0, 0, 1],
        lambda x: kept("pool", x)[0, 3].mean(),
        lambda x: kept("head", x)[0, 2],
    ]
    for one, reach in zip(found, expected, strict=True):
        assert float(one.reached[0]) == pytest.approx(float(reach(one.inputs)), abs=1e-5)
        assert float(one.reached[0]) > one.start
    assert (found[0].target.axis, found[3].target.axis) == (-1, 1)
    with pytest.raises(TargetError, match="position must index a place in"):
        seewhy.visualize(made, Neuron("tokens", 1, (1, 1)), size=SIZE)
    with pytest.raises(TargetError, match="between 0 and 4"):
        seewhy.visualize(made, Channel("tokens", 5), size=SIZE)


def test_several_pictures_are_kept_apart() -> None:
    """The unit is |w . x|, which two opposite pictures excite alike."""

    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(7)
            self.conv = nn.Conv2d(3, 1, 6, stride=6)
            self.parts = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            """Returns (N, 1)."""
            w = self.conv(x)
            found: Tensor = self.parts(torch.cat([w.abs(), w.relu(), (-w).relu()], 1))
            return found[:, :1].mean((2, 3))

    made = seewhy.wrap(Either().eval(), value_range=(torch.zeros(3), torch.ones(3)))

    def alike(diversity: float) -> tuple[float, float]:
        ascent = Ascent(steps=24, rate=0.1, jitter=STILL, fourier=False, diversity=diversity, patience=0)
        found = seewhy.visualize(made, Channel("parts", 0), size=SIZE, count=2, ascent=ascent)
        seen: list[Tensor] = []
        with made.module.parts.register_forward_hook(lambda _, __, out: seen.append(out)), torch.no_grad():
            made.module(found.inputs)
        one, other = seen[0].mean((2, 3))[:, 1:]
        return float(torch.cosine_similarity(one, other, dim=0)), float(found.reached.min())

    near, high = alike(0.0)
    far, still_high = alike(4.0)
    assert near > 0.99  # grey decides the sign of w . x for both
    assert far < 0.01  # and one of them goes over to the other side
    assert still_high > 0.5 * high


def test_pictures_are_pushed_away_from_what_the_others_were_a_step_ago(model: seewhy.Model) -> None:
    """The gradient of the unit's value less strength x value x cosine, with norms held, by autograd."""
    x = torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(8))
    target = Unit("act", 2)
    (case,) = cases(model, x[:1], 0)
    crowd = Crowd(target, "act", 1, 0.7)

    def step() -> Flow[Gradient]:
        rows = [case.vary(1, lambda _, at=at: (x[at : at + 1],)) for at in range(2)]
        return crowd.met((yield from ask_all(*(crowd.query(row, at) for at, row in enumerate(rows)))))

    drive(model, step(), Options(batch_size=1))
    found = drive(model, step(), Options(batch_size=1))
    leaf = x.clone().requires_grad_()
    means = model.module.act(model.module.conv(leaf)).mean((2, 3))
    held = means.detach()
    away = held[0] / held[0].norm()
    away[2] = 0  # both are to excite the channel itself
    total = means[0, 2] + means[1, 2] - 0.7 * held[1, 2] / held[1].norm() * (means[1] @ away)
    (expected,) = torch.autograd.grad(total, leaf)
    torch.testing.assert_close(found.values[0], expected, atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(found.score, held[:, 2].double(), atol=1e-6, rtol=1e-5)


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
    found = seewhy.dream(model, x, layers=["conv"], octaves=2, steps=4, seed=1, tile=40)
    again = seewhy.dream(model, x, layers=["conv"], octaves=2, steps=4, seed=1, tile=40)
    assert found.image.shape == (40, 48, 3)
    assert np.array_equal(found.image, again.image)

    def energy(picture: Tensor) -> float:
        with torch.no_grad():
            return float(model.module.conv(picture).square().mean())

    dreamt = torch.from_numpy(found.image.copy()).permute(2, 0, 1)[None].float() / 255
    assert energy(dreamt) > 1.05 * energy(x)
