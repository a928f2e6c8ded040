"""Second opinions: captum and pytorch-grad-cam agree where they are right; where they are not, an oracle says so.

What the peers do differently, found here and asserted below:

* captum's "riemann_trapezoid" gives its n points the weights 1/n, halved at both ends: they sum to (n - 1)/n, so
  every attribution is too small by that factor. Its other rules are ours at the same number of steps.
* pytorch-grad-cam keeps a layer's output without a copy: an in-place ReLU behind the layer writes over it. Its HiResCAM
  and LayerCAM survive that, because where the ReLU cut, the gradient is zero too; captum's Grad-CAM is right.
* pytorch-grad-cam adds 1e-6 to Grad-CAM++'s denominator, which holds squares of gradients: at gradients of 1e-3 the
  two are equal in size. Scores are therefore multiplied by 1000 where the two are compared.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import captum.attr
import numpy as np
import pytest
import pytorch_grad_cam
import torch
from torch import Tensor, nn

import seewhy
from seewhy.methods import GradCam, IntegratedGradients, find
from seewhy.targets import Function

from .networks import ALL, Network, picture
from .oracles import CAMS, Layer, gap, guided_backprop, saliency

SCALE = 1000.0


def named(name: str) -> Network:
    return ALL[name]().small()


def inner(module: nn.Module, layer: str) -> nn.Module:
    return module.get_submodule(layer)


# ------------------------------------------------------------------------------------------------------------ captum


@pytest.mark.parametrize("name", ["efficientnet-lite0", "resnet-18", "vgg-11"])
def test_saliency_and_input_x_gradient_are_captums(name: str) -> None:
    network = named(name)
    x, module = network.x.double(), network.wide()
    found = seewhy.attribute(module, x, ["saliency", "input-x-gradient"], network.target)
    peer = captum.attr.Saliency(module).attribute(x.clone().requires_grad_(), network.target)
    assert gap(found["saliency"].values, peer) < 1e-9
    peer = captum.attr.InputXGradient(module).attribute(x.clone().requires_grad_(), network.target)
    assert gap(found["input-x-gradient"].values, peer) < 1e-9


RULES = {
    "gausslegendre": ("gauss-legendre", 1.0),
    "riemann_left": ("left", 1.0),
    "riemann_right": ("right", 1.0),
    "riemann_middle": ("midpoint", 1.0),
    "riemann_trapezoid": ("trapezoid", 6 / 7),  # of 7 steps: see the top of this file
}


@pytest.mark.parametrize("peer_rule", list(RULES))
def test_integrated_gradients_are_captums_at_the_same_rule_and_steps(peer_rule: str) -> None:
    network = named("resnet-18")
    x, module, start = network.x.double(), network.wide(), picture(96, "coffee").double()
    rule, factor = RULES[peer_rule]
    ours = IntegratedGradients(baseline=start, steps=7, rule=rule).attribute(module, x, network.target)
    peer = captum.attr.IntegratedGradients(module).attribute(x, start, network.target, n_steps=7, method=peer_rule)
    assert gap(ours.values * factor, peer) < 1e-6  # captum rounds its points to float32


def test_captums_trapezoid_misses_a_share_of_a_linear_score_and_ours_does_not() -> None:
    weights = torch.arange(1.0, 7.0, dtype=torch.float64)
    module = nn.Linear(6, 1, bias=False).double()
    module.weight.data = weights[None]
    x = torch.ones(1, 6, dtype=torch.float64)
    ours = IntegratedGradients(steps=5, rule="trapezoid").attribute(module, x, 0)
    peer = captum.attr.IntegratedGradients(module).attribute(x, 0.0, 0, n_steps=5, method="riemann_trapezoid")
    assert gap(ours.values[0], weights) < 1e-12
    assert gap(peer[0], weights * 4 / 5) < 1e-6


@pytest.mark.parametrize(
    ("name", "layer"), [("resnet-18", "layer4"), ("resnet-18", "layer2"), ("vgg-11", "features.19")]
)
def test_grad_cam_is_captums_before_and_after_the_relu(name: str, layer: str) -> None:
    network = named(name)
    module = network.wide()
    peer = captum.attr.LayerGradCam(module, inner(module, layer))
    x = network.x.double()
    for relu in (False, True):
        ours = GradCam(layer=layer, relu=relu).attribute(module, x, network.target)
        theirs = peer.attribute(x, network.target, relu_attributions=relu)
        assert gap(ours.values, theirs[:, 0]) < 1e-9


def test_guided_backprop_is_captums_on_relu_networks() -> None:
    network = named("resnet-18")
    module = network.wide()
    ours = seewhy.attribute(module, network.x.double(), "guided-backprop", network.target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = captum.attr.GuidedBackprop(copy.deepcopy(module)).attribute(
            network.x.double().requires_grad_(), network.target
        )
    assert gap(ours.values, peer) < 1e-9


def test_guided_backprop_of_captum_is_the_plain_gradient_where_rectifiers_are_no_relus() -> None:
    network = named("efficientnet-lite0")  # ReLU6 throughout
    module, x = network.wide(), network.x.double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = captum.attr.GuidedBackprop(copy.deepcopy(module)).attribute(x.clone().requires_grad_(), network.target)
    assert gap(peer.abs(), saliency(network.twin, network.x, network.score)) < 1e-9
    ours = seewhy.attribute(module, x, "guided-backprop", network.target)
    assert gap(ours.values, guided_backprop(network.twin, network.x, network.score)) < 1e-9
    assert gap(ours.values, peer) > 0.3


def test_guided_backprop_of_captum_is_the_plain_gradient_where_relus_are_functions() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3)
            self.unused = nn.ReLU()
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.conv(x)).mean((2, 3)))

    network, x = Functional().double().eval(), torch.randn(1, 3, 8, 8, dtype=torch.float64)
    ours = seewhy.attribute(network, x, ["guided-backprop", "saliency"], 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = captum.attr.GuidedBackprop(network).attribute(x.clone().requires_grad_(), 1)
    assert gap(peer.abs(), ours["saliency"].values) < 1e-12  # captum: no guidance at all
    z = network.conv(x).detach()
    open_ = (z > 0) & (network.head.weight[1] > 0)[None, :, None, None]
    by_hand = torch.nn.functional.conv_transpose2d(
        open_ * network.head.weight[1][None, :, None, None] / z[0, 0].numel(), network.conv.weight
    )
    assert gap(ours["guided-backprop"].values, by_hand) < 1e-12


# --------------------------------------------------------------------------------------------------- pytorch-grad-cam

PEERS: dict[str, Any] = {
    "grad-cam": pytorch_grad_cam.GradCAM,
    "grad-cam++": pytorch_grad_cam.GradCAMPlusPlus,
    "xgrad-cam": pytorch_grad_cam.XGradCAM,
    "layer-cam": pytorch_grad_cam.LayerCAM,
    "hires-cam": pytorch_grad_cam.HiResCAM,
}


def peer_map(name: str, network: Network, layer: str, scale: float = SCALE) -> np.ndarray:
    """Returns the peer's map before it is scaled to 0..1 and resized: what its own get_cam_image gives."""
    module = copy.deepcopy(network.wide())
    raw: list[np.ndarray] = []
    with PEERS[name](model=module, target_layers=[inner(module, layer)]) as peer:
        own = peer.get_cam_image
        peer.get_cam_image = lambda *args: raw.append(own(*args)) or raw[-1]
        peer(input_tensor=network.x.double(), targets=[lambda output: scale * output[network.target]])
    return raw[0][0]


def our_map(name: str, network: Network, layer: str, scale: float = SCALE) -> Tensor:
    target = Function(lambda row: scale * row[network.target])
    method = type(find(name))(layer=layer, relu=False)
    return seewhy.attribute(network.wide(), network.x.double(), method, target).values[0]


@pytest.mark.parametrize("name", list(PEERS))
@pytest.mark.parametrize(
    ("network", "layer"),
    [("efficientnet-lite0", "bn2"), ("resnet-18", "layer4"), ("resnet-18", "layer2"), ("vgg-11", "features.19")],
)
def test_class_activation_maps_are_pytorch_grad_cams(network: str, layer: str, name: str) -> None:
    given = named(network)
    assert gap(our_map(name, given, layer), peer_map(name, given, layer)) < 1e-4


def test_grad_cam_plus_plus_of_the_peer_fades_at_small_gradients_and_ours_does_not() -> None:
    network = named("efficientnet-lite0")
    wanted = CAMS["grad-cam++"](network.layer("bn2"))
    assert gap(our_map("grad-cam++", network, "bn2", scale=1.0), wanted) < 1e-9
    assert gap(peer_map("grad-cam++", network, "bn2", scale=1.0), wanted) > 0.001


@pytest.mark.parametrize("name", list(PEERS))
def test_an_in_place_relu_behind_the_layer_corrupts_a_peers_map_and_not_ours(name: str) -> None:
    network = named("vgg-11")
    layer = network.layer("features.18")
    scaled = Layer(layer.activation, SCALE * layer.gradient, layer.score)
    cut = Layer(layer.activation.clip(min=0), scaled.gradient, layer.score)  # what the ReLU leaves of the layer
    assert gap(our_map(name, network, "features.18"), CAMS[name](scaled)) < 1e-9
    peer = peer_map(name, network, "features.18")
    assert gap(peer, CAMS[name](cut)) < 1e-4
    assert (gap(peer, CAMS[name](scaled)) < 1e-9) == (name in ("layer-cam", "hires-cam"))
    if name not in ("layer-cam", "hires-cam"):
        assert gap(peer, CAMS[name](scaled)) > 0.05


def test_captums_grad_cam_is_right_behind_an_in_place_relu() -> None:
    network = named("vgg-11")
    module = network.wide()
    wanted = CAMS["grad-cam"](network.layer("features.18"))
    ours = GradCam(layer="features.18", relu=False).attribute(module, network.x.double(), network.target)
    assert gap(ours.values[0], wanted) < 1e-9
    peer = captum.attr.LayerGradCam(module, inner(module, "features.18")).attribute(network.x.double(), network.target)
    assert gap(peer[0, 0], wanted) < 1e-9
