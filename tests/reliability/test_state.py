"""Networks that keep state: found again as it was, and every pass starts from it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from seewhy import Options

from .cases import Case, photo
from .contract import ALL, check_map, close, method, seewhy, unchanged
from .networks import Plain, made, plain_oracle
from .oracle import input_map
from .stateful import STATES, Normed, Slotted, Stateful, count_in_attribute, count_in_nested_list

SOME = ("saliency", "integrated-gradients", "guided-backprop", "grad-cam")


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
    network, x = made(Stateful, lambda net: setattr(net, "seen", {"a": ([],)}), count_in_nested_list), photo()
    oracle = plain_oracle(network)
    for fresh in ({"a": ([],)}, {"a": ([], "more")}, {"a": ([],)}):
        network.seen = fresh
        with unchanged(network, x):
            result = seewhy.attribute(network, x, "saliency", target=2)
        close(result.values, input_map("saliency", oracle, x), 1e-4)
    network.seen, network.tick, network.count = None, count_in_attribute, 0
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
    network.forward = lambda x: (count_in_attribute(network, x), Plain.forward(network, x))[1]
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
