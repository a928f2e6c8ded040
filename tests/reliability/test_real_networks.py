"""Real architectures, random weights: where the default layer is found, at what cost, and whether maps are right."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seewhy import Options
from seewhy.models.images import open_picture
from seewhy.study.cases import cases

from . import networks as nets
from .cases import POOLED, Case, photo
from .contract import ALL, CAMS, GUIDED, HIDING, check_map, check_pooling, drawn, method, refused, seewhy, unchanged
from .networks import Plain, made
from .oracle import input_map, layer_map, score_of, twin_oracle


def _score(output: Tensor) -> Tensor:
    return output[0, 2]


def _counted(network: nn.Module) -> list[int]:
    calls: list[int] = []
    network.register_forward_hook(lambda *_: calls.append(1))
    return calls


def _densenet() -> nn.Module:
    from torchvision.models import DenseNet

    return DenseNet(4, (2, 2), 8, num_classes=5)


def _vgg() -> nn.Module:
    from torchvision.models.vgg import VGG, make_layers

    network = VGG(make_layers([8, "M", 8, "M"]), num_classes=5)
    network.avgpool = nn.AdaptiveAvgPool2d(2)
    network.classifier = nn.Linear(32, 5)
    return network


def _resnet() -> nn.Module:
    from torchvision.models.resnet import BasicBlock, ResNet

    network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5)
    return network


def _swin() -> nn.Module:
    from torchvision.models import SwinTransformer

    return SwinTransformer([4, 4], 8, [1, 1], [2, 2], [2, 2], num_classes=5)


def _vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    network = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5)
    nn.init.normal_(network.heads.head.weight)
    return network


def _timm_vit() -> nn.Module:
    import timm

    return timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=8, num_classes=5)


def _mobilenet() -> nn.Module:
    from torchvision.models import mobilenet_v2

    return mobilenet_v2(num_classes=5, width_mult=0.25)


@functools.cache
def build(name: str) -> nn.Module:
    makers: dict[str, Callable[[], nn.Module]] = {
        "densenet": _densenet,
        "vgg": _vgg,
        "resnet": _resnet,
        "swin": _swin,
        "vit": _vit,
        "timm-vit": _timm_vit,
        "mobilenet": _mobilenet,
        "volume": nets.Volume,
        "signal": nets.Signal,
    }
    torch.manual_seed(8)
    return makers[name]().eval()


def _tokens(layer: Tensor) -> Tensor:
    return layer[:, 1:].reshape(len(layer), 4, 4, -1).permute(0, 3, 1, 2)


def _last(layer: Tensor) -> Tensor:
    return layer.permute(0, 3, 1, 2)


EXPECTED: dict[str, tuple[str, tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "densenet": ("features", (3, 64, 64), lambda layer: layer),
    "vgg": ("features", (3, 32, 32), lambda layer: layer),
    "resnet": ("layer4", (3, 64, 64), lambda layer: layer),
    "swin": ("permute", (3, 32, 32), lambda layer: layer),  # the norm's output, with channels first
    "vit": ("encoder.layers.encoder_layer_1.ln_1", (3, 32, 32), _tokens),
    "timm-vit": ("blocks.11.norm1", (3, 32, 32), _tokens),
    "mobilenet": ("features", (3, 64, 64), lambda layer: layer),
    "volume": ("act", (1, 8, 12, 16), lambda layer: layer),
    "signal": ("act", (2, 24), lambda layer: layer),
}
POOLED_HEADS = {
    "resnet": "fc",
    "swin": "head",
    "mobilenet": "classifier.1",
    "volume": "fc",
    "signal": "fc",
}
"""The last linear layers of the networks where nothing but global average pooling lies between."""


@pytest.mark.parametrize("identifier", EXPECTED)
def test_default_layer_costs_no_forward_pass(identifier: str) -> None:
    network = build(identifier)
    layer, shape, place = EXPECTED[identifier]
    x = photo(shape[0], size=shape[1:])
    seewhy.wrap(network).memo.forget(0)
    calls = _counted(network)
    with unchanged(network, x):
        result = seewhy.attribute(network, x, method("grad-cam"), target=2)
    assert result.layer == layer
    assert len(calls) == 1
    assert result.diagnostics["forward_passes"] == 1
    network._forward_hooks.clear()
    oracle = twin_oracle(network, layer, _score)
    how = Case(network, None, place=place, tolerance=2e-3)
    check_map("grad-cam", result, oracle, x, how)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("identifier", EXPECTED)
def test_real_network(identifier: str, name: str) -> None:
    network = build(identifier)
    layer, shape, place = EXPECTED[identifier]
    x = photo(shape[0], size=shape[1:])
    oracle = twin_oracle(network, layer, _score)
    if name == "adaptive" and identifier in ("densenet", "mobilenet", "swin", "timm-vit", "resnet"):
        pytest.skip("covered by the models of the list; dear here")
    if name in (*GUIDED, "guided-grad-cam") and identifier == "densenet":
        pytest.skip("the oracle cannot exchange a functional relu; guided functional relus are tested with M56")
    chosen = method(name)
    if name == "cam" and identifier not in POOLED_HEADS:
        with unchanged(network, x), refused(POOLED):
            seewhy.attribute(network, x, chosen, target=2)
        return
    with unchanged(network, x):
        result = seewhy.attribute(network, x, chosen, target=2)
    # float64 decides some rectifiers near their kink otherwise than float32
    how = Case(network, None, place=place, tolerance=2e-2, large=True, head=POOLED_HEADS.get(identifier, ""))
    check_map(name, result, oracle, x, how)


def test_functional_in_place_relu_behind_the_features() -> None:
    """DenseNet's own `F.relu(features, inplace=True)`: the layer's output is explained, and only once run."""
    network = build("densenet")
    x, calls = photo(size=(64, 64)), _counted(network)
    seewhy.wrap(network).memo.forget(0)
    names = ("saliency", "grad-cam", "hires-cam")
    with unchanged(network, x):
        results = seewhy.attribute(network, x, [method(name) for name in names], target=2)
    assert len(calls) <= 2  # the joint pass finds the layer overwritten and runs once more, by name
    network._forward_hooks.clear()
    oracle = twin_oracle(network, "features", _score)
    for name, result in results.items():
        check_map(name, result, oracle, x, Case(network, None, tolerance=2e-2))


def test_the_default_layer_belongs_to_the_size_of_the_picture() -> None:
    """On a tiny picture an earlier layer is the last with places; a larger one must not inherit it."""
    network = build("resnet")
    seewhy.wrap(network).memo.forget(0)
    small = seewhy.attribute(network, photo(size=(16, 16)), method("grad-cam"), target=2)
    large = seewhy.attribute(network, photo(size=(64, 64)), method("grad-cam"), target=2)
    assert (small.layer, large.layer) == ("layer2", "layer4")
    assert seewhy.attribute(network, photo(size=(16, 16)), method("grad-cam"), target=2).layer == "layer2"


def test_a_named_early_layer_beside_the_default_one() -> None:
    network, x = made(Plain), photo()
    calls = _counted(network)
    results = seewhy.attribute(network, x, [method("grad-cam"), method("grad-cam", "conv1")], target=2)
    assert len(calls) == 1
    network._forward_hooks.clear()
    for result, layer in zip(results.values(), ("act2", "conv1"), strict=True):
        assert result.layer == layer
        check_map("grad-cam", result, nets.plain_oracle(network, layer), x, Case(network, None))


@functools.cache
def _lite0() -> tuple[seewhy.Model, Tensor, int]:
    skimage = pytest.importorskip("skimage.data")
    from PIL import Image

    model = seewhy.load("efficientnet-lite0", device="cpu")
    assert model.preprocessing is not None
    x = model.preprocessing(open_picture(Image.fromarray(skimage.chelsea())))
    return model, x, int(model.module(x).argmax())


@pytest.mark.parametrize("name", [name for name in ALL if name not in HIDING])  # whose windows are made for 16 px
def test_c01_pretrained_network_and_photograph(name: str) -> None:
    model, x, label = _lite0()
    network = model.module
    with unchanged(network, x):
        chosen = method(name, "bn2" if name in CAMS else None)
        if name == "adaptive":
            chosen = replace(chosen, max_steps=32)
        result = seewhy.attribute(model, x, chosen, target=label)
    oracle = twin_oracle(network, "bn2", lambda out: out[0, label])
    if name in CAMS:
        how = Case(network, None, head="classifier", index=label)
        weights = check_pooling(result, 0, oracle, x, how) if name == "cam" else None
        wanted = layer_map(name, oracle, x, lambda layer: layer, weights)
    elif name == "adaptive":
        difference = score_of(oracle, x) - score_of(oracle, torch.zeros_like(x))
        gap = abs(float(result.values.double().sum()) - difference) / abs(difference)
        assert abs(gap - result.diagnostics["completeness_gap"]) < 0.01
        return
    else:
        wanted = input_map(name, oracle, x, drawn(name, x, cases(model, x, 0)[0]))
    # single pixels of input gradients depend on the last bit of a million rectifiers
    likeness = F.cosine_similarity(result.values.double().flatten(), wanted.flatten(), dim=0)
    assert float(likeness) > 0.999


def test_options_reach_the_pretrained_network() -> None:
    model, x, label = _lite0()
    results = [
        seewhy.attribute(model, x, "grad-cam", target=label, options=Options(prepared=prepared)).values
        for prepared in ("never", "auto")
    ]
    assert torch.allclose(*results, atol=1e-5)


def test_layers_trace_leaves_nothing_behind() -> None:
    network: Any = build("resnet")
    network.train()
    x = photo(size=(64, 64))
    with unchanged(network, x):
        table = seewhy.wrap(network).layers(x)
    network.eval()
    assert table.default == "layer4"
