"""Checks that a method leaves nothing behind: on the network, in torch, in memory, in the caller's input."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from ..core.method import Method
from ..core.targets import Top
from ..engine.run import drive
from ..models.wrapping import wrap
from . import networks
from .fingerprint import changes, fingerprint, random_state
from .results import explain_or_refuse
from .stage import FIXED, difference, explain, interrupted, network, one_case, questions

CALLS = 10


def _lived_in(net: nn.Module) -> nn.Module:
    """Returns a network as it stands in the middle of somebody's training."""
    net.train()
    net.register_forward_hook(lambda *_: None)
    first, *rest = net.parameters()
    first.grad = torch.ones_like(first)
    rest[0].requires_grad_(False)
    next(net.children()).eval()
    return net


def untouched(method: Method) -> None:
    """The network and torch's global state are found as they were left, training mode and all."""
    for net in (network(method), networks.normalised_cnn()):
        net = _lived_in(net)
        before = fingerprint(net)
        explain_or_refuse(method, net, networks.pictures(2))
        _nothing_changed(before, net, "a call")


def random_numbers(method: Method) -> None:
    """The global random generators stand where they stood."""
    net = network(method)
    before = random_state()
    explain(method, net, networks.pictures(2))
    changed = changes(before, random_state())
    assert not changed, f"global random generators must be left alone; found changes in {', '.join(changed)}"


def interruptions(method: Method) -> None:
    """An error or a stop at any yield ends the flow, passes through as it is, and leaves nothing behind."""
    net = _lived_in(network(method))
    x = networks.pictures(1)
    yields = len(questions(method))
    before = fingerprint(net)
    for at in range(yields):
        failure = networks.PlannedError("this query fails on purpose")
        for error in (failure, None):
            flow = interrupted(method.flow(one_case(net, x), Top()), at, error)
            came_out = drive(wrap(net), flow, FIXED)
            if error is None:
                assert came_out is None, f"a flow that is closed at yield {at} must end in peace; found {came_out!r}"
            else:
                _passed_through(came_out, failure, at)
            _nothing_changed(before, net, f"{'an error' if error else 'a stop'} at yield {at}")


def _passed_through(came_out: BaseException | None, failure: Exception, at: int) -> None:
    if came_out is None:
        raise AssertionError(f"an error at yield {at} must end the flow; found that it yielded again")
    if isinstance(came_out, StopIteration):
        raise AssertionError(f"an error at yield {at} must be raised; found that the flow returned a result")
    assert came_out is failure, f"an error at yield {at} must pass through as it is; found {came_out!r}"


def failing_network(method: Method) -> None:
    """An error of the user's network passes through as it is, and the network is found as it was."""
    for calls in range(3):
        net = networks.Failing(network(method), calls)
        before = fingerprint(net)
        try:
            explain(method, net, networks.pictures(2))
        except networks.PlannedError:
            _nothing_changed(before, net, "an error of the network")
        except Exception as error:
            raise AssertionError(f"the network's own error must pass through as it is; found {error!r}") from error
        else:
            assert not net.seen.raised, "an error of the network must be raised; found a result"


def _nothing_changed(before: dict[str, object], net: nn.Module, after: str) -> None:
    changed = changes(before, fingerprint(net))
    assert not changed, f"everything must be as it was after {after}; found changes in {', '.join(changed)}"


def modes(method: Method) -> None:
    """The same values under no_grad, inference_mode and autocast, in training mode, and with frozen weights."""
    x = networks.pictures(2)
    plain = explain(method, network(method), x)
    for name, mode, net in _modes(method):
        with mode:
            found = explain(method, net, x.clone())
        apart = difference(plain, found)
        assert apart <= 1e-5, f"values must be the same {name}; they differ by {apart:.2g} of the largest value"


def _modes(method: Method) -> Iterator[tuple[str, AbstractContextManager[object], nn.Module]]:
    yield "under torch.no_grad()", torch.no_grad(), network(method)
    yield "under torch.inference_mode()", torch.inference_mode(), network(method)
    yield "under torch.autocast()", torch.autocast("cpu", torch.bfloat16), network(method)
    yield "in training mode", nullcontext(), network(method).train()
    yield "with frozen weights", nullcontext(), network(method).requires_grad_(False)


def leaks(method: Method) -> None:
    """Ten calls leave no tensor and no hook behind."""
    net, x = network(method), networks.pictures(1)
    for _ in range(2):
        explain(method, net, x)
    state = fingerprint(net)
    gc.freeze()  # what is there now is left out of the count below, and of the collection
    try:
        for _ in range(CALLS):
            explain(method, net, x)
        gc.collect()
        left = sum(issubclass(type(item), Tensor) for item in gc.get_objects())
    finally:
        gc.unfreeze()
    assert left < CALLS, f"calls must leave no tensor behind; found {left} after {CALLS} calls"
    hooks = [name for name in changes(state, fingerprint(net)) if "hook" in name]
    assert not hooks, f"calls must leave no hook behind; found {', '.join(hooks)}"


def untouched_input(method: Method) -> None:
    """The caller's tensor is what it was."""
    x = networks.pictures(2)
    copy, version = x.clone(), x._version
    explain(method, network(method), x)
    assert (torch.equal(x, copy), x._version) == (True, version), "x must be left as it is; found it written to"
    assert x.grad is None, "x.grad must be left alone; found a gradient"
