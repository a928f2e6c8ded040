"""Passes are counted by the user's own means, hooks and autograd, never by the engine's word for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import torch
import torchvision
from torch import Tensor, nn

import seewhy
from seewhy.engine import Engine, Options
from seewhy.methods import GradCam, IntegratedGradients, SmoothGrad, VarGrad, find
from seewhy.models.model import Model
from seewhy.models.wrapping import wrap
from seewhy.study.cases import cases
from seewhy.targets import Class, Top, Unit

SINGLE_PASS = (
    "saliency",
    "input-x-gradient",
    "cam",
    "grad-cam",
    "grad-cam++",
    "xgrad-cam",
    "layer-cam",
    "hires-cam",
)


@dataclass
class Counts:
    """Calls of the whole network with their batch sizes, and backward passes."""

    batches: list[int] = field(default_factory=list)
    backwards: int = 0

    @property
    def forwards(self) -> int:
        return len(self.batches)


@contextmanager
def counted(module: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counts]:
    counts = Counts()

    def forward(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        counts.batches.append(len(inputs[0]))

    run_backward = torch.autograd.graph._engine_run_backward

    def backward(*args: object, **options: object) -> object:
        counts.backwards += 1
        return run_backward(*args, **options)

    handle = module.register_forward_pre_hook(forward)
    with monkeypatch.context() as patch:  # every way into autograd, .backward() and grad() alike, goes through here
        patch.setattr("torch.autograd._engine_run_backward", backward)
        patch.setattr("torch.autograd.graph._engine_run_backward", backward)
        yield counts
    handle.remove()


class Small(nn.Module):
    """A little network of the usual shape; `inplace` makes its ReLUs write over the layers before them."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(inplace))
        self.second = nn.Sequential(nn.Conv2d(8, 12, 3), nn.BatchNorm2d(12), nn.ReLU(inplace))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.second(self.first(x))).flatten(1))


def fresh(name: str) -> nn.Module:
    torch.manual_seed(5)
    match name:
        case "efficientnet-lite0":
            return seewhy.load("efficientnet-lite0", device="cpu").module
        case "resnet-18":
            return torchvision.models.resnet18(weights=None, num_classes=10).eval()
        case "in place":
            return Small(inplace=True).eval()
    return Small().eval()


NAMES = ("small", "in place", "resnet-18", "efficientnet-lite0")


def test_the_counter_counts_every_way_into_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Small().eval()
    with counted(module, monkeypatch) as counts:
        x = torch.randn(2, 3, 16, 16, requires_grad=True)
        module(x).sum().backward()
        torch.autograd.grad(module(x).sum(), x)
        torch.autograd.backward(module(x).sum())
    assert (counts.batches, counts.backwards) == ([2, 2, 2], 3)


@pytest.mark.parametrize("name", NAMES)
def test_eight_methods_on_a_fresh_network_are_one_forward_and_one_backward(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, x = fresh(name), torch.randn(1, 3, 64, 64)
    with counted(module, monkeypatch) as counts:
        found = seewhy.attribute(module, x, list(SINGLE_PASS))
    assert (counts.batches, counts.backwards) == ([1], 1)
    for attribution in found.values():
        assert attribution.diagnostics["forward_passes"] == 1
        assert attribution.diagnostics["backward_passes"] == (attribution.method != "cam")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("method", ["grad-cam", "cam"])
def test_one_map_alone_on_a_fresh_network_is_one_forward_and_at_most_one_backward(
    name: str, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = fresh(name)
    with counted(module, monkeypatch) as counts:
        seewhy.attribute(module, torch.randn(1, 3, 64, 64), method)
    assert (counts.batches, counts.backwards) == ([1], int(method != "cam"))  # CAM reads the head's own weights


@pytest.mark.parametrize("name", NAMES)
def test_five_targets_of_eight_methods_are_one_forward_and_five_backwards(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = fresh(name)
    model = wrap(module)
    (case,) = cases(model, torch.randn(1, 3, 64, 64), 0)
    flows = [((method, index), find(method).flow(case, Class(index))) for method in SINGLE_PASS for index in range(5)]
    with counted(module, monkeypatch) as counts:
        outcomes = Engine(model).run(flows)
    assert (counts.batches, counts.backwards) == ([1], 5)
    maps = [outcomes["saliency", index].result().values for index in range(5)]
    assert all(not torch.equal(maps[0], other) for other in maps[1:])


def test_the_same_image_twice_costs_what_it_costs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module, x = fresh("small"), torch.randn(1, 3, 32, 32)
    with counted(module, monkeypatch) as counts:
        found = seewhy.attribute(module, torch.cat([x, x]), ["saliency", "grad-cam"], [2, 3])
    assert (counts.batches, counts.backwards) == ([1], 2)
    assert not torch.equal(found["saliency"].values[0], found["saliency"].values[1])


def rounds_of(model: Model, images: Tensor, method: IntegratedGradients) -> tuple[int, list[int]]:
    """Returns the rounds of a run over all the images, and what each image says it needed."""
    engine = Engine(model, Options(batch_size=256, prepared="never"))
    flows = [(row, method.flow(case, Top())) for row, case in enumerate(cases(model, images, 0))]
    outcomes = engine.run(flows)
    needed = [outcomes[row].result().diagnostics["gradient_evaluations"] for row in range(len(images))]
    return engine.meters.rounds, needed


def test_refined_paths_of_eight_images_share_their_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(2)
    module = nn.Sequential(nn.Flatten(), nn.Linear(48, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 5))
    model = wrap(module.double().eval())
    images = torch.randn(8, 3, 4, 4, dtype=torch.float64) * torch.linspace(0.5, 6, 8)[:, None, None, None]
    method = IntegratedGradients(baseline=0.0, tolerance=1e-4)
    alone = [rounds_of(model, images[row : row + 1], method) for row in range(8)]
    assert len({rounds for rounds, _ in alone}) > 1, "images that all need the same prove little"
    with counted(module, monkeypatch) as counts:
        rounds, evaluations = rounds_of(model, images, method)
    assert rounds <= max(rounds for rounds, _ in alone) + 1
    assert evaluations == [needed for _, (needed,) in alone]
    assert counts.backwards == rounds - 2  # the first two rounds only name the top class and score the ends


def test_where_only_a_layer_is_asked_for_the_graph_starts_there() -> None:
    module = fresh("small")
    seen: dict[str, bool] = {}
    for name in ("first", "second.0", "second", "head"):
        module.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: seen.__setitem__(name, output.grad_fn is not None)
        )
    seewhy.attribute(module, torch.randn(1, 3, 32, 32), GradCam(layer="second.0"), 1)
    assert seen == {"first": False, "second.0": False, "second": True, "head": True}
    seewhy.attribute(module, torch.randn(1, 3, 32, 32), "saliency", 1)
    assert all(seen.values())


@pytest.mark.parametrize("name", ["small", "in place"])
def test_the_default_layer_of_a_fresh_network_needs_no_graph_before_it_either(name: str) -> None:
    module = fresh(name)
    seen: dict[str, bool] = {}
    for layer in ("first.0", "second", "head"):
        module.get_submodule(layer).register_forward_hook(
            lambda _, __, output, layer=layer: seen.__setitem__(layer, output.grad_fn is not None)
        )
    for _ in range(2):
        seewhy.attribute(module, torch.randn(1, 3, 32, 32), "grad-cam", 1)
    assert seen["head"]
    assert not seen["first.0"]


def test_the_forward_stops_behind_an_inner_unit_from_the_second_call_on() -> None:
    module = fresh("small")
    called: list[str] = []
    for name, part in module.named_modules():
        if name:
            part.register_forward_hook(lambda _, __, ___, name=name: called.append(name))
    x, unit = torch.randn(1, 3, 32, 32), Unit("first", 3)
    first = seewhy.attribute(module, x, "saliency", unit)
    assert "head" in called  # how often `first` is called in a pass is not known before the first one
    called.clear()
    second = seewhy.attribute(module, x, "saliency", unit)
    assert not [name for name in called if name.startswith(("second", "pool", "head"))]
    assert "first.2" in called
    assert torch.equal(first.values, second.values)


def test_smoothgrad_costs_one_backward_for_each_batch_of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fresh("small")
    options = seewhy.Options(batch_size=10, prepared="never")
    with counted(module, monkeypatch) as counts:
        seewhy.attribute(module, torch.randn(1, 3, 32, 32), seewhy.methods.SmoothGrad(samples=40), 1, options=options)
    # the image itself for its score, and once alone against company to see that rows do not influence each other
    assert sorted(counts.batches) == [1, 1, 10, 10, 10, 10]
    assert counts.backwards == 4


@pytest.mark.parametrize("tolerance", [None, 1e-9])
def test_smoothgrad_and_vargrad_together_cost_what_one_costs(
    tolerance: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, x = fresh("small"), torch.randn(1, 3, 32, 32)
    options = seewhy.Options(batch_size=10, prepared="never")
    settings = {"samples": 20, "tolerance": tolerance, "max_samples": 40}
    smooth, varied = SmoothGrad(**settings), VarGrad(**settings)
    paid = []
    for methods in ([smooth], [varied], [smooth, varied]):
        with counted(module, monkeypatch) as counts:
            found = seewhy.attribute(module, x, methods, 1, options=options)
        paid.append((sorted(counts.batches), counts.backwards))
    assert paid[0][1] == (2 if tolerance is None else 4)
    # the first call alone also looks whether rows influence each other
    assert sum(paid[1][0]) == sum(paid[2][0])
    assert paid[0][1] == paid[1][1] == paid[2][1]
    assert found["smoothgrad"].diagnostics["samples"] == found["vargrad"].diagnostics["samples"]
