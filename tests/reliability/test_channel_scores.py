"""Score-CAM and Ablation-CAM, which ask for the score once for each channel, on every set-up of the reliability list.

Score-CAM's oracle asks the case's own for the score of each masked picture; Ablation-CAM's zeroes one channel at the
last use of the layer, by a hook in a float64 twin.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seewhy.core.errors import SettingError
from seewhy.methods import AblationCam, ScoreCam

from . import networks_and_outputs, precision_and_failure  # noqa: F401 - importing them files their cases
from .cases import CASES, Case, photo, second_class
from .contract import close, kinds, refused, seewhy, unchanged
from .networks import Plain, made
from .oracle import activation, score_of, twin_oracle

FEW = tuple(range(0, 512, 32))
"""The channels of a costly network that are compared."""
SCORES: dict[str, Callable[[Any], Tensor]] = {
    "M13": lambda out: out[0][0, 2],
    "M14": lambda out: out["logits"][0, 2],
    "M16": lambda out: out.logits[0, 2],
    "M17-named": lambda out: out[1][0, 2],
    "M19": lambda out: out[0, 0],
    "M20": lambda out: out[0],
    "M25": lambda out: out[0, 2].sum(),
    "M26": lambda out: out[0, 2].sum(),
    "M29": lambda out: out[0]["scores"][0],
}
"""What is explained of an output, where it is not the second class of logits."""


def refusal_of(case: Case) -> Any:
    """What a method of layers that takes no gradient must refuse of a case, like Eigen-CAM; or None."""
    return next((case.refuses[kind] for kind in kinds("eigen-cam") if kind in case.refuses), None)


def weighted(a: Tensor, weights: list[float]) -> Tensor:
    return torch.einsum("c,nc...->n...", torch.tensor(weights, dtype=torch.float64), a)


def score_cam(case: Case, x: Tensor, chosen: tuple[int, ...] | None) -> Tensor:
    """Softmax over the channels of S(mask x), times the channels; (1, *places), before ReLU."""
    a, x = case.place(activation(case.oracle, x)), x.double()
    a = a if chosen is None else a[:, list(chosen)]
    mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[x.dim()]
    scores = []
    for channel in a[0]:
        grown = F.interpolate(channel[None, None], size=x.shape[2:], mode=mode, align_corners=False)
        low, high = float(grown.min()), float(grown.max())
        scores.append(score_of(case.oracle, x * (grown - low) / (high - low) if high > low else 0 * x))
    return weighted(a, torch.softmax(torch.tensor(scores, dtype=torch.float64), 0).tolist())


class Ablated:
    """A float64 twin of a network, one channel of whose layer is zero at the layer's last use; (S, layer)."""

    def __init__(self, network: nn.Module, layer: str, score: Callable[[Any], Tensor], axis: int = 1) -> None:
        self.network, self.score, self.axis = copy.deepcopy(network).double().eval(), score, axis
        self.part = self.network.get_submodule(layer)
        self.uses = 0

    def __call__(self, x: Tensor, channel: int | None) -> tuple[float, Tensor]:
        seen: list[Tensor] = []

        def hook(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            seen.append(output.clone())  # which the network may write to
            given = output.clone()
            if channel is not None and len(seen) == self.uses:
                given.select(self.axis, channel).zero_()
            return given

        handle = self.part.register_forward_hook(hook)
        with torch.no_grad():
            score = float(self.score(self.network(x.double().clone())))
        handle.remove()
        self.uses = len(seen)
        return score, seen[-1]

    def map(self, x: Tensor, place: Callable[[Tensor], Tensor], chosen: tuple[int, ...] | None = None) -> Tensor:
        """sum of (S - S without A_k) / |S| A_k; (1, *places), before ReLU."""
        score, own = self(x, None)
        numbers = range(own.shape[self.axis]) if chosen is None else chosen
        lost = [(score - self(x, k)[0]) / abs(score) for k in numbers]
        return weighted(place(own)[:, list(numbers)], lost)


def ablation_cam(identifier: str, case: Case, x: Tensor, chosen: tuple[int, ...] | None) -> Tensor:
    if identifier == "M53":  # quantised weights have no float64 twin
        network, layer = made(Plain), "act2"
    else:
        network = case.network
        layer = case.layer or "encoder.layers.encoder_layer_1.ln_1"  # what the default must be found to be
        layer = layer.removeprefix("module.")
    own = activation(case.oracle, x)
    numbered = torch.arange(own.shape[-1]).expand(own.shape)
    last = not torch.equal(case.place(own), own) and bool((case.place(numbered)[:, 0] == 0).all())
    twin = Ablated(network, layer, SCORES.get(identifier, second_class), own.dim() - 1 if last else 1)
    if identifier != "M53":
        score = score_of(case.oracle, x)
        assert abs(twin(x, None)[0] - score) <= 1e-6 * abs(score)
    return twin.map(x, case.place, chosen)


@pytest.mark.parametrize("name", ["score-cam", "ablation-cam"])
@pytest.mark.parametrize("identifier", CASES)
def test_model(identifier: str, name: str) -> None:
    case = CASES[identifier]()
    chosen = FEW if identifier == "M85" else None
    kind = ScoreCam if name == "score-cam" else AblationCam
    network = case.model if case.model is not None else case.network
    signed = kind(layer=case.layer, reshape=case.reshape, channels=chosen, relu=False)
    plain = kind(layer=case.layer, reshape=case.reshape, channels=chosen)
    expected = refusal_of(case)
    with unchanged(case.network, case.x), case.around():
        if expected is not None:
            with refused(expected):
                seewhy.attribute(network, case.x, plain, target=case.target)
        else:
            found, shown = (seewhy.attribute(network, case.x, one, target=case.target) for one in (signed, plain))
    if expected is None:
        assert case.oracle is not None
        coarse = max(case.tolerance, case.coarse)
        for row in range(len(case.x)):
            x = case.x[row : row + 1]
            with torch.inference_mode(False):
                made_of = (identifier, case, x, chosen)
                wanted = score_cam(*made_of[1:]) if name == "score-cam" else ablation_cam(*made_of)
                scale = float(wanted.abs().max())
                close(found.values[row : row + 1], wanted, coarse)
                close(shown.values[row : row + 1], wanted.relu(), coarse, max(scale, 1e-30))
    case.after()


class ChannelsLast(nn.Module):
    """One convolution whose channels are turned to the last axis and flattened for a linear head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.turned = nn.Conv2d(3, channels, 3, padding=1), nn.Identity()
        self.fc = nn.Linear(channels * 256, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.turned(self.conv(x).relu().movedim(1, -1)).flatten(1))


@pytest.mark.parametrize(
    ("channels", "kept"), [(6, range(6)), (6, range(3)), (6, range(5, -1, -1)), (1, range(1)), (20, range(18))]
)
def test_a_reshape_that_chooses_or_reorders_channels(channels: int, kept: range) -> None:
    """What is zeroed are the very channels that the map is made of, wherever the layer keeps them."""
    network, x = made(ChannelsLast, channels), photo()

    def reshape(layer: Tensor) -> Tensor:
        return layer.movedim(-1, 1)[:, list(kept)]

    found = seewhy.attribute(network, x, AblationCam(layer="turned", reshape=reshape, relu=False), target=2)
    twin = Ablated(network, "turned", second_class, axis=3)
    close(found.values, twin.map(x, lambda own: own.movedim(-1, 1), tuple(kept)), 1e-4)


def test_a_reshape_that_mixes_axes_is_refused() -> None:
    network = made(ChannelsLast, 6)
    mixing = AblationCam(layer="turned", reshape=lambda layer: layer.reshape(1, 6, 16, 16))
    with unchanged(network), pytest.raises(SettingError, match="turn, choose or reorder axes only"):
        seewhy.attribute(network, photo(), mixing, target=2)


class NormalisesEach(Plain):
    """Divides each picture by its own deviation: an empty one has no score."""

    def first(self, x: Tensor) -> Tensor:
        places = (1, 2, 3)
        return super().first((x - x.mean(places, keepdim=True)) / x.std(places, keepdim=True))


@pytest.mark.parametrize("strongest", [None, 6])
def test_no_empty_picture_is_run_where_no_channel_is_flat(strongest: int | None) -> None:
    network, x = made(NormalisesEach), photo()
    case = Case(network, twin_oracle(network, "act2", second_class), x)
    method = ScoreCam(layer="act2", strongest=strongest, relu=False)
    found = seewhy.attribute(network, x, method, target=2)
    assert found.diagnostics["channels_run"] == 6
    close(found.values, score_cam(case, x, None), 1e-4)


class Bypassed(nn.Module):
    """One ReLU used twice, whose first use reaches the head past the second; `width` channels in the second."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, width, 3, padding=1)
        self.act = nn.ReLU()
        self.fc = nn.Linear((4 + width) * 256, 5)

    def forward(self, x: Tensor) -> Tensor:
        first = self.act(self.conv1(x))
        return self.fc(torch.cat([first, self.act(self.conv2(first))], 1).flatten(1))


@pytest.mark.parametrize("width", [4, 6])
def test_an_earlier_use_of_the_layer_keeps_its_own_output(width: int) -> None:
    network, x = made(Bypassed, width), photo()
    found = seewhy.attribute(network, x, AblationCam(layer="act", relu=False), target=2)
    close(found.values, Ablated(network, "act", second_class).map(x, lambda own: own), 1e-4)
