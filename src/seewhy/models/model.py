"""Model: what is explained. A network with its preprocessing, labels, output and layers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, repeat
from operator import is_
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..core import late
from ..core.errors import LayerError, nearest
from ..core.tree import Inputs
from .black_box import EVERYTHING, BlackBox
from .kinds import OutputKind
from .outputs import Selector
from .preprocess import Preprocessing
from .transforms import CallablePreprocessing

AnyPreprocessing = Preprocessing | CallablePreprocessing


@dataclass(slots=True)
class Memo:
    """What was learned about a network, kept as long as the network lives and keeps its structure.

    lock: one thread at a time. default_layers: what a class activation map uses, and why, by the shape of an
    input's row: on a small picture an earlier layer is the last with places. calls: how often each layer was
    called in a complete pass. dependent: True if rows of a batch influence each other, None if
    not known yet. batches, copies, runtimes: what the engine keeps about batch sizes, prepared copies and other
    runtimes, and `outline` about where the network holds its state. kinds: what its output turned out to be, by
    selector. interceptable: that outline's fingerprint, and why backward rules cannot see into the network.
    """

    structure: int = 0
    lock: Any = field(default_factory=threading.RLock)
    default_layers: dict[tuple[int, ...], tuple[str, str]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    dependent: bool | None = None
    batches: dict[Any, Any] = field(default_factory=dict)
    copies: dict[Any, Any] = field(default_factory=dict)
    runtimes: dict[Any, Any] = field(default_factory=dict)
    kinds: dict[Any, Any] = field(default_factory=dict)
    outline: Any = None
    interceptable: tuple[int, str | None] | None = None

    def forget(self, structure: int) -> None:
        """Drops what belongs to an earlier structure of the network."""
        self.structure = structure
        self.dependent = None
        for known in (self.default_layers, self.calls, self.batches, self.copies, self.runtimes, self.kinds):
            known.clear()


_memos: WeakKeyDictionary[nn.Module, Memo] = WeakKeyDictionary()
_memos_lock = threading.Lock()


def unwrapped(module: nn.Module) -> nn.Module:
    """Returns the network behind torch.compile, DataParallel and DistributedDataParallel."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A network and what belongs to it. Made by `seewhy.load` and `seewhy.wrap`.

    module: the network that passes run on. output: which part of its answer holds the scores.
    kind: "logits", "multilabel-logits", "softmax", "sigmoid" or "value"; None is told from the output.
    value_range: what black and white are in the input, per channel.
    """

    module: nn.Module
    name: str
    preprocessing: AnyPreprocessing | None = None
    labels: tuple[str, ...] | None = None
    output: Selector = None
    kind: OutputKind | None = None
    value_range: tuple[Tensor, Tensor] | None = None
    notes: tuple[str, ...] = ()

    @property
    def gives(self) -> frozenset[str]:
        """What the network gives beside its scores, in the words of `MethodInfo.needs`."""
        return frozenset() if isinstance(self.module, BlackBox) else EVERYTHING

    @property
    def memo(self) -> Memo:
        """What is known about the network; shared by all wrappers of one module."""
        with _memos_lock:
            return _memos.setdefault(self.module, Memo())

    def refresh(self) -> tuple[nn.Module, ...]:
        """Forgets what was learned if the network's structure has changed since, and returns all its modules."""
        modules, names = _all_modules(self.module)
        # a buffer that is gone, such as running statistics, changes what the layer does
        buffers = chain.from_iterable(m._buffers.values() for m in modules if m._buffers)
        structure = hash((tuple(map(type, modules)), tuple(names), tuple(map(is_, buffers, repeat(None)))))
        memo = self.memo
        with memo.lock:
            if memo.structure != structure:
                memo.forget(structure)
        return modules

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        for tensor in _tensors(self.module):
            return tensor.device
        return torch.device("cpu")

    @property
    def dtype(self) -> torch.dtype | None:
        """Floating type of the network's weights; None if it has none."""
        for tensor in _tensors(self.module):
            if tensor.is_floating_point():
                return tensor.dtype
        return None

    def layers(self, x: Any = None) -> Any:
        """Returns the table of layers: names, output shapes, the default layer of CAMs and why.

        x: an input to trace; needed only where the preprocessing does not tell the size.
        """
        return late.call("layers", self, x)

    def layer_name(self, layer: str | nn.Module) -> str:
        """Returns the name of a layer given by name or as the module itself.

        Raises LayerError, with the nearest names, if this network has no such layer.
        """
        modules = {name: module for name, module in self.module.named_modules(remove_duplicate=False) if name}
        names = list(modules)
        if isinstance(layer, nn.Module):
            for name, module in modules.items():
                if module is layer:
                    return str(name)
            raise LayerError(
                f"layer= must be a layer of this network; the given {type(layer).__name__} is not one of its "
                f"{len(names)} layers (a layer of another model, or the network itself?). Name it: "
                "model.layers() lists the names."
            )
        for prefix in ("", "module.", "_orig_mod."):
            if layer.startswith(prefix) and layer[len(prefix) :] in modules:
                return self.layer_name(modules[layer[len(prefix) :]])  # of two names, the first
        known = "it has no layers" if not names else f"it has {len(names)}, such as {names[0]!r} or {names[-1]!r}"
        raise LayerError(
            f"layer= must name a layer of this network; given {layer!r}, and {known}.{nearest(layer, names)} "
            "model.layers() lists them all."
        )


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yields parameters, then buffers; unbound, since some networks redefine `parameters` for their optimiser."""
    yield from nn.Module.parameters(module)
    yield from nn.Module.buffers(module)


def _all_modules(root: nn.Module) -> tuple[tuple[nn.Module, ...], list[str]]:
    """Returns all modules of a network, each once, and their children's names: on every call, so in a hurry."""
    found: list[nn.Module] = [root]
    names: list[str] = []
    seen = {id(root)}
    for module in found:  # grows while it is gone through
        if isinstance(module, torch.jit.ScriptModule):  # keeps its children elsewhere
            return tuple(root.modules()), [name for name, _ in root.named_modules()]
        names += module._modules
        for child in module._modules.values():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                found.append(child)
    return tuple(found), names


def call(module: nn.Module, inputs: Inputs) -> Any:
    """Returns the network's answer: a tuple is passed as arguments, a dict as keywords."""
    if isinstance(inputs, Tensor):
        return module(inputs)
    if isinstance(inputs, Mapping):
        return module(**inputs)
    return module(*inputs)
