"""Cases of the reliability list: precision, compiled networks, functional code, failures, hooks, real networks."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import nn

from seewhy.core.errors import LayerError, NoGradientError, NotFiniteError, UnsupportedModelError

from . import networks as nets
from .cases import Case, case, photo, second_class
from .contract import check_map, refusal, same, seewhy
from .networks import Plain, made, plain_oracle
from .oracle import twin_oracle


@case("M43")
def volume() -> Case:
    network = made(nets.Volume)
    return Case(network, twin_oracle(network, "act", second_class), photo(1, size=(8, 12, 16)), layer="act")


@case("M43-signal")
def signal() -> Case:
    network = made(nets.Signal)
    return Case(network, twin_oracle(network, "act", second_class), photo(2, size=(24,)), layer="act")


@case("M44")
def half() -> Case:
    network = made(Plain).half()
    return Case(network, plain_oracle(network), photo().half(), tolerance=5e-2)


@case("M46")
def double() -> Case:
    network = made(Plain).double()
    return Case(network, plain_oracle(network), photo().double(), tolerance=1e-9)


@case("M47")
def compiled() -> Case:
    network = made(Plain)
    return Case(network, plain_oracle(network), model=torch.compile(network, backend="aot_eager"))


def _scripted(network: nn.Module, model: Any) -> Case:
    unseen = refusal(LayerError, "layer", "scripted or traced", "original module")
    guided = refusal(UnsupportedModelError, "must intercept", "original nn.Module")
    refuses = {"layer": unseen, "guided": guided}
    return Case(model, plain_oracle(network), layer="act2", refuses=refuses)


@case("M49")
def scripted() -> Case:
    network = made(Plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _scripted(network, torch.jit.script(network))


@case("M50")
def traced() -> Case:
    network = made(Plain)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _scripted(network, torch.jit.trace(network, photo()))


@case("M52")
def data_parallel() -> Case:
    network = made(Plain)
    return Case(network, plain_oracle(network), layer="module.act2", model=nn.DataParallel(network))


@case("M53")
def quantised_head() -> Case:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = torch.ao.quantization.quantize_dynamic(made(Plain), {nn.Linear}, dtype=torch.qint8)
    return Case(
        network,
        plain_oracle(made(Plain)),  # whose layer is the same
        pooling=None,
        coarse=0.05,
        refuses={
            "no gradient": None,
            "guided": refusal(NoGradientError, "quantised", "No gradient path", "input"),
            "layer": refusal(LayerError, "'act2'", "quantised"),
            "all": refusal(NoGradientError, "quantised", "no gradient of the input"),
        },
    )


@case("M55")
def functional() -> Case:
    network = made(nets.Functional)
    with torch.no_grad():
        network.w[4].mul_(3)
    source = Plain()
    for parameter, value in zip(source.parameters(), network.w, strict=True):
        parameter.data = value.data
    no_layer = refusal(LayerError, "'c2'", "model.layers()")
    return Case(network, plain_oracle(source), layer="c2", refuses={"layer": no_layer})


@case("M56")
def functional_relu() -> Case:
    network = made(nets.FunctionalRelu)
    return Case(network, plain_oracle(network, "conv2"), layer="conv2", pooling="unknown")


@case("M58")
def threshold() -> Case:
    network = made(nets.Thresholded)
    oracle = plain_oracle(network, enter=lambda x: (x > 0.5).double())
    cut = refusal(NoGradientError, "threshold", "gradient path")
    return Case(network, oracle, refuses={"input": cut, "guided": cut})


@case("M61")
def infinite_score() -> Case:
    network = made(nets.Overflowing)
    return Case(network, None, refuses={"all": refusal(NotFiniteError, "score", "infinity")})


@case("M62")
def constant() -> Case:
    network = made(Plain)
    nn.init.zeros_(network.conv1.weight)
    return Case(network, plain_oracle(network))


def _failing(cls: Any, error: BaseException, train: bool = False) -> Case:
    network = made(cls, error, train=train)

    def after() -> None:
        network.armed = False
        check_map(
            "saliency",
            seewhy.attribute(network, photo(), target=2, method="saliency"),
            plain_oracle(network),
            photo(),
            later,
        )

    later = Case(network, None)
    return Case(network, None, refuses={"all": same(error)}, after=after)


@case("M64")
def raises_in_forward() -> Case:
    return _failing(nets.Failing, RuntimeError("boom"))


@case("M65")
def raises_in_train_mode() -> Case:
    return _failing(nets.Failing, RuntimeError("boom"), train=True)


@case("M67")
def raises_in_backward() -> Case:
    case_ = _failing(nets.FailingBackward, ArithmeticError("boom"))
    case_.oracle = plain_oracle(case_.network)
    case_.refuses["no gradient"] = None
    return case_


@case("M68")
def raises_index_error() -> Case:
    return _failing(nets.Failing, IndexError("boom"))


@case("M68-stop")
def raises_stop_iteration() -> Case:
    return _failing(nets.Failing, StopIteration("boom"))


@case("M68-assert")
def raises_assertion_error() -> Case:
    return _failing(nets.Failing, AssertionError("boom"))


@case("M73")
def accumulated_gradients() -> Case:
    network = made(Plain)
    network(photo(rows=3)).square().sum().backward()
    return Case(network, plain_oracle(network))


@case("M74")
def layer_used_twice() -> Case:
    network = made(nets.TwiceUsed)
    return Case(network, twin_oracle(network, "conv2", second_class), layer="conv2", pooling="unknown")


@case("M76")
def layer_unused() -> Case:
    network = made(nets.Unused)
    return Case(
        network,
        twin_oracle(network, "aside", second_class),
        layer="aside",
        refuses={
            "eigen-cam": None,
            "cam": refusal(LayerError, "'aside'", "4 channels", "grad-cam"),
            "layer": refusal(LayerError, "'aside'", "does not influence", "model.layers()"),
        },
    )


@case("M77")
def user_hooks() -> Case:
    network = made(Plain)
    seen: list[str] = []
    network.conv2.register_forward_hook(lambda *_: seen.append("forward"))
    network.conv2.register_forward_pre_hook(lambda *_: seen.append("before"))
    network.act2.register_full_backward_hook(lambda *_: seen.append("backward"))
    network.fc.weight.register_hook(lambda _: seen.append("weight"))

    def after() -> None:
        seen.clear()
        network(photo()).sum().backward()
        assert sorted(set(seen)) == ["backward", "before", "forward", "weight"]

    return Case(network, plain_oracle(network), after=after)


@case("M79")
def reentrant_checkpointing() -> Case:
    network = made(nets.Checkpointed, True)
    unsupported = refusal(UnsupportedModelError, "checkpointing", "use_reentrant=False")
    cut = refusal(LayerError, "'act2'", "checkpointing")
    refuses = {"no gradient": None, "guided": unsupported, "layer": cut, "all": unsupported}
    return Case(network, plain_oracle(network), refuses=refuses)


@case("M79-new")
def checkpointing() -> Case:
    network = made(nets.Checkpointed, False)
    return Case(network, plain_oracle(network))


@case("M80")
def autocast_around() -> Case:
    network = made(Plain)
    return Case(network, plain_oracle(network), around=lambda: torch.autocast("cpu", dtype=torch.bfloat16))


@case("M82")
def normalises_in_place() -> Case:
    network = made(nets.NormalisesInPlace)
    return Case(network, plain_oracle(network, enter=lambda x: x * 2 - 0.5))


@case("M83")
def no_parameter() -> Case:
    network = nets.Parameterless()
    return Case(network, twin_oracle(network, "act", second_class), layer="act", pooling=None)


@functools.cache
def _resnet() -> nn.Module:
    from torchvision.models import resnet18

    torch.manual_seed(5)
    return resnet18(num_classes=5).eval()


@case("M85")
def resnet() -> Case:
    network = _resnet()
    oracle = twin_oracle(network, "layer4", second_class)
    return Case(network, oracle, photo(size=(64, 64)), layer="layer4", tolerance=2e-2, large=True)


@functools.cache
def _vgg() -> nn.Module:
    from torchvision.models import vgg11

    torch.manual_seed(6)
    network = vgg11()
    network.features[18] = nn.Conv2d(512, 16, 3, padding=1)
    network.classifier = nn.Sequential(nn.Flatten(), nn.Linear(16 * 49, 5))
    return network.eval()


@case("M86")
def vgg() -> Case:
    network = _vgg()
    oracle = twin_oracle(network, "features.18", second_class)
    return Case(network, oracle, photo(size=(32, 32)), layer="features.18", tolerance=2e-3, large=True, pooling=None)


@case("M88")
def keyword_missing() -> Case:
    network = made(nets.NeedsKeyword)
    return Case(network, None, refuses={"all": refusal(TypeError, "temperature")})
