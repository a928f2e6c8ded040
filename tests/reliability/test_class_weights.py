"""What CAM and FinerCAM owe to classes: whose weights, against whom, and what proves that a layer is pooled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seewhy import targets
from seewhy.methods import Cam, FinerCam

from . import networks as nets
from . import networks_and_outputs, precision_and_failure  # noqa: F401 - importing them files their cases
from .cases import CASES, POOLED, Case, explain, photo, second_class
from .contract import close, method, refused, seewhy, unchanged
from .networks import Plain, made, plain_oracle
from .oracle import activation, layer_map, twin_oracle


class MaximumPooled(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveMaxPool2d(1)  # type: ignore[assignment]


class ClassesBeforePooling(Plain):
    """A 1x1 convolution without a bias makes maps of classes, which are averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Conv2d(6, 5, 1)  # type: ignore[assignment]

    def head(self, features: Tensor) -> Tensor:
        return self.pool(self.fc(features)).flatten(1)


class Squashed(Plain):
    def __init__(self, squash: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.squash = squash

    def head(self, features: Tensor) -> Tensor:
        return self.squash(super().head(features))


@pytest.mark.parametrize(
    ("make", "pooling"),
    [
        (lambda: made(MaximumPooled), "maximum"),
        (lambda: made(Squashed, torch.sigmoid), "average"),
        (lambda: made(Squashed, lambda z: z.softmax(1)), "average"),
        (lambda: made(Squashed, lambda z: z.log_softmax(1)), "average"),
        (lambda: made(Squashed, lambda z: z.tanh() * 2), "unknown"),
        (lambda: made(Squashed, lambda z: z + 0.1), "unknown"),
    ],
)
def test_how_a_layer_is_pooled(make: Callable[[], Any], pooling: str) -> None:
    """At a named layer the map is given either way; at the default layer only where the arithmetic proves it."""
    network = make()
    oracle = twin_oracle(network, "act2", second_class)
    explain(Case(network, oracle, photo(rows=2), pooling=pooling), "cam")
    explain(Case(network, oracle, layer=None, pooling=None if pooling == "unknown" else pooling), "cam")


SHARES = {
    "difference": (targets.Difference(2, 0), [-1, 0, 1, 0, 0]),
    "contrast": (targets.Contrast(2, (0, 4), strength=0.5), [-0.25, 0, 1, 0, -0.25]),
    "against": (targets.Class(2, sign=-1), [0, 0, -1, 0, 0]),
}


@pytest.mark.parametrize("layer", ["act2", "conv2"])
@pytest.mark.parametrize("identifier", SHARES)
def test_cam_of_several_classes(identifier: str, layer: str) -> None:
    target, shares = SHARES[identifier]
    network, x, amounts = made(Plain), photo(), torch.tensor(shares, dtype=torch.float64)
    oracle = plain_oracle(network, layer, score=lambda logits: amounts @ logits[0])
    with unchanged(network, x):
        result = seewhy.attribute(network, x, Cam(layer=layer), target=target)
    weight, bias = network.fc.weight.detach().double(), network.fc.bias.detach().double()
    wanted = torch.einsum("c,nchw->nhw", amounts @ weight, activation(oracle, x))
    close(result.values, wanted, 1e-4)
    score = float(oracle(x.double(), torch.relu)[0])
    gap = abs(float(wanted.mean() + amounts @ bias) - score) / abs(score)
    assert (gap < 1e-9) == (layer == "act2")
    assert result.diagnostics["pooling"] == ("average" if layer == "act2" else "unknown")
    assert abs(result.diagnostics["additivity_gap"] - gap) < 1e-4 * max(1.0, gap)


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("identifier", ["C00", "M05", "M13", "M17-named", "M34", "M37", "M43", "M62", "M85"])
def test_finer_cam_against_the_nearest(identifier: str, strength: float) -> None:
    """Grad-CAM, by the oracle, of the class less the mean of the two whose scores are nearest."""
    case = CASES[identifier]()
    x = case.x[:1]

    def contrast(output: Any) -> Tensor:
        scores = (output if isinstance(output, Tensor) else output[identifier == "M17-named"])[0]
        apart = (scores - scores[2]).abs().detach()
        first, second = [place for place in apart.argsort().tolist() if place != 2][:2]
        return scores[2] - strength * (scores[first] + scores[second]) / 2

    chosen = FinerCam(layer=case.layer, reshape=case.reshape, neighbours=2, strength=strength)
    network = case.model if case.model is not None else case.network
    with unchanged(case.network, x):
        result = seewhy.attribute(network, x, chosen, target=2)
        plain = seewhy.attribute(network, x, method("grad-cam", case.layer, case.reshape), target=2)
    wanted = layer_map("finer-cam", twin_oracle(case.network, case.layer, contrast), x, case.place)
    close(result.values, wanted, case.tolerance)
    assert not torch.allclose(result.values, plain.values, rtol=1e-2, atol=1e-2 * float(wanted.abs().max()))


@pytest.mark.parametrize("squash", [torch.sigmoid, lambda z: z.softmax(1)])
@pytest.mark.parametrize("confidence", [16.0, 40.0])
def test_a_confident_network_proves_nothing(squash: Any, confidence: float) -> None:
    """Its layer is flattened, not pooled, and has as many channels as you like: CAM must refuse."""
    network = made(Squashed, squash)
    network.pool, network.fc = nn.AdaptiveMaxPool2d(4), nn.Linear(96, 5)
    network.fc.bias.data[2] = confidence
    with unchanged(network), refused(POOLED):
        seewhy.attribute(network, photo(), Cam(), target=2)


class SpareHead(Plain):
    """Has another linear layer, for training say, made behind the one that answers."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(6, 5)


@pytest.mark.parametrize("layer", ["act2", "conv2"])
def test_the_last_linear_layer_is_the_one_that_answers(layer: str) -> None:
    network = made(SpareHead)
    pooling = "average" if layer == "act2" else "unknown"
    explain(Case(network, plain_oracle(network, layer), layer=layer, pooling=pooling), "cam")


@pytest.mark.parametrize(
    ("cls", "head", "pooling"), [(ClassesBeforePooling, "fc", "average"), (nets.Segmenter, "classify", "sum")]
)
def test_maps_of_classes(cls: Any, head: str, pooling: str) -> None:
    """Before the 1x1 convolution its weights are laid over the layer; behind it, the class's own map is the answer."""

    def score(output: Tensor) -> Tensor:
        return output[0, 2].sum()

    network, x = made(cls), photo(rows=2)
    explain(Case(network, twin_oracle(network, "act2", score), x, head=head, pooling=pooling), "cam")
    with unchanged(network, x):
        result = seewhy.attribute(network, x, Cam(), target=2)
    assert result.layer == head
    assert result.diagnostics["pooling"] == [pooling] * 2
    for row in range(2):
        wanted = activation(twin_oracle(network, head, score), x[row : row + 1])[:, 2]
        close(result.values[row : row + 1], wanted, 1e-4)
