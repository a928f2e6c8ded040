"""Layers ranked by evidence: the planted best one wins, and what cannot be told apart is said to be."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import Tensor, nn

import seewhy
from seewhy.core.errors import InputError, LayerError, SettingError, UnsupportedModelError
from seewhy.core.metric import Claim
from seewhy.core.targets import Class
from seewhy.engine import Options
from seewhy.engine.run import drive
from seewhy.metrics import InsertionMinusDeletion
from seewhy.models.layers import LayerRow, Layers
from seewhy.study.cases import cases
from seewhy.study.ranking import candidates, rank_layers

PLAIN = Options(prepared="never", backend="torch")
SIZE = 24


class Scrambled(nn.Module):
    """Sees bright squares at `seen`; `turned` holds the same, mirrored, so that a map there shows the wrong corner."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Conv2d(1, 1, 3, padding=1)
        self.turned = Mirror()
        self.head = nn.Linear(1, 2)
        with torch.no_grad():
            self.seen.weight.fill_(1 / 9)
            self.seen.bias.zero_()
            self.head.weight.copy_(torch.tensor([[40.0], [-40.0]]))
            self.head.bias.copy_(torch.tensor([-1.0, 1.0]))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.turned(self.seen(x)).mean((2, 3)))
        return found


class Mirror(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flip((2, 3))


def square(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    top, left = torch.randint(0, SIZE // 2 - 6, (2,), generator=generator).tolist()
    x = torch.rand(1, SIZE, SIZE, generator=generator) * 0.05
    x[:, top : top + 6, left : left + 6] = 1
    return x


@pytest.fixture(scope="module")
def model():
    return seewhy.wrap(Scrambled().eval(), output_kind="logits", value_range=(0.0, 1.0))


@pytest.fixture(scope="module")
def pictures():
    return [square(seed) for seed in range(6)]


def test_the_layer_that_shows_the_square_is_the_best(model, pictures):
    found = rank_layers(model, pictures, options=PLAIN)
    assert [row.name for row in found] == ["seen", "turned"]
    best, worst = found
    assert (best.default, worst.default) == (False, True)
    assert best.apart
    assert worst.apart
    assert worst.behind.low > 0
    assert best.behind.mean == 0
    assert worst.behind.mean == pytest.approx(best.score.mean - worst.score.mean)
    assert best.score.low <= best.score.mean <= best.score.high
    assert (found.pictures, found.few, len(found), found.failed) == (6, False, 2, {})
    assert best.size == "1 x 24 x 24"


def test_scores_are_means_of_the_metric(model, pictures):
    found = {row.name: row.score for row in rank_layers(model, pictures, options=PLAIN)}
    for name, score in found.items():
        single = []
        for x in pictures:
            target = int(model.module(x[None]).argmax())
            made = seewhy.attribute(model, x[None], "grad-cam", target, layer=name, options=PLAIN)
            (case,) = cases(model, x[None], 0)
            flow = InsertionMinusDeletion().flow(case, Class(target), Claim(made))
            single.append(drive(model, flow, PLAIN).value)
        assert score.mean == pytest.approx(sum(single) / len(single), abs=1e-5)
        assert score.count == len(pictures)


def test_one_picture_has_no_interval_and_tells_nothing_apart(model, pictures):
    found = rank_layers(model, pictures[:1], options=PLAIN)
    assert [row.name for row in found] == ["seen", "turned"]
    assert all(math.isnan(row.score.low) for row in found)
    assert [row.apart for row in found] == [True, False]


def test_fewer_than_six_pictures_tell_nothing_apart(model, pictures):
    """The rule of the leaderboard: of five pictures one time in sixteen all agree by chance."""
    found = rank_layers(model, pictures[:5], options=PLAIN)
    assert found.few
    assert found.rows[1].behind.low > 0  # the same five would be told apart by the interval alone
    assert [row.apart for row in found] == [True, False]


def test_equal_layers_are_not_told_apart(pictures):
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.Linear(1, 2)
            with torch.no_grad():
                for conv in (self.one, self.two):
                    conv.weight.fill_(1.0)
                    conv.bias.zero_()
                self.head.weight.copy_(torch.tensor([[40.0], [-40.0]]))

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.head(self.two(self.one(x)).mean((2, 3)))
            return found

    found = rank_layers(seewhy.wrap(Twice().eval(), output_kind="logits"), pictures, options=PLAIN)
    assert {row.name for row in found} == {"one", "two"}
    assert [row.apart for row in found] == [True, False]


def test_a_layer_that_fails_is_named_and_the_others_are_ranked(pictures):
    class Odd(nn.Module):
        """One layer's output takes no part in the score."""

        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle, self.head = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.idle(x)
            found: Tensor = self.head(self.used(x).mean((2, 3)))
            return found

    model = seewhy.wrap(Odd().eval(), output_kind="logits")
    found = rank_layers(model, pictures[:2], options=PLAIN)
    assert [row.name for row in found] == ["used"]
    assert list(found.failed) == ["idle"]
    assert "idle" in found.failed["idle"]


def test_any_class_activation_map_and_a_bare_network_and_one_path(model, pictures):
    by_object = rank_layers(model.module, pictures[:2], seewhy.methods.find("layer-cam"), options=PLAIN)
    by_name = rank_layers(model.module, pictures[:2], "layer-cam", options=PLAIN)
    assert [row.score.mean for row in by_object] == pytest.approx([row.score.mean for row in by_name])


def test_wrong_requests(model, pictures):
    with pytest.raises(InputError, match="at least one picture"):
        rank_layers(model, [])
    with pytest.raises(SettingError, match="'saliency' has no layer"):
        rank_layers(model, pictures, "saliency")
    with pytest.raises(LayerError, match="No layer of this network can be ranked"):
        rank_layers(nn.Sequential(nn.Flatten(), nn.Linear(SIZE * SIZE, 2)), pictures)
    with pytest.raises(UnsupportedModelError, match="scores only"):
        rank_layers(seewhy.wrap(lambda x: x.flatten(1)), pictures)
    with pytest.raises(SettingError, match="seed"):
        rank_layers(model, pictures, seed="x")


def test_token_layers_of_vision_transformers_take_part():
    torch.manual_seed(0)
    network = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=3, num_classes=5).eval()
    model = seewhy.wrap(network, output_kind="logits")
    found = rank_layers(model, [torch.rand(3, 64, 64)], options=PLAIN)
    names = {row.name for row in found} | set(found.failed)
    assert {"blocks.0", "blocks.1", "blocks.2", "blocks.2.norm1"} <= names
    (default,) = [row for row in found if row.default]
    assert default.name == "blocks.2.norm1"
    assert default.size == "17 x 192"


def table(*rows: tuple[str, tuple[int, ...]], default: str | None = None) -> Layers:
    return Layers(tuple(LayerRow(name, "Layer", shape, 1) for name, shape in rows), default, "")


def test_every_part_takes_part_with_its_output():
    rows = [
        ("conv1", (8, 32, 32)),
        ("layer1.0.conv1", (8, 16, 16)),
        ("layer1.0.conv2", (8, 16, 16)),
        ("layer1.0", (8, 16, 16)),
        ("layer1.1.conv1", (8, 16, 16)),
        ("layer1.1", (8, 16, 16)),
        ("layer1", (8, 16, 16)),
        ("pool", (8, 1, 1)),
        ("fc", (10,)),
    ]
    assert candidates(table(*rows, default="layer1.1")) == ("conv1", "layer1.0", "layer1.1")
    # a default inside a part comes beside it
    assert candidates(table(*rows, default="layer1.1.conv1"))[-1] == "layer1.1.conv1"


def test_places_along_one_axis():
    rows = [("0", (8, 50)), ("1", (8, 25)), ("2", (8,))]
    assert candidates(table(*rows, default="1"), axes=2) == ("0", "1")
    # vectors have no layer with places
    assert candidates(table(("0", (8,)), ("1", (4,))), axes=1) == ()
