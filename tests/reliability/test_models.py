"""Every model of the reliability list: the right map, or a clear error, and nothing left behind."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seewhy import targets
from seewhy.core.errors import LayerError, NoGradientError, NotFiniteError, OutputError, UnsupportedModelError
from seewhy.study.attribute import run
from seewhy.study.cases import cases
from seewhy.study.targets import row_targets

from . import networks as nets
from .contract import ALL, CAMS, GUIDED, Refusal, check_map, method, refusal, refused, same, seewhy, unchanged
from .networks import Plain, made, plain_oracle
from .oracle import Oracle, layer_map, twin_oracle


def photo(channels: int = 3, rows: int = 1, size: tuple[int, ...] = (16, 16)) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.rand(rows, channels, *size, generator=generator)


def _as_is(layer: Tensor) -> Tensor:
    return layer


@dataclass
class Case:
    """One set-up of the page. `refuses` names methods, or kinds of them, that must raise a clear error."""

    network: nn.Module
    oracle: Oracle | None
    x: Tensor = field(default_factory=photo)
    target: Any = 2
    layer: Any = "act2"
    reshape: Any = None
    model: Any = None
    refuses: dict[str, Refusal] = field(default_factory=dict)
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    tolerance: float = 1e-4
    place: Callable[[Tensor], Tensor] = _as_is
    after: Callable[[], None] = lambda: None
    large: bool = False

    def refusal(self, name: str) -> Refusal | None:
        kind = "layer" if name in CAMS else "guided" if name in GUIDED else "input"
        return next((self.refuses[key] for key in (name, kind, "all") if key in self.refuses), None)


CASES: dict[str, Callable[[], Case]] = {}
POOLED = refusal(LayerError, "CAM needs global average pooling", "grad-cam")


def case(identifier: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    def note(make: Callable[[], Case]) -> Callable[[], Case]:
        CASES[identifier] = make
        return make

    return note


@case("C00")
def plain() -> Case:
    network = made(Plain)
    return Case(network, plain_oracle(network), photo(size=(32, 32)))


@case("M01")
def in_place_relu_behind_the_layer() -> Case:
    network = made(nets.InPlaceModules)
    return Case(network, plain_oracle(network, "conv2"), layer="conv2")


@case("M02")
def one_relu_twice() -> Case:
    network = made(nets.ReusedRelu)
    return Case(network, plain_oracle(network), layer="act1")


@case("M04")
def in_place_arithmetic_on_the_layer() -> Case:
    network = made(nets.InPlaceArithmetic)
    oracle = plain_oracle(network, "conv2", middle=lambda a: (a + 1) * 2)
    return Case(network, oracle, layer="conv2")


def _dropping(train: bool) -> nets.Dropping:
    network = made(nets.Dropping, train=train)
    network.norm.running_mean.uniform_(-0.2, 0.2)
    network.norm.running_var.uniform_(0.5, 2)
    return network


def _second_class(output: Tensor) -> Tensor:
    return output[0, 2]


@case("M05")
def train_mode_with_dropout() -> Case:
    network = _dropping(train=True)
    return Case(network, twin_oracle(network, "act2", _second_class))


@case("M07")
def mixed_modes() -> Case:
    network = _dropping(train=True)
    network.norm.eval()
    network.conv1.eval()
    return Case(network, twin_oracle(network, "act2", _second_class))


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
    return Case(network, plain_oracle(network, score=lambda logits: logits[0, 0]), target=0)


@case("M20")
def regression() -> Case:
    network = made(nets.Wrapped, lambda logits, features: logits[:, 0], classes=1)
    return Case(network, plain_oracle(network, score=lambda logits: logits[0, 0]), target=None)


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
    return Case(network, twin_oracle(network, "act2", lambda out: out[0, 2].sum()))


@case("M26")
def segmentation_function() -> Case:
    network = made(nets.Segmenter)
    return Case(network, twin_oracle(network, "act2", lambda out: out[0, 2].sum()), target=lambda row: row[2].sum())


@case("M28")
def detection_class() -> Case:
    network = made(nets.Wrapped, nets.detections)
    return Case(network, None, refuses={"all": refusal(OutputError, "one element per row", "targets.Function")})


@case("M29")
def detection_function() -> Case:
    network = made(nets.Wrapped, nets.detections)
    oracle = plain_oracle(network, score=lambda logits: logits[0, 0].sigmoid())
    return Case(network, oracle, target=targets.Function(lambda row: row["scores"][0]))


@case("M31")
def mlp_layer() -> Case:
    network = made(nets.Mlp)
    oracle = twin_oracle(network, None, _second_class)
    no_layer = refusal(LayerError, "layer", "no suitable one", "saliency")
    return Case(network, oracle, photo(size=(8, 8)), layer=None, refuses={"layer": no_layer})


@case("M32")
def mlp_vectors() -> Case:
    network = made(nets.Mlp)
    oracle = twin_oracle(network, None, _second_class)
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
    oracle = twin_oracle(network, "encoder.layers.encoder_layer_1.ln_1", _second_class)
    return Case(
        network,
        oracle,
        photo(size=(32, 32)),
        layer="encoder.layers.encoder_layer_1.ln_1",
        reshape=_grid,
        place=_grid,
        tolerance=2e-3,
    )


@case("M35")
def vit_default_layer() -> Case:
    case_ = vit_with_reshape()
    case_.layer, case_.reshape = None, None
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
    oracle = twin_oracle(network, "features.3", _second_class)
    return Case(
        network,
        oracle,
        photo(size=(32, 32)),
        layer="features.3",
        place=_channels_first,
        tolerance=2e-3,
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


@case("M43")
def volume() -> Case:
    network = made(nets.Volume)
    return Case(network, twin_oracle(network, "act", _second_class), photo(1, size=(8, 12, 16)), layer="act")


@case("M43-signal")
def signal() -> Case:
    network = made(nets.Signal)
    return Case(network, twin_oracle(network, "act", _second_class), photo(2, size=(24,)), layer="act")


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
    guided = refusal(UnsupportedModelError, "guided-backprop", "original nn.Module")
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
        None,
        refuses={
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
    return Case(network, plain_oracle(network, "conv2"), layer="conv2")


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
    return _failing(nets.FailingBackward, ArithmeticError("boom"))


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
    return Case(network, twin_oracle(network, "conv2", _second_class), layer="conv2")


@case("M76")
def layer_unused() -> Case:
    network = made(nets.Unused)
    return Case(
        network,
        plain_oracle(network),
        layer="aside",
        refuses={"layer": refusal(LayerError, "'aside'", "does not influence", "model.layers()")},
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
    return Case(network, plain_oracle(network), refuses={"layer": cut, "all": unsupported})


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
    return Case(network, twin_oracle(network, "act", _second_class), layer="act")


@functools.cache
def _resnet() -> nn.Module:
    from torchvision.models import resnet18

    torch.manual_seed(5)
    return resnet18(num_classes=5).eval()


@case("M85")
def resnet() -> Case:
    network = _resnet()
    oracle = twin_oracle(network, "layer4", _second_class)
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
    oracle = twin_oracle(network, "features.18", _second_class)
    return Case(network, oracle, photo(size=(32, 32)), layer="features.18", tolerance=2e-3, large=True)


@case("M88")
def keyword_missing() -> Case:
    network = made(nets.NeedsKeyword)
    return Case(network, None, refuses={"all": refusal(TypeError, "temperature")})


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("identifier", CASES)
def test_model(identifier: str, name: str) -> None:
    case = CASES[identifier]()
    explain(case, name)
    case.after()


@pytest.mark.parametrize("identifier", [name for name in CASES if name not in ("M85", "M86")])
def test_methods_together(identifier: str) -> None:
    """All methods in one run: each gets the map or the error that it gets alone."""
    case = CASES[identifier]()
    network = case.model if case.model is not None else case.network
    names = [name for name in ALL if name not in ("adaptive", "integrated-gradients")]
    model = seewhy.wrap(network)
    chosen = {}
    for name in names:
        settings = method(name, case.layer, case.reshape)
        if name in CAMS and isinstance(case.layer, str):
            try:
                settings = replace(settings, layer=model.layer_name(case.layer))
            except LayerError:  # known before any pass
                continue
        chosen[name] = settings
    with unchanged(case.network, case.x), case.around():
        rows = cases(model, case.x, 0)
        asked = list(zip(rows, row_targets(model, case.target, len(rows)), strict=True))
        outcomes = run(model, chosen, asked, None)
    for name in chosen:
        for row, x in enumerate(case.x):
            outcome = outcomes[name, row]
            expected = _expected(case, name)
            if expected is not None:
                assert outcome.error is not None
                expected.check(outcome.error)
            else:
                with torch.inference_mode(False):
                    check_map(name, outcome.result(), case.oracle, x[None], case)  # type: ignore[arg-type]


def _expected(case: Case, name: str) -> Refusal | None:
    return case.refusal(name) or (POOLED if name == "cam" and not _pooled(case) else None)


def _pooled(case: Case) -> bool:
    """True where CAM's condition holds by the oracle."""
    return case.oracle is None or layer_map("cam", case.oracle, case.x[:1].detach(), case.place) is not None


def explain(case: Case, name: str) -> None:
    """Checks one method on one case: its map or its refusal, and that nothing was left behind."""
    network = case.model if case.model is not None else case.network
    layered = name in CAMS
    chosen = method(name, case.layer if layered else None, case.reshape if layered else None)
    expected = _expected(case, name)
    with unchanged(case.network, case.x), case.around():
        if expected is not None:
            with refused(expected):
                seewhy.attribute(network, case.x, chosen, target=case.target)
            return
        result = seewhy.attribute(network, case.x, chosen, target=case.target)
    assert case.oracle is not None
    assert not result.values.requires_grad
    with torch.inference_mode(False):
        check_map(name, result, case.oracle, case.x, case)
