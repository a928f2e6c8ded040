"""DeepDream: tiles against the whole picture, octaves, memory, guides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import seewhy
from seewhy import Options
from seewhy.core.errors import CancelledError, LayerError, SettingError
from seewhy.features import Channel, Direction, Neuron
from seewhy.features.dream import Dreaming


def network() -> nn.Module:
    """Sees 5 pixels around each place, and nothing of where it is."""
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.Tanh()).eval()


def model() -> seewhy.Model:
    return seewhy.wrap(network(), value_range=(-1.0, 1.0))


def photo(height: int, width: int) -> torch.Tensor:
    torch.manual_seed(1)
    rough = torch.rand(1, 3, 6, 6) * 1.2 - 0.6
    return nn.functional.interpolate(rough, (height, width), mode="bilinear")


def test_tiles_with_a_margin_give_what_the_whole_picture_gives():
    x = photo(90, 100)
    whole = seewhy.dream(model(), x, ["2"], octaves=1, steps=4, tile=200)
    tiled = seewhy.dream(model(), x, ["2"], octaves=1, steps=4, tile=64)
    change = np.abs(whole.image.astype(int) - whole.original).mean()
    apart = np.abs(whole.image.astype(int) - tiled.image).mean()
    assert change > 2
    assert apart < 0.02 * change


def test_the_network_never_sees_more_than_a_tile():
    made = model()
    sides: list[int] = []
    made.module[0].register_forward_pre_hook(lambda m, i: sides.append(max(i[0].shape[2:])))
    for layers in (["2"], Channel("2", 1), [Channel("2", 0), Direction("2", (1.0, 0.0, 0.0, -1.0))]):
        found = seewhy.dream(made, photo(150, 220), layers, octaves=1, steps=1, tile=80)
        assert max(sides) == 80
        assert found.image.shape == (150, 220, 3)


def test_octaves_are_counted_and_each_leaves_a_frame():
    frames: list[seewhy.Dream] = []
    found = seewhy.dream(model(), photo(160, 240), ["2"], octaves=3, scale=2.0, steps=2, on_frame=frames.append)
    assert [frame.image.shape for frame in frames] == [(80, 120, 3), (160, 240, 3)]  # 40 x 60 is below 64 pixels
    assert [frame.done for frame in frames] == [False, True]
    assert len(found.activation) == 2 * 2
    assert Dreaming(octaves=3, scale=2.0).sizes((160, 240), 1) == [(40, 60), (80, 120), (160, 240)]
    assert Dreaming(octaves=3, scale=2.0).sizes((20, 20), 64) == [(20, 20)]


def test_detail_is_carried_over_to_larger_sizes():
    x = photo(128, 128)
    many = seewhy.dream(model(), x, ["2"], octaves=2, scale=2.0, steps=6)
    few = seewhy.dream(model(), x, ["2"], octaves=1, steps=6)
    # 6 steps at half size leave changes of low frequency that those at full size alone do not make
    low = [
        np.abs((d.image.astype(float) - d.original).reshape(32, 4, 32, 4, 3).mean((1, 3))).mean() for d in (many, few)
    ]
    assert low[0] > 1.2 * low[1]


def test_energy_grows_and_a_dream_repeats():
    once = seewhy.dream(model(), photo(70, 80), ["2"], octaves=1, steps=8, seed=3)
    again = seewhy.dream(model(), photo(70, 80), ["2"], octaves=1, steps=8, seed=3)
    assert np.array_equal(once.image, again.image)
    assert once.activation[-1] > 1.2 * once.activation[0]
    assert once.original.shape == once.image.shape


def test_a_guide_draws_towards_itself():
    made, x = model(), photo(70, 80)
    guide = torch.zeros(1, 3, 40, 40)
    guide[:, 0] = 0.9
    found = seewhy.dream(made, x, ["2"], octaves=1, steps=8, guide=guide)
    with torch.no_grad():
        wanted = made.module[:3](guide)[0].flatten(1)
        drawn = torch.from_numpy(np.array([found.original, found.image])).permute(0, 3, 1, 2).float() / 127.5 - 1
        dots = torch.einsum("cp,nchw->nphw", wanted, made.module[:3](drawn)).amax(1).mean((1, 2))
    assert found.activation[0] == pytest.approx(float(dots[0]), rel=0.02)  # of 8-bit pictures
    assert list(found.activation) == sorted(set(found.activation))
    assert found.activation[-1] < float(dots[1])
    assert float(dots[1]) > 1.4 * float(dots[0])
    assert found.settings["guided"] is True


def test_features_can_be_dreamt_of_and_the_default_layer_is_found():
    found = seewhy.dream(model(), photo(70, 80), Channel("2", 1), octaves=1, steps=2)
    assert found.features == "2 channel 1"
    net = nn.Sequential(nn.Conv2d(3, 2, 3, stride=16, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert seewhy.dream(seewhy.wrap(net.eval(), value_range=(0, 1)), photo(70, 80), octaves=1, steps=1).features == (
        "1 energy"
    )


def test_an_interrupted_dream_leaves_its_last_octave(tmp_path):
    frames: list[seewhy.Dream] = []
    with pytest.raises(CancelledError) as caught:
        seewhy.dream(
            model(),
            photo(160, 160),
            ["2"],
            octaves=3,
            steps=2,
            on_frame=frames.append,
            options=Options(cancelled=lambda: bool(frames)),
        )
    assert caught.value.finished is frames[-1]
    assert caught.value.finished.save(tmp_path / "dream.png").exists()
    assert caught.value.finished.plot() is not None


@pytest.mark.parametrize(
    ("layers", "options", "error", "words"),
    [
        (["none"], {}, LayerError, "none"),
        (["2", Channel("2", 1)], {}, SettingError, "layers or features"),
        (["2"], {"octaves": 0}, SettingError, "octaves must be"),
        (["2"], {"scale": 1.0}, SettingError, "scale must be"),
        (["2"], {"tile": 0}, SettingError, "tile must be"),
        (Neuron("2", 1), {}, SettingError, "another place"),
        (Channel("2", 0) + Direction("2", (1.0, 0.0, 0.0, 0.0), (1, 1)), {}, SettingError, "another place"),
    ],
)
def test_what_cannot_be_is_refused_in_words(layers, options, error, words):
    with pytest.raises(error, match=words):
        seewhy.dream(model(), photo(40, 40), layers, **options)
