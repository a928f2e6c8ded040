"""Hostile surroundings that are on nobody's list: families of networks, hooks, devices, calls inside calls."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seewhy import targets
from seewhy.core.errors import LayerError, OutputError
from seewhy.study.attribute import run
from seewhy.study.cases import cases
from seewhy.targets import Class

from . import networks as nets
from .cases import Case, explain, photo, second_class
from .contract import ALL, CAMS, HIDING, check_map, close, drawn, method, refusal, refused, seewhy, unchanged
from .networks import Plain, made, plain_oracle
from .oracle import input_map, twin_oracle

SOME = ("saliency", "integrated-gradients", "guided-backprop", "grad-cam", "hires-cam")


class ManyExits(Plain):
    """Uses its second layer as often as the picture asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Conv2d(4, 4, 3, padding=1)

    def first(self, x: Tensor) -> Tensor:
        h = super().first(x)
        for _ in range(1 + int(x.mean() > 0.5)):
            h = self.again(h)
        return h


@pytest.mark.parametrize("name", SOME)
def test_control_flow_on_the_input(name: str) -> None:
    network = made(ManyExits)
    oracle = twin_oracle(network, "again", second_class)
    x = torch.cat([photo() * 0.5, photo() * 0.5 + 0.5])
    settings = method(name, "again")
    with unchanged(network, x):
        result = seewhy.attribute(network, x, settings, target=2)
    if name != "integrated-gradients":
        check_map(name, result, oracle, x, Case(network, None))


@pytest.mark.parametrize("name", SOME)
def test_data_parallel_inside(name: str) -> None:
    network = made(Plain)
    network.conv2 = nn.DataParallel(network.conv2)  # type: ignore[assignment]
    explain(Case(network, plain_oracle(made(Plain))), name)


class Encoder(nn.Module):
    """torch's own transformer, whose fused path calls no submodule."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, stride=4)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(self.embed(x).flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize("name", SOME)
def test_a_fused_transformer(name: str) -> None:
    torch.manual_seed(1)
    network = Encoder().eval()
    if name == "guided-backprop":
        pytest.skip("the oracle cannot exchange a functional relu")
    x = photo(rows=2)
    result = seewhy.attribute(network, x, method(name, "embed"), target=2)
    check_map(name, result, twin_oracle(network, "embed", second_class), x, Case(network, None, tolerance=1e-3))


class Recurrent(nn.Module):
    """Layers that return tuples."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(3, 6, batch_first=True)
        self.fc = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.lstm(x)
        return self.fc(hidden.mean(1))


@pytest.mark.parametrize("name", ["saliency", "integrated-gradients"])
def test_a_recurrent_network(name: str) -> None:
    torch.manual_seed(1)
    network, x = Recurrent().eval(), torch.rand(2, 7, 3)
    explain(Case(network, twin_oracle(network, None, second_class), x), name)
    with refused(refusal(LayerError, "'lstm'", "places", "reshape=")):
        seewhy.attribute(network, x, "grad-cam", target=2, layer="lstm")


@pytest.mark.parametrize("name", ALL)
def test_a_hook_of_the_user_that_changes_the_output(name: str) -> None:
    network = made(Plain)
    network.conv2.register_forward_hook(lambda _, __, output: output * 2)
    network.conv1.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 3,))
    network.act1.register_forward_hook(lambda *_: None, always_call=True)
    network.act2.register_full_backward_pre_hook(lambda _, slopes: (slopes[0] * 5,))
    oracle = plain_oracle(network, "conv2", enter=lambda x: x * 3, middle=lambda a: a * 2)
    if name in CAMS:
        with unchanged(network):
            result = seewhy.attribute(network, photo(), method(name, "act2"), target=2)
        assert bool(torch.isfinite(result.values).all())
        return
    with unchanged(network):
        result = seewhy.attribute(network, photo(), method(name), target=2)
    if name in HIDING:
        check_map(name, result, oracle, photo(), Case(network, None))
    elif name != "adaptive":
        scale = 25 if name == "vargrad" else 5  # a variance
        close(result.values, scale * input_map(name, oracle, photo(), drawn(name, photo())), 1e-4)


@pytest.mark.parametrize("given", ["Parameter", "tv_tensor"])
@pytest.mark.parametrize("name", SOME)
def test_kinds_of_tensors(name: str, given: str) -> None:
    tv_tensors = pytest.importorskip("torchvision.tv_tensors")
    network = made(Plain)
    x: Any = nn.Parameter(photo()) if given == "Parameter" else tv_tensors.Image(photo())
    with unchanged(network, x):
        result = seewhy.attribute(network, x, method(name, "act2"), target=2)
    check_map(name, result, plain_oracle(network), photo(), Case(network, None))
    assert type(result.values) is Tensor


class Ragged(Plain):
    """A detector whose rows have as many boxes as they like, in a plain list of tensors."""

    def forward(self, x: Tensor) -> Any:
        logits = super().forward(x)
        return [row[None].expand(2 + place, -1) for place, row in enumerate(logits)]


def test_a_list_of_tensors_for_each_row() -> None:
    network, x = made(Ragged), photo()
    with unchanged(network, x), refused(refusal(OutputError, "list", "output=")):
        seewhy.attribute(made(nets.Wrapped, lambda a, b: [a, a * 2]), x, "saliency", target=2)
    result = seewhy.attribute(network, x, "saliency", target=targets.Function(lambda row: row[0, 2]))
    close(result.values, input_map("saliency", plain_oracle(network), x), 1e-4)


@pytest.mark.parametrize("name", [*ALL, "noisy"])
def test_another_default_device(name: str) -> None:
    """`torch.set_default_device` must not move what seewhy makes for itself."""
    from seewhy.methods import SmoothGrad

    network, x = made(Plain), photo(rows=2)
    settings = SmoothGrad(samples=4) if name == "noisy" else method(name, "act2")
    wanted = seewhy.attribute(network, x, settings, target=2)
    with unchanged(network, x), torch.device("meta"):
        result = seewhy.attribute(network, x, settings, target=2)
    least = float(wanted.scores.abs().max()) if name in HIDING else 1e-30  # differences of scores
    close(result.values, wanted.values.double(), 1e-6, least)


def test_a_caller_s_saved_tensor_hooks_and_anomaly_mode() -> None:
    network, x = made(Plain), photo()
    with unchanged(network, x), torch.autograd.graph.save_on_cpu(), torch.autograd.set_detect_anomaly(True):
        result = seewhy.attribute(network, x, "saliency", target=2)
    close(result.values, input_map("saliency", plain_oracle(network), x), 1e-4)


def test_a_call_inside_a_forward_hook_of_the_same_network() -> None:
    network, x, found = made(Plain), photo(), []

    def look(*_: Any) -> None:
        if not found:
            found.append(None)
            found.append(seewhy.attribute(network, x, "saliency", target=2).values)

    handle = network.conv1.register_forward_hook(look)
    result = seewhy.attribute(network, x, "saliency", target=2)
    handle.remove()
    for values in (result.values, found[1]):
        close(values, input_map("saliency", plain_oracle(network), x), 1e-4)


def test_one_network_inside_another() -> None:
    inner = made(Plain)
    outer = nn.Sequential(inner, nn.Linear(5, 5)).eval()
    for network in (inner, outer, inner):
        model = seewhy.wrap(network)
        (case,) = cases(model, photo(), 0)
        with unchanged(outer):
            outcomes = run(model, {"saliency": method("saliency")}, [(case, Class(2))], None)
        oracle = twin_oracle(network, None, second_class)
        close(outcomes["saliency", 0].result().values, input_map("saliency", oracle, photo()), 1e-4)
