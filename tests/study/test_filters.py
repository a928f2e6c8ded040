"""Filters: the numbers of a plain hook, the receptive field of the textbook, and memory that does not grow."""

from __future__ import annotations

import gc
import weakref
from dataclasses import astuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import seewhy
from seewhy.core.errors import (
    InputError,
    LayerError,
    NotFiniteError,
    SeewhyError,
    SettingError,
    UnknownNameError,
    UnsupportedModelError,
)
from seewhy.core.geometry import Geometry
from seewhy.models.preprocess import Preprocessing
from seewhy.study import filter_crops, filter_images
from seewhy.study import filters as running
from seewhy.study.cases import cases
from seewhy.study.filter_layers import layout_of, unit_index
from seewhy.study.filter_sweep import MAXIMUM, MEAN, Board, Sweep, summary
from seewhy.study.receptive import on_photograph


def network(pool=None):
    """Ends in pooling and one linear layer; channel 2 of the last maps is dead, channel 3 constant."""
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        pool or nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )
    with torch.no_grad():
        net[2].weight[2:4] = 0
        net[2].bias[2:4] = torch.tensor([-1.0, 0.5])
        net[-1].weight *= 40
    return net.eval()


def pictures(count, size=12):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def hooked(net, layer, x):
    """The layer's outputs, one picture at a time, by a hook of torch's own."""
    kept = []
    handle = dict(net.named_modules())[layer].register_forward_hook(
        lambda _, __, out: kept.append(out.detach().clone())
    )
    with torch.no_grad():
        for one in x:
            net(one[None])
    handle.remove()
    return torch.cat(kept)


@pytest.fixture(scope="module")
def made():
    return seewhy.filters(network(), pictures(20), "3", top=4)


def test_statistics_and_rankings_are_those_of_a_hook(made):
    maps = hooked(network(), "3", pictures(20)).double()
    flat = maps.flatten(2)
    by = {"by_maximum": flat.amax(2), "by_mean": flat.mean(2)}
    assert (len(made), made.channels, made.size, made.pictures) == (8, 8, (8, 6, 6), 20)
    for one in made.filters:
        numbers, own = one.statistics, flat[:, one.index]
        wanted = (own.mean(), own.amax(1).mean(), own.min(), own.max(), (own > 0).double().mean())
        got = (numbers.mean, numbers.maximum, numbers.low, numbers.high, numbers.active)
        assert got == pytest.approx(tuple(map(float, wanted)), abs=1e-6)
        if one.state:
            continue
        for name, values in by.items():
            keys = list(zip(values[:, one.index].tolist(), own.mean(1).tolist(), strict=True))
            ranked = getattr(one, name)
            most = sorted(range(20), key=lambda at, keys=keys: tuple(-part for part in keys[at]))[:4]
            assert [item.picture for item in ranked.most] == [f"picture {at + 1}" for at in most]
            least = sorted(range(20), key=lambda at, keys=keys: keys[at])[:4]
            assert [item.picture for item in ranked.least] == [f"picture {at + 1}" for at in least]
        best = one.by_maximum.most[0]
        where = maps[int(best.picture.split()[1]) - 1, one.index]
        assert float(where[best.place]) == pytest.approx(best.maximum) == pytest.approx(float(where.max()))
        assert best.mean == pytest.approx(float(where.mean()))


def test_dead_and_constant_channels_are_flagged(made):
    assert {one.index: one.state for one in made.filters if one.state} == {2: "dead", 3: "constant"}
    assert made[2].by_maximum.most[0].place is None
    assert made[3].statistics.high == pytest.approx(0.5)


def test_the_example_holds_the_maps_of_the_first_picture(made):
    maps = hooked(network(), "3", pictures(20))[0]
    np.testing.assert_allclose(made.example.maps, maps.numpy(), atol=1e-6)
    assert made.example.picture == "picture 1"


@pytest.mark.parametrize("pool", [None, nn.AdaptiveMaxPool2d(1)])
def test_pooled_contributions_sum_to_the_logit(pool):
    net, x = network(pool), pictures(3)
    found = seewhy.filters(net, x, "3", top=2)
    with torch.no_grad():
        logits = net(x)
    example, speech = found.example, found.speech
    assert speech.pooling == ("average" if pool is None else "maximum")
    assert (speech.head, example.answer.index) == ("6", int(logits[0].argmax()))
    assert float(example.contributions.sum() + example.bias) == pytest.approx(float(logits[0].max()), rel=1e-4)
    assert example.answer.score == pytest.approx(float(logits[0].max()), rel=1e-5)
    np.testing.assert_allclose(speech.weights @ speech.pooled + speech.bias, logits.mean(0).numpy(), rtol=1e-3)


def test_voices_are_the_largest_weights_of_a_channel(made):
    weights = network()[-1].weight.detach()[:, 5]
    voices = made.speech.voices(5, 2)
    positive = [int(at) for at in weights.argsort(descending=True)[:2] if weights[at] > 0]
    assert [voice.index for voice in voices] == positive
    assert all(voice.weight == pytest.approx(float(weights[voice.index])) for voice in voices)
    assert all(
        voice.contribution == pytest.approx(voice.weight * made[5].statistics.mean, rel=1e-4) for voice in voices
    )
    assert all(voice.weight < 0 for voice in made.speech.voices(5, against=True))


def test_a_layer_that_is_not_pooled_into_the_head_says_why(made):
    early = seewhy.filters(network(), pictures(2), "1")
    assert early.speech is None
    assert "not pooled right into" in early.silence
    assert made.silence == ""
    two = nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Tanh(), nn.Linear(8, 3)
    )
    assert "something lies between" in seewhy.filters(two.eval(), pictures(2), "1").silence


def test_chosen_channels_give_what_all_of_them_give(made):
    some = seewhy.filters(network(), pictures(20), "3", [5, 1], top=4)
    assert [one.index for one in some.filters] == [5, 1]
    for one in some.filters:
        assert one.statistics == made[one.index].statistics
        assert [item.picture for item in one.by_mean.least] == [item.picture for item in made[one.index].by_mean.least]
    np.testing.assert_array_equal(some.speech.weights, made.speech.weights[:, [5, 1]])
    with pytest.raises(UnknownNameError, match="channels 5, 1"):
        some[0]


def planted(kernels, strides):
    """Convolutions without rectifiers, all weights 1: what a unit sees is what the textbook's sum says."""
    layers = []
    for kernel, stride in zip(kernels, strides, strict=True):
        layer = nn.Conv2d(3 if not layers else 2, 2, kernel, stride, padding=kernel // 2)
        nn.init.ones_(layer.weight)
        layers.append(layer)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


@pytest.mark.parametrize(
    ("kernels", "strides"), [((3,), (1,)), ((5, 3), (2, 1)), ((3, 3, 3), (2, 2, 1)), ((7, 1, 3), (1, 2, 2))]
)
def test_the_receptive_field_is_the_planted_one(kernels, strides):
    size, start, jump = 1, 0, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        size, start, jump = size + (kernel - 1) * jump, start - kernel // 2 * jump, jump * stride
    layer = str(len(kernels) - 1)
    found = seewhy.filters(planted(kernels, strides), pictures(2, 64), layer).receptive
    assert (found.size, found.start, found.stride) == ((size, size), (start, start), (jump, jump))
    assert found.whole == (False, False)
    assert found.box((3, 2), (64, 64)) == (
        max(start + 3 * jump, 0),
        max(start + 2 * jump, 0),
        start + 3 * jump + size,
        start + 2 * jump + size,
    )


def test_a_field_as_large_as_the_picture_gives_whole_pictures_with_a_frame():
    found = seewhy.filters(planted((9, 9, 9), (1, 2, 2)), pictures(3, 16), "2", top=1)
    assert found.receptive.whole == (True, True)
    best = found[0].by_maximum.most[0]
    assert best.box == (0, 0, 16, 16)
    assert best.mark is not None
    assert "sees the whole input" in found.receptive_words


def test_a_crop_shows_what_the_unit_saw_on_the_photograph(tmp_path):
    """One white spot in each photograph: the crop of the strongest unit must hold it, at the photograph's scale."""
    steps = Preprocessing(32, (32, 32), (0.0,) * 3, (1.0,) * 3)
    spots = [(30, 100), (70, 60), (20, 120)]
    for at, (row, column) in enumerate(spots):
        pixels = np.zeros((96, 192, 3), np.uint8)
        pixels[row : row + 6, column : column + 6] = 255
        Image.fromarray(pixels).save(tmp_path / f"{at}.png")
    model = seewhy.wrap(planted((3,), (1,)), preprocess=steps)
    found = seewhy.filters(model, tmp_path, "0", 0, top=3)
    for item in found[0].by_maximum.most:
        row, column = spots[int(item.picture[-5])]
        top, left, bottom, right = item.box
        assert top <= row + 3 <= bottom
        assert left <= column + 3 <= right
        assert (bottom - top, right - left) == (9, 9)  # three pixels of the input, each three of the photograph
        assert item.crop.shape == (9, 9, 3)
        assert item.crop.max() == 255


def test_boxes_go_to_the_photograph_as_the_geometry_says():
    geometry = Geometry((100, 200), (50, 100), (5, 20, 40, 40))
    assert on_photograph((0, 0, 40, 40), geometry) == (10, 40, 90, 120)
    assert on_photograph((1, 2, 3, 5), geometry) == (12, 44, 16, 50)
    padded = Geometry((10, 10), (10, 10), (-5, -5, 20, 20))
    assert on_photograph((0, 0, 20, 20), padded) == (0, 0, 10, 10)


def test_a_picture_that_cannot_be_read_is_left_out_alone(tmp_path):
    for at in range(3):
        pixels = np.random.default_rng(at).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{at}.png")
    model = seewhy.wrap(network(), preprocess=Preprocessing(16, (16, 16), (0.5,) * 3, (0.5,) * 3))
    whole = seewhy.filters(model, tmp_path, "3")
    (tmp_path / "0a.png").write_text("no picture")
    (tmp_path / "00.png").write_text("no picture")  # before the first that can be read
    found = seewhy.filters(model, tmp_path, "3")
    assert [name.rsplit("/", 1)[-1] for name, _ in found.failures] == ["00.png", "0a.png"]
    assert found.pictures == 3
    for one, other in zip(found.filters, whole.filters, strict=True):
        assert astuple(one.statistics) == pytest.approx(astuple(other.statistics), abs=1e-6)
        assert {item.picture for item in one.by_maximum.most} == {item.picture for item in other.by_maximum.most}
    with pytest.raises(InputError, match="None of the 1 pictures"):
        seewhy.filters(model, tmp_path / "0a.png", "3")


class Overflows(nn.Module):
    """Gives NaN for a picture whose first pixel is above 2."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 2, 1)

    def forward(self, x):
        return self.first(torch.where(x[:, :1, :1, :1] > 2, torch.nan, x)).mean((2, 3))


def test_a_picture_on_which_the_network_overflows_is_left_out_alone():
    x = pictures(4)
    x[0, 0, 0, 0] = x[2, 0, 0, 0] = 3
    found = seewhy.filters(Overflows().eval(), x, "first")
    assert [name for name, _ in found.failures] == ["picture 1", "picture 3"]
    assert (found.pictures, found.example.picture) == (2, "picture 2")
    with pytest.raises(NotFiniteError, match="finite"):
        seewhy.filters(Overflows().eval(), x[:1], "first")


def test_what_is_kept_does_not_grow_with_the_pictures():
    def kept(count):
        sweep = Sweep(5, 3)
        for at in range(count):
            sweep.add(at, summary(torch.rand(5, 4, 4)))
        return [tensor.shape for tensor in gc.get_referents(*sweep.boards.values()) if isinstance(tensor, torch.Tensor)]

    assert kept(4) == kept(200)
    assert len(kept(4)) == 8


def test_only_a_few_pictures_are_in_memory_at_a_time(monkeypatch):
    alive, most = weakref.WeakSet(), []
    own = running.subject_of

    def counted(*args):
        subject = own(*args)
        alive.add(subject.case.x[0].untyped_storage())
        most.append(len(alive))
        return subject

    monkeypatch.setattr(running, "subject_of", counted)
    monkeypatch.setattr(running, "TOGETHER", 4)
    paths = [np.random.default_rng(at).integers(0, 256, (16, 16, 3), dtype=np.uint8) for at in range(40)]
    steps = Preprocessing(16, (16, 16), (0.5,) * 3, (0.5,) * 3)
    seewhy.filters(seewhy.wrap(network(), preprocess=steps), paths, "3", top=2)
    assert len(most) == 41
    assert max(most) <= 10


def test_more_crops_than_there_is_room_for_are_left_out_of_the_weakest(monkeypatch):
    monkeypatch.setattr(filter_crops, "MOST_CROPS", 8)
    found = seewhy.filters(network(), pictures(12), "3", top=3)
    assert all(one.by_maximum.most[0].crop is not None for one in found.filters)
    assert any(one.by_mean.least[-1].crop is None for one in found.filters)
    assert found.notes[0].startswith("8 of ")


def test_equal_values_go_to_the_larger_mean_and_then_to_the_earlier_picture():
    board = Board(1, 3, MAXIMUM, 1.0)
    for number, mean in enumerate([0.1, 0.3, 0.3, 0.2]):
        board.add(torch.tensor([[mean, 6.0, 0, 0, number]], dtype=torch.float64))
    assert [row[4] for row in board.listed()[0]] == [1, 2, 3]
    least = Board(1, 2, MEAN, -1.0)
    for number, mean in enumerate([0.1, 0.3, -0.3]):
        least.add(torch.tensor([[mean, 6.0, 0, 0, number]], dtype=torch.float64))
    assert [row[4] for row in least.listed()[0]] == [2, 0]


class Tokens(nn.Module):
    """A class token and a 4 x 4 grid of tokens, as vision transformers have them."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 6, 4, 4)
        self.tokens = nn.Identity()
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        grid = self.patch(x).flatten(2).transpose(1, 2)
        tokens = self.tokens(torch.cat([grid.mean(1, keepdim=True), grid], 1))
        return self.head(tokens[:, 0])


def test_tokens_are_put_on_the_picture():
    torch.manual_seed(0)
    net, x = Tokens().eval(), pictures(5, 16)
    found = seewhy.filters(net, x, "tokens", top=2)
    tokens = hooked(net, "tokens", x)
    assert (found.channels, found.example.maps.shape) == (6, (6, 4, 4))
    np.testing.assert_allclose(found.example.maps[2].ravel(), tokens[0, 1:, 2].numpy(), atol=1e-6)
    assert (found.receptive.size, found.receptive.stride) == ((4, 4), (4, 4))
    best = found[2].by_maximum.most[0]
    grid = tokens[:, 1:, 2].reshape(5, 4, 4)
    assert best.maximum == pytest.approx(float(grid.max()))
    assert best.box == (4 * best.place[0], 4 * best.place[1], 4 * best.place[0] + 4, 4 * best.place[1] + 4)


def test_the_unit_of_a_cell_is_found_in_every_layout():
    shape = torch.Size((1, 3, 16, 16))
    for values in (torch.rand(1, 5, 4, 4), torch.rand(1, 4, 4, 5), torch.rand(1, 17, 5)):
        layout = layout_of(values, shape, "layer")
        assert (layout.channels, layout.cells, layout.grid) == (5, (4, 4), True)
        first = values[0, 1:].reshape(4, 4, 5) if values.dim() == 3 else values[0]
        placed = first if values.shape[1] == 5 and values.dim() == 4 else first.movedim(-1, 0)
        assert values[0][unit_index(layout, shape, 3, (2, 1))] == placed[3, 2, 1]


def test_values_without_a_place_have_no_map():
    net, x = network(), pictures(6)
    found = seewhy.filters(net, x, "6", top=2)
    logits = hooked(net, "6", x)
    assert (found.mapped, found.receptive, found.example.maps.shape) == (False, None, (4, 1, 1))
    best = found[1].by_maximum.most[0]
    assert (best.picture, best.place) == (f"picture {int(logits[:, 1].argmax()) + 1}", None)
    assert best.maximum == best.mean == pytest.approx(float(logits[:, 1].max()), rel=1e-5)
    pooled = seewhy.filters(net, x, "4", top=2)  # (N, 8, 1, 1): a number each, and what the head gets
    assert (pooled.mapped, pooled.speech.pooling) == (False, "none")


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"layer": "9"}, LayerError, "must name a layer"),
        ({"channels": 8}, LayerError, "8 channels, 0 to 7"),
        ({"channels": [-1]}, LayerError, "given -1"),
        ({"channels": [0.5]}, SettingError, "whole numbers"),
        ({"channels": []}, SettingError, "at least one"),
        ({"top": 0}, SettingError, "top must be"),
        ({"images": []}, InputError, "at least one picture"),
    ],
)
def test_wrong_settings_are_named(given, error, words):
    settings = {"images": pictures(1), "layer": "3"} | given
    with pytest.raises(error, match=words):
        seewhy.filters(network(), **settings)


def test_a_black_box_has_no_filters():
    with pytest.raises(UnsupportedModelError, match="black box"):
        seewhy.filters(seewhy.wrap(lambda x: x.flatten(1)[:, :3]), pictures(1), "3")


def test_the_same_call_gives_the_same_record_and_leaves_the_network_alone(made):
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    again = seewhy.filters(net, pictures(20), "3", top=4)
    assert all(one.statistics == other.statistics for one, other in zip(again.filters, made.filters, strict=True))
    assert [one.by_mean.most[1].box for one in again.filters] == [one.by_mean.most[1].box for one in made.filters]
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert not any(part._forward_hooks for part in net.modules())


def test_images_that_drive_channels_are_put_beside_them(monkeypatch):
    asked = {}

    def visualize(model, features, *, seed, on_frame):
        asked.update(layers=[feature.layer for feature in features], seed=seed)
        return [
            SimpleNamespace(
                image=np.full((200, 100, 3), feature.channel, np.uint8), reached=[0.5, feature.channel], best=1
            )
            for feature in features
        ]

    monkeypatch.setattr(filter_images, "visualize", visualize)
    found = seewhy.filters(network(), pictures(1), "3", [4, 6], visualize=True, seed=9)
    assert [(one.image.shape, int(one.image[0, 0, 0])) for one in found.filters] == [
        ((200, 100, 3), 4),
        ((200, 100, 3), 6),
    ]
    assert [one.driven for one in found.filters] == [4.0, 6.0]
    assert asked == {"layers": ["3", "3"], "seed": 9}


def test_what_cannot_be_visualised_is_a_note(monkeypatch):
    def visualize(*_, **__):
        raise SeewhyError("no way")

    monkeypatch.setattr(filter_images, "visualize", visualize)
    without = seewhy.filters(network(), pictures(1), "3", [4], visualize=True)
    assert without[4].image is None
    assert "no way" in without.notes[0]


def test_pictures_of_several_sizes_can_be_read():
    sizes = [pictures(1, size) for size in (12, 20, 16)]
    found = seewhy.filters(network(), sizes, "3", top=3)
    maps = [hooked(network(), "3", one)[0] for one in sizes]
    order = sorted(range(3), key=lambda at: -float(maps[at][0].mean()))
    assert [item.picture for item in found[0].by_mean.most] == [f"picture {at + 1}" for at in order]
    assert cases(seewhy.wrap(network()), sizes[1], 0)[0].x[0].shape[-1] == 20
