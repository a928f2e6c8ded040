"""Two threads on one network, and Ctrl-C at any moment."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seewhy import Options
from seewhy.core.queries import gradient, scores
from seewhy.engine import Engine
from seewhy.study.cases import cases
from seewhy.targets import Class

from .cases import Case, photo
from .contract import ALL, check_map, close, method, seewhy, unchanged
from .networks import Plain, Restless, made, plain_oracle
from .oracle import input_map

SOME = ("saliency", "integrated-gradients", "guided-backprop", "grad-cam")


def _apart(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Runs jobs in threads that start together; raises what they raise."""
    gate = threading.Barrier(len(jobs))

    def job(work: Callable[[], Any]) -> Any:
        gate.wait()
        return work()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result() for future in [pool.submit(job, work) for work in jobs]]


@pytest.mark.parametrize("name", ALL)
def test_m71_two_threads_two_images_two_targets(name: str) -> None:
    network = made(Plain, train=True)
    xs, settings = photo(rows=2), method(name, "act2")
    times = 30 if name in SOME[:1] + SOME[2:] else 10

    def explain(i: int) -> Tensor:
        options = Options(batch_size=4)  # the same sums in the same order, so that maps are equal bit for bit
        return seewhy.attribute(network, xs[i : i + 1], settings, target=1 + i, options=options).values

    def work(i: int) -> Callable[[], list[Tensor]]:
        return lambda: [explain(i) for _ in range(times)]

    wanted = [explain(0), explain(1)]

    with unchanged(network, xs):
        for values, alone in zip(_apart([work(0), work(1)]), wanted, strict=True):
            assert all(torch.equal(value, alone) for value in values)


def test_two_threads_two_networks_leave_the_random_state_alone() -> None:
    networks, x = [made(Restless), made(Plain)], photo()
    with unchanged(networks[0], x), unchanged(networks[1], x):
        _apart(
            [
                lambda network=network: [seewhy.attribute(network, x, "saliency", target=2) for _ in range(20)]
                for network in networks
            ]
        )


class Interrupted(Plain):
    """Raises `error` at the call numbered `at`."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error, self.at = error, -1
        self.calls = itertools.count()

    def head(self, features: Tensor) -> Tensor:
        if next(self.calls) == self.at:
            raise self.error
        return super().head(features)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
@pytest.mark.parametrize("name", SOME)
def test_interrupt_in_a_forward_pass(name: str, error: BaseException) -> None:
    network, x = made(Interrupted, error, train=True), photo(rows=3)
    for at in range(3):
        network.calls, network.at = itertools.count(), at
        with unchanged(network, x):
            try:
                seewhy.attribute(network, x, method(name, "act2"), target=2, options=Options(batch_size=1))
            except BaseException as caught:
                assert caught is error  # noqa: PT017 - not every BaseException can be told to pytest.raises
            else:
                pytest.fail("was not interrupted")
    network.at = -1
    with unchanged(network, x):
        result = seewhy.attribute(network, x, method(name, "act2"), target=2)
    check_map(name, result, plain_oracle(network), x, Case(network, None))


class _InterruptsBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, owner: Any) -> Tensor:
        ctx.owner = owner
        return x.clone()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        if ctx.owner.armed:
            raise KeyboardInterrupt
        return slope, None


class BackwardInterrupted(Plain):
    armed = True

    def head(self, features: Tensor) -> Tensor:
        return super().head(_InterruptsBackward.apply(features, self))


@pytest.mark.parametrize("name", SOME)
def test_interrupt_in_a_backward_pass(name: str) -> None:
    network, x = made(BackwardInterrupted, train=True), photo(rows=2)
    with unchanged(network, x), pytest.raises(KeyboardInterrupt):
        seewhy.attribute(network, x, method(name, "act2"), target=2)
    network.armed = False
    result = seewhy.attribute(network, x, method(name, "act2"), target=2)
    check_map(name, result, plain_oracle(network), x, Case(network, None))


def test_interrupt_while_a_prepared_copy_is_made() -> None:
    class Copied(nn.ReLU):
        def __deepcopy__(self, memo: Any) -> Any:
            raise KeyboardInterrupt

    network, x = made(Plain, train=True), photo()
    network.act2 = Copied()
    with unchanged(network, x), pytest.raises(KeyboardInterrupt):
        seewhy.attribute(network, x, "integrated-gradients", target=2, options=Options(prepared="always"))
    result = seewhy.attribute(network, x, method("saliency"), target=2)
    close(result.values, input_map("saliency", plain_oracle(network), x), 1e-4)


def _asking(case: Any, interrupt_at: int) -> Generator[Any, Any, str]:
    questions = [
        scores(case.rows(), Class(2)),
        gradient(case.rows(), Class(2)),
        gradient(case.rows(), Class(2), view="guided-backprop"),
    ]
    for step, question in enumerate(questions):
        if step == interrupt_at:
            raise KeyboardInterrupt
        yield question
    if interrupt_at == len(questions):
        raise KeyboardInterrupt
    return "done"


@pytest.mark.parametrize("at", range(4))
def test_interrupt_inside_a_flow_between_its_yields(at: int) -> None:
    network, x = made(Plain, train=True), photo(rows=2)
    model = seewhy.wrap(network)
    first, second = cases(model, x, 0)
    finished: dict[Any, Any] = {}
    flows = [("before", method("saliency").flow(first, Class(2))), ("interrupted", _asking(second, at))]
    with unchanged(network, x), pytest.raises(KeyboardInterrupt):
        Engine(model, Options(in_flight=1)).run(flows, on_done=finished.__setitem__)
    assert list(finished) == ["before"]
    close(finished["before"].result().values, input_map("saliency", plain_oracle(network), x[:1]), 1e-4)
    assert Engine(model).run([("later", _asking(first, 9))])["later"].result() == "done"


def test_a_waiting_thread_goes_on_after_an_interrupt() -> None:
    network = made(Interrupted, KeyboardInterrupt())
    x, inside, go = photo(), threading.Event(), threading.Event()
    network.at = 0

    def hold(*_: Any) -> None:
        inside.set()
        assert go.wait(20)

    handle = network.conv1.register_forward_hook(hold)
    with ThreadPoolExecutor(2) as pool:
        interrupted = pool.submit(seewhy.attribute, network, x, "saliency", target=2)
        assert inside.wait(20)
        waiting = pool.submit(seewhy.attribute, network, x, "saliency", target=2)
        go.set()
        with pytest.raises(KeyboardInterrupt):
            interrupted.result(20)
        result = waiting.result(20)
    handle.remove()
    close(result.values, input_map("saliency", plain_oracle(network), x), 1e-4)
