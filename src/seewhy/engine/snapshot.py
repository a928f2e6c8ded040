"""Everything that a forward pass may change in a network: found by following what it holds, and put back."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from .kept import (
    BY_VALUE,
    COUNTER,
    FROZEN_TYPES,
    Kept,
    KeptBuffers,
    KeptItems,
    KeptNames,
    KeptSets,
    KeptSlot,
    KeptTensor,
    KeptValue,
    accessors,
)

_ABSENT = object()
_NORMS = nn.modules.batchnorm._NormBase
_PLAIN_TENSORS = (Tensor, getattr(nn, "Buffer", Tensor))


@dataclass(frozen=True, slots=True)
class Outline:
    """What of a network's modules has to be followed: found once, and true while they hold the same objects.

    fingerprint: of what the modules hold, by identity; of torch's own layers, by number. The pairs are a module's
    number and a name: attributes and odd buffers to follow, and small parameters. norms: the modules whose buffers
    are running statistics. layers_quiet: a pass has left the attributes of torch's own layers and all running
    statistics alone. Their forward writes none in evaluation mode, and what else writes to them does so in every
    pass, so from then on they are not looked at.
    """

    fingerprint: int
    follow: tuple[tuple[int, str], ...]
    buffers: tuple[tuple[int, str], ...]
    counters: tuple[tuple[int, str], ...]
    slotted: tuple[int, ...]
    norms: frozenset[int]
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
        written = any(item.changed() for item in self.kept if isinstance(item, KeptBuffers))
        return self.outline if written else replace(self.outline, layers_quiet=True)

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
            if found.layers_quiet and number in found.norms:
                continue
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
        if type(value) in FROZEN_TYPES or id(value) in self.seen:
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
        access = accessors(value)
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
        for name in _slots(type(value).__mro__):
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
    norms: list[int] = []
    own = _of_every_module()
    for number, module in enumerate(modules):
        for name, tensor in module._buffers.items():
            if tensor is not None:
                (buffers if _is_ordinary(tensor) else follow).append((number, name))
        if isinstance(module, _NORMS):
            norms.append(number)
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.numel() <= COUNTER:
                counters.append((number, name))
        for name, item in vars(module).items():
            if name not in own and not _is_frozen(item):
                follow.append((number, name))
    slotted = tuple(number for number, module in enumerate(modules) if _slots(type(module).__mro__))
    return Outline(fingerprint, tuple(follow), tuple(buffers), tuple(counters), slotted, frozenset(norms))


def _is_frozen(value: Any) -> bool:
    """True for numbers, texts and the like, and for tuples of them: nothing in them can change."""
    if type(value) is tuple:
        return all(type(item) in FROZEN_TYPES for item in value)
    return type(value) in FROZEN_TYPES


def _is_ordinary(tensor: Tensor) -> bool:
    """True for buffers that can be kept together with all others of their kind."""
    dense = tensor.layout is torch.strided and not tensor.is_quantized and not tensor.is_meta
    return type(tensor) in _PLAIN_TENSORS and dense and tensor.numel() <= BY_VALUE and not tensor.requires_grad


@cache
def _of_every_module() -> frozenset[str]:
    return frozenset(vars(nn.Module()))


@cache
def _slots(bases: tuple[type, ...]) -> tuple[str, ...]:
    found: list[str] = []
    for base in bases:
        names = base.__dict__.get("__slots__", ())
        found.extend((names,) if isinstance(names, str) else names)
    return tuple(name for name in found if name not in ("__dict__", "__weakref__") and not name.startswith("__"))
