"""Networks that count their calls, wherever people keep such things; the count changes what they answer."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .networks import Plain


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


def count_in_attribute(net: Any, x: Tensor) -> int:
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


def count_in_nested_list(net: Any, x: Tensor) -> int:
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
    "attribute": (_set("count", int), count_in_attribute),
    "buffer": (_registered(lambda: torch.zeros(1)), _buffer),
    "bool-buffer-beside": (
        lambda net: (net.register_buffer("flag", torch.tensor([True])), setattr(net, "count", 0)),  # type: ignore[func-returns-value]
        lambda net, x: (net.flag.logical_not_(), count_in_attribute(net, x))[1],
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
    "nested": (_set("seen", lambda: {"a": ([],)}), count_in_nested_list),
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
