"""The kinds of things that a forward pass may change in a network, each with the way to put it back."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import is_not
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..models.tracing import version

BY_VALUE = 1 << 16
"""Tensors up to this many elements are compared by value: edits through `.data` bump no version."""
COUNTER = 16
"""Parameters up to this many elements are kept too: weights are not, they would double the memory."""
FROZEN_TYPES = frozenset(
    {int, float, str, bytes, bool, complex, type(None), type, torch.dtype, torch.device, torch.Size}
)
"""Types whose values cannot change: nothing in them has to be kept."""
_ABSENT = object()


class Kept(Protocol):
    """One thing that a pass may change."""

    def restore(self) -> None:
        """Puts it back as it was when it was kept."""


@dataclass(slots=True)
class KeptTensor:
    """A tensor's content."""

    tensor: Tensor
    content: Tensor
    versions: list[int]

    @staticmethod
    def of(tensor: Tensor) -> KeptTensor:
        """Returns the tensor with a copy of its content."""
        return KeptTensor(tensor, tensor.detach().clone(), [version(tensor)])

    def restore(self) -> None:
        """Writes the content back if it was written to."""
        tensor = self.tensor
        if tensor.shape != self.content.shape:
            with torch.no_grad():
                tensor.set_(self.content.clone())  # type: ignore[call-overload]
        elif version(tensor) != self.versions[0] or self._edited():
            with torch.no_grad():
                tensor.copy_(self.content)
            self.versions[0] = version(tensor)

    def _edited(self) -> bool:
        comparable = self.tensor.layout is torch.strided and not self.tensor.is_quantized
        return comparable and self.tensor.numel() <= BY_VALUE and not _same(self.tensor, self.content)


@dataclass(slots=True)
class KeptBuffers:
    """Small buffers of one dtype, kept as one: a network has hundreds.

    Writes are seen by the version counters; the tiniest, counters that are often edited through `.data`, which
    bumps no version, are compared by value too.
    """

    tensors: tuple[Tensor, ...]
    content: Tensor
    versions: list[int]
    tiny: tuple[Tensor, ...]
    counts: Tensor | None

    @staticmethod
    def of(tensors: Sequence[Tensor]) -> KeptBuffers:
        """Returns the buffers with their content."""
        tiny = tuple(tensor for tensor in tensors if tensor.numel() <= COUNTER)
        counts = _joined(tiny) if tiny else None
        return KeptBuffers(tuple(tensors), _joined(tensors), list(map(version, tensors)), tiny, counts)

    def changed(self) -> bool:
        """Returns whether any buffer was written to."""
        same = list(map(version, self.tensors)) == self.versions
        return not same or (self.counts is not None and not _same(_joined(self.tiny), self.counts))

    def restore(self) -> None:
        """Writes the content back to the buffers if any was written to."""
        if not self.changed():
            return
        sizes = [tensor.numel() for tensor in self.tensors]
        with torch.no_grad():
            for tensor, part in zip(self.tensors, torch.split(self.content, sizes), strict=True):
                if not _same(tensor.reshape(-1), part):
                    tensor.copy_(part.reshape(tensor.shape))
        self.versions[:] = map(version, self.tensors)


@dataclass(slots=True)
class KeptNames:
    """Namespaces: objects' `__dict__`s, and modules' registries of buffers, modules and parameters.

    Names and values of all of them lie in two long tuples: thousands are compared in one sweep.
    """

    spaces: Sequence[dict[str, Any]]
    sizes: tuple[int, ...]
    names: tuple[str, ...]
    values: tuple[Any, ...]

    @staticmethod
    def of(spaces: Sequence[dict[str, Any]]) -> KeptNames:
        """Returns namespaces with what their names stand for."""
        return KeptNames(spaces, tuple(map(len, spaces)), tuple(chain.from_iterable(spaces)), _all_values(spaces))

    def changed(self) -> bool:
        """Returns whether any name stands for something else by now."""
        now = _all_values(self.spaces)
        return len(now) != len(self.values) or any(map(is_not, now, self.values))

    def restore(self) -> None:
        """Takes away what was added and puts back what was exchanged."""
        if not self.changed():
            return
        start = 0
        for space, size in zip(self.spaces, self.sizes, strict=True):
            here = slice(start, start + size)
            _refill(space, dict(zip(self.names[here], self.values[here], strict=True)))
            start += size


def _all_values(spaces: Sequence[dict[str, Any]]) -> tuple[Any, ...]:
    return tuple(chain.from_iterable(map(dict.values, spaces)))


@dataclass(slots=True)
class KeptSets:
    """The sets that every module has: names of its buffers that are not saved."""

    sets: tuple[set[str], ...]
    content: tuple[tuple[str, ...], ...]

    @staticmethod
    def of(sets: Sequence[set[str]]) -> KeptSets:
        """Returns the sets with what is in them."""
        return KeptSets(tuple(sets), tuple(map(tuple, sets)))

    def restore(self) -> None:
        """Fills the sets anew if anything was added or taken."""
        if tuple(map(tuple, self.sets)) != self.content:
            for now, content in zip(self.sets, self.content, strict=True):
                now.clear()
                now.update(content)


@dataclass(slots=True)
class KeptSlot:
    """An attribute without a `__dict__` entry: a slot, or what a scripted module holds."""

    owner: Any
    name: str
    value: Any

    def restore(self) -> None:
        """Sets the attribute again if it was exchanged."""
        if getattr(self.owner, self.name, _ABSENT) is not self.value:
            setattr(self.owner, self.name, self.value)


@dataclass(slots=True)
class KeptItems:
    """The items of a list, deque or set, or the keys and values of a dict, in order."""

    container: Any
    items: tuple[Any, ...]

    @staticmethod
    def of(container: Any) -> KeptItems:
        """Returns the container with its items."""
        return KeptItems(container, _items(container))

    def restore(self) -> None:
        """Fills the container anew if an item was added, taken or exchanged."""
        now, items = _items(self.container), self.items
        if len(now) == len(items) and not any(map(is_not, now, items)):
            return
        self.container.clear()
        if isinstance(self.container, dict):
            half = len(items) // 2
            for key, value in zip(items[:half], items[half:], strict=True):  # a Counter's update would add
                self.container[key] = value
        elif isinstance(self.container, set):
            self.container.update(items)
        else:
            self.container.extend(items)


@dataclass(slots=True)
class KeptValue:
    """Anything whose state is a value that can be taken and given: random generators, arrays."""

    take: Callable[[], Any]
    give: Callable[[Any], object]
    value: Any

    def restore(self) -> None:
        """Gives the value back if it is another by now."""
        if not _equal(self.take(), self.value):
            self.give(self.value)


def _refill(now: dict[str, Any], content: dict[str, Any]) -> None:
    """Corrects a namespace name by name: another thread may be reading it."""
    for name in [name for name in now if name not in content]:
        del now[name]
    for name, value in content.items():
        if now.get(name, _ABSENT) is not value:
            now[name] = value


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    with torch.no_grad():
        if all(tensor.dim() == 0 for tensor in tensors):
            return torch.stack(tuple(tensors))
        return torch.cat([tensor if tensor.dim() == 1 else tensor.reshape(-1) for tensor in tensors])


def _same(tensor: Tensor, content: Tensor) -> bool:
    if torch.equal(tensor, content):
        return True
    return tensor.is_floating_point() and bool(((tensor == content) | (tensor != tensor) & (content != content)).all())


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, other))
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return bool(one == other)


def _items(container: Any) -> tuple[Any, ...]:
    return (*container, *container.values()) if isinstance(container, dict) else tuple(container)


def accessors(value: Any) -> tuple[Callable[[], Any], Callable[[Any], object]] | None:
    """Returns how to take and give the state of a random generator or an array; None for other objects."""
    if isinstance(value, (torch.Generator, np.random.RandomState)):
        return value.get_state, value.set_state
    if isinstance(value, random.Random):
        return value.getstate, value.setstate
    if isinstance(value, np.random.Generator):
        bits = value.bit_generator
        return lambda: bits.state, lambda state: setattr(bits, "state", state)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.copy, lambda content: np.copyto(value, content)
    return None
