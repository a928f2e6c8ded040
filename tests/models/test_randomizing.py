"""Shuffled networks: what is shuffled, what stays, and in which steps from the top down."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import seewhy
from seewhy.models.randomizing import Stage, part_of, shuffle, stages, twin
from seewhy.testing.fingerprint import changes, fingerprint, random_state


def cascade(network: nn.Module, x: Tensor) -> dict[str, tuple[str, ...]]:
    model = seewhy.wrap(network.eval())
    return {stage.name: stage.parts for stage in stages(model, model.layers(x))}


PICTURE = torch.zeros(1, 3, 64, 64)


def test_stages_of_resnet():
    found = cascade(torchvision.models.resnet18(), PICTURE)
    assert found["classifier"] == ("fc",)
    assert found["last block"] == ("layer4.1",)
    assert found["whole network"] == (
        *("layer4.0", "layer3.1", "layer3.0", "layer2.1", "layer2.0", "layer1.1", "layer1.0"),
        *("bn1", "conv1"),
    )


def test_stages_of_vision_transformers():
    found = cascade(timm.create_model("vit_tiny_patch16_224", img_size=64), PICTURE)
    assert found["classifier"] == ("head",)
    assert found["last block"] == ("norm", "blocks.11")
    assert found["whole network"] == (*(f"blocks.{n}" for n in range(10, -1, -1)), "patch_embed")
    other = torchvision.models.VisionTransformer(64, 16, 3, 2, 16, 32)
    found = cascade(other, PICTURE)
    assert found["classifier"] == ("heads",)
    assert found["last block"] == ("encoder.ln", "encoder.layers.encoder_layer_2")


def test_stages_of_networks_inside_others():
    """`net.fc` and `net.conv1` must not make `net` a part, which is everything."""

    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = torchvision.models.resnet18()

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.net(x)
            return found

    found = cascade(Inside(), PICTURE)
    assert found["classifier"] == ("net.fc",)
    assert found["last block"] == ("net.layer4.1",)
    assert found["whole network"][-2:] == ("net.bn1", "net.conv1")


def test_stages_of_plain_networks():
    linear = [nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)]
    assert cascade(nn.Sequential(*linear), torch.zeros(1, 4)) == {"classifier": ("4",), "whole network": ("2", "0")}

    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.only = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.only(x)
            return found

    assert cascade(Single(), torch.zeros(1, 4)) == {"classifier": ("only",)}
    assert cascade(nn.Linear(4, 2), torch.zeros(1, 4)) == {"classifier": ("",)}


def test_networks_without_weights_have_no_stages():
    assert cascade(nn.Sequential(nn.Flatten(), nn.ReLU()), PICTURE) == {}
    assert cascade(nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Flatten()), PICTURE) == {}
    assert list(stages(seewhy.wrap(nn.Identity()), seewhy.wrap(nn.Identity()).layers(PICTURE))) == []


def test_weights_in_the_order_of_their_calls():
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(3, 2)
            self.block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
            self.stem = nn.Conv2d(3, 3, 1)
            self.unused = nn.Linear(7, 7)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.head(self.block(self.stem(x)).mean((2, 3)))
            return found

    found = cascade(Backwards(), PICTURE)
    assert found == {"classifier": ("head",), "whole network": ("block.1", "block.0", "stem")}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("layer4.1.conv1", "layer4.1"),
        ("blocks.3.2.conv_pw", "blocks.3"),
        ("head.fc", "head"),
        ("fc", "fc"),
        ("0", "0"),
        ("encoder.layers.encoder_layer_3.mlp.0", "encoder.layers.encoder_layer_3"),
        ("vit.encoder.layer.11.output.dense", "vit.encoder.layer.11"),
    ],
)
def test_parts_end_at_the_first_number(name, part):
    assert part_of(name) == part


# ---------------------------------------------------------------------------------------------------- shuffling


def tensors(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in (*network.named_parameters(), *network.named_buffers())}


def small(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8, 5))
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
            part.running_mean.normal_()
            part.running_var.uniform_(1, 2)
    return net


def test_shuffling_keeps_the_numbers_of_a_tensor_and_loses_their_order():
    model = seewhy.wrap(small())
    before, randomness = tensors(model.module), random_state()
    shuffle(model, ("0", "1"), 0)
    after = tensors(model.module)
    assert changes(randomness, random_state()) == []
    for name, old in before.items():
        if name in ("0.weight", "0.bias", "1.weight", "1.bias"):
            assert not torch.equal(after[name], old), name
            assert torch.equal(after[name].flatten().sort().values, old.flatten().sort().values), name
        else:
            assert torch.equal(after[name], old), name


def test_seeds_repeat_and_parts_do_not_depend_on_each_other():
    def shuffled(parts: list[tuple[str, ...]], seed: int) -> dict[str, Tensor]:
        model = seewhy.wrap(small())
        for some in parts:
            shuffle(model, some, seed)
        return tensors(model.module)

    one, again, other = shuffled([("0", "4")], 3), shuffled([("4",), ("0",)], 3), shuffled([("0", "4")], 4)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])
    assert not torch.equal(one["4.weight"], other["4.weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_dtype_and_form_of_memory(dtype):
    network = small().to(dtype).to(memory_format=torch.channels_last)
    model = seewhy.wrap(network)
    before = tensors(network)
    shuffle(model, ("0",), 0)
    new = network[0].weight.detach()
    assert torch.equal(new.flatten().sort().values, before["0.weight"].flatten().sort().values)
    assert not torch.equal(new, before["0.weight"])


def test_a_twin_is_another_network_and_knows_no_more_than_its_own():
    network = small()
    model = seewhy.wrap(network, labels=list("abcde"))
    seewhy.attribute(model, torch.rand(3, 3, 3, 3), "saliency")
    before = fingerprint(network)
    other = twin(model)
    shuffle(other, ("",), 0)
    assert changes(before, fingerprint(network)) == []
    assert other.labels == model.labels
    assert other.memo is not model.memo
    assert other.memo.dependent is False
    x = torch.rand(2, 3, 3, 3)
    changed, kept = (seewhy.attribute(one, x, "saliency", 0).values for one in (other, model))
    assert not torch.allclose(changed, kept)


def test_stages_are_plain_records():
    assert Stage("classifier", ("fc",)) == Stage("classifier", ("fc",))
