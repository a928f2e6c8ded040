"""Guided backpropagation and deconvnet against closed forms, backward passes by hand, twins and captum."""

from __future__ import annotations

import contextlib
import copy
import math
import threading
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from captum.attr import Deconvolution, GuidedBackprop
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import checkpoint

from seewhy.core.errors import SettingError
from seewhy.models.backward_rules import BackwardRule, Kind, uninterceptable, view_context

KINDS: tuple[Kind, ...] = ("guided", "deconvnet")
Slope = Callable[[float], float]


def normal_cdf(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def gelu_slope(x: float) -> float:
    return normal_cdf(x) + x * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def gelu_tanh_slope(x: float) -> float:
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    du = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    return 0.5 * (1 + math.tanh(u)) + 0.5 * x * (1 - math.tanh(u) ** 2) * du


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def silu_slope(x: float) -> float:
    return sigmoid(x) * (1 + x * (1 - sigmoid(x)))


def mish_slope(x: float) -> float:
    t = math.tanh(math.log1p(math.exp(x)))
    return t + x * (1 - t * t) * sigmoid(x)


def hardswish_slope(x: float) -> float:
    return 0.0 if x < -3 else 1.0 if x > 3 else x / 3 + 0.5


def elu_slope(alpha: float, scale: float = 1.0) -> Slope:
    return lambda x: scale * (1.0 if x > 0 else alpha * math.exp(x))


def leaky_slope(slope: float) -> Slope:
    return lambda x: 1.0 if x > 0 else slope


def relu_slope(x: float) -> float:
    return float(x > 0)


def relu6_slope(x: float) -> float:
    return float(0 < x < 6)


SELU = elu_slope(1.6732632423543772, 1.0507009873554805)
WEIGHT = torch.tensor([0.3], dtype=torch.float64)
aten = torch.ops.aten
nnc = torch._C._nn

# name, closed form of the slope, every spelling; those that overwrite their input stand in the last column
ACTIVATIONS: list[tuple[str, Slope, list[Callable], list[Callable]]] = [
    (
        "relu",
        relu_slope,
        [nn.ReLU(), F.relu, torch.relu, Tensor.relu, aten.relu, aten.relu.default, lambda x: F.relu(input=x)],
        [
            nn.ReLU(inplace=True),
            lambda x: F.relu(x, True),
            F.relu_,
            torch.relu_,
            Tensor.relu_,
            aten.relu_,
            aten.relu_.default,
        ],
    ),
    (
        "relu6",
        relu6_slope,
        [nn.ReLU6(), F.relu6, lambda x: F.hardtanh(x, 0, 6), lambda x: aten.hardtanh(x, 0, 6), nnc.relu6],
        [
            nn.ReLU6(inplace=True),
            lambda x: F.relu6(x, True),
            lambda x: F.hardtanh_(x, 0.0, 6.0),
            lambda x: F.hardtanh(x, 0.0, 6.0, True),
            nnc.relu6_,
        ],
    ),
    ("hardtanh", lambda x: float(-1 < x < 1), [nn.Hardtanh(), F.hardtanh, nnc.hardtanh], [F.hardtanh_]),
    (
        "threshold",
        lambda x: float(x > 0.7),
        [nn.Threshold(0.7, -2.0), lambda x: F.threshold(x, 0.7, 1.0), lambda x: torch.threshold(x, 0.7, 1.0)],
        [nn.Threshold(0.7, 9.0, inplace=True), lambda x: F.threshold_(x, 0.7, 9.0)],
    ),
    (
        "leaky_relu",
        leaky_slope(0.2),
        [nn.LeakyReLU(0.2), lambda x: F.leaky_relu(x, 0.2), lambda x: nnc.leaky_relu(x, negative_slope=0.2)],
        [nn.LeakyReLU(0.2, inplace=True), lambda x: F.leaky_relu_(x, 0.2)],
    ),
    ("leaky_relu", leaky_slope(-0.2), [lambda x: F.leaky_relu(x, -0.2)], []),
    (
        "prelu",
        leaky_slope(0.3),
        [
            lambda x: F.prelu(x, WEIGHT),
            lambda x: torch.prelu(x, weight=WEIGHT),
            lambda x: x.prelu(WEIGHT),
            lambda x: aten._prelu_kernel(x, WEIGHT),
        ],
        [],
    ),
    (
        "rrelu",
        leaky_slope(0.25),
        [nn.RReLU(0.1, 0.4).eval(), lambda x: torch.rrelu(x, 0.1, 0.4)],
        [lambda x: F.rrelu(x, 0.1, 0.4, inplace=True), lambda x: torch.rrelu_(x, 0.1, 0.4)],
    ),
    (
        "elu",
        elu_slope(0.7),
        [nn.ELU(0.7), lambda x: F.elu(x, 0.7), lambda x: nnc.elu(x, 0.7)],
        [nn.ELU(0.7, inplace=True), lambda x: F.elu_(x, 0.7)],
    ),
    ("elu", elu_slope(0.7, 1.5), [lambda x: nnc.elu(x, 0.7, 1.5)], []),
    ("selu", SELU, [nn.SELU(), F.selu, torch.selu], [nn.SELU(True), F.selu_, torch.selu_]),
    (
        "celu",
        lambda x: 1.0 if x > 0 else math.exp(x / 0.7),
        [nn.CELU(0.7), lambda x: F.celu(x, 0.7), lambda x: torch.celu(x, alpha=0.7)],
        [nn.CELU(0.7, inplace=True), lambda x: torch.celu_(x, 0.7)],
    ),
    ("gelu", gelu_slope, [nn.GELU(), F.gelu, aten.gelu], [nnc.gelu_]),
    ("gelu", gelu_tanh_slope, [nn.GELU("tanh"), lambda x: F.gelu(x, approximate="tanh")], []),
    ("silu", silu_slope, [nn.SiLU(), F.silu, nnc.silu], [nn.SiLU(inplace=True), nnc.silu_]),
    ("mish", mish_slope, [nn.Mish(), F.mish], [nn.Mish(inplace=True)]),
    ("hardswish", hardswish_slope, [nn.Hardswish(), F.hardswish], [nn.Hardswish(inplace=True)]),
    ("softplus", lambda x: sigmoid(2 * x), [nn.Softplus(2.0), lambda x: F.softplus(x, 2.0)], []),
]
SPELLINGS = [
    pytest.param(name, slope, function, overwrites, id=f"{name}-{number}-{'in' if overwrites else 'out'}-{at}")
    for number, (name, slope, pure, mutating) in enumerate(ACTIVATIONS)
    for overwrites, functions in ((False, pure), (True, mutating))
    for at, function in enumerate(functions)
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "slope", "function", "overwrites"), SPELLINGS)
def test_one_neuron_follows_the_closed_form(name, slope, function, overwrites, kind) -> None:
    points = torch.tensor([-7.0, -3.1, -1.3, -0.4, -1e-3, 1e-3, 0.4, 0.9, 2.0, 5.9, 6.1, 9.0], dtype=torch.float64)
    expected_value = function(points.clone())
    for sign in (1.0, -1.0):
        incoming = sign * torch.linspace(0.5, 2.0, len(points), dtype=torch.float64)
        leaf = points.clone().requires_grad_()
        with BackwardRule(kind) as rule:
            x = leaf * 1.0
            out = function(x)
        (passed,) = torch.autograd.grad(out, leaf, incoming)
        slopes = torch.tensor([max(slope(value), 0.0) for value in points.tolist()], dtype=torch.float64)
        expected = incoming.clamp(min=0) * (slopes if kind == "guided" else 1.0)
        torch.testing.assert_close(passed, expected, rtol=1e-9, atol=1e-12)
        assert torch.equal(out, expected_value)
        assert (out is x) == overwrites
        assert torch.equal(x, expected_value if overwrites else points)
        assert (rule.sites, rule.suspects) == ({name: 1}, {})


NOT_RECTIFIERS = [
    torch.sigmoid,
    torch.tanh,
    F.hardsigmoid,
    F.logsigmoid,
    F.softsign,
    F.glu,
    F.hardshrink,
    torch.abs,
]


@pytest.mark.parametrize("function", NOT_RECTIFIERS)
def test_what_does_not_rectify_keeps_its_gradient(function) -> None:
    x = torch.linspace(-3, 3, 8).requires_grad_()
    plain = torch.autograd.grad(function(x), x, torch.tensor([1.0, -1.0] * 4)[: len(function(x))])
    with BackwardRule("guided") as rule:
        out = function(x)
    assert torch.equal(torch.autograd.grad(out, x, torch.tensor([1.0, -1.0] * 4)[: len(out)])[0], plain[0])
    assert (rule.sites, rule.suspects) == ({}, {})


# ------------------------------------------------------------------ whole networks


def residual(x: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """A functional residual net with in-place addition and in-place ReLU, as torchvision writes it."""
    h = F.relu(F.conv2d(x, a, padding=1))
    out = F.conv2d(h, b, padding=1)
    out += h
    torch.relu_(out)
    return out.mean((2, 3)) @ c


def residual_by_hand(kind: Kind, x: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The gradient of class 1 by the papers' rule, written out backwards with transposed convolutions."""
    pre = F.conv2d(x, a, padding=1)
    h = pre.clamp(min=0)
    top = F.conv2d(h, b, padding=1) + h
    gradient = (c[:, 1] / (top.shape[2] * top.shape[3]))[None, :, None, None].expand_as(top)

    def rule(at: Tensor, incoming: Tensor) -> Tensor:
        passes = (incoming > 0) & (at > 0) if kind == "guided" else incoming > 0
        return torch.where(passes, incoming, torch.zeros(()).to(incoming))

    gradient = rule(top, gradient)
    gradient = gradient + F.conv_transpose2d(gradient, b, padding=1)
    return F.conv_transpose2d(rule(pre, gradient), a, padding=1)


def weights(dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(3)
    shapes = ((5, 3, 3, 3), (5, 5, 3, 3), (5, 4))
    return tuple(torch.randn(shape, generator=g, dtype=torch.float64).to(dtype) for shape in shapes)


def picture(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64).to(dtype)


def ruled(kind: Kind, model: Callable, x: Tensor, target: int = 1) -> Tensor:
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    with BackwardRule(kind):
        score = model(x)[:, target].sum()
    return torch.autograd.grad(score, x)[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided", "empty"])
def test_functional_residual_network_follows_the_backward_pass_written_by_hand(kind, layout) -> None:
    x = picture(2, 3, 7, 6)
    if layout == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    elif layout == "strided":
        x = picture(2, 3, 14, 12)[:, :, ::2, 1::2]
    elif layout == "empty":
        x = x[:0]
    found = ruled(kind, lambda at: residual(at, *weights()), x)
    expected = residual_by_hand(kind, x, *weights())
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    if layout != "empty":
        plain = x.clone().requires_grad_()
        (plain_gradient,) = torch.autograd.grad(residual(plain, *weights())[:, 1].sum(), plain)
        assert (found - plain_gradient).abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_low_precision_follows_its_float64_twin(dtype, kind) -> None:
    rounded = tuple(w.to(dtype) for w in weights())
    x = picture(1, 3, 6, 6, dtype=dtype)
    found = ruled(kind, lambda at: residual(at, *rounded), x)
    twin = residual_by_hand(kind, x.double(), *(w.double() for w in rounded))
    assert found.dtype == dtype
    bound = {torch.float16: 0.02, torch.bfloat16: 0.1, torch.float32: 1e-5}[dtype]
    # a unit within rounding of zero may switch, so the bulk is compared
    error = (found.double() - twin).abs() / twin.abs().max()
    assert error.median() < bound / 4
    assert (error < bound).double().mean() > 0.9


@pytest.mark.parametrize("name", ["relu", "silu", "softplus", "prelu"])
def test_autocast_follows_the_float32_twin(name) -> None:
    layer = nn.Conv2d(3, 4, 3)
    function = {
        "relu": F.relu,
        "silu": F.silu,
        "softplus": F.softplus,
        "prelu": lambda t: F.prelu(t, torch.tensor([0.1, -0.4, 0.2, 0.0])),
    }[name]
    x = picture(1, 3, 8, 8, dtype=torch.float32)
    expected = ruled("guided", lambda at: function(layer(at)).mean((2, 3)), x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = ruled("guided", lambda at: function(layer(at)).mean((2, 3)), x)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()


class TwinNet(nn.Module):
    """One network written with modules, functions or methods, in place or not, its activation used twice."""

    def __init__(self, style: str, in_place: bool) -> None:
        super().__init__()
        self.style, self.in_place = style, in_place
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3), nn.Linear(6, 4)
        self.act = nn.ReLU(inplace=in_place)

    def gate(self, x: Tensor) -> Tensor:
        if self.style == "module":
            return self.act(x)
        if self.style == "function":
            return F.relu(x, inplace=self.in_place)
        return x.relu_() if self.in_place else x.relu()

    def forward(self, x: Tensor) -> Tensor:
        x = self.gate(self.a(x))
        x = self.gate(self.b(x))
        x *= 2
        return self.c(x.mean((2, 3)))


@pytest.mark.parametrize("kind", KINDS)
def test_modules_functions_methods_and_in_place_twins_agree_bit_for_bit(kind) -> None:
    first = TwinNet("module", False)
    x = picture(2, 3, 9, 9, dtype=torch.float32)
    maps = []
    for style in ("module", "function", "method"):
        for in_place in (False, True):
            net = TwinNet(style, in_place)
            net.load_state_dict(first.state_dict())
            if not in_place:
                net.forward = lambda at, net=net: net.c((net.gate(net.b(net.gate(net.a(at)))) * 2).mean((2, 3)))
                maps.append(ruled(kind, net, x))
            elif kind == "guided":
                # `x *= 2` overwrites what ReLU keeps: an error with the rule exactly as without it
                with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                    ruled(kind, net, x)
            else:
                maps.append(ruled(kind, net, x))
    assert all(torch.equal(one, maps[0]) for one in maps)
    assert maps[0].abs().max() > 0


def test_in_place_on_a_slice_and_two_uses_of_one_tensor() -> None:
    leaf = picture(2, 6).requires_grad_()
    weight = picture(2, 9)
    with BackwardRule("guided") as rule:
        x = leaf * 1.0
        x[:, :3].relu_()
        out = torch.cat([F.relu(x[:, 3:]), F.relu(x[:, 3:]), x[:, :3]], dim=1)
    (found,) = torch.autograd.grad(out, leaf, weight)
    alive = leaf.detach() > 0
    right = alive[:, 3:] * (weight[:, :3].clamp(min=0) + weight[:, 3:6].clamp(min=0))
    left = alive[:, :3] * weight[:, 6:].clamp(min=0)
    torch.testing.assert_close(found, torch.cat([left, right], dim=1))
    assert rule.sites == {"relu": 3}


def test_prelu_with_one_weight_a_channel() -> None:
    slopes = torch.tensor([0.5, -0.5, 0.0], dtype=torch.float64)
    x, incoming = picture(2, 3, 4, 5).requires_grad_(), picture(4, 3, 4, 5)[2:]
    with BackwardRule("guided"):
        out = F.prelu(x, slopes)
    (found,) = torch.autograd.grad(out, x, incoming)
    for channel, slope in enumerate(slopes.tolist()):
        at, g = x[:, channel].detach(), incoming[:, channel].clamp(min=0)
        torch.testing.assert_close(found[:, channel], torch.where(at > 0, g, g * max(slope, 0.0)))


def test_inner_activations_and_repeated_backward_passes() -> None:
    a, b, c = weights()
    x = picture(1, 3, 6, 6).requires_grad_()
    with BackwardRule("guided"):
        pre = F.conv2d(x, a)
        h = F.relu(pre)
        logits = F.relu(F.conv2d(h, b)).mean((2, 3)) @ c
    expected_h = F.conv_transpose2d((F.conv2d(h, b) > 0) * (c[:, 1].clamp(min=0) / 4)[None, :, None, None], b)
    expected_x = F.conv_transpose2d((pre > 0) * expected_h.clamp(min=0), a)
    for _ in range(2):
        gx, gh = torch.autograd.grad(logits[0, 1], [x, h], retain_graph=True)
        torch.testing.assert_close(gh, expected_h)
        torch.testing.assert_close(gx, expected_x)
    (other,) = torch.autograd.grad(logits[0, 2], x)
    assert not torch.equal(other, gx)


@pytest.mark.parametrize("function", [F.relu, F.relu6, F.silu, F.mish, F.gelu, F.hardswish, F.softplus, F.elu])
def test_the_rule_can_itself_be_differentiated(function) -> None:
    # d/dx of max(g, 0) * max(phi', 0) with g = 2 is 2 * phi'' where phi' > 0: checked by central differences
    x = torch.tensor([-2.5, -0.6, 0.3, 1.7, 7.0], dtype=torch.float64).requires_grad_()

    def passed(at: Tensor, create_graph: bool) -> Tensor:
        with BackwardRule("guided"):
            return torch.autograd.grad(function(at), at, torch.full_like(at, 2.0), create_graph=create_graph)[0]

    first = passed(x, True)
    curvature = torch.autograd.grad(first.sum(), x)[0] if first.requires_grad else torch.zeros_like(x)
    step = 1e-5
    up, down = ((x.detach() + s * step).requires_grad_() for s in (1, -1))
    torch.testing.assert_close(curvature, (passed(up, False) - passed(down, False)) / (2 * step), atol=1e-6, rtol=1e-6)


# ------------------------------------------------------------------ captum


def out_of_place(model: nn.Module) -> nn.Module:
    """A twin whose ReLUs overwrite nothing, which is where captum can be trusted."""
    twin = copy.deepcopy(model)
    for module in twin.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return twin


@pytest.mark.parametrize("kind", KINDS)
def test_captum_agrees_on_vgg11_with_in_place_relus(kind) -> None:
    vgg = pytest.importorskip("torchvision.models.vgg")
    torch.manual_seed(0)
    tail = [
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(inplace=True),
        nn.Linear(64, 7),
    ]
    model = nn.Sequential(vgg.make_layers(vgg.cfgs["A"]), *tail).eval()
    x = picture(1, 3, 48, 48, dtype=torch.float32)
    oracle = (GuidedBackprop if kind == "guided" else Deconvolution)(out_of_place(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = oracle.attribute(x.clone().requires_grad_(), target=3)
    found = ruled(kind, model, x, 3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))
    assert expected.abs().max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_captum_agrees_on_resnet18_whose_relus_are_used_twice(kind) -> None:
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=7).eval()
    x = picture(2, 3, 64, 64, dtype=torch.float32)
    oracle = (GuidedBackprop if kind == "guided" else Deconvolution)(out_of_place(model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = oracle.attribute(x.clone().requires_grad_(), target=3)
    found = ruled(kind, model, x, 3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))
    with BackwardRule(kind) as rule:
        model(x.requires_grad_())
    assert rule.sites == {"relu": 17}
    assert rule.suspects == {}


# ------------------------------------------------------------------ EfficientNet-Lite0


class GuidedRelu6(torch.autograd.Function):
    """The oracle for module replacement."""

    @staticmethod
    def forward(ctx, x):
        ctx.alive = (x > 0) & (x < 6)
        return x.clamp(0, 6)

    @staticmethod
    def backward(ctx, g):
        return g * (ctx.alive & (g > 0))


class Replacement(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return GuidedRelu6.apply(x)


def replace_relu6(model: nn.Module) -> nn.Module:
    for name, child in model.named_children():
        if isinstance(child, nn.ReLU6):
            setattr(model, name, Replacement())
        else:
            replace_relu6(child)
    return model


@pytest.fixture(scope="module")
def lite0() -> nn.Module:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0", num_classes=5).eval()


def test_efficientnet_lite0_equals_replaced_modules_and_not_the_plain_gradient(lite0) -> None:
    x = picture(1, 3, 64, 64, dtype=torch.float32).requires_grad_()
    with BackwardRule("guided") as rule:
        out = lite0(x)[0, 1]
    (found,) = torch.autograd.grad(out, x)
    assert (rule.sites, rule.suspects) == ({"relu6": 33}, {})
    (expected,) = torch.autograd.grad(replace_relu6(copy.deepcopy(lite0))(x)[0, 1], x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))
    (plain,) = torch.autograd.grad(lite0(x)[0, 1], x)
    assert (found - plain).abs().max() > 0.1 * plain.abs().max()


@contextlib.contextmanager
def kept_bytes() -> Iterator[dict[int, int]]:
    """Bytes of the distinct storages that the graph keeps."""
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield kept


@pytest.mark.parametrize("act", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.ReLU6(inplace=True), nn.SiLU()])
def test_no_more_is_kept_than_by_the_plain_pass(act) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), act, nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), act).eval()
    x = picture(1, 3, 16, 16, dtype=torch.float32).requires_grad_()
    with kept_bytes() as plain:
        first = net(x)
    with kept_bytes() as guided, BackwardRule("guided"):
        second = net(x)
    assert sum(guided.values()) <= sum(plain.values())
    assert torch.equal(first, second)


# ------------------------------------------------------------------ suspects


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


def bert_gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + torch.erf(x / math.sqrt(2.0)))


def new_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


def by_assignment(x: Tensor) -> Tensor:
    x = x + 0.0
    x[x < 0] = 0.0
    return x


def by_mask_without_grad(x: Tensor) -> Tensor:
    with torch.no_grad():
        mask = x > 0
    return x * mask


HAND_WRITTEN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "clamp": (lambda x: x.clamp(min=0), "clamp(x, 0)"),
    "torch.clamp": (lambda x: torch.clamp(x, 0), "clamp(x, 0)"),
    "clamp_": (lambda x: (x * 1).clamp_(min=0.0), "clamp(x, 0)"),
    "clamp_min": (lambda x: torch.clamp_min(x, 0), "clamp(x, 0)"),
    "clip": (lambda x: x.clip(0, 6), "clamp(x, 0)"),
    "clamp tensor": (lambda x: x.clamp(min=torch.zeros(1)), "clamp(x, 0)"),
    "clamp_max": (lambda x: -(-x).clamp_max(0), "clamp(x, 0)"),
    "maximum": (lambda x: torch.maximum(x, torch.zeros(1)), "maximum(x, 0)"),
    "maximum swapped": (lambda x: torch.maximum(torch.zeros_like(x), x), "maximum(x, 0)"),
    "max": (lambda x: torch.max(x, torch.tensor(0.0)), "max(x, 0)"),
    "x.max": (lambda x: x.max(torch.zeros_like(x)), "max(x, 0)"),
    "fmax": (lambda x: torch.fmax(x, torch.tensor(0.0)), "fmax(x, 0)"),
    "learned threshold": (lambda x: torch.maximum(x, torch.arange(4.0, requires_grad=True)), "maximum(x, 0)"),
    "where": (lambda x: torch.where(x > 0, x, 0.0), "where(x > 0)"),
    "where leaky": (lambda x: torch.where(x >= 0, x, 0.1 * x), "where(x > 0)"),
    "x.where": (lambda x: x.where(x > 0, torch.zeros(())), "where(x > 0)"),
    "where detached": (lambda x: torch.where(x.detach() > 0, x, torch.zeros_like(x)), "where(x > 0)"),
    "where data": (lambda x: torch.where(x.data > 0, x, torch.zeros_like(x)), "where(x > 0)"),
    "masked_fill": (lambda x: x.masked_fill(x < 0, 0.0), "masked_fill(x > 0)"),
    "masked_fill not": (lambda x: x.masked_fill(~(x > 0), 0.0), "masked_fill(x > 0)"),
    "assignment": (by_assignment, "setitem(x > 0)"),
    "mask": (lambda x: x * (x > 0), "x * (x > 0)"),
    "mask first": (lambda x: (x > 0) * x, "x * (x > 0)"),
    "mask float": (lambda x: x * (x > 0).float(), "x * (x > 0)"),
    "mask to": (lambda x: x * (x > 0).to(x.dtype), "x * (x > 0)"),
    "mask type_as": (lambda x: x * torch.gt(x, 0).type_as(x), "x * (x > 0)"),
    "mask zeros": (lambda x: x * (x > torch.zeros_like(x)), "x * (x > 0)"),
    "mask reversed": (
        lambda x: x * (0 < x),  # noqa: SIM300
        "x * (x > 0)",
    ),
    "mask in place": (lambda x: (x + 0.0).mul_(x > 0), "x * (x > 0)"),
    "mask no_grad": (by_mask_without_grad, "x * (x > 0)"),
    "heaviside": (lambda x: x * torch.heaviside(x.detach(), torch.zeros(1)), "x * heaviside(x)"),
    "swish": (lambda x: x * torch.sigmoid(x), "x * sigmoid(x)"),
    "swish method": (lambda x: x.mul(x.sigmoid()), "x * sigmoid(x)"),
    "swish division": (lambda x: x / (1 + torch.exp(-x)), "x * exp(x)"),
    "quick gelu": (quick_gelu, "x * sigmoid(x)"),
    "bert gelu": (bert_gelu, "x * erf(x)"),
    "new gelu": (new_gelu, "x * tanh(x)"),
    "aten": (lambda x: torch.ops.aten.clamp_min.default(x, 0), "clamp(x, 0)"),
}


@pytest.mark.parametrize("case", HAND_WRITTEN)
def test_gates_written_by_hand_are_reported_and_left_alone(case) -> None:
    function, name = HAND_WRITTEN[case]
    x = picture(3, 4, dtype=torch.float32).requires_grad_()
    incoming = picture(6, 4, dtype=torch.float32)[3:]
    (plain,) = torch.autograd.grad(function(x), x, incoming)
    with BackwardRule("guided") as rule:
        out = function(x)
    assert (rule.sites, rule.suspects) == ({}, {name: 1})
    assert torch.equal(torch.autograd.grad(out, x, incoming)[0], plain)
    with BackwardRule("guided") as rule, torch.no_grad():
        function(x)
    assert rule.suspects == {}


def squeeze_excite(x: Tensor) -> Tensor:
    squeezed = x.mean((2, 3), keepdim=True)
    return x * torch.sigmoid(F.conv2d(squeezed, torch.ones(4, 4, 1, 1)))


def layer_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(1, keepdim=True)
    return centred / (centred.pow(2).mean(1, keepdim=True) + 1e-5).sqrt()


def masked_attention(x: Tensor) -> Tensor:
    scores = x.flatten(2) @ x.flatten(2).transpose(1, 2)
    mask = torch.ones(4, 4).tril()
    scores = scores.masked_fill(mask < 0.5, -1e9)
    scores = torch.where(mask > 0, scores, -1e9)
    return scores.softmax(-1)


ORDINARY: dict[str, Callable[[Tensor], Tensor]] = {
    "normalize": lambda x: F.normalize(x, dim=1),
    "norm clamp": lambda x: x / x.norm(dim=1, keepdim=True).clamp(min=1e-12),
    "norm where": lambda x: torch.where(x > 1e-8, x, 1e-8),
    "softmax": lambda x: F.softmax(x, 1),
    "softmax by hand": lambda x: (
        (x - x.max(1, keepdim=True).values).exp() / (x - x.max(1, keepdim=True).values).exp().sum(1, keepdim=True)
    ),
    "layer norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "layer norm by hand": layer_norm,
    "max pool": lambda x: F.max_pool2d(x, 2),
    "maxout": lambda x: torch.maximum(F.conv2d(x, torch.ones(4, 4, 1, 1)), x),
    "max of a dimension": lambda x: torch.max(x, 1).values,
    "squeeze and excite": squeeze_excite,
    "attention": masked_attention,
    "gated unit": lambda x: torch.mul(*(half for half in (x[:, :2], torch.sigmoid(x[:, 2:])))),
    "dropout": lambda x: x * (torch.rand_like(x) > 0.5) * 2,
    "logistic map": lambda x: x.sigmoid() * (1 - x.sigmoid()),
    "square": lambda x: x * x + x,
    "clip of a scale": lambda x: x * torch.clamp(torch.ones(1, requires_grad=True), max=math.log(100)).exp(),
    "embedding mask": lambda x: x * (torch.arange(4) > 1)[:, None, None],
}


@pytest.mark.parametrize("case", ORDINARY)
def test_ordinary_code_raises_no_false_alarm(case) -> None:
    x = picture(2, 4, 4, 4, dtype=torch.float32).requires_grad_()
    with BackwardRule("guided") as rule:
        assert ORDINARY[case](x).requires_grad
    assert (rule.sites, rule.suspects) == ({}, {})


def test_fused_relu_network_and_random_slopes_are_suspects() -> None:
    x = picture(2, 3, 4, dtype=torch.float32).requires_grad_()
    with BackwardRule("guided") as rule:
        nn.RNN(4, 5, nonlinearity="relu")(x)
        nn.RNNCell(4, 5, nonlinearity="relu")(x[0])
        nn.RReLU().train()(x)
    assert rule.suspects == {"rnn_relu": 1, "rnn_relu_cell": 1, "rrelu": 1}
    assert rule.sites == {}


TIMM = {
    "Swish": ({}, {"x * sigmoid(x)": 1}),
    "Mish": ({"softplus": 1}, {"x * softplus(x)": 1}),
    "HardSwish": ({"relu6": 1}, {"x * relu6(x)": 1}),
    "HardMish": ({}, {"clamp(x, 0)": 1, "x * clamp(x)": 1}),
    "QuickGELU": ({}, {"x * sigmoid(x)": 1}),
    "SwishMe": ({}, {"autograd function SwishAutoFn": 1}),
    "MishMe": ({}, {"autograd function MishAutoFn": 1}),
    "HardSwishMe": ({}, {"autograd function HardSwishAutoFn": 1}),
    "HardMishMe": ({}, {"autograd function HardMishAutoFn": 1}),
    "PReLU": ({"prelu": 1}, {}),
    "GELU": ({"gelu": 1}, {}),
    "GELUTanh": ({"gelu": 1}, {}),
    "Sigmoid": ({}, {}),
    "Tanh": ({}, {}),
    "HardSigmoid": ({"relu6": 1}, {}),
}


@pytest.mark.parametrize("name", TIMM)
def test_timm_activations_are_changed_or_reported(name) -> None:
    layers = pytest.importorskip("timm.layers")
    module = getattr(layers, name, None) or getattr(layers.activations_me, name)
    x = picture(2, 3, 4, 4, dtype=torch.float32).requires_grad_()
    with BackwardRule("guided") as rule:
        F.avg_pool2d(module()(x), 2)
    assert (rule.sites, rule.suspects) == TIMM[name]


def test_timm_in_place_swish_is_reported() -> None:
    layers = pytest.importorskip("timm.layers")
    with BackwardRule("guided") as rule:
        x = picture(2, 3, 4, 4).requires_grad_() * 1.0
        layers.Swish(inplace=True)(x)
    assert rule.suspects == {"x * sigmoid(x)": 1}


# ------------------------------------------------------------------ contexts and refusals


def test_no_grad_only_computes_the_value() -> None:
    x = picture(3, 4).requires_grad_()
    with torch.no_grad(), BackwardRule("guided") as rule:
        out = F.relu(x)
    assert torch.equal(out, x.clamp(min=0))
    assert not out.requires_grad
    assert rule.sites == {}
    with torch.inference_mode(), BackwardRule("guided"):
        assert torch.equal(F.relu_(x + 0.0), out)


def test_a_backward_pass_inside_the_context_counts_nothing() -> None:
    x = picture(3, 4).requires_grad_()
    with BackwardRule("guided") as rule:
        h = F.elu(F.relu(x))
        torch.autograd.grad(h.sum(), x, create_graph=True)
        torch.autograd.grad(h.sum(), x)
    assert (rule.sites, rule.suspects) == ({"elu": 1, "relu": 1}, {})


def test_outside_the_context_and_after_an_error_relu_is_itself() -> None:
    x = torch.tensor([2.0, -2.0], requires_grad=True)
    with contextlib.suppress(ZeroDivisionError), BackwardRule("guided"):
        raise ZeroDivisionError
    (found,) = torch.autograd.grad(F.relu(x), x, torch.tensor([-1.0, -1.0]))
    assert found.tolist() == [-1.0, 0.0]


def test_other_threads_are_left_alone() -> None:
    x = torch.tensor([2.0], requires_grad=True)
    found = []
    with BackwardRule("guided") as rule:
        worker = threading.Thread(
            target=lambda: found.append(torch.autograd.grad(F.relu(x), x, torch.tensor([-1.0]))[0].item())
        )
        worker.start()
        worker.join()
    assert (found, rule.sites) == ([-1.0], {})


class Recorder(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


def test_other_modes_around_and_within_do_not_disturb() -> None:
    x = torch.tensor([2.0, 3.0], requires_grad=True)
    incoming = torch.tensor([-1.0, 1.0])
    with Recorder(), BackwardRule("guided") as rule, Recorder(), torch.device("cpu"):
        out = F.relu(x)
    assert torch.autograd.grad(out, x, incoming)[0].tolist() == [0.0, 1.0]
    assert rule.sites == {"relu": 1}


@pytest.mark.parametrize("within", [True, False])
def test_checkpoints(within) -> None:
    a, b, c = weights()
    x = picture(1, 3, 6, 6)

    def block(at: Tensor) -> Tensor:
        return F.relu(F.conv2d(F.relu6(F.conv2d(at, a)), b))

    expected = ruled("guided", lambda at: block(at).mean((2, 3)) @ c, x)
    leaf = x.clone().requires_grad_()
    with BackwardRule("guided") as rule:
        score = (checkpoint(block, leaf, use_reentrant=False).mean((2, 3)) @ c)[0, 1]
        if within:
            (found,) = torch.autograd.grad(score, leaf)
    if not within:
        (found,) = torch.autograd.grad(score, leaf)
    torch.testing.assert_close(found, expected)
    with BackwardRule("guided") as rule:
        checkpoint(block, leaf, use_reentrant=True).mean((2, 3))
    assert rule.suspects == {"checkpoint(use_reentrant=True)": 1}


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.head = nn.Conv2d(3, 4, 3), nn.ReLU6(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.act(self.conv(x)) - 1).mean((2, 3)))


def test_traced_and_exported_modules_are_seen() -> None:
    torch.manual_seed(0)
    model = Small().eval()
    x = picture(1, 3, 6, 6, dtype=torch.float32)
    expected = ruled("guided", model, x)
    for twin in (torch.fx.symbolic_trace(model), torch.export.export(model, (x,)).module()):
        assert uninterceptable(twin) is None
        torch.testing.assert_close(ruled("guided", twin, x), expected)
        with BackwardRule("guided") as rule:
            twin(x.clone().requires_grad_())
        assert rule.sites == {"relu6": 1, "relu": 1}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_compiled_and_scripted_modules_are_named() -> None:
    model = Small().eval()
    assert uninterceptable(model) is None
    part = Small()
    part.act = torch.jit.script(nn.ReLU())
    assert "'act'" in str(uninterceptable(part))
    assert "TorchScript" in str(uninterceptable(part))
    assert "TorchScript" in str(uninterceptable(torch.jit.trace(model, torch.zeros(1, 3, 6, 6))))
    assert "torch.compile" in str(uninterceptable(torch.compile(model)))
    assert "torch.compile" in str(uninterceptable(nn.Sequential(torch.compile(model))))
    compiled = Small()
    compiled.compile()
    assert ".compile()" in str(uninterceptable(compiled))
    wrapped = Small()
    wrapped.forward = torch.compile(wrapped.forward)
    assert "forward" in str(uninterceptable(wrapped))
    replicated = nn.DataParallel(Small())
    assert uninterceptable(replicated) is None
    replicated.device_ids = [0, 1]
    assert "DataParallel" in str(uninterceptable(replicated))
    function = Small()
    function.gate = torch.jit.script(scripted_relu)
    assert "gate" in str(uninterceptable(function))


def scripted_relu(x: Tensor) -> Tensor:
    return torch.relu(x)


def test_names_of_views() -> None:
    assert view_context("guided-backprop").kind == "guided"
    assert view_context("deconvnet").kind == "deconvnet"
    known = "'guided-backprop' or 'deconvnet' or 'redirected'"
    with pytest.raises(SettingError, match=rf"{known}, got 'guided-backprob'.*Did you mean"):
        view_context("guided-backprob")
    with pytest.raises(
        SettingError, match=r"'guided' or 'deconvnet' or 'redirected', got 'guide'. Did you mean 'guided'"
    ):
        BackwardRule("guide")  # type: ignore[arg-type]
