"""What a network is made of beside its weights, so that every pass starts from it and the user finds it again."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from operator import is_not
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import UnsupportedModelError

BY_VALUE = 1 << 16
"""Tensors up to this many elements are compared by value: edits through `.data` bump no version."""
COUNTER = 16
"""Parameters up to this many elements are kept too: weights are not, they would double the memory."""
_FROZEN_TYPES = (int, float, str, bytes, bool, complex, type(None), type, torch.dtype, torch.device)
_ABSENT = object()


class Kept(Protocol):
    """One thing that a pass may change."""

    def restore(self) -> None:
        """Puts it back as it was when it was kept."""


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class KeptNames:
    """A namespace: an object's `__dict__`, or one of a module's registries of tensors and modules."""

    names: dict[str, Any]
    content: dict[str, Any]

    def restore(self) -> None:
        """Takes away what was added and puts back what was exchanged, name by name."""
        now, content = self.names, self.content
        if len(now) == len(content) and not any(map(is_not, now.values(), content.values())):
            return
        for name in [name for name in now if name not in content]:
            del now[name]
        for name, value in content.items():
            if now.get(name, _ABSENT) is not value:
                now[name] = value


@dataclass(frozen=True, slots=True)
class KeptSlot:
    """An attribute without a `__dict__` entry: a slot, or what a scripted module holds."""

    owner: Any
    name: str
    value: Any

    def restore(self) -> None:
        """Sets the attribute again if it was exchanged."""
        if getattr(self.owner, self.name, _ABSENT) is not self.value:
            setattr(self.owner, self.name, self.value)


@dataclass(frozen=True, slots=True)
class KeptItems:
    """The items of a list, deque, set or dict, in order."""

    container: Any
    items: tuple[Any, ...]

    def restore(self) -> None:
        """Fills the container anew if an item was added, taken or exchanged."""
        now = _items(self.container)
        if len(now) == len(self.items) and not any(map(is_not, _flat(now), _flat(self.items))):
            return
        self.container.clear()
        refill = getattr(self.container, "extend", None) or self.container.update
        refill(self.items)


@dataclass(frozen=True, slots=True)
class KeptValue:
    """Anything whose state is a value that can be taken and given: random generators, arrays."""

    take: Callable[[], Any]
    give: Callable[[Any], object]
    value: Any

    def restore(self) -> None:
        """Gives the value back if it is another by now."""
        if not _equal(self.take(), self.value):
            self.give(self.value)


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
    return tuple(container.items() if isinstance(container, dict) else container)


def _flat(items: Iterable[Any]) -> Iterator[Any]:
    """Yields items of a list or set as they are, and of a dict its keys and values: pairs are made anew."""
    for item in items:
        if type(item) is tuple and len(item) == 2:
            yield from item
        else:
            yield item


def version(tensor: Tensor) -> int:
    """Returns how often a tensor was written to; tensors born in inference mode do not count."""
    return -1 if tensor.is_inference() else tensor._version


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
        if isinstance(value, _FROZEN_TYPES) or id(value) in self.seen:
            return
        self.seen.add(id(value))
        if isinstance(value, nn.Module):
            self._module(value)
        elif isinstance(value, Tensor):
            if not value.requires_grad and not value.is_meta:
                self.kept.append(KeptTensor.of(value))
        elif isinstance(value, (list, dict, set, deque)):
            items = _items(value)
            self.kept.append(KeptItems(value, items))
            for item in items:
                self._follow(item, home)
        elif isinstance(value, tuple):
            for item in value:
                self._follow(item, home)
        else:
            self._object(value, home)

    def _object(self, value: Any, home: str) -> None:
        access = _accessors(value)
        if access is not None:
            take, give = access
            self.kept.append(KeptValue(take, give, take()))
        elif home and type(value).__module__ == home:
            self._attributes(value, home)

    def _module(self, module: nn.Module) -> None:
        home = type(module).__module__
        if isinstance(module, torch.jit.ScriptModule):
            for name, tensor in module.named_buffers(recurse=False):
                self.kept.append(KeptSlot(module, name, tensor))
                self._follow(tensor, home)
            for inner in module.children():
                self._follow(inner, home)
            return
        for registry in (module._buffers, module._modules, module._parameters):
            self.kept.append(KeptNames(registry, dict(registry)))  # type: ignore[arg-type]
            self.seen.add(id(registry))
        for tensor in (*module._buffers.values(), *module._modules.values()):
            self._follow(tensor, home)
        for parameter in module._parameters.values():
            if parameter is not None and parameter.numel() <= COUNTER:
                self.kept.append(KeptTensor.of(parameter))
        self._attributes(module, home)

    def _attributes(self, value: Any, home: str) -> None:
        names = getattr(value, "__dict__", None)
        if isinstance(names, dict):
            self.kept.append(KeptNames(names, dict(names)))
            for name, item in names.items():
                if name not in _of_every_module():
                    self._follow(item, home)
        for name in _slots(type(value)):
            item = getattr(value, name, _ABSENT)
            if item is not _ABSENT:
                self.kept.append(KeptSlot(value, name, item))
                self._follow(item, home)


@cache
def _of_every_module() -> frozenset[str]:
    return frozenset(vars(nn.Module())) - {"_non_persistent_buffers_set"}


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


class ModelState:
    """A network's flags, and a snapshot of all else that passes may change.

    Raises UnsupportedModelError for a network whose tensors hold nothing yet, or can take no gradient.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.training = [(m, m.training) for m in module.modules() if hasattr(m, "training")]
        self.parameters = list(nn.Module.parameters(module))
        self.trainable = [p.requires_grad for p in self.parameters]
        self.snapshot = Snapshot()
        _check_usable(module, self.parameters)

    def enter(self) -> None:
        """Sets evaluation mode, switches parameter gradients off (no pass needs them), and takes the snapshot."""
        self._set_flags([False] * len(self.training), [False] * len(self.parameters))
        self.snapshot = Snapshot.of(self.module)

    def rewind(self) -> None:
        """Puts back everything that a pass has changed, so that the next one starts from the same state."""
        self.snapshot.restore()
        self._set_flags([False] * len(self.training), [False] * len(self.parameters))

    def leave(self) -> None:
        """Puts everything back as the user left it."""
        self.snapshot.restore()
        self._set_flags([training for _, training in self.training], self.trainable)

    def _set_flags(self, training: list[bool], trainable: list[bool]) -> None:
        for (m, _), flag in zip(self.training, training, strict=True):
            if m.training != flag:
                m.training = flag
        for p, flag in zip(self.parameters, trainable, strict=True):
            if p.requires_grad != flag:
                p.requires_grad_(flag)


def _check_usable(module: nn.Module, parameters: list[nn.Parameter]) -> None:
    for tensor in (*parameters, *nn.Module.buffers(module)):
        if nn.parameter.is_lazy(tensor):
            raise UnsupportedModelError(
                "Expected a network with all its weights; this one has lazy layers whose shape no pass has told "
                "yet. Run it once on an input before explaining it."
            )
        if tensor.is_meta:
            raise UnsupportedModelError(
                "Expected a network with weights; this one lies on the meta device, where tensors hold no values. "
                "Load its weights onto a real device first."
            )
        if tensor.is_inference():
            raise UnsupportedModelError(
                "Expected weights that gradients can pass; this network was made under torch.inference_mode(), and "
                "its tensors never can. Explain copy.deepcopy(model), made outside inference mode."
            )
