"""Guided backpropagation and deconvnet let gradients pass a ReLU by another rule; the model is left alone.

Module hooks miss `F.relu`, `x.relu_()` and modules used twice, and cannot be trusted with in-place
activations. Here each call of the relu family is exchanged, while it happens, for an autograd function with
another backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MethodWrapperType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..core.errors import SettingError, nearest
from .gate_watch import GateWatch
from .rectifiers import Site, positive, site

_DATA = Tensor.data.__get__  # type: ignore[attr-defined]
Kind = Literal["guided", "deconvnet", "redirected"]

VIEWS: dict[str, Kind] = {"guided-backprop": "guided", "deconvnet": "deconvnet", "redirected": "redirected"}
"""Name of the view, as methods ask for it, to the kind of rule."""


class BackwardRule(TorchFunctionMode):
    """A context in which ReLU-like activations pass gradients by the rule `kind` and not by their slope.

    With g the gradient that arrives at an activation phi(x):

    * `"guided"` passes max(g, 0) * max(phi'(x), 0). For ReLU that is the paper's: g where x > 0 and g > 0.
    * `"deconvnet"` passes max(g, 0), whatever x was.
    * `"redirected"` is the plain gradient in rows in which g phi'(x) is not 0 everywhere. In others it passes
      max(g, 0), and min(g, 0) where x is at an upper bound (relu6, hardtanh): only where moving x the way g says moves
      phi(x) that way in the end. So a layer that is off as a whole says what would turn it on, and one that is at its
      bound says nothing.

    Changed are relu, relu6, hardtanh (any bounds), threshold, leaky_relu, prelu, rrelu (evaluation mode),
    elu, selu, celu, gelu (both forms), silu, mish, hardswish and softplus: as modules, functions, methods
    or operators of exported graphs, in place or not. sigmoid, tanh, hardsigmoid, logsigmoid and softmax are
    no rectifiers and keep their gradient. The forward pass computes what it did, and overwrites x exactly
    where the model overwrites it.

        with BackwardRule("guided") as rule:
            score = model(x)[0, 281]
        (gradient,) = torch.autograd.grad(score, x)  # inside or outside the context: the rule is in the graph

    `sites` counts the calls that were changed, by name, and `suspects` the gates written otherwise that
    were not (see `GateWatch`). Only calls that a gradient passes are counted: none under `no_grad`, none
    before the first tensor that requires a gradient. Counts add up when one rule is entered again. No
    sites: the gradient is the plain one.

    Memory is that of the plain pass: ReLU keeps its result, the others what PyTorch keeps. The weight of a
    PReLU gets no gradient.

    A `TorchFunctionMode` belongs to the thread that entered it: other threads compute plain gradients, and
    a rule object must not be shared between threads. What runs as compiled or scripted code is not seen:
    ask `uninterceptable` first. Layers under `torch.utils.checkpoint` run again in the backward pass: keep
    that inside the context, too.

    Differences: the papers know ReLU only, and captum changes `nn.ReLU` modules only. The extension to other
    activations is ours; so is max(phi', 0) for those that fall somewhere (SiLU, GELU, Mish, hardswish).

    References: Springenberg et al. 2015, Striving for Simplicity, arXiv:1412.6806; Zeiler and Fergus 2014,
    Visualizing and Understanding Convolutional Networks, arXiv:1311.2901; Olah, Mordvintsev, Schubert 2017, Feature
    Visualization, Distill (redirected).

    Raises SettingError for another kind.
    """

    def __init__(self, kind: Kind) -> None:
        if kind not in _RULES:
            known = " or ".join(map(repr, _RULES))
            raise SettingError(f"Expected the backward rule {known}, got {kind!r}." + nearest(str(kind), _RULES))
        super().__init__()
        self.kind: Kind = kind
        self.sites: dict[str, int] = {}
        self._watch = GateWatch()

    @property
    def suspects(self) -> dict[str, int]:
        """Gates that the rule did not change, with the number of calls."""
        return self._watch.found

    def __enter__(self) -> BackwardRule:
        """Returns the rule, which from now on sees every call of this thread."""
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *exception: Any) -> None:
        """Ends the rule; graphs made meanwhile keep it."""
        super().__exit__(*exception)  # type: ignore[no-untyped-call]
        self._watch.forget()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Returns what the call returns, with the rule in its graph where it is one of the relu family."""
        named = kwargs or {}
        if isinstance(func, MethodWrapperType) and func != _DATA:  # a shape or the like: half of all calls
            return func(*args, **named)
        self._watch.before(args)
        found = site(func, args, named)
        if found is None or not (found.x.requires_grad and torch.is_grad_enabled()):
            out = func(*args, **named)
            self._watch.after(func, args, named, out)
            return out
        self.sites[found.name] = self.sites.get(found.name, 0) + 1
        x = found.x
        out = _RULES[self.kind].apply(x, found)
        self._watch.squashed(x, out, found.name)
        return out


class _Guided(torch.autograd.Function):
    """An activation whose backward is max(g, 0) * max(phi', 0), computed as max(max(g, 0) * phi', 0).

    Where phi never falls, that is max(g * phi', 0).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Site) -> Tensor:
        ctx.rectifier, ctx.settings, ctx.from_result = call.rectifier, call.settings, call.keeps_result
        overwritten = call.in_place and not call.keeps_result
        kept = x.clone() if overwritten else x
        out = _compute(ctx, x, call)
        ctx.save_for_backward(out if call.keeps_result else kept)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        if gradients[0] is None:
            return None, None
        gradient, kept = _one_dtype(gradients[0], *ctx.saved_tensors)
        if not ctx.rectifier.monotone:
            gradient = positive(gradient)
        passed = ctx.rectifier.slope(gradient, kept, ctx.settings, ctx.from_result)
        # a second buffer of this size costs more than the arithmetic
        return positive(passed) if torch.is_grad_enabled() else passed.clamp_min_(0), None


class _Redirected(_Guided):
    """An activation whose backward is g * phi', and where that is 0 all over a row, what leads out of flat parts."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        if gradients[0] is None:
            return None, None
        gradient, kept = _one_dtype(gradients[0], *ctx.saved_tensors)
        passed = ctx.rectifier.slope(gradient, kept, ctx.settings, ctx.from_result)
        if passed.dim() == 0:
            return passed, None
        off = ~passed.flatten(1).any(1) if passed.dim() > 1 else passed == 0
        moving, bound = positive(gradient), ctx.settings.get("max_val")
        if bound is not None:
            moving = torch.where(kept >= bound, gradient - moving, moving)
        return torch.where(off.reshape(-1, *[1] * (passed.dim() - 1)), moving, passed), None


def _one_dtype(gradient: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Returns both in one precision: under autocast a result can be of another than the input."""
    if gradient.dtype == kept.dtype:
        return gradient, kept
    dtype = torch.promote_types(gradient.dtype, kept.dtype)
    return gradient.to(dtype), kept.to(dtype)


class _Deconvnet(torch.autograd.Function):
    """An activation whose backward is max(g, 0)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Site) -> Tensor:
        return _compute(ctx, x, call)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None]:
        return None if gradients[0] is None else positive(gradients[0]), None


_RULES: dict[str, type[torch.autograd.Function]] = {
    "guided": _Guided,
    "deconvnet": _Deconvnet,
    "redirected": _Redirected,
}


def _compute(ctx: Any, x: Tensor, call: Site) -> Tensor:
    ctx.set_materialize_grads(False)  # a gradient that is cut behind the activation must not become zeros
    out = call.compute(x)
    if call.in_place:
        ctx.mark_dirty(x)
        return x
    return out


def view_context(name: str) -> BackwardRule:
    """Returns the context for a view named `"guided-backprop"`, `"deconvnet"` or `"redirected"`.

    Raises SettingError for another name.
    """
    if name not in VIEWS:
        known = " or ".join(repr(view) for view in VIEWS)
        raise SettingError(f"Expected the view {known}, got {name!r}.{nearest(name, VIEWS)}")
    return BackwardRule(VIEWS[name])


def uninterceptable(module: nn.Module) -> str | None:
    """Returns why a backward rule cannot see into `module`, or None where it can.

    Compiled and scripted code makes its calls outside Python; replicas of `nn.DataParallel` run in other
    threads. Traced (`torch.fx`) and exported (`torch.export`) modules are Python code and fine.
    """
    for name, part in module.named_modules():
        where = f"the part {name!r}" if name else "the model"
        if isinstance(part, torch.jit.ScriptModule):
            return f"{where} is compiled TorchScript ({type(part).__name__})"
        if any(base.__name__ == "OptimizedModule" for base in type(part).__mro__):
            return f"{where} is compiled by torch.compile"
        if getattr(part, "_compiled_call_impl", None) is not None:
            return f"{where} was compiled in place by .compile()"
        if isinstance(part, nn.DataParallel) and len(part.device_ids) > 1:
            return f"{where} is nn.DataParallel, whose replicas run in other threads"
        for attribute, function in _functions(part):
            if isinstance(function, torch.jit.ScriptFunction):
                return f"{where} calls a TorchScript function, {attribute}"
            if "_torchdynamo_orig_callable" in getattr(function, "__dict__", {}):  # a mock says yes to every hasattr
                return f"{where} calls a function compiled by torch.compile, {attribute}"
    return None


def _functions(part: nn.Module) -> Iterator[tuple[str, object]]:
    """Yields what a module may call that is not a module: its own attributes and its class's forward."""
    yield from ((name, value) for name, value in vars(part).items() if callable(value))
    yield "forward", type(part).forward
