"""Finds activations written by hand, because a rule that misses one gives the plain gradient unnoticed."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from .rectifiers import spellings

_GUARD = 1e-3
"""Thresholds below this in size, zero excepted, protect divisions and logarithms; they are no activation."""

_COMPARISONS = ("gt", "ge", "lt", "le", "greater", "greater_equal", "less", "less_equal")
_SQUASHES = ("sigmoid", "tanh", "hardsigmoid", "erf", "exp", "heaviside")
_POINTWISE = (
    "add", "sub", "subtract", "rsub", "neg", "negative", "pow", "square", "and", "or", "invert",
    "logical_and", "logical_or", "logical_not", "bitwise_and", "bitwise_or", "bitwise_not", "to",
    "_to_copy", "type", "type_as", "float", "half", "double", "bfloat16", "int", "long", "bool", "detach",
    "clone", "contiguous",
)  # fmt: skip
_PRODUCTS = ("mul", "multiply", "div", "divide", "truediv", "true_divide")
_EXTREMES = ("maximum", "minimum", "max", "min", "fmax", "fmin")
_FUSED = ("rnn_relu", "rnn_relu_cell", "rrelu")

Args = tuple[Any, ...]
Role = Callable[["GateWatch", str, Args, Mapping[str, Any], Any], None]


class GateWatch:
    """Counts in `found` the gates by which a model rectifies without an operator of the relu family.

    A gate is a tensor that meets a mask or a squashed copy of itself: `x * (x > 0)`, `x * sigmoid(x)`,
    `where(x > 0, x, ...)`, `x.masked_fill(x < 0, 0)`, `x[x < 0] = 0`; or that meets zero: `clamp(x, 0)`,
    `maximum(x, 0)`. So a mask made from anything else (attention, dropout, another branch) is none, and a
    lower bound that only guards a division is none. Reported too: fused ReLU networks
    (`nn.RNN(nonlinearity="relu")`), RReLU in training mode, autograd functions that the model brings along,
    with one input and an output of the same shape, whose backward is their own, and re-entrant checkpoints,
    which run their layers again outside the rule. Only what a gradient passes is reported. Tensors are
    remembered by weak reference.
    """

    def __init__(self) -> None:
        self.found: dict[str, int] = {}
        self._made_of: dict[int, tuple[weakref.ref[Tensor], weakref.ref[Tensor], str]] = {}
        self._seen: weakref.WeakSet[Any] = weakref.WeakSet()

    def before(self, args: Args) -> None:
        """Looks at what a call is about to consume: the output of somebody's own autograd function."""
        for tensor in _tensors(args[:2]):
            node = tensor.grad_fn
            if isinstance(node, BackwardCFunction) and node not in self._seen:
                self._seen.add(node)
                self._own_function(node, tensor)

    def after(self, function: object, args: Args, kwargs: Mapping[str, Any], out: object) -> None:
        """Looks at a call that was made: whether it gates, or makes what may gate."""
        entry = _roles().get(function)
        if entry is not None:
            name, role = entry
            role(self, name, args, kwargs, out)

    def squashed(self, x: Tensor, out: Tensor, name: str) -> None:
        """Remembers that `out` is an activation of `x`, whose product with `x` would be another one."""
        self._remember(out, self._origin(x)[0], f"{name}(x)")

    def forget(self) -> None:
        """Drops what was remembered of tensors; the counts stay."""
        self._made_of.clear()

    def _report(self, what: str, gated: Tensor) -> None:
        if gated.requires_grad and torch.is_grad_enabled():
            self.found[what] = self.found.get(what, 0) + 1

    def _origin(self, tensor: Tensor) -> tuple[Tensor, str]:
        """Returns the tensor that this was made of, element by element, and the gate on the way or ''."""
        made = self._made_of.get(id(tensor))
        if made is not None and made[0]() is tensor:
            origin = made[1]()
            if origin is not None:
                return origin, made[2]
        return tensor, ""

    def _remember(self, out: object, origin: Tensor, gate: str) -> None:
        if isinstance(out, Tensor) and out is not origin:
            self._made_of[id(out)] = (weakref.ref(out), weakref.ref(origin), gate)

    def _own_function(self, node: Any, tensor: Tensor) -> None:
        function = getattr(type(node), "_forward_cls", type(node))
        module, name = function.__module__, function.__name__
        inputs = [pair for pair in node.next_functions if pair[0] is not None]
        if name == "CheckpointFunction":
            self._report("checkpoint(use_reentrant=True)", tensor)
            return
        foreign = not module.startswith(("torch.", "seewhy."))
        if foreign and len(inputs) == 1 and _shape(*inputs[0]) in (None, tensor.shape):
            self._report(f"autograd function {name}", tensor)

    def _pointwise(self, name: str, args: Args, kwargs: Mapping[str, Any], out: object) -> None:
        origins = [self._origin(item) for item in _tensors((*args, *kwargs.values()))]
        if name == "type_as":
            origins = origins[:1]
        if not origins:
            return
        largest = max((origin for origin, _ in origins), key=Tensor.numel)
        if all(origin is largest or origin.numel() < largest.numel() for origin, _ in origins):
            gates = [gate for origin, gate in origins if gate and origin is largest]
            self._remember(out, largest, gates[0] if gates else "")

    def _squash(self, name: str, args: Args, kwargs: Mapping[str, Any], out: object) -> None:
        for x in list(_tensors((*args, *kwargs.values())))[:1]:
            origin, gate = self._origin(x)
            self._remember(out, origin, gate or f"{name}(x)")

    def _compare(self, name: str, args: Args, kwargs: Mapping[str, Any], out: object) -> None:
        operands = [*args, *kwargs.values()][:2]
        x = next((item for item in operands if isinstance(item, Tensor) and not _is_zero(item)), None)
        other = next((item for item in operands if item is not x), None)
        small = isinstance(other, Tensor) and x is not None and (other.numel() < x.numel() or _is_zero(other))
        if x is not None and (small or _is_threshold(other)):
            self._remember(out, self._origin(x)[0], "(x > 0)")

    def _product(self, name: str, args: Args, kwargs: Mapping[str, Any], out: object) -> None:
        pair = [self._origin(item) for item in _tensors((*args, *kwargs.values()))][:2]
        if len(pair) == 2 and pair[0][0] is pair[1][0] and bool(pair[0][1]) != bool(pair[1][1]):
            self._report(f"x * {pair[0][1] or pair[1][1]}", pair[0][0])
        else:
            self._pointwise(name, args, kwargs, out)

    def _bound(self, name: str, args: Args, kwargs: Mapping[str, Any], out: object) -> None:
        x = args[0] if args else kwargs.get("input", kwargs.get("self"))
        bounds = [*args[1:], *(value for key, value in kwargs.items() if key not in ("input", "self"))]
        if isinstance(x, Tensor):
            if any(_is_zero(bound) for bound in bounds):
                self._report("clamp(x, 0)", x)
            self._squash("clamp", (x,), {}, out)

    def _extreme(self, name: str, args: Args, kwargs: Mapping[str, Any], out: object) -> None:
        pair = [*args, *kwargs.values()][:2]
        if len(pair) < 2 or not all(isinstance(item, Tensor) for item in pair):
            return
        for x, other in (pair, pair[::-1]):
            if _is_zero(other) or 1 < other.numel() < x.numel():
                self._report(f"{name}(x, 0)", x)
                return

    def _where(self, name: str, args: Args, kwargs: Mapping[str, Any], out: object) -> None:
        tensors = list(_tensors((*args, *kwargs.values())))
        masks = [self._origin(item) for item in tensors if item.dtype == torch.bool]
        for origin, gate in masks:
            others = [item for item in tensors if item.dtype != torch.bool]
            if gate and any(self._origin(item)[0] is origin for item in others):
                self._report(f"{name}(x > 0)", origin)
                return

    def _fused(self, name: str, args: Args, kwargs: Mapping[str, Any], out: object) -> None:
        for x in list(_tensors(args))[:1]:
            self._report(name, x)


@functools.cache
def _roles() -> dict[object, tuple[str, Role]]:
    """Returns what every spelling of a pointwise operator can mean for a gate."""
    plan: tuple[tuple[Iterable[str], Role], ...] = (
        (_COMPARISONS, GateWatch._compare),
        (_SQUASHES, GateWatch._squash),
        (_POINTWISE, GateWatch._pointwise),
        (_PRODUCTS, GateWatch._product),
        (("clamp", "clamp_min", "clamp_max", "clip"), GateWatch._bound),
        (_EXTREMES, GateWatch._extreme),
        (("where", "masked_fill"), GateWatch._where),
        (_FUSED, GateWatch._fused),
    )
    table: dict[object, tuple[str, Role]] = {
        function: (name, role) for names, role in plan for name in names for function, _ in spellings(name)
    }
    table[torch.Tensor.__setitem__] = ("setitem", GateWatch._where)
    table[torch.Tensor.data.__get__] = ("data", GateWatch._pointwise)  # type: ignore[attr-defined]
    return table


def _tensors(args: Iterable[object]) -> Iterator[Tensor]:
    for item in args:
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, (tuple, list)):
            yield from (inner for inner in item if isinstance(inner, Tensor))


def _is_zero(value: object) -> bool:
    """Returns whether this is the constant zero; what needs a gradient or has no data is no constant."""
    if isinstance(value, Tensor):
        if value.requires_grad or value.is_meta or value.numel() == 0 or value.is_complex():
            return False
        return not bool(value.any())
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0


def _is_threshold(value: object) -> bool:
    return isinstance(value, (int, float)) and (value == 0 or abs(value) >= _GUARD)


def _shape(node: Any, index: int) -> torch.Size | None:
    """Returns the shape of a node's output, or None where this PyTorch does not tell."""
    if hasattr(node, "variable"):
        return torch.Size(node.variable.shape)
    metadata = getattr(node, "_input_metadata", None)
    return None if metadata is None else torch.Size(metadata[index].shape)
