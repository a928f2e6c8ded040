"""Attention rollout and attention x gradient on pictures, against the formulas by hand and other libraries' weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
import transformers
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import seewhy
from seewhy.core.attribution import Attribution
from seewhy.core.errors import (
    InputError,
    LayerError,
    NoGradientError,
    SettingError,
    UnknownNameError,
    UnsupportedModelError,
)
from seewhy.core.method import Method, MethodInfo
from seewhy.core.queries import stack
from seewhy.core.query import Query, Record, ask
from seewhy.methods import AttentionGradient, AttentionRollout, registry
from seewhy.methods.common import attribution
from seewhy.models.attention import AttentionTap
from seewhy.testing import check_method, networks
from seewhy.testing.fingerprint import changes, fingerprint, random_state

METHODS = ["attention-rollout", "attention-gradient"]
CLASSES = 4


# ------------------------------------------------------------------------------------------ a network, and the formulas


def by_hand(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention in place of the fused one, (N, heads, T, d)."""
    weights = torch.softmax(query @ key.transpose(2, 3) / query.shape[-1] ** 0.5, dim=3)
    return weights @ value


class Vit(nn.Module):
    """Patches of 2 x 2 behind `prefix` tokens, blocks of attention of 2 heads, and a head on the first or on all."""

    def __init__(self, grid: tuple[int, int] = (4, 4), prefix: int = 1, blocks: int = 3, pooled: bool = False) -> None:
        super().__init__()
        self.pooled, self.attend = pooled, F.scaled_dot_product_attention
        self.patches = nn.Conv2d(3, 8, 2, stride=2)
        self.first = nn.Parameter(torch.randn(1, prefix, 8))
        self.places = nn.Parameter(torch.randn(1, prefix + grid[0] * grid[1], 8))
        self.norms = nn.ModuleList(nn.LayerNorm(8) for _ in range(blocks))
        self.qkv = nn.ModuleList(nn.Linear(8, 24) for _ in range(blocks))
        self.mlps = nn.ModuleList(nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)) for _ in range(blocks))
        self.head = nn.Linear(8, CLASSES)

    def tokens(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        return torch.cat([self.first.expand(len(x), -1, -1), patches], 1) + self.places

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.tokens(x)
        for norm, qkv, mlp in zip(self.norms, self.qkv, self.mlps, strict=True):
            query, key, value = qkv(norm(tokens)).reshape(len(x), -1, 3, 2, 4).permute(2, 0, 3, 1, 4)
            tokens = tokens + self.attend(query, key, value).transpose(1, 2).flatten(2)
            tokens = tokens + mlp(tokens)
        scores: Tensor = self.head(tokens.mean(1) if self.pooled else tokens[:, 0])
        return scores


def vit(**more: Any) -> Vit:
    return networks.seeded(lambda: Vit(**more)).double()


def pictures(rows: int = 1, height: int = 8, width: int = 8) -> Tensor:
    return networks.pictures(rows, height, width).double()


def explicit(net: Vit, x: Tensor, target: int) -> tuple[list[Tensor], list[Tensor]]:
    """Weights (heads, T, T) of one picture at each block, head by head, and the gradients of the score there."""
    tokens, kept = net.tokens(x)[0], []
    for norm, qkv, mlp in zip(net.norms, net.qkv, net.mlps, strict=True):
        rows = qkv(norm(tokens))
        heads = []
        for head in range(2):
            query, key, value = (rows[:, 8 * part + 4 * head : 8 * part + 4 * head + 4] for part in range(3))
            scores = (query @ key.T / 2).exp()
            kept.append(scores / scores.sum(1, keepdim=True))
            heads.append(kept[-1] @ value)
        tokens = tokens + torch.cat(heads, 1)
        tokens = tokens + mlp(tokens)
    score = net.head(tokens.mean(0) if net.pooled else tokens[0])[target]
    slopes = torch.autograd.grad(score, kept, allow_unused=True)
    pairs = [torch.stack([item.detach() for item in part]) for part in (kept, slopes)]
    return list(pairs[0].split(2)), list(pairs[1].split(2))


def read(weights: Tensor, slopes: Tensor) -> list[float]:
    """How strongly the score reads each token: the share of |weight x gradient| in its row."""
    heads, tokens = weights.shape[:2]
    strength = [
        sum(abs(float(weights[h, i, j] * slopes[h, i, j])) for h in range(heads) for j in range(tokens))
        for i in range(tokens)
    ]
    return [value / sum(strength) for value in strength]


def product(left: list[list[float]], right: list[list[float]]) -> list[list[float]]:
    columns = list(zip(*right, strict=True))
    return [[sum(a * b for a, b in zip(row, column, strict=True)) for column in columns] for row in left]


def rollout(weights: list[Tensor], slopes: list[Tensor]) -> Tensor:
    whole: list[list[float]] = torch.eye(weights[0].shape[-1]).tolist()
    for layer in weights:
        mean = [
            [sum(float(head[i, j]) for head in layer) / len(layer) for j in range(len(whole))]
            for i in range(len(whole))
        ]
        mixed = [[(mean[i][j] + (i == j)) / 2 for j in range(len(whole))] for i in range(len(whole))]
        whole = product(mixed, whole)
    return torch.tensor(product([read(weights[-1], slopes[-1])], whole)[0], dtype=torch.float64)


def relevance(weights: list[Tensor], slopes: list[Tensor]) -> Tensor:
    whole: list[list[float]] = torch.eye(weights[0].shape[-1]).tolist()
    tokens = range(len(whole))
    for layer, slope in zip(weights, slopes, strict=True):
        positive = [
            [
                sum(max(float(a[i, j] * g[i, j]), 0.0) for a, g in zip(layer, slope, strict=True)) / len(layer)
                for j in tokens
            ]
            for i in tokens
        ]
        moved = product(positive, whole)
        whole = [[whole[i][j] + moved[i][j] for j in tokens] for i in tokens]
    return torch.tensor(product([read(weights[-1], slopes[-1])], whole)[0], dtype=torch.float64)


FORMULAS: dict[str, Callable[[list[Tensor], list[Tensor]], Tensor]] = {
    "attention-rollout": rollout,
    "attention-gradient": relevance,
}


def check(found: Attribution, tokens: Tensor, grid: tuple[int, int], tolerance: float = 1e-9, row: int = 0) -> None:
    """Asserts that a map is the shares of the last h x w tokens, and that what the others got is stated."""
    wanted = tokens[len(tokens) - grid[0] * grid[1] :].reshape(grid)
    torch.testing.assert_close(found.values[row].double(), wanted, rtol=tolerance, atol=tolerance * float(wanted.max()))
    lost = found.diagnostics["share_without_place"]
    lost = lost[row] if isinstance(lost, list) else lost
    assert lost == pytest.approx(1 - float(wanted.sum() / tokens.sum()), abs=max(tolerance, 1e-12) * 10)


# -------------------------------------------------------------------------------------------------------- own network


@pytest.mark.parametrize("attend", [F.scaled_dot_product_attention, by_hand], ids=["fused", "by hand"])
@pytest.mark.parametrize(
    "more", [{}, {"prefix": 5}, {"grid": (3, 5)}, {"grid": (5, 3), "prefix": 2}, {"pooled": True}], ids=str
)
@pytest.mark.parametrize("name", METHODS)
def test_maps_are_the_formulas(name: str, more: dict[str, Any], attend: Any) -> None:
    net, grid = vit(**more), more.get("grid", (4, 4))
    net.attend = attend
    x = pictures(1, 2 * grid[0], 2 * grid[1])
    found = seewhy.attribute(net, x, name, target=2)
    tokens = FORMULAS[name](*explicit(net, x, 2))
    check(found, tokens, grid)
    assert found.diagnostics["tokens"] == len(tokens)
    if name == "attention-rollout":
        assert float(found.values.sum()) + found.diagnostics["share_without_place"] == pytest.approx(1, abs=1e-12)
    assert (found.diagnostics["forward_passes"], found.diagnostics["backward_passes"]) == (1, 1)
    heat = found.heatmap()
    wanted = F.interpolate(found.values[:, None], x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(heat, wanted)


def test_a_class_token_alone_is_read_and_pooled_tokens_all_are() -> None:
    x = pictures()
    weights, slopes = explicit(vit(), x, 1)
    assert read(weights[-1], slopes[-1]) == [1.0, *[0.0] * 16]
    weights, slopes = explicit(vit(pooled=True), x, 1)
    assert min(read(weights[-1], slopes[-1])) > 0


@pytest.mark.parametrize("name", METHODS)
def test_each_row_of_a_batch_has_its_own_target(name: str) -> None:
    net, x = vit(), pictures(3)
    found = seewhy.attribute(net, x, name, target=[3, 0, 2])
    for row, target in enumerate([3, 0, 2]):
        check(found, FORMULAS[name](*explicit(net, x[row : row + 1], target)), (4, 4), row=row)
    assert len(found.diagnostics["share_without_place"]) == 3
    top = seewhy.attribute(net, x, name)
    assert [target.index for target in top.targets] == net(x).argmax(1).tolist()  # type: ignore[union-attr]


def test_methods_and_targets_share_one_forward_pass() -> None:
    net, x = vit(), pictures()
    passes = []
    net.patches.register_forward_hook(lambda *_: passes.append(1))
    alone = {name: seewhy.attribute(net, x, name, target=1) for name in (*METHODS, "saliency", "grad-cam")}
    passes.clear()
    together = seewhy.attribute(net, x, [*METHODS, "saliency", "grad-cam"], target=1)
    assert len(passes) == 1
    for name, found in together.items():
        torch.testing.assert_close(found.values, alone[name].values, rtol=1e-9, atol=1e-12)
    passes.clear()
    found = seewhy.explain(net, x, METHODS, [0, 1, 2], contrast=False)
    assert len(passes) == 1
    for target, words in enumerate(found.targets):
        for name in METHODS:
            check(found[name, words], FORMULAS[name](*explicit(net, x, target)), (4, 4))


@pytest.mark.parametrize(
    ("mode", "frozen"),
    [(torch.no_grad, False), (torch.inference_mode, True), (torch.enable_grad, True), (torch.enable_grad, False)],
)
def test_the_network_is_left_as_it_was_in_any_mode(mode: Any, frozen: bool) -> None:
    net, x = vit().requires_grad_(not frozen).train(), pictures()
    wanted = {name: FORMULAS[name](*explicit(vit(), x, 1)) for name in METHODS}
    before, drawn = fingerprint(net), random_state()
    with mode():
        found = seewhy.attribute(net, x, METHODS, target=1, seed=5)
    assert changes({**before, **drawn}, {**fingerprint(net), **random_state()}) == []
    for name in METHODS:
        check(found[name], wanted[name], (4, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", METHODS)
def test_lower_precision_gives_the_same_map(name: str, dtype: torch.dtype) -> None:
    x = pictures()
    found = seewhy.attribute(vit().to(dtype), x.to(dtype), name, target=1)
    assert found.values.dtype == dtype
    tolerance = {torch.float32: 1e-4, torch.bfloat16: 0.08, torch.float16: 0.02}[dtype]
    check(found, FORMULAS[name](*explicit(vit(), x, 1)), (4, 4), tolerance)


def test_products_too_large_for_half_precision_are_computed_wider() -> None:
    net, x = vit(), pictures()
    with torch.no_grad():
        for qkv in net.qkv:
            qkv.weight[:16] *= 200
    assert not torch.isfinite(net.qkv[0](net.norms[0](net.tokens(x)))[0, :, :8].half() ** 2).all()
    found = seewhy.attribute(net.half(), x.half(), "attention-rollout", target=1)
    assert torch.isfinite(found.values).all()


def test_layers_that_are_checkpointed_run_again_in_the_backward_pass() -> None:
    class Checkpointed(Vit):
        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = checkpoint(super().forward, x, use_reentrant=False)
            return scores

    net, x = networks.seeded(Checkpointed).double(), pictures()
    found = seewhy.attribute(net, x, [*METHODS, "saliency"], target=1)
    for name in METHODS:
        check(found[name], FORMULAS[name](*explicit(net, x, 1)), (4, 4))


# ------------------------------------------------------------------------------------------------- where tokens lie


@pytest.mark.parametrize(
    "reshape", [(2, 8), lambda tokens: tokens[:, 1:].movedim(-1, 1).unflatten(2, (2, 8))], ids=["pair", "function"]
)
def test_reshape_says_how_tokens_lie(reshape: Any) -> None:
    net, x = vit(), pictures()
    for method in (AttentionRollout(reshape), AttentionGradient(reshape)):
        found = method.attribute(net, x, 1)
        check(found, FORMULAS[method.info.name](*explicit(net, x, 1)), (2, 8))
        assert found.diagnostics["tokens_placed"] == "reshape= as given"


def test_what_cannot_be_placed_is_refused() -> None:
    class Odd(Vit):  # 47 of 49 patches
        def tokens(self, x: Tensor) -> Tensor:
            return super().tokens(x)[:, :48]

    net, x = networks.seeded(lambda: Odd((7, 7))).double(), pictures(1, 14, 14)
    with pytest.raises(LayerError, match=r"48 tokens, which make no grid .* reshape="):
        seewhy.attribute(net, x, "attention-rollout")
    with pytest.raises(SettingError, match=r"at least 49 tokens"):
        AttentionRollout((7, 7)).attribute(net, x)
    with pytest.raises(SettingError, match=r"the share of each token; it returned \(1, 48, 1\)"):
        AttentionRollout(lambda tokens: tokens).attribute(net, x)
    for wrong in ((0, 3), "grid", 4):
        with pytest.raises(SettingError, match="reshape takes a function"):
            AttentionGradient(wrong)  # type: ignore[arg-type]


class Signal(nn.Module):
    """A transformer over places: of signals (N, C, L), or of sequences (N, L, C)."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        self.turned = turned
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.layer(x if self.turned else x.transpose(1, 2)).mean(1))
        return scores


def test_a_signal_of_a_token_a_place_needs_no_placing() -> None:
    x = torch.randn(2, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = seewhy.attribute(networks.seeded(lambda: Signal(False)).double(), x, "attention-rollout", target=0)
    assert found.values.shape == (2, 7)
    assert found.values.sum(1).tolist() == pytest.approx([1, 1])
    turned, rows = networks.seeded(lambda: Signal(True)).double(), x.transpose(1, 2).contiguous()
    with pytest.raises(InputError, match=r"given 7 tokens of an input \(1, 7, 6\)\. Say where they lie: reshape="):
        seewhy.attribute(turned, rows, "attention-rollout", target=0)
    placed = AttentionRollout(lambda tokens: tokens.transpose(1, 2)).attribute(turned, rows, 0)
    torch.testing.assert_close(placed.values, found.values, rtol=1e-12, atol=1e-12)


# --------------------------------------------------------------------------------------------------- other libraries


def torchvision_vit() -> Any:
    return networks.seeded(
        lambda: torchvision.models.VisionTransformer(
            image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=CLASSES
        )
    ).double()


def with_head(net: Any) -> Any:
    """torchvision's own head begins at zero."""
    with torch.no_grad():
        net.heads.head.weight.copy_(torch.randn(CLASSES, 16, generator=torch.Generator().manual_seed(1)))
    return net


def test_torchvisions_weights_are_those_of_need_weights() -> None:
    net, x = with_head(torchvision_vit()), pictures(1, 32, 32)
    inputs: list[Tensor] = []
    layers = [block.self_attention for block in net.encoder.layers]
    handles = [layer.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach())) for layer in layers]
    with torch.no_grad():
        net(x)
    for handle in handles:
        handle.remove()
    weights = [
        layer(given, given, given, need_weights=True, average_attn_weights=False)[1][0].detach()
        for layer, given in zip(layers, inputs, strict=True)
    ]
    first = [torch.zeros_like(layer) for layer in weights]
    first[-1][:, 0] = 1  # the class token is read, and nothing else
    found = seewhy.attribute(net, x, "attention-rollout", target=2)
    check(found, rollout(weights, first), (4, 4))


def test_a_network_that_asks_for_the_weights_itself_gives_the_same() -> None:
    net, x = with_head(torchvision_vit()), pictures(1, 32, 32)
    twin = with_head(torchvision_vit())
    kept: list[Tensor] = []

    def asking(layer: nn.MultiheadAttention) -> Any:
        def run(query: Tensor, key: Tensor, value: Tensor, need_weights: bool) -> tuple[Tensor, None]:
            """Attention from the layer's own weights, which stay on the way to the score."""
            rows = F.linear(query, layer.in_proj_weight, layer.in_proj_bias)
            parts = rows.reshape(1, -1, 3, 2, 8).permute(2, 0, 3, 1, 4)
            kept.append((parts[0] @ parts[1].transpose(2, 3) / 8**0.5).softmax(3))
            return layer.out_proj((kept[-1] @ parts[2]).transpose(1, 2).flatten(2)), None

        return run

    for block in twin.encoder.layers:
        block.self_attention.forward = asking(block.self_attention)
    score = twin(x)[0, 2]
    slopes = torch.autograd.grad(score, kept)
    weights, gradients = [layer[0].detach() for layer in kept], [slope[0] for slope in slopes]
    found = seewhy.attribute(net, x, METHODS, target=2)
    for name in METHODS:
        check(found[name], FORMULAS[name](weights, gradients), (4, 4))
    for block in net.encoder.layers:  # and where the layer itself computes them unfused
        plain = block.self_attention.forward
        block.self_attention.forward = lambda q, k, v, need_weights, plain=plain: (
            plain(q, k, v, need_weights=True)[0],
            None,
        )
    again = seewhy.attribute(net, x, METHODS, target=2)
    for name in METHODS:
        torch.testing.assert_close(again[name].values, found[name].values, rtol=1e-9, atol=1e-12)


def test_the_fast_path_of_encoders_is_seen_through() -> None:
    class Encoder(nn.Module):
        def __init__(self, first: bool) -> None:
            super().__init__()
            self.first = first
            self.patches = nn.Conv2d(3, 8, 2, stride=2)
            layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=first)
            self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(8, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            tokens = self.patches(x).flatten(2).transpose(1, 2)
            tokens = self.layers(tokens) if self.first else self.layers(tokens.transpose(0, 1)).transpose(0, 1)
            scores: Tensor = self.head(tokens.mean(1))
            return scores

    x = pictures(2)
    one, other = (networks.seeded(lambda first=first: Encoder(first)).double() for first in (True, False))
    with torch.no_grad():
        found = seewhy.attribute(one.requires_grad_(False), x, METHODS, target=1)
    again = seewhy.attribute(other, x, METHODS, target=1)  # this layout has no fast path
    for name in METHODS:
        torch.testing.assert_close(found[name].values, again[name].values, rtol=1e-9, atol=1e-12)
    assert found["attention-rollout"].values.sum((1, 2)).tolist() == pytest.approx([1, 1])


TIMM: dict[str, tuple[Callable[[], Any], tuple[int, int]]] = {
    "class token": (lambda: timm.models.VisionTransformer(img_size=32, **SMALL), (4, 4)),
    "registers, not square": (
        lambda: timm.models.VisionTransformer(img_size=(24, 40), reg_tokens=4, qk_norm=True, **SMALL),
        (3, 5),
    ),
    "distilled": (lambda: timm.models.deit.VisionTransformerDistilled(img_size=32, **SMALL), (4, 4)),
    "pooled": (
        lambda: timm.models.VisionTransformer(img_size=32, class_token=False, global_pool="avg", **SMALL),
        (4, 4),
    ),
    "pooled by attention": (
        lambda: timm.models.VisionTransformer(img_size=32, class_token=False, global_pool="map", **SMALL),
        (4, 4),
    ),
}
SMALL: dict[str, Any] = {"patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": CLASSES}


def randomised(net: Any) -> Any:
    """timm's heads and tokens begin at zero or next to it."""
    drawn = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weights in net.parameters():
            weights.add_(0.3 * torch.randn(weights.shape, generator=drawn))
    return net.double().eval()


@pytest.mark.parametrize("kind", TIMM)
def test_timms_fused_attention_gives_what_its_own_unfused_one_does(kind: str) -> None:
    make, grid = TIMM[kind]
    net, twin = (randomised(networks.seeded(make)) for _ in range(2))
    x = pictures(1, 8 * grid[0], 8 * grid[1])
    kept: list[Tensor] = []
    for block in twin.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _, given, __: kept.append(given[0]))
    slopes = torch.autograd.grad(twin(x)[0, 2], kept)
    weights, gradients = [layer[0].detach() for layer in kept], [slope[0] for slope in slopes]
    flags = [block.attn.fused_attn for block in net.blocks]
    assert all(flags)
    found = seewhy.attribute(net, x, METHODS, target=2)
    assert [block.attn.fused_attn for block in net.blocks] == flags
    for name in METHODS:
        check(found[name], FORMULAS[name](weights, gradients), grid)
    again = seewhy.attribute(twin, x, METHODS, target=2)
    for name in METHODS:
        torch.testing.assert_close(again[name].values, found[name].values, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_transformers_weights_are_those_that_it_gives_out(attention: str) -> None:
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        num_labels=CLASSES,
    )  # fmt: skip
    net = networks.seeded(lambda: transformers.ViTForImageClassification(config)).double()
    x = pictures(1, 32, 32)
    net.set_attn_implementation("eager")
    output = net(pixel_values=x, output_attentions=True)
    slopes = torch.autograd.grad(output.logits[0, 2], output.attentions)
    weights = [layer[0].detach() for layer in output.attentions]
    net.set_attn_implementation(attention)
    found = seewhy.attribute(seewhy.wrap(net), x, METHODS, target=2)
    assert net.config._attn_implementation == attention
    for name in METHODS:
        check(found[name], FORMULAS[name](weights, [slope[0] for slope in slopes]), (4, 4), 1e-5)  # eager is of float32


# ---------------------------------------------------------------------------------------------------------- refusals


def swin() -> nn.Module:
    return torchvision.models.SwinTransformer([4, 4], 8, [1, 1], [2, 2], [4, 4], num_classes=CLASSES)


def xcit() -> nn.Module:
    # 64 channels a head, which would make a grid of 8 x 8
    return timm.models.Xcit(img_size=64, patch_size=16, embed_dim=128, depth=1, num_heads=2, num_classes=CLASSES)


def pyramid() -> nn.Module:
    return timm.models.PyramidVisionTransformerV2(
        depths=(1, 1, 1, 1), embed_dims=(8, 8, 8, 8), num_heads=(1, 1, 1, 1), num_classes=CLASSES
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (networks.cnn, r"called no attention that can be seen\. For a CNN use 'grad-cam'"),
        (swin, r"attends within windows .*Use 'grad-cam'"),
        (xcit, r"from channel to channel, with .*\(2, 64, 64\).*Use 'grad-cam'"),
        (pyramid, r"follows one stack of attention.*pictures 'grad-cam'"),
        (
            lambda: torch.jit.trace(vit(grid=(32, 32)).float(), torch.zeros(1, 3, 64, 64)),
            "neither scripted nor compiled",
        ),
    ],
    ids=["cnn", "swin", "xcit", "pyramid", "traced"],
)
def test_networks_without_one_stack_of_attention_are_refused(make: Any, words: str) -> None:
    net = networks.seeded(make)
    x = networks.pictures(2, 64, 64)
    for name in METHODS:
        with pytest.raises(UnsupportedModelError, match=words):
            seewhy.attribute(net, x, name)
    found = seewhy.explain(net, x[0], [*METHODS, "saliency"], 1)  # which does not cost the others their maps
    assert {name for name, _ in found.errors} == set(METHODS)
    assert torch.isfinite(found["saliency"].values).all()


def test_black_boxes_are_refused_before_the_first_call() -> None:
    def function(x: Any) -> Any:
        raise AssertionError("called")

    with pytest.raises(UnsupportedModelError, match=r"expects attention weights and gradients of the model"):
        seewhy.attribute(seewhy.wrap(function), networks.pictures(1), "attention-rollout")


def test_where_no_gradient_leads_back_it_is_said() -> None:
    with pytest.raises(NoGradientError, match="to the attention weights"):
        seewhy.attribute(networks.WithoutGradient(vit()), pictures(), "attention-rollout", target=0)


def test_a_near_miss_of_the_name_is_answered() -> None:
    with pytest.raises(UnknownNameError, match="attention-rollout"):
        seewhy.attribute(vit(), pictures(), "attention-rolout")


# ---------------------------------------------------------------------------------------------- engine and front doors


def heads_of(width: int) -> tuple[Tensor, Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 4, 5, width, generator=drawn, dtype=torch.float64) for _ in range(3))  # type: ignore[return-value]


MASK = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 0, 0], [0, 0, 1, 1, 1]]) > 0


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"is_causal": True},
        {"scale": 0.3},
        {"attn_mask": MASK},
        {"attn_mask": torch.randn(4, 5, 5).double()},
        {"enable_gqa": True},
    ],
    ids=["plain", "causal", "scale", "bool mask", "mask", "groups"],
)
def test_attention_by_definition_is_fused_attention(more: dict[str, Any]) -> None:
    query, key, value = heads_of(3)
    if "enable_gqa" in more:
        key, value = key[:, :2], value[:, :2]
    wanted = F.scaled_dot_product_attention(query, key, value, **more)
    leaves = [part.clone().requires_grad_() for part in (query, key, value)]
    tap = AttentionTap(lambda weights: weights)
    with tap:
        found = F.scaled_dot_product_attention(*leaves, **more)
    torch.testing.assert_close(found.detach(), wanted, rtol=1e-12, atol=1e-12)
    (weights,) = tap.found(2)
    blank = (
        torch.zeros(5) if "attn_mask" not in more or more["attn_mask"].dtype != torch.bool else (~MASK.any(1)).double()
    )
    torch.testing.assert_close(weights.sum(3)[0, 0].detach(), 1 - blank.double())
    assert all(torch.isfinite(slope).all() for slope in torch.autograd.grad(found.sum(), leaves))


class LastLook(Method):
    """A method of another package: the last layer's attention of the class token, without any gradient."""

    __slots__ = ()

    def flow(self, case: Any, target: Any) -> Any:
        def pick(chunk: Any) -> Any:
            return chunk.attention[-1][0].mean(0)[0, 1:], chunk.resolved[0], chunk.score

        query = Query(case.rows(), target, stack(pick, lambda parts: parts[0]), Record(attention=True))
        seen, target, score = yield from ask(query)
        height, width = (size // networks.PATCH for size in case.x[0].shape[2:])
        return attribution(self, case, (seen.reshape(1, height, width),), (target, score))


@pytest.fixture
def last_look(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from dataclasses import make_dataclass

    info = MethodInfo(
        name="last-look", family="attention", title="Last look", reduce="none", signed=False, units="share",
        needs=frozenset({"attention"}), cost="1 forward", reference="none", avoid="Anywhere but here.",
    )  # fmt: skip
    made = make_dataclass("LastLookSettings", [], bases=(LastLook,), namespace={"info": info}, frozen=True)
    made.__module__ = __name__
    monkeypatch.setitem(globals(), "LastLookSettings", made)
    monkeypatch.setattr(registry, "BUILT_IN", (*registry.BUILT_IN, made))
    registry.registered.cache_clear()
    yield made
    monkeypatch.undo()
    registry.registered.cache_clear()


def test_a_method_of_another_package_may_need_attention(last_look: Any) -> None:
    check_method("last-look")
    net, x = vit(), pictures()
    found = seewhy.attribute(net, x, "last-look", target=1)
    torch.testing.assert_close(found.values[0], explicit(net, x, 1)[0][-1].mean(0)[0, 1:].reshape(4, 4))
    assert found.diagnostics["backward_passes"] == 0


def test_explain_says_what_is_not_shown() -> None:
    net = vit().float()
    found = seewhy.explain(net, networks.pictures(1)[0], METHODS, 1)
    assert not found.errors
    for name in METHODS:
        share = found[name].diagnostics["share_without_place"]
        (said,) = [item.text for item in found.findings[name, next(iter(found.targets))] if item.code == "elsewhere"]
        assert said.startswith(f"{share:.0%} of it is on tokens without a place")
        assert found.families[name] == "attention"


def test_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    from PIL import Image

    from seewhy.apps.cli import main

    def ended(arguments: list[str]) -> object:
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        return stop.value.code or 0

    picture = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(picture)
    code = (
        "import timm, torch\n"
        "import numpy as np\n"
        "def build():\n"
        "    net = timm.create_model('vit_tiny_patch16_224', img_size=32, patch_size=8, depth=2, num_classes=4)\n"
        "    return {'model': net, 'preprocess': prepare}\n"
        "def prepare(image):\n"
        "    return torch.tensor(np.asarray(image.resize((32, 32))) / 255).permute(2, 0, 1).float()\n"
    )
    (tmp_path / "net.py").write_text(code)
    out = tmp_path / "out.npz"
    asked = [
        "explain",
        str(picture),
        "--model",
        f"{tmp_path / 'net.py'}:build",
        "-m",
        "attention-rollout",
        "-o",
        str(out),
    ]
    assert ended(asked) == 0
    assert re.search("Attention rollout|attention-rollout", capsys.readouterr().out)
    (made,) = seewhy.load_explanation(out).attributions.values()
    assert made.values.shape == (1, 4, 4)
    assert ended(["methods"]) == 0
    assert "attention-gradient" in capsys.readouterr().out
