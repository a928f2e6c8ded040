"""Networks that keep state: found again as it was, the same for every row, and nothing grows from call to call."""

from __future__ import annotations

import gc
import itertools
import random
import threading
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Generator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seewhy import Options
from seewhy.core.errors import UnsupportedModelError
from seewhy.engine import Engine
from seewhy.study.cases import cases
from seewhy.targets import Class

from .contract import ALL, check_map, close, method, refusal, refused, seewhy, unchanged
from .networks import Plain, Restless, made, plain_oracle
from .oracle import input_map
from .test_models import Case, photo

SOME = ("saliency", "integrated-gradients", "guided-backprop", "grad-cam")


class Helper:
    def __init__(self) -> None:
        self.count = 0


class Normed(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(6)

    def features(self, x: Tensor) -> Tensor:
        return self.act2(self.norm(self.conv2(self.first(x))))


class Slotted(Plain):
    __slots__ = ("count",)

    def __init__(self) -> None:
        super().__init__()
        self.count = 0


class Stateful(Plain):
    """Counts its calls somewhere, by `tick`, which also says the count before; the count shifts the logits."""

    def __init__(self, prepare: Callable[[Any], None], tick: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.tick = tick
        prepare(self)

    def forward(self, x: Tensor) -> Tensor:
        before = float(self.tick(self, x))
        return super().forward(x) * (1 + before)


def _set(name: str, value: Callable[[], Any]) -> Callable[[Any], None]:
    return lambda net: setattr(net, name, value())


def _plain(net: Any, x: Tensor) -> int:
    net.count += 1
    return net.count - 1


def _buffer(net: Any, x: Tensor) -> Any:
    before = net.count.clone()
    net.count += 1
    return before


def _replaced_buffer(net: Any, x: Tensor) -> Any:
    net.count = net.count + 1
    return net.count - 1


def _through_data(net: Any, x: Tensor) -> Any:
    before = float(net.count.data.reshape(-1)[0])
    net.count.data.add_(1)
    return before


def _numpy(net: Any, x: Tensor) -> Any:
    net.count += 1
    return net.count[0] - 1


def _list(net: Any, x: Tensor) -> int:
    net.seen.append(x.shape)
    return len(net.seen) - 1


def _dict(net: Any, x: Tensor) -> int:
    net.seen[len(net.seen)] = x
    return len(net.seen) - 1


def _nested(net: Any, x: Tensor) -> int:
    net.seen["a"][0].append(1)
    return len(net.seen["a"][0]) - 1


def _inside(net: Any, x: Tensor) -> Any:
    before = net.seen[0].clone()
    net.seen[0].add_(1)
    return before


def _counter(net: Any, x: Tensor) -> int:
    net.seen["calls"] += 1
    return net.seen["calls"] - 1


def _helper(net: Any, x: Tensor) -> int:
    net.helper.count += 1
    return net.helper.count - 1


def _lazy(net: Any, x: Tensor) -> int:
    if not hasattr(net, "made"):
        net.register_buffer("made", torch.zeros(1), persistent=False)
        net.extra = nn.Linear(2, 2)
        net.note = "made"
        return 0
    return 1


def _hidden(net: Any, x: Tensor) -> Any:
    before = net.hidden[0].running_mean.sum()
    net.hidden[0].train()(x + 10)
    return before


def _flags(net: Any, x: Tensor) -> int:
    before = int(net.fc.training) + int(net.conv1.weight.requires_grad)
    net.fc.train()
    net.conv1.weight.requires_grad_(True)
    return before


def _generator(net: Any, x: Tensor) -> Any:
    return torch.rand(1, generator=net.random) - net.expected


def _python_random(net: Any, x: Tensor) -> Any:
    return net.random.random() - net.expected


def _numpy_random(net: Any, x: Tensor) -> Any:
    return float(net.random.random()) - net.expected


def _small_parameter(net: Any, x: Tensor) -> Any:
    before = net.count.detach().clone()
    net.count.data += 1
    return before


def _draws(make: Callable[[], Any], draw: Callable[[Any], Any]) -> Callable[[Any], None]:
    def prepare(net: Any) -> None:
        net.random, net.expected = make(), draw(make())

    return prepare


def _registered(tensor: Callable[[], Tensor]) -> Callable[[Any], None]:
    return lambda net: net.register_buffer("count", tensor())


STATES: dict[str, tuple[Callable[[Any], None], Callable[[Any, Tensor], Any]]] = {
    "attribute": (_set("count", int), _plain),
    "buffer": (_registered(lambda: torch.zeros(1)), _buffer),
    "bool-buffer-beside": (
        lambda net: (net.register_buffer("flag", torch.tensor([True])), setattr(net, "count", 0)),  # type: ignore[func-returns-value]
        lambda net, x: (net.flag.logical_not_(), _plain(net, x))[1],
    ),
    "replaced-buffer": (_registered(lambda: torch.zeros(1)), _replaced_buffer),
    "data-of-buffer": (_registered(lambda: torch.zeros(1)), _through_data),
    "data-of-counters": (_registered(lambda: torch.zeros(4, 4)), _through_data),
    "large-buffer": (_registered(lambda: torch.zeros(70000)), lambda net, x: _buffer(net, x)[0]),
    "data-of-attribute": (_set("count", lambda: torch.zeros(3)), _through_data),
    "small-parameter": (_set("count", lambda: nn.Parameter(torch.zeros(1), requires_grad=False)), _small_parameter),
    "numpy": (_set("count", lambda: np.zeros(1)), _numpy),
    "list": (_set("seen", list), _list),
    "deque": (_set("seen", lambda: deque(maxlen=50)), _list),
    "dict-cache": (_set("seen", dict), _dict),
    "ordered-dict": (_set("seen", OrderedDict), _dict),
    "defaultdict": (_set("seen", lambda: defaultdict(int)), _counter),
    "counter": (_set("seen", Counter), _counter),
    "nested": (_set("seen", lambda: {"a": ([],)}), _nested),
    "tensor-in-list": (_set("seen", lambda: [torch.zeros(1)]), _inside),
    "helper-object": (_set("helper", Helper), _helper),
    "lazy": (lambda net: None, _lazy),
    "hidden-module": (_set("hidden", lambda: [nn.BatchNorm2d(3)]), _hidden),
    "flags": (lambda net: None, _flags),
    "torch-generator": (
        _draws(lambda: torch.Generator().manual_seed(3), lambda g: torch.rand(1, generator=g)),
        _generator,
    ),
    "python-random": (_draws(lambda: random.Random(3), lambda g: g.random()), _python_random),
    "numpy-random": (_draws(lambda: np.random.default_rng(3), lambda g: float(g.random())), _numpy_random),
    "numpy-random-state": (_draws(lambda: np.random.RandomState(3), lambda g: g.random_sample()), _numpy_random),
}


@pytest.mark.parametrize("name", [*SOME, "adaptive", "smoothgrad"])
@pytest.mark.parametrize("kind", STATES)
def test_state_is_found_again_and_every_pass_starts_from_it(kind: str, name: str) -> None:
    network = made(Stateful, *STATES[kind])
    if kind == "numpy-random-state":
        network.random = np.random.RandomState(3)
    x = photo(rows=3)
    kept = vars(getattr(network, "helper", SimpleNamespace())).copy()
    with unchanged(network, x):
        result = seewhy.attribute(network, x, method(name, "act2"), target=2)
    assert vars(getattr(network, "helper", SimpleNamespace())) == kept
    check_map(name, result, plain_oracle(network), x, Case(network, None))


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_every_chunk_starts_from_the_same_state(batch: int) -> None:
    network, x = made(Stateful, *STATES["attribute"]), photo()
    options = Options(batch_size=batch, prepared="never")
    result = seewhy.attribute(network, x, method("integrated-gradients"), target=2, options=options)
    close(result.values, input_map("integrated-gradients", plain_oracle(network), x), 1e-4)


def test_a_prepared_copy_starts_every_pass_from_the_same_state() -> None:
    network, x = made(Stateful, *STATES["attribute"]), photo()
    with unchanged(network, x):
        options = Options(prepared="always", batch_size=2)
        result = seewhy.attribute(network, x, method("integrated-gradients"), target=2, options=options)
    assert result.diagnostics["backend"] == "torch, prepared copy"
    close(result.values, input_map("integrated-gradients", plain_oracle(network), x), 1e-4)


def test_state_that_was_exchanged_between_calls() -> None:
    """What was learned of a network in an earlier call must not hide what it holds by now."""
    network, x = made(Stateful, lambda net: setattr(net, "seen", {"a": ([],)}), _nested), photo()
    oracle = plain_oracle(network)
    for fresh in ({"a": ([],)}, {"a": ([], "more")}, {"a": ([],)}):
        network.seen = fresh
        with unchanged(network, x):
            result = seewhy.attribute(network, x, "saliency", target=2)
        close(result.values, input_map("saliency", oracle, x), 1e-4)
    network.seen, network.tick, network.count = None, _plain, 0
    network.act1.calls = []
    network.act1.register_forward_hook(lambda layer, *_: layer.calls.append(1))
    with unchanged(network, x):
        result = seewhy.attribute(network, x, "saliency", target=2)
    close(result.values, input_map("saliency", oracle, x), 1e-4)


def test_running_statistics_that_are_taken_away_between_calls() -> None:
    network, x = made(Normed), photo(rows=3)
    x[1] *= 4
    seewhy.attribute(network, x, "saliency", target=2)
    network.norm.running_mean = network.norm.running_var = None
    with unchanged(network, x):
        several = seewhy.attribute(network, x, "saliency", target=2)
    for row in range(3):
        alone = seewhy.attribute(network, x[row : row + 1], "saliency", target=2)
        close(several.values[row : row + 1], alone.values.double(), 1e-5)


def test_state_in_slots() -> None:
    network, x = made(Slotted), photo()
    network.forward = lambda x: (_plain(network, x), Plain.forward(network, x))[1]
    with unchanged(network, x):
        seewhy.attribute(network, x, "saliency", target=2)
    assert network.count == 0


def test_state_after_an_exception() -> None:
    def tick(net: Any, x: Tensor) -> int:
        net.count += 1
        net.seen.append(x)
        net.total.data += 1
        raise OSError("boom")

    def prepare(net: Any) -> None:
        net.count, net.seen, net.total = 0, [], torch.zeros(2)

    network = made(Stateful, prepare, tick)
    network.train()
    for name in ALL:
        with unchanged(network), pytest.raises(OSError, match="boom"):
            seewhy.attribute(network, photo(rows=2), method(name, "act2"), target=2)
    assert network.seen == []


def _m59(network: nn.Module, name: str, x: Tensor, batch: int | None = None) -> Tensor:
    settings = method(name, "act2")
    if name == "adaptive":  # which never converges here
        settings = replace(settings, max_steps=32)
    made_ = seewhy.attribute(network, x, settings, target=2, seed=11, options=Options(batch_size=batch))
    assert bool(torch.isfinite(made_.values).all())
    return made_.values


@pytest.mark.parametrize("name", ALL)
def test_m59_restless_network_repeats_with_its_seed(name: str) -> None:
    network, x = made(Restless), photo(rows=3)
    if name == "cam":  # the noise comes before the rectifier: pooling still holds
        assert _m59(network, name, x).shape == (3, 16, 16)
    with unchanged(network, x):
        first = _m59(network, name, x)
    torch.rand(5)
    assert torch.equal(first, _m59(network, name, x))
    close(_m59(network, name, x, batch=2), first.double(), 1e-5)


@pytest.mark.parametrize("name", ALL)
def test_m70_nothing_grows(name: str) -> None:
    psutil = pytest.importorskip("psutil")
    network, x = made(Plain), photo(size=(24, 24))
    settings, process = method(name, "act2"), psutil.Process()

    def tensors() -> int:
        gc.collect()
        return sum(isinstance(item, Tensor) for item in gc.get_objects())

    def calls(count: int) -> None:
        for _ in range(count):
            seewhy.attribute(network, x, settings, target=2)

    calls(3)
    with unchanged(network, x):
        live, resident = tensors(), process.memory_info().rss
        calls(20 if name in ("adaptive", "integrated-gradients", "smoothgrad") else 60)
        assert tensors() <= live
        assert process.memory_info().rss - resident < 30e6


def test_m70_two_hundred_calls() -> None:
    psutil = pytest.importorskip("psutil")
    network, x, process = made(Plain), photo(size=(96, 96)), psutil.Process()
    settings = [method(name, "act2") for name in ("saliency", "guided-backprop", "grad-cam", "layer-cam")]
    for _ in range(5):
        seewhy.attribute(network, x, settings, target=2)
    with unchanged(network, x):
        before = process.memory_info().rss
        for _ in range(200):
            seewhy.attribute(network, x, settings, target=2)
        assert process.memory_info().rss - before < 30e6


def test_networks_are_let_go() -> None:
    network = made(Plain)
    for prepared in ("never", "always"):
        seewhy.attribute(network, photo(), "integrated-gradients", target=2, options=Options(prepared=prepared))
    gone = weakref.ref(network)
    del network
    gc.collect()
    assert gone() is None


def test_results_hold_no_graph_of_the_caller() -> None:
    network, source = made(Plain), photo().requires_grad_()
    for name in ALL:
        result = seewhy.attribute(network, source * 2, method(name, "act2"), target=2)
        assert not result.values.requires_grad
        assert not result.scores.requires_grad


def test_a_training_step_goes_on_around_a_call() -> None:
    network, plain = made(Plain, train=True), made(Plain, train=True)
    x = photo(rows=4)
    losses = [net(x).square().mean() for net in (network, plain)]
    with unchanged(network, x):
        seewhy.attribute(network, x, "saliency", target=2)
    for loss in losses:
        loss.backward()
    for mine, other in zip(network.parameters(), plain.parameters(), strict=True):
        assert mine.grad is not None
        assert torch.equal(mine.grad, other.grad)  # type: ignore[arg-type]


def _flow(case: Any, target: Any, fails_at: int, error: BaseException) -> Generator[Any, Any, str]:
    from seewhy.core.queries import gradient, layer_view, scores

    asked = [
        scores(case.rows(), target),
        (gradient(case.rows(), target), layer_view(case, target)),
        gradient(case.rows(), target, view="guided-backprop"),
    ]
    for step, query in enumerate(asked):
        if step == fails_at:
            raise error
        yield query
    if fails_at == len(asked):
        raise error
    return "done"


@pytest.mark.parametrize("fails_at", range(5))
def test_exceptions_at_every_yield(fails_at: int) -> None:
    network, x = made(Plain, train=True), photo(rows=2)
    model, error = seewhy.wrap(network), KeyError("boom")
    first, second = cases(model, x, 0)
    with unchanged(network, x):
        outcomes = Engine(model).run(
            [("bad", _flow(first, Class(2), fails_at, error)), ("good", _flow(second, Class(2), 9, error))]
        )
    assert outcomes["good"].result() == "done"
    if fails_at < 4:
        assert outcomes["bad"].error is error
    else:
        assert outcomes["bad"].result() == "done"


def test_flows_are_closed_at_every_yield() -> None:
    closed: list[int] = []

    def waiting(case: Any) -> Generator[Any, Any, None]:
        from seewhy.core.queries import scores

        for step in itertools.count():
            try:
                yield scores(case.rows(), Class(2))
            except GeneratorExit:
                closed.append(step)
                raise

    network = made(Plain)
    model = seewhy.wrap(network)
    (case,) = cases(model, photo(), 0)
    for steps in range(3):
        left = iter([False] * steps)

        def stop(left: Any = left) -> bool:
            return bool(next(left, True))

        with unchanged(network), pytest.raises(seewhy.core.errors.CancelledError):
            Engine(model, Options(cancelled=stop)).run([("waiting", waiting(case))])
    assert closed == [0, 1, 2]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(5)), ("lazy", "Run it once")),
        (lambda: made(Plain).to("meta"), ("meta device",)),
    ],
)
def test_networks_without_weights(spoil: Callable[[], nn.Module], words: tuple[str, ...]) -> None:
    network = spoil()
    with refused(refusal(UnsupportedModelError, *words)):
        seewhy.attribute(network, photo(), "saliency", target=2)
    assert all(not part._forward_hooks or part.__class__.__name__.startswith("Lazy") for part in network.modules())


def test_weights_made_in_inference_mode() -> None:
    with torch.inference_mode():
        network = made(Plain)
    with unchanged(network), refused(refusal(UnsupportedModelError, "inference_mode", "deepcopy")):
        seewhy.attribute(network, photo(), "saliency", target=2)


def test_a_lock_and_a_python_generator_as_attributes() -> None:
    network, x = made(Plain), photo()
    network.lock, network.numbers = threading.Lock(), (n for n in range(3))
    with unchanged(network, x):
        for prepared in ("auto", "always"):
            options = Options(prepared=prepared)
            result = seewhy.attribute(network, x, method("integrated-gradients"), target=2, options=options)
            close(result.values, input_map("integrated-gradients", plain_oracle(network), x), 1e-4)
    assert list(network.numbers) == [0, 1, 2]
