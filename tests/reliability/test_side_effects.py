"""Nothing is left behind or grows: random numbers, tensors, memory, graphs, hooks, whatever a flow does."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seewhy import Options
from seewhy.core.errors import UnsupportedModelError
from seewhy.engine import Engine
from seewhy.study.cases import cases
from seewhy.targets import Class

from .cases import photo
from .contract import ALL, close, method, refusal, refused, seewhy, unchanged
from .networks import Plain, Restless, made, plain_oracle
from .oracle import input_map


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
