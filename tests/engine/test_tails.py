"""Rows that enter at a layer run only what follows it, answer as the whole network does, and say which it was."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from seewhy.core.queries import layer_view, scores
from seewhy.core.query import Chunk, Flow, Fold, Query, Record, ask
from seewhy.core.rows import Case
from seewhy.core.targets import Class, Target
from seewhy.engine import Engine, Options
from seewhy.models.tracing import first_tensor, with_first_tensor
from seewhy.models.wrapping import wrap
from seewhy.study.cases import cases

ROWS = 24
ONLY, WHOLE = "ran only what follows it", "ran the whole network"


@dataclass
class Answer:
    """What the rows of one case gave, and what was noted."""

    activation: Tensor
    score: Tensor
    notes: str
    gradient: Tensor | None = None
    rows: dict[str, int] = field(default_factory=dict)


def dimmed(activation: Tensor, part: slice = slice(None)) -> Tensor:
    """The layer's output, each row with other places taken away."""
    keep = torch.rand(ROWS, *activation.shape[1:], generator=torch.Generator().manual_seed(3)) > 0.4
    return activation * keep[part].to(activation.dtype)


def with_gradient(rows: Any, target: Target, seen: tuple[str, ...]) -> Query[Any]:
    def pick(state: list[Chunk], _: slice, chunk: Chunk) -> list[Chunk]:
        return [*state, chunk]

    def finish(state: list[Chunk]) -> tuple[Tensor, Tensor]:
        return torch.cat([c.score for c in state]), torch.cat([c.input_gradient[0] for c in state])

    return Query(rows, target, Fold(list, pick, finish), Record(input_gradient=True, activations=seen))


def flow(case: Case, layer: str, gradient: bool, seen: tuple[str, ...]) -> Flow[tuple[Tensor, ...]]:
    view = yield from ask(layer_view(case, Class(1), layer, gradient=False))
    rows = case.enter(layer, ROWS, lambda part: dimmed(view.activation, part))
    if gradient or seen:
        return view.activation, *(yield from ask(with_gradient(rows, Class(1), seen)))
    return view.activation, (yield from ask(scores(rows, Class(1)))), None


@contextmanager
def counted() -> Iterator[dict[int, int]]:
    """Counts the rows that each convolution computes, by identity; hooks would also fire for what is replayed."""
    seen: dict[int, int] = {}
    own = nn.Conv2d.forward

    def forward(self: nn.Conv2d, x: Tensor) -> Tensor:
        seen[id(self)] = seen.get(id(self), 0) + len(x)
        return own(self, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Conv2d, "forward", forward)
        yield seen


def explained(
    module: nn.Module, x: Any, layer: str, *, gradient: bool = False, seen: tuple[str, ...] = (), **options: Any
) -> list[Answer]:
    """What the engine answers for each row of `x`, with the rows that each convolution has computed."""
    model = wrap(module)
    flows = [(case.id, flow(case, layer, gradient, seen)) for case in cases(model, x, 0)]
    state = {name: (set(vars(part)), dict(part._forward_hooks)) for name, part in module.named_modules()}
    with counted() as rows:
        done = Engine(model, Options(**options)).run(flows)
    assert state == {name: (set(vars(part)), dict(part._forward_hooks)) for name, part in module.named_modules()}
    names = {id(part): name for name, part in module.named_modules()}
    answers = []
    for outcome in done.values():
        activation, score, slope = outcome.result()
        count = {names[i]: n for i, n in rows.items() if i in names}
        answers.append(Answer(activation, score, " ".join(outcome.meter.notes), slope, count))
    return answers


def by_hand(module: nn.Module, x: Tensor, layer: str, activation: Tensor, uses: int = 1) -> tuple[Tensor, Tensor]:
    """The whole network, row by row, with the layer's last output exchanged by a hook; scores and gradients."""
    twin = copy.deepcopy(module).eval()
    values, slopes = [], []
    for row in dimmed(activation).split(1):
        entry, calls = row.clone().requires_grad_(), 0

        def exchange(_: nn.Module, __: Any, output: Any, entry: Tensor = entry) -> Any:
            nonlocal calls
            calls += 1
            return with_first_tensor(output, entry.clone()) if calls == uses else None

        handle = twin.get_submodule(layer).register_forward_hook(exchange)
        score = twin(x)[0, 1]
        handle.remove()
        slopes.append(torch.autograd.grad(score, entry)[0])
        values.append(score.detach())
    return torch.stack(values), torch.cat(slopes)


def agree(module: nn.Module, x: Tensor, layer: str, uses: int = 1, **how: Any) -> Answer:
    (found,) = explained(module, x, layer, **how)
    score, slope = by_hand(module, x, layer, found.activation, uses)
    assert float(score.std()) > 1e-6 * float(score.abs().max())  # rows that differ, or nothing is tested
    assert torch.allclose(found.score.double(), score.double(), rtol=1e-9, atol=1e-9 * float(score.abs().max()))
    if found.gradient is not None:
        assert float(slope.norm()) > 0
        assert float((found.gradient - slope).norm()) <= 1e-9 * float(slope.norm())
    return found


def picture(size: int = 64) -> Tensor:
    return torch.randn(1, 3, size, size, dtype=torch.float64)


MADE = 1 + 3 + 2  # rows in front of a cut: the example, three recorded, two of the proof
CHECKED = MADE + 1  # and, once in a network's life, one row alone, against rows that influence each other


@pytest.mark.parametrize(
    ("make", "layer", "in_front", "behind"),
    [
        (torchvision.models.resnet18, "layer2", "layer2.1.conv2", "layer3.0.conv1"),
        (torchvision.models.resnet18, "layer3", "layer1.0.conv1", "layer4.0.conv1"),
        (torchvision.models.resnet18, "layer4", "layer4.1.conv2", None),
        (torchvision.models.resnet18, "layer3.1.conv1", "layer3.0.conv2", "layer3.1.conv2"),
        (torchvision.models.densenet121, "features.denseblock3.denselayer20", "features.conv0", "features.denseblock4"),
        (torchvision.models.mobilenet_v2, "features.9.conv.1", "features.9.conv.0.0", "features.10.conv.0.0"),
        (lambda: timm.create_model("efficientnet_lite0"), "blocks.3", "blocks.2.0.conv_pw", "blocks.4.0.conv_pw"),
    ],
)
def test_what_is_in_front_of_the_layer_does_not_run(
    make: Callable[[], nn.Module], layer: str, in_front: str, behind: str | None
) -> None:
    module = make().double().eval()
    found = agree(module, picture(), layer)
    assert ONLY in found.notes
    assert WHOLE not in found.notes
    assert found.rows[in_front] == CHECKED
    if behind in found.rows:
        assert found.rows[behind] == CHECKED + 2 + ROWS


@pytest.mark.parametrize("layer", ["layer3", "layer3.1.bn1", "layer3.1.conv2"])
def test_gradients_are_those_of_the_whole_network(layer: str) -> None:
    found = agree(torchvision.models.resnet18().double().eval(), picture(), layer, gradient=True)
    assert ONLY in found.notes


@pytest.mark.parametrize("layer", ["blocks.7", "blocks.7.mlp.fc1", "blocks.7.attn.qkv"])
def test_vision_transformers(layer: str) -> None:
    module = timm.create_model("vit_tiny_patch16_224", img_size=64).double().eval()
    found = agree(module, picture(), layer)
    assert ONLY in found.notes
    assert found.rows["patch_embed.proj"] == CHECKED


@pytest.mark.parametrize("layer", ["layers.2.blocks.3.attn.proj", "layers.2.blocks.3.mlp"])
def test_windows_whose_rows_are_merged_into_the_first_axis(layer: str) -> None:
    module = timm.create_model("swin_tiny_patch4_window7_224", img_size=56, window_size=7, embed_dim=24).double().eval()
    found = agree(module, picture(56), layer)
    assert ONLY in found.notes
    assert found.rows["patch_embed.proj"] == CHECKED


class Plain(nn.Module):
    """Two convolutions, functional rectifiers and a flattened head; `turn` makes variants of it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, padding=1)
        self.third = nn.Conv2d(5, 5, 3, padding=1)
        self.head = nn.Linear(5 * 64, 4)
        self.shift = 0.0
        self.double()
        self.eval()

    def turn(self, h: Tensor) -> Tensor:
        return h

    def forward(self, x: Tensor) -> Tensor:
        h = self.turn(F.relu(self.second(F.relu(self.first(x)))))
        return self.head(F.relu(self.third(h) + self.shift).flatten(1))


class DataDependent(Plain):
    def turn(self, h: Tensor) -> Tensor:
        return h.sin() if bool(h.abs().mean() > 0.05) else h.cos()


class Added(Plain):
    """Writes onto the very tensor that the layer in front gave."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        h += 1
        side = F.relu_(h)
        late = self.second(side)
        late *= 2
        side += late[:, :4]
        return self.head(torch.cat([side, late[:, :1]], 1).flatten(1))


class Pairs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 5, 3, padding=1)

    def forward(self, h: Tensor) -> tuple[Tensor, int, dict[str, Tensor]]:
        return self.conv(h), 3, {"again": h.mean((1, 2, 3))}


class Tupled(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.second = Pairs().double()

    def forward(self, x: Tensor) -> Tensor:
        h, times, more = self.second(self.first(x).relu())
        return self.head((self.third(h) * times * more["again"][:, None, None, None]).flatten(1))


class Namespace(Plain):
    """Calls parts of modules that are never called themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.ModuleList([nn.Conv2d(3, 3, 3, padding=1), nn.ModuleDict({"a": nn.Conv2d(3, 3, 1)})]).double()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.early[1]["a"](self.early[0](x)))


class Keeping(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        answer = super().forward(x)
        self.kept = answer.mean((1, 2, 3), keepdim=True)
        return answer


class KeptAside(Plain):
    """Hands a value past the layer in an attribute that a module in front of it sets."""

    def __init__(self) -> None:
        super().__init__()
        self.first = Keeping(3, 4, 3, padding=1).double()
        self.first.kept = 0.0

    def turn(self, h: Tensor) -> Tensor:
        return h + self.first.kept


@pytest.mark.parametrize("kind", [Plain, DataDependent, Added, Tupled, Namespace])
@pytest.mark.parametrize("gradient", [False, True])
def test_networks_of_every_style(kind: type[Plain], gradient: bool) -> None:
    found = agree(kind(), picture(8), "second", gradient=gradient)
    assert ONLY in found.notes
    assert found.rows["first"] == CHECKED


def test_what_a_module_in_front_hands_past_the_layer_is_not_lost() -> None:
    found = agree(KeptAside(), picture(8), "second")
    assert WHOLE in found.notes
    assert ONLY not in found.notes


class Twice(Plain):
    """One layer called twice; the last use is the one that is explained."""

    def turn(self, h: Tensor) -> Tensor:
        return self.third(h)


def test_of_a_layer_used_twice_the_last_use_is_entered() -> None:
    found = agree(Twice(), picture(8), "third", uses=2)
    assert ONLY in found.notes
    assert found.rows["third"] == 2 * CHECKED


def test_layers_that_are_recorded_beside_are_captured_in_front_and_behind() -> None:
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Tanh()), nn.Conv2d(4, 4, 1), nn.Tanh(), nn.Flatten())
    module = nn.Sequential(net, nn.Linear(4 * 64, 3)).double().eval()
    found = agree(module, picture(8), "0.1", seen=("0.0.0", "0.2"))
    assert ONLY in found.notes


def test_rows_of_several_examples_in_one_batch() -> None:
    module, x = Added(), torch.cat([picture(8), picture(8), picture(8)])
    found = explained(module, x, "second", batch_size=20)
    for row, one in zip(x.split(1), found, strict=True):
        assert torch.allclose(one.score, by_hand(module, row, "second", one.activation)[0], rtol=1e-9, atol=1e-12)
    assert all(ONLY in one.notes and WHOLE not in one.notes for one in found)
    assert (
        found[0].rows["first"] == 3 + 1 + 2 + 3 + 2
    )  # the examples, one alone, the proof, recorded, two more recorded


class Moody(Plain):
    """Takes its way by an attribute and by its mode, both of which a stale graph would have frozen."""

    mood = "calm"

    def turn(self, h: Tensor) -> Tensor:
        return h.tanh() if self.mood == "calm" and not self.training else h * 3


def test_nothing_is_kept_from_one_run_to_the_next() -> None:
    module, x = Moody(), picture(8)
    before = agree(module, x, "second")
    module.mood = "cross"
    assert float((agree(module, x, "second").score - before.score).abs().max()) > 1e-3
    module.third.weight.data.mul_(-1)
    module.first.weight.data.add_(0.1)
    assert float((agree(module, x, "second").score - before.score).abs().max()) > 1e-3
    module.third = nn.Conv2d(5, 5, 1).double()
    assert ONLY in agree(module, x, "second").notes
    module.train()
    assert ONLY in agree(module, x, "second").notes  # explained in evaluation mode, as ever
    assert module.training


def test_hooks_of_the_users_own_go_on_working() -> None:
    module = Plain()
    module.first.register_forward_hook(lambda _, __, output: output * 2)
    module.third.register_forward_hook(lambda _, __, output: output + 1)
    assert ONLY in agree(module, picture(8), "second").notes


class Company(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x.mean() + self.third.weight.sum()

    def turn(self, h: Tensor) -> Tensor:
        return h - h.mean(0)


class Restless(Plain):
    def turn(self, h: Tensor) -> Tensor:
        return h + 0.1 * torch.randn(len(h), 1, 1, 1, dtype=h.dtype)


@pytest.mark.parametrize("kind", [Company, Restless])
def test_rows_that_influence_each_other_run_the_whole_network(kind: type[Plain]) -> None:
    (found,) = explained(kind(), picture(8), "second")
    assert WHOLE in found.notes
    assert "influence each other" in found.notes
    assert found.rows["first"] >= 1 + ROWS


def test_few_rows_run_the_whole_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seewhy.engine.tails.REPAYS", ROWS + 1)
    found = agree(Plain(), picture(8), "second")
    assert "fewer than 25 rows" in found.notes
    assert found.rows["first"] >= 1 + ROWS


def test_a_tail_that_fails_later_gives_way_to_the_whole_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the third pass behind the cut on, as of a network that goes another way then."""
    from seewhy.engine import tails
    from seewhy.models.tails import Diverged

    run, calls = tails.Tail.run, []

    def failing(self: Any, request: Any) -> Any:
        calls.append(request.count)
        if len(calls) > 2:
            raise Diverged
        return run(self, request)

    monkeypatch.setattr(tails.Tail, "run", failing)
    found = agree(Plain(), picture(8), "second", batch_size=8)
    assert calls == [2, 8, 8]
    assert ONLY in found.notes
    assert WHOLE in found.notes


def test_an_error_of_the_network_itself_is_the_one_reported() -> None:
    class Fails(Plain):
        def turn(self, h: Tensor) -> Tensor:
            if len(h) > 1 or float(h.detach().min()) < -1e9:
                raise ZeroDivisionError("of the user's own")
            return h

    (found,) = explained(Fails(), picture(8), "second", batch_size=4)
    assert WHOLE in found.notes
    assert "of the user's own" in found.notes
    assert len(found.score) == ROWS


def test_the_first_tensor_is_what_enters() -> None:
    """Guards the oracle above: a tuple's first tensor is exchanged, the rest is left."""
    output = (torch.ones(1), 3, torch.zeros(1))
    assert first_tensor(with_first_tensor(output, torch.full((1,), 5.0))) == 5
