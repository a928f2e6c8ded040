"""Score-CAM and Ablation-CAM: every channel asked for its score, or for what is lost without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam
import torch
import torchvision
from torch import Tensor, nn

import seewhy
from seewhy.core.errors import SettingError
from seewhy.methods import AblationCam, ScoreCam
from seewhy.ops.statistics import rank_correlation

from . import oracles
from .networks import ALL, Network
from .oracles import gap


def resnet() -> Network:
    return ALL["resnet-18"]().small()


def explained(method: Any, network: Network) -> seewhy.Attribution:
    return seewhy.attribute(
        network.wide(),
        network.x.double(),
        method,
        network.target,
        options=seewhy.Options(prepared="never", batch_size=16),
    )


def score_cam(network: Network, layer: str, channels: list[int], start: float = 0.0) -> np.ndarray:
    """Wang et al. 2020, eq. 4 to 6, one channel after the other."""
    activation, x = network.layer(layer).activation[channels], network.x.double()
    scores = []
    for channel in activation:
        grown = oracles.enlarged(channel, tuple(x.shape[2:]))
        spread = grown.max() - grown.min()
        mask = torch.from_numpy((grown - grown.min()) / spread if spread > 0 else 0 * grown)
        with torch.no_grad():
            scores.append(float(network.score(network.twin(start + mask * (x - start)))))
    weights = np.exp(np.array(scores) - max(scores))
    return np.einsum("k,khw->hw", weights / weights.sum(), activation)


@pytest.mark.parametrize(("layer", "start"), [("layer4", 0.0), ("layer3.1.relu", 0.5), ("layer4.1.conv2", 0.0)])
def test_score_cam_is_the_papers_formula(layer: str, start: float) -> None:
    network, channels = resnet(), list(range(0, 40, 2))
    found = explained(ScoreCam(layer=layer, channels=channels, relu=False, baseline=start), network)
    assert gap(found.values[0], score_cam(network, layer, channels, start)) < 1e-9
    assert found.diagnostics["backward_passes"] == 0


class Small(nn.Module):
    """Two convolutions whose ReLUs leave some channels dead, and a head that is flattened, pooled, or squashed."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.second = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 10, 3, padding=1)
        self.relu, self.relu2 = nn.ReLU(), nn.ReLU()
        self.head = nn.Linear(10 * 64 if kind == "flat" else 10, 4)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.relu2(self.second(self.relu(self.first(x))))
        if self.kind == "flat":
            return self.head(maps.flatten(1))
        pooled = maps.amax((2, 3)) if self.kind == "maximum" else maps.mean((2, 3))
        return self.head(pooled).softmax(1) if self.kind == "softmax" else self.head(pooled)


def small(kind: str) -> tuple[Small, Tensor]:
    torch.manual_seed(1)
    module = Small(kind).double().eval()
    module.second.bias.data[[2, 5, 7]] = -50.0  # dead channels
    return module, torch.rand(1, 3, 8, 8, dtype=torch.float64)


def test_dead_channels_cost_one_pass_together() -> None:
    module, x = small("flat")
    options = seewhy.Options(batch_size=1, prepared="never")
    found = seewhy.attribute(module, x, ScoreCam(layer="relu2"), 1, options=options)
    assert found.diagnostics["channels_run"] == 7
    assert found.diagnostics["forward_passes"] == 1 + 7 + 1
    activation = module.relu2(module.second(module.relu(module.first(x))))[0].detach()
    scores = []
    for channel in activation:
        spread = channel.max() - channel.min()
        mask = (channel - channel.min()) / spread if spread > 0 else torch.zeros_like(channel)
        scores.append(module(mask * x)[0, 1].detach())
    wanted = (torch.softmax(torch.stack(scores), 0)[:, None, None] * activation).sum(0).relu()
    assert gap(found.values[0], wanted) < 1e-9


def test_score_cam_is_pytorch_grad_cams_by_rank() -> None:
    module, x = small("flat")
    module, x = module.float(), x.float()
    with pytorch_grad_cam.ScoreCAM(model=module, target_layers=[module.relu2]) as peer:
        theirs = peer(input_tensor=x, targets=[lambda output: output[1]])
    ours = seewhy.attribute(module, x, ScoreCam(layer="relu2"), 1).heatmap()
    assert rank_correlation(torch.from_numpy(theirs[0]), ours[0]) > 0.99


def test_the_strongest_channels_alone() -> None:
    network = resnet()
    activation = network.layer("layer4").activation.reshape(512, -1)
    chosen = sorted(np.argsort(-(activation.max(1) - activation.min(1)), kind="stable")[:9].tolist())
    found = explained(ScoreCam(layer="layer4", strongest=9, relu=False), network)
    assert gap(found.values[0], score_cam(network, "layer4", chosen)) < 1e-9
    assert found.diagnostics["channels_run"] == 9


# --------------------------------------------------------------------------------------------------------- Ablation-CAM


def ablation_cam(module: nn.Module, layer: nn.Module, x: Tensor, index: int) -> np.ndarray:
    """Desai and Ramaswamy 2020, eq. 3 and 4, one channel after the other, by a hook that sets it to zero."""
    kept: list[Tensor] = []
    handle = layer.register_forward_hook(lambda _, __, output: kept.append(output.detach().clone()))
    with torch.no_grad():
        score = float(module(x)[0, index])
    handle.remove()
    activation = kept[0][0]
    total = np.zeros(activation.shape[1:])
    for k in range(len(activation)):

        def ablate(_: nn.Module, __: Any, output: Tensor, k: int = k) -> Tensor:
            output = output.clone()
            output[:, k] = 0
            return output

        handle = layer.register_forward_hook(ablate)
        with torch.no_grad():
            without = float(module(x)[0, index])
        handle.remove()
        total += (score - without) / abs(score) * activation[k].double().numpy()
    return total


@pytest.mark.parametrize(
    ("kind", "layer", "closed"),
    [
        ("flat", "relu2", False),
        ("flat", "relu", False),
        ("average", "relu2", True),
        ("maximum", "relu2", True),
        ("softmax", "relu2", False),
        ("average", "relu", False),
        ("average", "second", False),
    ],
)
def test_ablation_cam_is_the_papers_formula(kind: str, layer: str, closed: bool) -> None:
    module, x = small(kind)
    found = seewhy.attribute(module, x, AblationCam(layer=layer, relu=False), 1)
    assert gap(found.values[0], ablation_cam(module, module.get_submodule(layer), x, 1)) < 1e-9
    assert found.diagnostics["closed_form"] is closed
    assert found.diagnostics["backward_passes"] == 0
    if closed:
        assert found.diagnostics["forward_passes"] == 1


def test_a_real_network_without_any_further_pass() -> None:
    network = resnet()
    found = explained(AblationCam(relu=False), network)
    wanted = ablation_cam(network.twin, network.twin.layer4, network.x.double(), network.target)
    assert gap(found.values[0], wanted) < 1e-9
    assert (found.layer, found.diagnostics["closed_form"]) == ("layer4", True)


def test_ablation_cam_is_pytorch_grad_cams_behind_a_relu() -> None:
    module, x = small("flat")
    module, x = module.float(), x.float()
    index = int(module(x).argmax())
    assert float(module(x)[0, index]) > 0  # of a negative score they turn the map round
    with pytorch_grad_cam.AblationCAM(model=module, target_layers=[module.relu2]) as peer:
        theirs = peer(input_tensor=x, targets=[lambda output: output[index]])
    ours = seewhy.attribute(module, x, AblationCam(layer="relu2"), index).heatmap()
    assert rank_correlation(torch.from_numpy(theirs[0]), ours[0]) > 0.99


def test_ablation_cam_is_pytorch_grad_cams_amid_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytorch_grad_cam.ablation_cam.tqdm.tqdm", lambda rows: rows)  # its progress bar
    module, x = torchvision.models.resnet18().eval(), torch.randn(1, 3, 64, 64)
    index = int(module(x).argmax())
    with pytorch_grad_cam.AblationCAM(model=module, target_layers=[module.layer3]) as peer:
        theirs = peer(input_tensor=x, targets=[lambda output: output[index]])
    ours = seewhy.attribute(module, x, AblationCam(layer="layer3"), index).heatmap()[0]
    assert float((ours - ours.min()).max()) > 0
    ours = (ours - ours.min()) / (ours.max() - ours.min())
    theirs = torch.nn.functional.interpolate(torch.from_numpy(theirs)[None], ours.shape, mode="bilinear")[0, 0]
    assert float(torch.corrcoef(torch.stack([ours.flatten().float(), theirs.flatten()]))[0, 1]) > 0.999


def test_it_says_whether_the_whole_network_ran() -> None:
    network = resnet()
    behind = explained(AblationCam(layer="layer3", strongest=20), network).diagnostics["notes"]
    assert behind[0].startswith("Rows that enter at layer 'layer3' ran only what follows it")
    few = explained(AblationCam(layer="layer3", strongest=5), network).diagnostics["notes"]
    assert few[0].startswith("Rows that enter at layer 'layer3' ran the whole network: for fewer than 16 rows")
    assert not any("ran" in note for note in explained(AblationCam(), network).diagnostics["notes"])


class Tokens(nn.Module):
    """A class token and sixteen patches, width 6, that one linear layer mixes."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 2, stride=2)
        self.norm, self.mix, self.head = nn.LayerNorm(6), nn.Linear(17, 17), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = self.norm(torch.cat([tokens.mean(1, keepdim=True), tokens], 1))
        mixed = self.mix(tokens.transpose(1, 2)).relu().transpose(1, 2)
        return self.head(mixed[:, 0])


def test_channels_of_tokens_lie_on_the_last_axis() -> None:
    torch.manual_seed(2)
    module, x = Tokens().double(), torch.rand(1, 3, 8, 8, dtype=torch.float64)
    found = seewhy.attribute(module, x, AblationCam(layer="norm", relu=False), 1)
    kept: list[Tensor] = []
    module.norm.register_forward_hook(lambda _, __, output: kept.append(output.detach().clone()))
    score = float(module(x)[0, 1].detach())
    total = torch.zeros(4, 4, dtype=torch.float64)
    for k in range(6):
        ablated = kept[0].clone()
        ablated[..., k] = 0
        without = float(module.head(module.mix(ablated.transpose(1, 2)).relu().transpose(1, 2)[:, 0])[0, 1].detach())
        total += (score - without) / abs(score) * kept[0][0, 1:, k].reshape(4, 4)
    assert gap(found.values[0], total) < 1e-9


@pytest.mark.parametrize("kind", [ScoreCam, AblationCam])
def test_settings_that_make_no_sense_are_refused(kind: Any) -> None:
    with pytest.raises(SettingError, match="Leave it out"):
        kind(augment=True)
    with pytest.raises(SettingError, match="at least 1"):
        kind(strongest=0)
