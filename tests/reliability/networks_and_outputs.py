"""Cases of the reliability list: modes of a network, kinds of output, and families of networks."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seewhy import targets
from seewhy.core.errors import LayerError, OutputError, TargetError

from . import networks as nets
from .cases import Case, case, photo, second_class
from .contract import refusal, seewhy
from .networks import Plain, made, plain_oracle
from .oracle import twin_oracle

CLASSES_ONLY: dict[str, Any] = {
    "cam": refusal(TargetError, "explains a class", "grad-cam"),
    "finer-cam": refusal(TargetError, "one class against its neighbours", "grad-cam"),
}
ALONE = refusal(TargetError, "at least 2 classes", "one output")


@case("C00")
def plain() -> Case:
    network = made(Plain)
    return Case(network, plain_oracle(network), photo(size=(32, 32)))


@case("M01")
def in_place_relu_behind_the_layer() -> Case:
    network = made(nets.InPlaceModules)
    return Case(network, plain_oracle(network, "conv2"), layer="conv2", pooling="unknown")


@case("M02")
def one_relu_twice() -> Case:
    network = made(nets.ReusedRelu)
    return Case(network, plain_oracle(network), layer="act1")


@case("M04")
def in_place_arithmetic_on_the_layer() -> Case:
    network = made(nets.InPlaceArithmetic)
    oracle = plain_oracle(network, "conv2", middle=lambda a: (a + 1) * 2)
    return Case(network, oracle, layer="conv2", pooling="unknown")


def _dropping(train: bool) -> nets.Dropping:
    network = made(nets.Dropping, train=train)
    network.norm.running_mean.uniform_(-0.2, 0.2)
    network.norm.running_var.uniform_(0.5, 2)
    return network


@case("M05")
def train_mode_with_dropout() -> Case:
    network = _dropping(train=True)
    return Case(network, twin_oracle(network, "act2", second_class))


@case("M07")
def mixed_modes() -> Case:
    network = _dropping(train=True)
    network.norm.eval()
    network.conv1.eval()
    return Case(network, twin_oracle(network, "act2", second_class))


@case("M08")
def frozen() -> Case:
    network = made(Plain).requires_grad_(False)
    return Case(network, plain_oracle(network))


@case("M10")
def no_grad_around() -> Case:
    network = made(Plain)
    return Case(network, plain_oracle(network), around=torch.no_grad)


@case("M11")
def inference_mode_around() -> Case:
    network = made(Plain)
    return Case(network, plain_oracle(network), around=torch.inference_mode)


@case("M13")
def logits_and_features() -> Case:
    network = made(nets.Wrapped, lambda logits, features: (logits, features))
    return Case(network, plain_oracle(network))


@case("M14")
def dict_of_logits() -> Case:
    network = made(nets.Wrapped, lambda logits, features: {"aux": logits * 2, "logits": logits})
    return Case(network, plain_oracle(network))


@case("M16")
def transformers_output() -> Case:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    network = made(
        nets.Wrapped,
        lambda logits, features: outputs.ImageClassifierOutput(logits=logits, hidden_states=(features, logits)),
    )
    return Case(network, plain_oracle(network))


@case("M17")
def tuple_as_long_as_the_batch() -> Case:
    network = made(nets.Wrapped, lambda logits, features: (-logits, logits))
    return Case(network, None, photo(rows=2), refuses={"all": refusal(OutputError, "tuple of 2", "output=")})


@case("M17-named")
def tuple_as_long_as_the_batch_with_a_name() -> Case:
    network = made(nets.Wrapped, lambda logits, features: (-logits, logits))
    return Case(network, plain_oracle(network), photo(rows=2), model=seewhy.wrap(network, output=1))


@case("M19")
def single_logit() -> Case:
    network = made(Plain, classes=1)
    oracle = plain_oracle(network, score=lambda logits: logits[0, 0])
    return Case(network, oracle, target=0, index=0, refuses={"finer-cam": ALONE})


@case("M20")
def regression() -> Case:
    network = made(nets.Wrapped, lambda logits, features: logits[:, 0], classes=1)
    oracle = plain_oracle(network, score=lambda logits: logits[0, 0])
    return Case(network, oracle, target=None, index=0, refuses={"finer-cam": ALONE})


@case("M22")
def scalar_output() -> Case:
    network = made(nets.Wrapped, lambda logits, features: logits.mean())
    return Case(network, None, target=None, refuses={"all": refusal(OutputError, "single number", "batch")})


@case("M23")
def multi_label() -> Case:
    network = made(nets.Wrapped, lambda logits, features: logits.sigmoid())
    return Case(network, plain_oracle(network, score=lambda logits: logits[0, 2].sigmoid()))


@case("M25")
def segmentation_class() -> Case:
    network = made(nets.Segmenter)
    oracle = twin_oracle(network, "act2", lambda out: out[0, 2].sum())
    return Case(network, oracle, head="classify", pooling="sum")


@case("M26")
def segmentation_function() -> Case:
    network = made(nets.Segmenter)
    oracle = twin_oracle(network, "act2", lambda out: out[0, 2].sum())
    return Case(network, oracle, target=lambda row: row[2].sum(), refuses=CLASSES_ONLY)


@case("M28")
def detection_class() -> Case:
    network = made(nets.Wrapped, nets.detections)
    return Case(network, None, refuses={"all": refusal(OutputError, "one element per row", "targets.Function")})


@case("M29")
def detection_function() -> Case:
    network = made(nets.Wrapped, nets.detections)
    oracle = plain_oracle(network, score=lambda logits: logits[0, 0].sigmoid())
    return Case(network, oracle, target=targets.Function(lambda row: row["scores"][0]), refuses=CLASSES_ONLY)


@case("M31")
def mlp_layer() -> Case:
    network = made(nets.Mlp)
    oracle = twin_oracle(network, None, second_class)
    no_layer = refusal(LayerError, "layer", "no suitable one", "saliency")
    return Case(network, oracle, photo(size=(8, 8)), layer=None, refuses={"layer": no_layer})


@case("M32")
def mlp_vectors() -> Case:
    network = made(nets.Mlp)
    oracle = twin_oracle(network, None, second_class)
    needs_places = refusal(LayerError, "'one'", "places", "saliency")
    return Case(network, oracle, photo(size=(8, 8)).flatten(1), layer="one", refuses={"layer": needs_places})


@functools.cache
def _vit() -> nn.Module:
    from torchvision.models import VisionTransformer

    torch.manual_seed(3)
    network = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5
    )
    nn.init.normal_(network.heads.head.weight)
    return network.eval()


def _grid(tokens: Tensor) -> Tensor:
    return tokens[:, 1:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2)


@case("M34")
def vit_with_reshape() -> Case:
    network = _vit()
    oracle = twin_oracle(network, "encoder.layers.encoder_layer_1.ln_1", second_class)
    return Case(
        network,
        oracle,
        photo(size=(32, 32)),
        layer="encoder.layers.encoder_layer_1.ln_1",
        reshape=_grid,
        place=_grid,
        tolerance=2e-3,
        head="heads.head",
        pooling="unknown",  # the head takes the class token
    )


@case("M35")
def vit_default_layer() -> Case:
    case_ = vit_with_reshape()
    case_.layer, case_.reshape, case_.pooling = None, None, None
    return case_


@functools.cache
def _swin() -> nn.Module:
    from torchvision.models import SwinTransformer

    torch.manual_seed(4)
    network = SwinTransformer([4, 4], 8, [1, 1], [2, 2], [2, 2], num_classes=5)
    nn.init.normal_(network.head.weight)
    return network.eval()


def _channels_first(layer: Tensor) -> Tensor:
    return layer.permute(0, 3, 1, 2)


@case("M37")
def swin_channels_last() -> Case:
    network = _swin()
    oracle = twin_oracle(network, "features.3", second_class)
    return Case(
        network,
        oracle,
        photo(size=(32, 32)),
        layer="features.3",
        place=_channels_first,
        tolerance=2e-3,
        head="head",
        pooling="unknown",  # a norm lies between
    )


@case("M38")
def swin_with_reshape() -> Case:
    case_ = swin_channels_last()
    case_.reshape = _channels_first
    return case_


@case("M40")
def one_channel() -> Case:
    network = made(Plain, channels=1)
    return Case(network, plain_oracle(network), photo(1))


@case("M41")
def five_channels() -> Case:
    network = made(Plain, channels=5)
    return Case(network, plain_oracle(network), photo(5))
