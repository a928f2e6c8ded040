"""Hostile networks that are on nobody's list: how they compute, what they are made of, what they return."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize

from seewhy import targets
from seewhy.core.errors import InputError, LayerError, NoGradientError, UnsupportedModelError

from . import networks as nets
from .cases import Case, explain, photo
from .contract import ALL, CAMS, HIDING, NO_GRADIENT, refusal, refused, same, seewhy, unchanged
from .networks import Plain, made, plain_oracle

SOME = ("saliency", "integrated-gradients", "guided-backprop", "grad-cam", "hires-cam")


class FrozenBackbone(Plain):
    """Runs its first part without autograd, as people freeze backbones."""

    def __init__(self, mode: Any) -> None:
        super().__init__()
        self.mode = mode

    def first(self, x: Tensor) -> Tensor:
        with self.mode():
            h = super().first(x)
        return h.clone()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", ALL)
def test_no_grad_inside(name: str, mode: Any) -> None:
    network = made(FrozenBackbone, mode)
    cut = refusal(NoGradientError, "torch.no_grad", "grad-cam")
    oracle = plain_oracle(network)
    explain(Case(network, oracle, refuses={"no gradient": None, "guided": cut, "layer": None, "all": cut}), name)
    if name in CAMS:
        inside = refusal(LayerError, "'conv1'", "torch.no_grad")
        refuses = {"no gradient": None, "guided": cut, "all": inside}
        explain(Case(network, plain_oracle(network, "conv1"), layer="conv1", refuses=refuses, pooling=None), name)


def _parametrised() -> Plain:
    class Halved(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / 2

    network = made(Plain)
    parametrize.register_parametrization(network.conv2, "weight", Halved())
    return network


def _weight_norm() -> Plain:
    network = made(Plain)
    parametrizations.weight_norm(network.conv1)
    return network


def _old_weight_norm() -> Plain:
    network = made(Plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(network.conv1)
    network(photo())  # a tensor with a graph is an attribute now
    return network


def _spectral_norm() -> Plain:
    network = made(Plain)
    parametrizations.spectral_norm(network.conv2)
    return network.train()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("make", [_parametrised, _weight_norm, _old_weight_norm, _spectral_norm])
def test_parametrised_weights(make: Any, name: str) -> None:
    network = make()
    plain = made(Plain)
    network.eval()
    with torch.no_grad():
        network(photo())
        for layer in ("conv1", "conv2"):
            getattr(plain, layer).weight.copy_(getattr(network, layer).weight)
    if make is _spectral_norm:
        network.train()
    explain(Case(network, plain_oracle(plain)), name)


class Tied(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.alias = self.act2
        self.group = nn.ModuleDict({"again": self.conv2})


@pytest.mark.parametrize("layer", ["act2", "alias"])
@pytest.mark.parametrize("name", CAMS)
def test_a_layer_with_two_names(name: str, layer: str) -> None:
    network = made(Tied)
    explain(Case(network, plain_oracle(network), layer=layer), name)
    explain(Case(network, plain_oracle(network, "conv2"), layer="group.again", pooling="unknown"), name)


class Contained(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(self.conv1, self.act1, nn.Sequential(self.conv2, self.act2))
        self.parts = nn.ModuleList([self.conv2])

    def features(self, x: Tensor) -> Tensor:
        return self.body(x)


@pytest.mark.parametrize("name", CAMS)
def test_a_container_as_layer(name: str) -> None:
    network = made(Contained)
    explain(Case(network, plain_oracle(network), layer="body"), name)
    explain(Case(network, plain_oracle(network), layer=network.body[2]), name)
    never = refusal(LayerError, "'parts'", "does not call", "model.layers()")
    explain(Case(network, None, layer="parts", refuses={"all": never}), name)
    itself = refusal(LayerError, "the network itself")
    explain(Case(network, None, layer=network, refuses={"all": itself}), name)


@dataclasses.dataclass
class Data:
    logits: Tensor
    extra: Tensor


@pytest.mark.parametrize("kind", [nets.Pair, Data, lambda a, b: {"out": a, "extra": b}])
@pytest.mark.parametrize("name", SOME)
def test_outputs_with_names(name: str, kind: Any) -> None:
    network = made(nets.Wrapped, lambda logits, features: kind(logits, logits * -3))
    explain(Case(network, plain_oracle(network), photo(rows=2)), name)


@pytest.mark.parametrize("name", SOME)
def test_functions_of_outputs_with_attributes(name: str) -> None:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    for kind in (Data, lambda a, b: outputs.ImageClassifierOutput(logits=a, hidden_states=(b,))):
        network = made(nets.Wrapped, lambda logits, features, kind=kind: kind(logits, features))
        target = targets.Function(lambda row: row.logits[2])
        explain(Case(network, plain_oracle(network), photo(rows=2), target=target), name)


class TrainSaysNo(Plain):
    def train(self, mode: bool = True) -> Any:
        raise AssertionError("train() and eval() of this network do more than they should")


class OwnParameters(Plain):
    def parameters(self, recurse: bool = True) -> Iterator[Any]:  # type: ignore[override]
        yield {"params": list(super().parameters()), "lr": 0.1}


@pytest.mark.parametrize("name", SOME)
def test_networks_that_redefine_what_they_inherit(name: str) -> None:
    torch.manual_seed(1)
    strict = TrainSaysNo()
    explain(Case(strict, plain_oracle(strict)), name)
    grouped = OwnParameters()
    explain(Case(grouped, plain_oracle(grouped)), name)


class Fourier(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.spectrum = nn.Identity()

    def first(self, x: Tensor) -> Tensor:
        return super().first(torch.fft.irfft2(self.spectrum(torch.fft.rfft2(x)), s=x.shape[2:]) * 2)


@pytest.mark.parametrize("name", ALL)
def test_complex_numbers_inside(name: str) -> None:
    network = made(Fourier)
    explain(Case(network, plain_oracle(network, enter=lambda x: x * 2)), name)
    if name in CAMS:
        complex_ = refusal(LayerError, "'spectrum'", "complex64", "model.layers()")
        explain(Case(network, None, layer="spectrum", refuses={"all": complex_}), name)


class PartlyScripted(Plain):
    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.scripted = torch.jit.script(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))

    def first(self, x: Tensor) -> Tensor:
        return super().first(self.scripted(x))


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_a_scripted_part(name: str, train: bool) -> None:
    network = made(PartlyScripted, train=train)
    guided = refusal(UnsupportedModelError, "'scripted'", "TorchScript")
    weight, bias = (network.scripted.state_dict()[f"0.{part}"].double() for part in ("weight", "bias"))

    def enter(x: Tensor) -> Tensor:
        return F.conv2d(x, weight, bias) / (1 + 1e-5) ** 0.5

    explain(Case(network, plain_oracle(network, enter=enter), photo(rows=2), refuses={"guided": guided}), name)
    if name in CAMS:
        unseen = refusal(LayerError, "'scripted'", "scripted or traced")
        explain(Case(network, None, layer="scripted", refuses={"guided": guided, "all": unseen}), name)


@pytest.mark.parametrize("score", [3.0, 1.0])
@pytest.mark.parametrize("name", ALL)
def test_an_output_without_any_graph(name: str, score: float) -> None:
    network = made(nets.Wrapped, lambda logits, features: torch.full_like(logits, score).detach())
    none = refusal(NoGradientError, "No gradient path", "detach")
    refuses = {
        "eigen-cam": None,
        **dict.fromkeys(HIDING),
        "guided": none,
        "layer": refusal(LayerError, "'act2'", "does not influence"),
        "all": none,
    }
    answer = {"score": lambda logits: logits.new_full((), score)} if name in HIDING else {}  # eigen-cam needs none
    explain(Case(network, plain_oracle(network, **answer), refuses=refuses), name)


@pytest.mark.parametrize("name", NO_GRADIENT)
def test_a_pooled_layer_without_any_graph(name: str) -> None:
    """The arithmetic holds, and nothing else is needed."""
    network = made(nets.Wrapped, lambda logits, features: logits.detach())
    explain(Case(network, plain_oracle(network), photo(rows=2)), name)


class Forces(Plain):
    """Takes a gradient of its own inside forward."""

    def features(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            inner = x if x.requires_grad else x.detach().requires_grad_()
            (slope,) = torch.autograd.grad((inner**3).sum(), inner, create_graph=True)
        return super().features(slope / 3)


@pytest.mark.parametrize("name", ALL)
def test_a_gradient_taken_inside(name: str) -> None:
    network = made(Forces)
    explain(Case(network, plain_oracle(network, enter=lambda x: x**2)), name)


@pytest.mark.parametrize("name", SOME)
def test_compiled_in_place_or_in_part(name: str) -> None:
    whole = made(Plain)
    whole.compile(backend="aot_eager")
    part = made(Plain)
    part.conv2 = torch.compile(part.conv2, backend="aot_eager")  # type: ignore[assignment]
    plain = made(Plain)
    guided = refusal(UnsupportedModelError, "compile")
    for network in (whole, part):
        explain(Case(network, plain_oracle(plain), refuses={"guided": guided}), name)


@pytest.mark.parametrize("text", ["cannot load checkpoint", "should be the same type of day", "CUDA error"])
def test_the_network_s_own_errors_keep_their_words(text: str) -> None:
    for cls in (nets.Failing, nets.FailingBackward):
        error = RuntimeError(text)
        network = made(cls, error)
        with unchanged(network), refused(same(error)):
            seewhy.attribute(network, photo(rows=2), "saliency", target=2)


def test_a_mistake_inside_is_not_blamed_on_the_input() -> None:
    class Mistaken(Plain):
        def features(self, x: Tensor) -> Tensor:
            return self.conv2(self.first(x)[:, :2])

    network = made(Mistaken)
    with unchanged(network), pytest.raises(RuntimeError) as caught:
        seewhy.attribute(network, photo(), "saliency", target=2)
    assert not isinstance(caught.value, InputError)
