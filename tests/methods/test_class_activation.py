"""The class activation methods beyond one layer and one pass: oracles, parts of layers, several layers, copies."""

from __future__ import annotations

from typing import Any

import captum.attr
import numpy as np
import pytest
import pytorch_grad_cam
import torch
from torch import Tensor, nn

import seewhy
from seewhy.core.errors import LayerError, SettingError, TargetError
from seewhy.methods import (
    Cam,
    EigenCam,
    FinerCam,
    GradCam,
    GuidedGradCam,
    HiResCam,
    SmoothGradCamPlusPlus,
    find,
)
from seewhy.methods.noisy import noisy_rows
from seewhy.models.wrapping import wrap
from seewhy.study.cases import cases
from seewhy.targets import Class, Contrast, Difference, Function, Nearest

from . import oracles
from .networks import ALL, Network
from .oracles import CAMS, Layer, gap

RESNET = "resnet-18"
LAYERS = ("layer2", "layer3.1.relu", "layer4")
FAMILY = (
    "grad-cam",
    "grad-cam++",
    "smooth-grad-cam++",
    "xgrad-cam",
    "layer-cam",
    "hires-cam",
    "eigen-cam",
    "finer-cam",
)


def resnet() -> Network:
    return ALL[RESNET]().small()


def explained(method: Any, target: Any = None, network: Network | None = None) -> seewhy.Attribution:
    network = network or resnet()
    return seewhy.attribute(
        network.wide(),
        network.x.double(),
        method,
        network.target if target is None else target,
        options=seewhy.Options(prepared="never"),
    )


# ---------------------------------------------------------------------------------------------------- Smooth Grad-CAM++


def noisy_gradients(network: Network, layer: str, samples: int) -> list[np.ndarray]:
    (case,) = cases(wrap(network.wide()), network.x.double(), 0)
    rows = noisy_rows(case, 0.15, 0, samples).build(slice(0, samples))
    found = [oracles.layers_at(network.twin, row[None], network.score, [layer])[layer] for row in rows]
    return [one.gradient for one in found]


@pytest.mark.parametrize("layer", ["layer2", "layer4.1.conv2"])
def test_smooth_grad_cam_plus_plus_is_the_papers_formula(layer: str) -> None:
    network = resnet()
    found = explained(SmoothGradCamPlusPlus(samples=6, layer=layer, relu=False))
    wanted = oracles.smooth_grad_cam_plus_plus(network.layer(layer).activation, noisy_gradients(network, layer, 6))
    assert gap(found.values[0], wanted) < 1e-9
    cut = explained(SmoothGradCamPlusPlus(samples=6, layer=layer))
    assert gap(cut.values[0], wanted.clip(min=0)) < 1e-9


def test_without_noise_smooth_grad_cam_plus_plus_is_grad_cam_plus_plus() -> None:
    smooth = explained(SmoothGradCamPlusPlus(samples=3, noise=0.0, layer="layer2"))
    assert gap(smooth.values, explained(type(find("grad-cam++"))(layer="layer2")).values) < 1e-9
    assert float(smooth.error.abs().max()) < 1e-9 * float(smooth.values.max())


def test_the_standard_error_of_smooth_grad_cam_plus_plus_is_what_seeds_differ_by() -> None:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(96, 3))
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    method = SmoothGradCamPlusPlus(samples=40, layer="1", relu=False)
    made = [seewhy.attribute(module.double(), x, method, 1, seed=seed) for seed in range(60)]
    spread = torch.cat([one.values for one in made]).std(0)
    said = torch.cat([one.error for one in made]).square().mean(0).sqrt()
    assert 0.8 < float(said.mean() / spread.mean()) < 1.25


# ------------------------------------------------------------------------------------------------------------ Eigen-CAM


@pytest.mark.parametrize("layer", ["layer4", "layer4.1.conv2", "layer2"])
def test_eigen_cam_is_the_principal_axis(layer: str) -> None:
    found = explained(EigenCam(layer=layer))
    assert gap(found.values[0], oracles.eigen_cam(resnet().layer(layer).activation)) < 1e-9
    assert float(found.values.flatten()[found.values.abs().argmax()]) > 0


@pytest.mark.parametrize("layer", ["layer4", "layer2"])
def test_eigen_cam_is_pytorch_grad_cams_up_to_sign(layer: str) -> None:
    network = resnet()
    module = oracles.twin(network.module, torch.float32)
    with pytorch_grad_cam.EigenCAM(model=module, target_layers=[module.get_submodule(layer)]) as peer:
        peer.activations_and_grads(network.x)
        theirs = peer.get_cam_image(
            network.x, None, None, peer.activations_and_grads.activations[0].numpy(), None, False
        )
    ours = seewhy.attribute(module, network.x, EigenCam(layer=layer)).values.numpy()
    sign = np.sign((theirs * ours).sum())
    assert gap(ours, sign * theirs) < 1e-4


def test_eigen_cam_needs_no_gradient_and_no_class() -> None:
    first, second = explained(EigenCam(layer="layer4"), 0), explained(EigenCam(layer="layer4"), 1)
    assert first.diagnostics["backward_passes"] == 0
    assert torch.equal(first.values, second.values)


def test_eigen_cam_of_a_layer_without_pattern_is_zero() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    found = seewhy.attribute(module, torch.ones(1, 3, 4, 4), EigenCam(layer="0"))
    assert float(found.values.abs().max()) < 1e-6


# ------------------------------------------------------------------------------------------------------------- FinerCAM


def contrasted(network: Network, index: int, others: list[int], strength: float, layer: str) -> Layer:
    def score(output: Tensor) -> Tensor:
        return output[0, index] - strength * sum(output[0, other] for other in others) / len(others)

    return oracles.layers_at(network.twin, network.x, score, [layer])[layer]


@pytest.mark.parametrize(("strength", "count"), [(1.0, 3), (0.6, 1)])
def test_finer_cam_is_grad_cam_of_the_difference_to_the_nearest(strength: float, count: int) -> None:
    network = resnet()
    others = oracles.nearest_classes(network.twin(network.x.double()), network.target, count)
    wanted = contrasted(network, network.target, others, strength, "layer3.1.relu")
    for target in (network.target, None):
        found = seewhy.attribute(
            network.wide(),
            network.x.double(),
            FinerCam(layer="layer3.1.relu", relu=False, neighbours=count, strength=strength),
            target,
        )
        assert gap(found.values[0], oracles.grad_cam(wanted)) < 1e-9
        assert found.targets == (Contrast(network.target, tuple(others), strength),)
        assert float(found.scores) == pytest.approx(wanted.score, rel=1e-9)
        assert found.diagnostics["forward_passes"] == 1


def test_finer_cam_without_strength_is_grad_cam() -> None:
    finer = explained(FinerCam(layer="layer4", strength=0.0))
    assert gap(finer.values, explained(GradCam(layer="layer4")).values) < 1e-12


def test_any_method_takes_the_target_that_finer_cam_explains() -> None:
    finer = explained(FinerCam(layer="layer4", neighbours=2))
    plain = explained(GradCam(layer="layer4"), Nearest(resnet().target, 2))
    assert torch.equal(finer.values, plain.values)
    assert finer.targets == plain.targets


def test_more_neighbours_than_classes_are_all_other_classes() -> None:
    found = explained(FinerCam(layer="layer4", neighbours=99))
    assert sorted(found.targets[0].others) == [other for other in range(10) if other != resnet().target]


def test_finer_cam_refuses_what_has_no_neighbours() -> None:
    with pytest.raises(TargetError, match="grad-cam"):
        explained(FinerCam(layer="layer4"), Function(lambda row: row[0]))
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    with pytest.raises(TargetError, match="at least 2 classes"):
        seewhy.attribute(module, torch.rand(1, 3, 8, 8), FinerCam(layer="0"))


# ------------------------------------------------------------------------------------------------------ Guided Grad-CAM


@pytest.mark.parametrize("name", [RESNET, "vgg-11", "efficientnet-lite0"])
def test_guided_grad_cam_is_the_product_of_its_two_parts(name: str) -> None:
    network = ALL[name]().small()
    layer = network.layers[0]
    found = explained(GuidedGradCam(layer=layer), network=network)
    coarse = oracles.enlarged(oracles.grad_cam(network.layer(layer)).clip(min=0), tuple(network.x.shape[2:]))
    fine = oracles.guided_backprop(network.twin, network.x, network.score)
    assert gap(found.values, fine * torch.from_numpy(coarse)) < 1e-9
    assert found.values.shape == network.x.shape


@pytest.mark.parametrize(("name", "layer"), [(RESNET, "layer3.1.relu"), ("vgg-11", "features.19")])
def test_guided_grad_cam_is_captums_on_relu_networks(name: str, layer: str) -> None:
    network = ALL[name]().small()
    module = oracles.twin(network.module)  # captum's rule does not survive writes in place
    x = network.x.double()
    peer = captum.attr.GuidedGradCam(module, module.get_submodule(layer))
    theirs = peer.attribute(x.clone().requires_grad_(), network.target, interpolate_mode="bilinear")
    ours = seewhy.attribute(module, x, GuidedGradCam(layer=layer), network.target)
    assert gap(ours.values, theirs) < 1e-6


# ------------------------------------------------------------------------------------------------------ parts of layers


def part_of(layer: Layer, channels: list[int]) -> Layer:
    return Layer(layer.activation[channels], layer.gradient[channels], layer.score)


@pytest.mark.parametrize("name", CAMS)
def test_chosen_channels_are_as_if_the_layer_had_no_others(name: str) -> None:
    chosen = [3, 0, 17]
    found = explained(type(find(name))(layer="layer3.1.relu", relu=False, channels=chosen))
    assert gap(found.values[0], CAMS[name](part_of(resnet().layer("layer3.1.relu"), chosen))) < 1e-9


@pytest.mark.parametrize("name", [*CAMS, "cam"])
def test_maps_of_channels_add_up_to_the_whole_map(name: str) -> None:
    kind = type(find(name))
    parts = [range(0, 100), range(100, 512)]
    whole = explained(kind(layer="layer4.1.conv2", relu=False))
    sums = sum(explained(kind(layer="layer4.1.conv2", relu=False, channels=part)).values for part in parts)
    assert gap(sums, whole.values) < 1e-9


@pytest.mark.parametrize("name", CAMS)
def test_chosen_neurons_are_as_if_the_layer_had_no_others(name: str) -> None:
    layer, places = resnet().layer("layer3.1.relu"), [(1, 2), (4, 5), (0, 3)]
    rows, columns = (list(index) for index in zip(*places, strict=True))
    reduced = Layer(layer.activation[:, rows, columns][:, None], layer.gradient[:, rows, columns][:, None], 0.0)
    wanted = np.zeros(layer.activation.shape[1:])
    wanted[rows, columns] = CAMS[name](reduced)[0]
    mask = torch.zeros(layer.activation.shape[1:], dtype=torch.bool)
    mask[rows, columns] = True
    for neurons in (places, mask, mask.numpy()):
        found = explained(type(find(name))(layer="layer3.1.relu", relu=False, neurons=neurons))
        assert gap(found.values[0], wanted) < 1e-9


def test_neurons_of_cam_are_cam_at_those_places() -> None:
    whole = explained(Cam(layer="layer4")).values
    found = explained(Cam(layer="layer4", neurons=[(0, 1), (2, 2)])).values
    wanted = torch.zeros_like(whole)
    for place in ((0, 1), (2, 2)):
        wanted[0][place] = whole[0][place]
    assert torch.equal(found, wanted)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"channels": [0, 999]}, "below 512"),
        ({"channels": [1, 1]}, "different"),
        ({"channels": []}, "channel"),
        ({"channels": -1}, "counted from 0"),
        ({"neurons": [(0, 9)]}, "layer4"),
        ({"neurons": [(0,)]}, "one index for each axis"),
        ({"neurons": []}, "different places"),
        ({"neurons": torch.zeros(3, 3, dtype=torch.bool)}, "at least one"),
        ({"neurons": torch.ones(2, 2, dtype=torch.bool)}, "shape of layer"),
        ({"combine": "sum"}, "mean"),
        ({"combine": "product", "relu": False}, "positive evidence"),
        ({"layer": []}, "layer"),
        ({"layer": ["layer4", "layer4"]}, "once"),
        ({"augment": 1}, "True or False"),
    ],
    ids=str,
)
def test_settings_that_no_layer_has_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises((SettingError, LayerError), match=words):
        explained(GradCam(**{"layer": "layer4", **settings}))


# ------------------------------------------------------------------------------------------------------- several layers


def shares(name: str, layers: tuple[str, ...]) -> list[np.ndarray]:
    maps = [CAMS[name](resnet().layer(layer)).clip(min=0) for layer in layers]
    finest = max(one.shape for one in maps)
    return [oracles.enlarged(one / one.max(), finest) for one in maps]


@pytest.mark.parametrize("name", ["grad-cam", "layer-cam"])
@pytest.mark.parametrize("combine", ["mean", "max", "product"])
def test_several_layers_combine_as_shares_of_their_largest_value(name: str, combine: str) -> None:
    maps = np.stack(shares(name, LAYERS))
    wanted = {"mean": maps.mean(0), "max": maps.max(0), "product": maps.prod(0)}[combine]
    found = explained(type(find(name))(layer=list(LAYERS), combine=combine))
    assert gap(found.values[0], wanted) < 1e-9
    assert found.units == "share of each layer's largest value"
    assert all(layer in str(found.layer) for layer in LAYERS)
    assert found.diagnostics["forward_passes"] == found.diagnostics["backward_passes"] == 1


@pytest.mark.parametrize("name", [*FAMILY, "cam", "guided-grad-cam"])
def test_every_method_takes_modules_and_several_layers(name: str) -> None:
    network = resnet()
    module = network.wide()
    layers = ["layer4"] if name == "cam" else ["layer3", "layer4"]
    method = type(find(name))(layer=[module.get_submodule(layer) for layer in layers])
    found = seewhy.attribute(module, network.x.double(), method, network.target)
    assert found.layer == " + ".join(layers)
    assert float(found.values.abs().max()) > 0


# --------------------------------------------------------------------------------------------------------- augmentation


@pytest.mark.parametrize("name", ["grad-cam", "layer-cam", "grad-cam++", "hires-cam", "finer-cam", "cam"])
def test_augmentation_is_the_mean_over_six_copies_mirrored_back(name: str) -> None:
    network = resnet()
    x, module = network.x.double(), network.wide()
    kind = type(find(name))
    target = Contrast(network.target, (0, 2, 4)) if name == "finer-cam" else Class(network.target)
    layer = "layer4" if name == "cam" else "layer2"
    total = torch.zeros(())
    for factor in (0.9, 1.0, 1.1):
        for mirrored in (False, True):
            copy = factor * x
            copy = copy.flip(-1) if mirrored else copy
            one = seewhy.attribute(module, copy, kind(layer=layer, relu=False), target).values
            total = total + (one.flip(-1) if mirrored else one) / 6
    for relu in (False, True):
        found = seewhy.attribute(module, x, kind(layer=layer, relu=relu, augment=True), target)
        assert gap(found.values, total.clamp(min=0) if relu else total) < 1e-6
    assert float(found.scores) == pytest.approx(
        float(seewhy.attribute(module, x, kind(layer=layer), target).scores), rel=1e-9
    )


def test_augmentation_explains_the_class_of_the_picture_itself() -> None:
    network = resnet()
    found = seewhy.attribute(network.wide(), network.x.double(), GradCam(layer="layer4", augment=True))
    assert found.targets == (Class(network.target),)


def test_augmentation_is_for_pictures() -> None:
    module = nn.Sequential(nn.Conv1d(2, 3, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(3, 4))
    with pytest.raises(seewhy.SeewhyError, match="mirrors pictures"):
        seewhy.attribute(module, torch.rand(1, 2, 9), GradCam(layer="0", augment=True), 1)
    with pytest.raises(SettingError, match="noisy copies already"):
        SmoothGradCamPlusPlus(augment=True)


# ------------------------------------------------------------------------------------------------- CAM and pooled heads


class Pooled(nn.Module):
    """A convolution, batch-norm, ReLU, global pooling of either kind, and a linear head."""

    def __init__(self, pool: str, end: str = "logits", head: str = "linear") -> None:
        super().__init__()
        self.pool, self.end, self.kind = pool, end, head
        self.conv, self.norm, self.relu = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU()
        self.hidden = nn.Linear(6, 6) if head == "two" else nn.Identity()
        self.head = nn.Conv2d(6, 5, 1) if head == "convolution" else nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.relu(self.norm(self.conv(x)))
        if self.kind == "convolution":
            maps = self.head(maps)
        features = maps.mean((2, 3)) if self.pool == "average" else maps.amax((2, 3))
        if self.kind != "convolution":
            features = self.hidden(features)
            features = self.head(features.relu() if self.kind == "two" else features)
        return {"logits": features, "softmax": features.softmax(1), "sigmoid": features.sigmoid()}[self.end]


def pooled(*settings: str) -> tuple[Pooled, Tensor]:
    torch.manual_seed(4)
    module = Pooled(*settings).double().eval()
    module.norm.running_mean.normal_()
    module.norm.running_var.uniform_(0.5, 2)
    return module, torch.randn(1, 3, 9, 7, dtype=torch.float64)


def maps_of(module: Pooled, x: Tensor) -> Tensor:
    return module.relu(module.norm(module.conv(x))).detach()


@pytest.mark.parametrize("pool", ["average", "maximum"])
@pytest.mark.parametrize("end", ["logits", "softmax", "sigmoid"])
def test_cam_finds_the_pooling_and_takes_the_heads_weights(pool: str, end: str) -> None:
    module, x = pooled(pool, end)
    found = seewhy.attribute(module, x, "cam", 3)
    wanted = (module.head.weight[3].detach()[:, None, None] * maps_of(module, x)[0]).sum(0)
    assert gap(found.values[0], wanted) < 1e-12
    assert (found.diagnostics["pooling"], found.diagnostics["head"]) == (pool, "head")
    assert found.diagnostics["additivity_gap"] == 0.0
    assert found.diagnostics["backward_passes"] == 0


def test_the_score_behind_maximum_pooling_is_made_of_each_channels_largest_place() -> None:
    module, x = pooled("maximum")
    channels = [seewhy.attribute(module, x, Cam(channels=k), 2) for k in range(6)]
    extreme = [
        float(one.values.max() if module.head.weight[2, k] > 0 else one.values.min()) for k, one in enumerate(channels)
    ]
    assert sum(extreme) + float(module.head.bias[2]) == pytest.approx(float(channels[0].scores), rel=1e-9)


def test_cam_of_a_difference_takes_the_weights_of_one_from_the_others() -> None:
    module, x = pooled("average")
    one, other, both = (seewhy.attribute(module, x, "cam", t).values for t in (Class(1), Class(3), Difference(1, 3)))
    assert gap(both, one - other) < 1e-12
    several = seewhy.attribute(module, x, "cam", Contrast(1, (3, 4), 0.5)).values
    assert gap(several, one - 0.25 * (other + seewhy.attribute(module, x, "cam", 4).values)) < 1e-12


@pytest.mark.parametrize("layer", ["conv", "norm"])
def test_cam_at_a_named_layer_says_by_how_much_it_does_not_add_up(layer: str) -> None:
    module, x = pooled("average")
    found = seewhy.attribute(module, x, Cam(layer=layer), 3)
    activation = module.conv(x) if layer == "conv" else module.norm(module.conv(x))
    wanted = (module.head.weight[3][:, None, None] * activation[0]).sum(0).detach()
    assert gap(found.values[0], wanted) < 1e-12
    score = float(module(x)[0, 3])
    said = float(wanted.mean() + module.head.bias[3])
    assert found.diagnostics["additivity_gap"] == pytest.approx(abs(said - score) / abs(score), rel=1e-9)
    assert found.diagnostics["pooling"] == "unknown"


def test_classes_that_are_channels_need_no_head() -> None:
    module, x = pooled("average", "logits", "convolution")
    found = seewhy.attribute(module, x, "cam", 3)
    assert gap(found.values[0], module.head(maps_of(module, x))[0, 3].detach()) < 1e-12
    before = seewhy.attribute(module, x, Cam(layer="relu"), 3)  # pooling and a 1 x 1 convolution change places
    wanted = (module.head.weight[3, :, 0, 0, None, None] * maps_of(module, x)[0]).sum(0).detach()
    assert gap(before.values[0], wanted) < 1e-12
    assert before.diagnostics["pooling"] == "average"


def test_a_hidden_layer_behind_the_pooling_is_no_cam() -> None:
    module, x = pooled("average", "logits", "two")
    with pytest.raises(LayerError, match="Use 'grad-cam'"):
        seewhy.attribute(module, x, "cam", 3)
    index = int(module(x).argmin())
    assert float(module(x)[0, index]) < 0
    assert seewhy.attribute(module, x, Cam(layer="relu"), index).diagnostics["additivity_gap"] > 0.01


def test_behind_softmax_the_gap_is_that_to_the_logit() -> None:
    module, x = pooled("average", "softmax")
    found = seewhy.attribute(module, x, Cam(layer="conv"), 3)
    logit = float(module.head(maps_of(module, x).mean((2, 3)))[0, 3])
    said = float(found.values.mean() + module.head.bias[3].detach())
    assert found.diagnostics["additivity_gap"] == pytest.approx(abs(said - logit) / abs(logit), rel=1e-9)


def test_weights_are_read_when_they_are_needed() -> None:
    module, x = pooled("average")
    first = seewhy.attribute(module, x, "cam", 3).values
    with torch.no_grad():
        module.head.weight *= 2
    assert gap(seewhy.attribute(module, x, "cam", 3).values, 2 * first) < 1e-12


def test_cam_explains_classes_only() -> None:
    module, x = pooled("average")
    for target in (Function(lambda row: row[0]), Class(1, of="probability")):
        with pytest.raises(TargetError, match="grad-cam"):
            seewhy.attribute(module, x, "cam", target)


def test_hires_cam_of_the_whole_family_still_adds_up_at_the_pooled_layer() -> None:
    network = resnet()
    found = explained(HiResCam(layer="layer4", relu=False))
    bias = float(network.linear().bias[network.target].detach())
    assert float(found.values.sum()) == pytest.approx(float(found.scores) - bias, rel=1e-9)


class _FirstToken(nn.Module):
    """Four places as tokens behind a class token, which alone is read: nothing is pooled, as in most transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 4, stride=4)
        self.mix = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.conv(x).flatten(2).transpose(1, 2)
        tokens = self.norm(self.mix(torch.cat([tokens.mean(1, keepdim=True), tokens], 1)))
        return self.head(tokens[:, 0])


def test_advice_on_cam_does_not_go_round_in_circles() -> None:
    torch.manual_seed(0)
    module, x = _FirstToken().eval(), torch.rand(1, 3, 8, 8)
    with pytest.raises(LayerError, match="Use 'grad-cam'") as caught:
        seewhy.attribute(module, x, "cam", 3)
    assert "layer=" not in str(caught.value)
    assert seewhy.attribute(module, x, "grad-cam", 3).values.abs().sum() > 0  # what the error points to, works
    named = seewhy.explain(module, x, Cam(layer="mix"), 3, contrast=False)
    (said,) = [f.text for f in named.findings["cam", "class 3"] if f.code == "additivity"]
    assert "does not add up" in said
    assert "grad-cam" in said
    assert "Leave layer= out" not in said
