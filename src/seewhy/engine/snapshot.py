"""Everything that a forward pass may change in a network: found by following what it holds, and put back."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
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
_PLAIN_TENSORS = (Tensor, getattr(nn, "Buffer", Tensor))


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

    def restore(self) -> None:
        """Writes the content back to the buffers if any was written to."""
        same = list(map(version, self.tensors)) == self.versions
        if same and (self.counts is None or _same(_joined(self.tiny), self.counts)):
            return
        sizes = [tensor.numel() for tensor in self.tensors]
        with torch.no_grad():
            for tensor, part in zip(self.tensors, self.content.split(sizes), strict=True):
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
        return KeptNames(
            spaces, tuple(map(len, spaces)), tuple(chain.from_iterable(spaces)), _all_values(spaces)
        )

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


def _joined(tensors: Sequence[Tensor]) -> Tensor:
    with torch.no_grad():
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


@dataclass(frozen=True, slots=True)
class Outline:
    """What of a network's modules has to be followed: found once, and true while they hold the same objects.

    fingerprint: of what the modules hold, by identity; of torch's own layers, by number. The pairs are a module's
    number and a name: attributes and odd buffers to follow, and small parameters. layers_quiet: a pass has left
    the attributes of torch's own layers alone. Their forward writes none, and what writes to them does so in
    every pass, so from then on they are not looked at.
    """

    fingerprint: int
    follow: tuple[tuple[int, str], ...]
    buffers: tuple[tuple[int, str], ...]
    counters: tuple[tuple[int, str], ...]
    slotted: tuple[int, ...]
    layers_quiet: bool = False


@dataclass(slots=True)
class Snapshot:
    """Everything that a forward pass may change in a network, found by following what it holds.

    Followed are modules (also those in plain lists), buffers, small parameters, attributes, slots, lists,
    dicts, sets, deques, arrays, random generators, and helper objects whose class is defined beside the
    network's. Not kept: large parameters, and what other objects hold.
    """

    kept: list[Kept] = field(default_factory=list)
    seen: set[int] = field(default_factory=set)
    outline: Outline | None = None
    layers: KeptNames | None = None

    @staticmethod
    def of(modules: Sequence[nn.Module], outline: Outline | None = None) -> Snapshot:
        """Returns the state of a network, all its modules, as it is now; `outline` is that of an earlier snapshot."""
        snapshot = Snapshot(outline=outline)
        snapshot._network(modules)
        return snapshot

    def restore(self) -> None:
        """Puts everything back that was changed since."""
        for item in self.kept:
            item.restore()

    def learned(self) -> Outline | None:
        """Returns the outline with what the passes since have shown; asked before the state is put back."""
        if self.outline is None or self.outline.layers_quiet or self.layers is None or self.layers.changed():
            return self.outline
        return replace(self.outline, layers_quiet=True)

    def _network(self, modules: Sequence[nn.Module]) -> None:
        """Keeps modules, in a few sweeps over all of them."""
        self.seen.update(map(id, modules))
        scripted = [m for m in modules if isinstance(m, torch.jit.ScriptModule)]
        plain = [m for m in modules if not isinstance(m, torch.jit.ScriptModule)] if scripted else modules
        written = [m for m in plain if not type(m).__module__.startswith("torch.nn.modules.")]
        names = KeptNames.of(_spaces(written))
        self.kept.append(names)
        self.kept.append(KeptSets.of([m._non_persistent_buffers_set for m in plain]))
        counts = [(len(m.__dict__), len(m._buffers), len(m._parameters)) for m in plain]
        fingerprint = hash((tuple(counts), tuple(map(id, names.values))))
        if self.outline is None or self.outline.fingerprint != fingerprint:
            self.outline = outline(plain, fingerprint)
        if not self.outline.layers_quiet:
            layers = KeptNames.of(_spaces([m for m in plain if type(m).__module__.startswith("torch.nn.modules.")]))
            self.layers = self.layers or layers
            self.kept.append(layers)
        self._outlined(plain, self.outline)
        for m in scripted:
            self._scripted(m)

    def _outlined(self, modules: Sequence[nn.Module], found: Outline) -> None:
        kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for number, name in found.buffers:
            tensor = modules[number]._buffers[name]
            if tensor is not None and id(tensor) not in self.seen:
                self.seen.add(id(tensor))
                kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
        self.kept.extend(KeptBuffers.of(tensors) for tensors in kinds.values())
        for number, name in found.counters:
            parameter = modules[number]._parameters[name]
            if parameter is not None:
                self.kept.append(KeptTensor.of(parameter))
        for number, name in found.follow:
            module = modules[number]
            value = module._buffers[name] if name in module._buffers else module.__dict__[name]
            self._follow(value, type(module).__module__)
        for number in found.slotted:
            self._slots_of(modules[number], type(modules[number]).__module__)

    def _scripted(self, module: torch.jit.ScriptModule) -> None:
        for name, tensor in module.named_buffers(recurse=False):
            self.kept.append(KeptSlot(module, name, tensor))
            self._follow(tensor, "")

    def _follow(self, value: Any, home: str) -> None:
        """Keeps a value and what it holds; `home` is where the class of the object that holds it is defined."""
        if type(value) in _FROZEN_TYPES or id(value) in self.seen:
            return
        if isinstance(value, nn.Module):
            known, self.outline = self.outline, None
            self._network([m for m in value.modules() if id(m) not in self.seen])
            self.outline = known
            return
        self.seen.add(id(value))
        if isinstance(value, Tensor):
            if not value.requires_grad and not value.is_meta:
                self.kept.append(KeptTensor.of(value))
        elif isinstance(value, (list, dict, set, deque)):
            kept = KeptItems.of(value)
            self.kept.append(kept)
            for item in kept.items:
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
            names = getattr(value, "__dict__", None)
            if isinstance(names, dict):
                self.kept.append(KeptNames.of([names]))
                for item in names.values():
                    self._follow(item, home)
            self._slots_of(value, home)

    def _slots_of(self, value: Any, home: str) -> None:
        for name in _slots(type(value)):
            item = getattr(value, name, _ABSENT)
            if item is not _ABSENT:
                self.kept.append(KeptSlot(value, name, item))
                self._follow(item, home)


def _spaces(modules: Sequence[nn.Module]) -> list[dict[str, Any]]:
    return [space for m in modules for space in (m.__dict__, m._buffers, m._modules, m._parameters)]


def outline(modules: Sequence[nn.Module], fingerprint: int) -> Outline:
    """Returns what of the modules has to be followed."""
    follow: list[tuple[int, str]] = []
    buffers: list[tuple[int, str]] = []
    counters: list[tuple[int, str]] = []
    own = _of_every_module()
    for number, module in enumerate(modules):
        for name, tensor in module._buffers.items():
            if tensor is not None:
                (buffers if _is_ordinary(tensor) else follow).append((number, name))
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.numel() <= COUNTER:
                counters.append((number, name))
        for name, item in vars(module).items():
            if name not in own and not _is_frozen(item):
                follow.append((number, name))
    slotted = tuple(number for number, module in enumerate(modules) if _slots(type(module)))
    return Outline(fingerprint, tuple(follow), tuple(buffers), tuple(counters), slotted)


def _is_frozen(value: Any) -> bool:
    """True for numbers, texts and the like, and for tuples of them: nothing in them can change."""
    if type(value) is tuple:
        return all(type(item) in _FROZEN_TYPES for item in value)
    return type(value) in _FROZEN_TYPES


def _is_ordinary(tensor: Tensor) -> bool:
    """True for buffers that can be kept together with all others of their kind."""
    dense = tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta
    return type(tensor) in _PLAIN_TENSORS and dense and tensor.numel() <= BY_VALUE and not tensor.requires_grad


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
