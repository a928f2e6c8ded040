"""Everything that a forward pass may change in a network: found by following what it holds, and put back."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from operator import is_not
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..models.tracing import version

BY_VALUE = 1 << 16
"""Tensors up to this many elements are compared by value: edits through `.data` bump no version."""
COUNTER = 16
"""Parameters up to this many elements are kept too: weights are not, they would double the memory."""
_FROZEN_TYPES = frozenset({int, float, str, bytes, bool, complex, type(None), type, torch.dtype, torch.device, torch.Size})
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
class KeptNames:
    """Namespaces: an object's `__dict__`, and a module's registries of buffers, modules and parameters."""

    spaces: tuple[dict[str, Any], ...]
    content: tuple[dict[str, Any], ...]

    @staticmethod
    def of(*spaces: dict[str, Any]) -> KeptNames:
        """Returns namespaces with what their names stand for."""
        return KeptNames(spaces, tuple(map(dict, spaces)))

    def restore(self) -> None:
        """Takes away what was added and puts back what was exchanged."""
        for now, content in zip(self.spaces, self.content, strict=True):
            if len(now) != len(content) or any(map(is_not, now.values(), content.values())):
                _refill(now, content)


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
            self.container.update(zip(items[:half], items[half:], strict=True))
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


@dataclass(slots=True)
class Snapshot:
    """Everything that a forward pass may change in a network, found by following what it holds.

    Followed are modules (also those in plain lists), buffers, small parameters, attributes, slots, lists,
    dicts, sets, deques, arrays, random generators, and helper objects whose class is defined beside the
    network's. Not kept: large parameters, and what other objects hold.
    """

    kept: list[Kept] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)

    @staticmethod
    def of(module: nn.Module) -> Snapshot:
        """Returns the state of a network as it is now."""
        snapshot = Snapshot()
        snapshot._follow(module, "")
        return snapshot

    def restore(self) -> None:
        """Puts everything back that was changed since."""
        for item in self.kept:
            item.restore()

    def _follow(self, value: Any, home: str) -> None:
        """Keeps a value and what it holds; `home` is where the class of the object that holds it is defined."""
        if type(value) in _FROZEN_TYPES or id(value) in self.seen:
            return
        self.seen.add(id(value))
        if isinstance(value, nn.Module):
            self._module(value)
        elif isinstance(value, Tensor):
            if not value.requires_grad and not value.is_meta:
                self.kept.append(KeptTensor.of(value))
        elif isinstance(value, (list, dict, set, deque)):
            kept = KeptItems.of(value)
            self.kept.append(kept)
            for item in kept.items:
                self._follow(item, home)
        elif isinstance(value, tuple):
            for item in value:
                if type(item) not in _FROZEN_TYPES:
                    self._follow(item, home)
        else:
            self._object(value, home)

    def _object(self, value: Any, home: str) -> None:
        access = _accessors(value)
        if access is not None:
            take, give = access
            self.kept.append(KeptValue(take, give, take()))
        elif home and type(value).__module__ == home:
            self._helper(value, home)

    def _module(self, module: nn.Module) -> None:
        home = type(module).__module__
        if isinstance(module, torch.jit.ScriptModule):
            for name, tensor in module.named_buffers(recurse=False):
                self.kept.append(KeptSlot(module, name, tensor))
                self._follow(tensor, home)
            for inner in module.children():
                self._follow(inner, home)
            return
        registries: tuple[dict[str, Any], ...] = (module._buffers, module._modules, module._parameters)
        self.kept.append(KeptNames.of(vars(module), *registries))
        for registry in registries[:2]:
            for item in registry.values():
                self._follow(item, home)
        for parameter in module._parameters.values():
            if parameter is not None and parameter.numel() <= COUNTER:
                self.kept.append(KeptTensor.of(parameter))
        self._names(module, home)

    def _helper(self, value: Any, home: str) -> None:
        names = getattr(value, "__dict__", None)
        if isinstance(names, dict):
            self.kept.append(KeptNames.of(names))
        self._names(value, home)

    def _names(self, value: Any, home: str) -> None:
        own = _of_every_module()
        for name, item in getattr(value, "__dict__", {}).items():
            if type(item) not in _FROZEN_TYPES and name not in own:
                self._follow(item, home)
        for name in _slots(type(value)):
            item = getattr(value, name, _ABSENT)
            if item is not _ABSENT:
                self.kept.append(KeptSlot(value, name, item))
                self._follow(item, home)


@cache
def _of_every_module() -> frozenset[str]:
    return frozenset(vars(nn.Module()))


@cache
def _slots(cls: type) -> tuple[str, ...]:
    found: list[str] = []
    for base in cls.__mro__:
        names = base.__dict__.get("__slots__", ())
        found.extend((names,) if isinstance(names, str) else names)
    return tuple(name for name in found if name not in ("__dict__", "__weakref__") and not name.startswith("__"))


def _accessors(value: Any) -> tuple[Callable[[], Any], Callable[[Any], object]] | None:
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
