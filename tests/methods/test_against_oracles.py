"""Holds every method against its float64 oracle, on real and random networks, with and without a prepared copy.

Two yardsticks. In float64 a method must equal its oracle to 1e-9, in-place operations and folded batch-norms
included: this is the proof that the formula and the captured tensors are right. In float32 it must equal the
oracle to 1e-4, except where float32 itself cannot: input gradients jump when one of a million rectifiers lies so
close to its kink that rounding decides, and XGrad-CAM divides by a channel's sum, which nearly cancels where
activations have both signs. There the bound is how far plain autograd in float32 is from the oracle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import seewhy
from seewhy.methods import GradCam, IntegratedGradients, SmoothGrad, find
from seewhy.models.wrapping import wrap
from seewhy.study.cases import cases
from seewhy.targets import Class

from . import oracles
from .networks import ALL, Network, picture
from .oracles import CAMS, gap, gap_in_norm

COPY = "torch, prepared copy"
PREPARED = ("never", "always")
PLACES = [
    ("efficientnet-lite0", "bn2"),
    ("efficientnet-lite0", "conv_head"),
    ("mobilenet-v2", "features.18"),
    ("mobilenet-v2", "features.18.0"),
    ("resnet-18", "layer4"),
    ("resnet-18", "layer4.1.conv2"),
    ("resnet-18", "layer4.1.bn2"),
    ("resnet-18", "layer3.1.relu"),
    ("resnet-18", "layer2"),
    ("vgg-11", "features.19"),
    ("vgg-11", "features.18"),
    ("vgg-11", "features.10"),
]
GRADIENTS = {
    "saliency": oracles.saliency,
    "input-x-gradient": oracles.input_x_gradient,
    "guided-backprop": oracles.guided_backprop,
}


def run(module: Any, x: Tensor, methods: list[Any], target: int, prepared: str) -> dict[str, seewhy.Attribution]:
    return seewhy.attribute(module, x, methods, target, options=seewhy.Options(prepared=prepared))


def at_layer(layer: str, relu: bool = False) -> list[Any]:
    return [type(find(name))(layer=layer, relu=relu) for name in CAMS]


@pytest.mark.parametrize("prepared", PREPARED)
@pytest.mark.parametrize(("name", "layer"), PLACES)
def test_class_activation_maps_in_float64(name: str, layer: str, prepared: str) -> None:
    network = ALL[name]().small()
    found = run(network.wide(), network.x.double(), at_layer(layer), network.target, prepared)
    if prepared == "always":
        assert found["grad-cam"].diagnostics["backend"] == COPY
    for method, oracle in CAMS.items():
        assert found[method].layer == layer
        assert gap(found[method].values[0], oracle(network.layer(layer))) < 1e-9, method


@pytest.mark.parametrize("prepared", PREPARED)
@pytest.mark.parametrize(("name", "layer"), PLACES)
def test_class_activation_maps_in_float32(name: str, layer: str, prepared: str) -> None:
    network = ALL[name]()
    found = run(network.module, network.x, at_layer(layer), network.target, prepared)
    for method, oracle in CAMS.items():
        wanted = oracle(network.layer(layer))
        plain = gap(oracle(network.layer(layer, torch.float32)), wanted)  # what float32 costs on this processor
        bound = max(1e-4, 1.1 * plain)
        if method == "xgrad-cam":  # the copy rounds elsewhere, and a nearly cancelling sum magnifies that
            bound = 1e-4 + plain * (1.1 if prepared == "never" else 10)
            assert bound < 0.01, "float32 is too ill-conditioned here to prove anything"
        assert gap(found[method].values[0], wanted) < bound, method


@pytest.mark.parametrize(("name", "layer"), [("resnet-18", "layer4.1.conv2"), ("vgg-11", "features.18")])
def test_the_papers_relu_is_the_signed_map_cut_at_zero(name: str, layer: str) -> None:
    network = ALL[name]()
    found = run(network.wide(), network.x.double(), at_layer(layer, relu=True), network.target, "never")
    mixed = 0
    for method, oracle in CAMS.items():
        signed = oracle(network.layer(layer))
        mixed += signed.min() < 0 < signed.max()
        assert gap(found[method].values[0], signed.clip(min=0)) < 1e-9, method
    assert mixed >= 3, "a map of one sign would show nothing"


@pytest.mark.parametrize("prepared", PREPARED)
@pytest.mark.parametrize("name", list(ALL))
def test_input_gradients_in_float64(name: str, prepared: str) -> None:
    network = ALL[name]().small()
    found = run(network.wide(), network.x.double(), list(GRADIENTS), network.target, prepared)
    if prepared == "always":
        assert found["saliency"].diagnostics["backend"] == COPY
    for method, oracle in GRADIENTS.items():
        assert gap(found[method].values, oracle(network.twin, network.x, network.score)) < 1e-9, method


@pytest.mark.parametrize("name", list(ALL))
def test_input_gradients_in_float32(name: str) -> None:
    network = ALL[name]()
    narrow = oracles.twin(network.module, torch.float32)
    found = run(network.module, network.x, list(GRADIENTS), network.target, "never")
    for method, oracle in GRADIENTS.items():
        assert gap(found[method].values, oracle(narrow, network.x, network.score)) < 1e-6, method
    copied = run(network.module, network.x, ["saliency"], network.target, "always")["saliency"]
    assert copied.diagnostics["backend"] == COPY
    wanted = oracles.saliency(network.twin, network.x, network.score)
    plain = oracles.saliency(narrow, network.x, network.score)
    assert gap(found["saliency"].values, wanted) < 1e-4 + 1.1 * gap(plain, wanted)
    assert gap_in_norm(copied.values, wanted) < 0.03  # a copy may round other kinks than the network itself
    if name == "vgg-11":  # no rectifier of this one is that close to its kink
        assert gap(found["saliency"].values, wanted) < 1e-4
        assert gap(copied.values, wanted) < 1e-4


@pytest.mark.parametrize("prepared", PREPARED)
@pytest.mark.parametrize("name", ["efficientnet-lite0", "mobilenet-v2", "resnet-18"])
def test_cam_takes_the_linear_layers_own_weights(name: str, prepared: str) -> None:
    network = ALL[name]()
    assert network.pooled is not None
    found = run(network.module, network.x, ["cam"], network.target, prepared)["cam"]
    assert found.layer is not None
    assert network.pooled.startswith(found.layer)  # of nested modules with one output the outer one is named
    weights = network.linear().weight[network.target].tolist()
    assert gap(found.values[0], oracles.cam(network.layer(network.pooled), weights)) < 1e-4


# ------------------------------------------------------------------------------------------ methods with many rows


def noisy_rows(network: Network, method: SmoothGrad) -> Tensor:
    """Returns the noisy inputs that the method asks for: its flow is stepped by hand, without an engine."""
    (case,) = cases(wrap(network.wide()), network.x.double(), 0)
    flow = method.flow(case, Class(network.target))
    next(flow)
    asked = flow.send((Class(network.target), torch.zeros(1)))
    flow.close()
    rows = asked.rows
    return rows.build(slice(0, rows.count))


@pytest.mark.parametrize("prepared", PREPARED)
@pytest.mark.parametrize("average", ["absolute", "signed", "squared"])
def test_smoothgrad_is_the_mean_over_the_noisy_inputs_it_asked_for(average: str, prepared: str) -> None:
    network = ALL["resnet-18"]()
    method = SmoothGrad(samples=6, average=average)
    noisy = noisy_rows(network, method)
    power = {"absolute": torch.abs, "signed": torch.clone, "squared": torch.square}[average]
    wanted = oracles.smooth_grad(network.twin, noisy, network.score, power)
    found = run(network.wide(), network.x.double(), [method], network.target, prepared)["smoothgrad"]
    assert gap(found.values, wanted) < 1e-9
    each = torch.cat([power(oracles.input_gradient(network.twin, row[None], network.score)) for row in noisy])
    assert gap(found.error, each.std(0, keepdim=True) / 6**0.5) < 1e-9


def test_the_noise_is_normal_with_the_stated_share_of_the_range() -> None:
    network = ALL["resnet-18"]()
    noisy = noisy_rows(network, SmoothGrad(samples=4, noise=0.2))
    noise = (noisy - network.x.double()).flatten(1)
    spread = 0.2 * float(network.x.max() - network.x.min())
    n = noise.shape[1]
    for row in noise:  # mean and standard deviation within five standard errors
        assert abs(float(row.mean())) < 5 * spread / n**0.5
        assert abs(float(row.std()) / spread - 1) < 5 / (2 * n) ** 0.5
    assert float(torch.corrcoef(noise).fill_diagonal_(0).abs().max()) < 5 / n**0.5, "rows are independent"
    third = float((noise / spread).pow(3).mean()), float((noise / spread).pow(4).mean())
    assert abs(third[0]) < 0.1
    assert abs(third[1] - 3) < 0.1


STEPS = {
    "midpoint": [((k + 0.5) / 5, 0.2) for k in range(5)],
    "left": [(k / 5, 0.2) for k in range(5)],
    "right": [((k + 1) / 5, 0.2) for k in range(5)],
    "trapezoid": [(k / 4, 0.125 if k in (0, 4) else 0.25) for k in range(5)],
    "gauss-legendre": [  # Abramowitz and Stegun, table 25.4, n = 5, moved from [-1, 1] to [0, 1]
        ((1 + place) / 2, weight / 2)
        for place, weight in (
            (-0.906179845938664, 0.236926885056189),
            (-0.538469310105683, 0.478628670499366),
            (0.0, 0.568888888888889),
            (0.538469310105683, 0.478628670499366),
            (0.906179845938664, 0.236926885056189),
        )
    ],
}


@pytest.mark.parametrize("rule", list(STEPS))
def test_integrated_gradients_are_the_weighted_sum_along_the_path(rule: str) -> None:
    network = ALL["resnet-18"]()
    start = picture(96, "coffee").double()
    wanted = oracles.integrated_gradients(network.twin, (start, network.x), network.score, STEPS[rule])
    method = IntegratedGradients(baseline=start, steps=5, rule=rule)
    prepared = "always" if rule == "midpoint" else "never"
    found = run(network.wide(), network.x.double(), [method], network.target, prepared)["integrated-gradients"]
    assert gap(found.values, wanted) < 1e-9
    with torch.no_grad():
        ends = [float(network.score(network.twin(end))) for end in (network.x.double(), start)]
    missing = abs(float(wanted.sum()) - (ends[0] - ends[1])) / abs(ends[0] - ends[1])
    assert found.diagnostics["completeness_gap"] == pytest.approx(missing, rel=1e-6)


def test_a_long_job_with_a_prepared_copy_gives_each_row_what_it_gives_alone() -> None:
    """16 rows and SmoothGrad's in one call: long enough for a copy, with a layer inside a folded pair kept."""
    network = ALL["resnet-18"]()
    corners = [(r, c) for r in (0, 14, 28, 42) for c in (20, 60, 100, 140)]
    batch = torch.cat([picture(48, corner=corner) for corner in corners]).double()
    layer = "layer4.1.conv2"
    methods = [*at_layer(layer), "saliency", SmoothGrad(samples=3)]
    options = seewhy.Options(in_flight=len(batch) * len(methods))  # fewer in flight are fewer rows a round
    found = seewhy.attribute(network.wide(), batch, methods, network.target, options=options)
    assert found["grad-cam"].diagnostics["backend"] == COPY
    assert found["smoothgrad"].diagnostics["backend"] == COPY
    for row in (0, 7, 15):
        at = oracles.layers_at(network.twin, batch[row : row + 1], network.score, [layer])[layer]
        for method, oracle in CAMS.items():
            assert gap(found[method].values[row], oracle(at)) < 1e-9, method
        wanted = oracles.saliency(network.twin, batch[row : row + 1], network.score)
        assert gap(found["saliency"].values[row : row + 1], wanted) < 1e-9


def test_a_layer_given_as_the_module_itself_and_in_the_name_is_the_same() -> None:
    network = ALL["vgg-11"]()
    module = network.module.get_submodule("features.18")
    first = GradCam(layer=module).attribute(network.module, network.x, network.target)
    second = seewhy.attribute(network.module, network.x, "grad-cam", network.target, layer="features.18")
    assert torch.equal(first.values, second.values)
    assert np.any(first.values.numpy() > 0)
