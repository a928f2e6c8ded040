"""Finds the batch-norms that may be folded into the convolution before them: a wrong pair gives wrong maps.

A pair cannot be read off the module tree: what counts is who reads the convolution's output. So one forward
pass is observed, and whatever is not seen to be safe is left alone.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS: tuple[type[nn.Module], ...] = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONV_CALLS: tuple[object, ...] = (torch.conv1d, torch.conv2d, torch.conv3d)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# Reading these says nothing about a tensor's values, and folding leaves them as they are.
_METADATA: tuple[object, ...] = (
    *(
        getattr(Tensor, name).__get__
        for name in ("shape", "dtype", "device", "ndim", "layout", "requires_grad", "is_cuda", "is_sparse")
    ),
    *(Tensor.size, Tensor.dim, Tensor.numel, Tensor.is_floating_point, Tensor.is_complex, Tensor.__len__),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A convolution and the batch-norm that alone reads its output, by module name.

    `aliases` are the other modules whose output was (or contained) that very tensor, such as an
    `nn.Sequential` around the convolution: folding changes what they give, too.
    """

    conv: str
    bn: str
    aliases: frozenset[str] = frozenset()

    def spares(self, keep: frozenset[str]) -> bool:
        """Returns whether folding this pair leaves the output of every module named in `keep` as it was."""
        return keep.isdisjoint(self.aliases | {self.conv, self.bn})


class PreparationFailed(Exception):  # noqa: N818 - a signal inside seewhy, not an error that a user sees
    """No prepared copy can be made, for the reason given; the model itself is to be used."""


def has_hooks(module: nn.Module) -> bool:
    """Returns whether any forward or backward hook is registered on this very module."""
    return any(getattr(module, name, None) for name in _HOOKS)


def is_activated_norm(module: nn.Module) -> bool:
    """Returns whether this is exactly timm's `BatchNormAct2d`: batch-norm, then its `drop` and `act`."""
    # Such a module can only exist once timm has been imported, so timm need not be.
    known = getattr(sys.modules.get("timm.layers.norm_act"), "BatchNormAct2d", None)
    return known is not None and type(module) is known


def foldable_pairs(module: nn.Module, call: Callable[[nn.Module], object]) -> tuple[Pair, ...]:
    """Returns the (convolution, batch-norm) pairs that can be folded without changing anything else.

    `call(module)` is run once, without autograd, under temporary hooks. The caller has put the module in eval
    mode, and restores random state and buffers if the model changes them. A pair is returned only if

    * the convolution computes exactly `conv(something, weight, bias)` with its own parameters, so padding
      inside its forward is fine and a standardised or parametrised weight is not; it runs once;
    * its output is read once, by the batch-norm, and by nothing else: no arithmetic, no view, no in-place
      change, nothing that still holds it after the pass (a returned feature, a cache);
    * the batch-norm is torch's or timm's `BatchNormAct2d`, runs once, in eval mode, on running statistics;
    * neither is hooked, registered twice, shares a parameter, or has its parameters read elsewhere;
    * all of it is float32 or float64.

    Raises `PreparationFailed` where the model does not run under observation.
    """
    watch = _Watch.on(module)
    try:
        result = _observed(module, call, watch)
    except Exception as error:
        raise PreparationFailed(f"the model does not run under observation: {error}") from error
    pairs = tuple(watch.pairs())  # while `result` lives: a convolution's output inside it has another reader
    del result
    return pairs


def _observed(module: nn.Module, call: Callable[[nn.Module], object], watch: _Watch) -> object:
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for name, part in module.named_modules(remove_duplicate=False):
            for handle in watch.hooks(name, part):
                stack.callback(handle.remove)
        stack.enter_context(_Python(watch))
        stack.enter_context(_Native(watch))
        return call(module)


@dataclass(slots=True)
class _Trace:
    """What was seen of one candidate, a convolution or a batch-norm."""

    name: str
    module: nn.Module
    calls: int = 0
    spoilt: bool = False
    raw: weakref.ref[Tensor] | None = None  # result of the functional convolution inside its forward
    output: weakref.ref[Tensor] | None = None
    readers: list[str] = field(default_factory=list)
    aliases: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Watch:
    """The bookkeeping of one observed forward pass."""

    traces: dict[int, _Trace]  # by id of the module
    owners: dict[int, _Trace]  # by id of a parameter or buffer
    outputs: dict[int, _Trace] = field(default_factory=dict)  # by id of a convolution's output
    running: list[_Trace] = field(default_factory=list)  # candidates whose forward is under way

    @classmethod
    def on(cls, module: nn.Module) -> _Watch:
        traces = {id(part): _Trace(name, part) for name, part in _candidates(module)}
        owners = {id(item): trace for trace in traces.values() for item in _own_tensors(trace.module)}
        return cls(traces, owners)

    def hooks(self, name: str, part: nn.Module) -> Iterator[Any]:
        """Yields the handles of the hooks that observe one module."""
        trace = self.traces.get(id(part))
        if trace is not None:
            yield part.register_forward_pre_hook(lambda _, args: self.enter(trace, args))
            yield part.register_forward_hook(lambda _, __, out: self.leave(trace, out), always_call=True)
        yield part.register_forward_hook(lambda _, __, out: self.alias(name, out))

    def enter(self, trace: _Trace, args: tuple[object, ...]) -> None:
        trace.calls += 1
        source = self.source(args[0]) if len(args) == 1 else None
        if source is not None and not isinstance(trace.module, CONVOLUTIONS):
            source.readers.append(trace.name)
        self.running.append(trace)

    def leave(self, trace: _Trace, out: object) -> None:
        self.running.pop()
        if not isinstance(trace.module, CONVOLUTIONS):
            return
        weight = trace.module.weight
        exact = type(out) is Tensor and trace.raw is not None and trace.raw() is out
        if not exact or not isinstance(out, Tensor) or out.dtype != weight.dtype or out.dim() != weight.dim():
            trace.spoilt = True  # also after an exception, and for a row that `BatchNorm1d` would take for a batch
            return
        trace.output = weakref.ref(out)
        self.outputs[id(out)] = trace

    def alias(self, name: str, out: object) -> None:
        for item in _tensors(out):
            trace = self.source(item)
            if trace is not None and trace.name != name:
                trace.aliases.add(name)

    def source(self, item: object) -> _Trace | None:
        """Returns the convolution whose output this very tensor is."""
        trace = self.outputs.get(id(item))
        # An id is used again once its tensor is gone; the weak reference tells.
        return trace if trace is not None and trace.output is not None and trace.output() is item else None

    def read(self, args: object) -> None:
        """Notes every reader other than the batch-norm (of outputs) and the module itself (of parameters)."""
        current = self.running[-1] if self.running else None
        for item in _tensors(args):
            source = self.source(item)
            if source is not None and (current is None or current.name not in source.readers):
                source.spoilt = True
            owner = self.owners.get(id(item))
            if owner is not None and owner is not current:
                owner.spoilt = True

    def convolve(self, func: object, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> None:
        """Checks what the convolution whose forward is under way does with its own weight and bias."""
        if not self.running or not isinstance(self.running[-1].module, CONVOLUTIONS):
            return
        trace = self.running[-1]
        own = {id(item) for item in _own_tensors(trace.module)}
        if not any(id(item) in own for item in _tensors((args, kwargs))):
            return
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        exact = given.get("weight") is trace.module.weight and given.get("bias") is trace.module.bias
        if func in _CONV_CALLS and exact and trace.raw is None and isinstance(result, Tensor):
            trace.raw = weakref.ref(result)
        else:
            trace.spoilt = True

    def pairs(self) -> Iterator[Pair]:
        traces = {trace.name: trace for trace in self.traces.values()}
        for conv in traces.values():
            if conv.output is None or conv.output() is not None:
                continue  # never ran, or somebody still holds its output
            norm = traces.get(conv.readers[0]) if len(conv.readers) == 1 else None
            if norm is None or conv.spoilt or norm.spoilt or conv.calls != 1 or norm.calls != 1:
                continue
            yield Pair(conv.name, norm.name, frozenset(conv.aliases))


class _Python(TorchFunctionMode):
    """Shows the watch every torch function that Python code calls, also `.data`, `.numpy()` and views."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _METADATA:
            return func(*args, **kwargs)
        self.watch.read((args, kwargs))
        result = func(*args, **kwargs)
        self.watch.convolve(func, args, kwargs, result)
        return result


class _Native(TorchDispatchMode):  # type: ignore[no-untyped-call]  # by torch
    """Shows the watch what compiled code (scripted functions, vmap) calls unseen by Python."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.watch.read((args, kwargs))
        return func(*args, **kwargs)


def _candidates(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yields the convolutions and batch-norms that may take part, as far as shows without running them."""
    named = list(module.named_modules(remove_duplicate=False))
    names = Counter(id(part) for _, part in named)
    unique = {id(part): part for _, part in named}.values()
    owners = Counter(id(item) for part in unique for item in _own_tensors(part))
    for name, part in named:
        suits = _suits_as_conv(part) or _suits_as_norm(part)
        alone = names[id(part)] == 1 and all(owners[id(item)] == 1 for item in _own_tensors(part))
        if suits and alone and not has_hooks(part) and _dtypes(part) in ({torch.float32}, {torch.float64}):
            yield name, part


def _suits_as_conv(part: nn.Module) -> bool:
    # Weight norm, spectral norm, pruning and parametrisations all leave other parameters, buffers or children
    plain = set(part._parameters) == {"weight", "bias"} and not part._buffers and not part._modules
    return plain and isinstance(part, CONVOLUTIONS) and part._parameters["weight"] is not None


def _suits_as_norm(part: nn.Module) -> bool:
    known = (type(part) in _NORMS or is_activated_norm(part)) and "forward" not in vars(part)
    statistics = [part._buffers.get(name) for name in ("running_mean", "running_var")]
    return known and not part.training and all(item is not None for item in statistics)


def _own_tensors(part: nn.Module) -> list[Tensor]:
    return [item for item in (*part._parameters.values(), *part._buffers.values()) if item is not None]


def _dtypes(part: nn.Module) -> set[torch.dtype]:
    return {item.dtype for item in _own_tensors(part) if item.is_floating_point() or item.is_complex()}


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _tensors(item)
