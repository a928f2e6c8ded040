"""The relu family in one table, because a backward rule must know every spelling and every slope of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Slope = Callable[[Tensor, Tensor, "Settings", bool], Tensor]
"""(incoming gradient, what was kept, settings, whether that is the result) -> what autograd passes."""
Settings = Mapping[str, Any]

_aten = torch.ops.aten
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@dataclass(frozen=True, slots=True)
class Rectifier:
    """One activation of the relu family: its settings as PyTorch orders and defaults them, and its slope.

    `result` says when PyTorch keeps the result for the backward pass and not the input: `"always"`,
    `"in-place"` or `"never"`. `monotone` says that no setting can make the slope negative.
    """

    name: str
    slope: Slope
    settings: Settings
    result: str = "never"
    monotone: bool = False
    kernels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """One intercepted call: the tensor rectified, how to compute the activation and how its slope acts."""

    name: str
    x: Tensor
    compute: Callable[[Tensor], Tensor]
    rectifier: Rectifier
    settings: Settings
    in_place: bool

    @property
    def keeps_result(self) -> bool:
        """Whether the result is kept for the backward pass and not the input, as PyTorch does here."""
        return self.rectifier.result == "always" or (self.rectifier.result == "in-place" and self.in_place)


def positive(gradient: Tensor) -> Tensor:
    """Returns max(gradient, 0), NaN kept; an operator that no gate-watcher mistakes for an activation."""
    return _call(_aten.threshold_backward, gradient, gradient, 0)


def site(function: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Site | None:
    """Returns what a call of the relu family does, or None for any other call.

    RReLU in training mode draws its slopes at random and is none.
    """
    entry = _entries().get(function)
    if entry is None:
        return None
    rectifier, names, overwrites = entry
    rest = {key: value for key, value in kwargs.items() if key not in ("input", "self")}
    x = args[0] if args else kwargs.get("input", kwargs.get("self"))
    if not isinstance(x, Tensor):
        return None
    settings = {**rectifier.settings, **dict(zip(names, args[1:], strict=False)), **rest}
    if settings.get("training"):
        return None
    call: Callable[..., Tensor] = function  # type: ignore[assignment]
    relu6 = rectifier.name == "hardtanh" and (settings["min_val"], settings["max_val"]) == (0, 6)
    return Site(
        name="relu6" if relu6 else rectifier.name,
        x=x,
        compute=lambda given: call(given, *args[1:], **rest),
        rectifier=rectifier,
        settings=settings,
        in_place=overwrites or bool(settings.get("inplace")),
    )


def spellings(name: str) -> Iterator[tuple[Callable[..., Any], bool]]:
    """Yields each callable that PyTorch offers under `name`, with whether it overwrites its first argument.

    That is `torch.nn.functional`, `torch`, `Tensor` methods and operators, `torch._C._nn` and
    `torch.ops.aten` (what an exported graph calls), each also with a trailing underscore.
    """
    spaces = (functional, torch, torch.Tensor, torch._C._nn)
    for form in (name, name + "_", f"__{name}__", f"__r{name}__"):
        overwrites = form == name + "_"
        for space in spaces:
            found = getattr(space, form, None)
            if callable(found):
                yield found, overwrites
    for form in (name, name + "_"):
        packet = getattr(_aten, form, None)
        if packet is not None:
            yield packet, form.endswith("_")
            for overload in packet.overloads():
                yield getattr(packet, overload), form.endswith("_")


@functools.cache
def _entries() -> dict[object, tuple[Rectifier, tuple[str, ...], bool]]:
    """Returns, for every spelling, the activation, its positional settings and whether it works in place."""
    table: dict[object, tuple[Rectifier, tuple[str, ...], bool]] = {}
    for rectifier in RECTIFIERS:
        for kernel in (rectifier.name, *rectifier.kernels):
            for function, overwrites in spellings(kernel):
                names = tuple(rectifier.settings)
                if inspect.isfunction(function):
                    names = tuple(inspect.signature(function).parameters)[1:]
                table.setdefault(function, (rectifier, names, overwrites))
    for function, overwrites in spellings("relu6"):
        table[function] = (_RELU6, ("inplace",), overwrites)
    return table


def _call(operator: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Returns what one of PyTorch's own derivative operators says (they carry no type annotations)."""
    result: Tensor = operator(*args, **kwargs)
    return result


def _relu(gradient: Tensor, kept: Tensor, settings: Settings, from_result: bool) -> Tensor:
    return _call(_aten.threshold_backward, gradient, kept, 0)


def _threshold(gradient: Tensor, kept: Tensor, settings: Settings, from_result: bool) -> Tensor:
    return _call(_aten.threshold_backward, gradient, kept, settings["threshold"])


def _hardtanh(gradient: Tensor, kept: Tensor, settings: Settings, from_result: bool) -> Tensor:
    return _call(_aten.hardtanh_backward, gradient, kept, settings["min_val"], settings["max_val"])


def _leaky_relu(gradient: Tensor, kept: Tensor, settings: Settings, from_result: bool) -> Tensor:
    return _call(_aten.leaky_relu_backward, gradient, kept, settings["negative_slope"], from_result)


def _rrelu(gradient: Tensor, kept: Tensor, settings: Settings, from_result: bool) -> Tensor:
    mean = (settings["lower"] + settings["upper"]) / 2
    return _call(_aten.leaky_relu_backward, gradient, kept, mean, from_result)


def _prelu(gradient: Tensor, kept: Tensor, settings: Settings, from_result: bool) -> Tensor:
    weight: Tensor = settings["weight"].detach().to(gradient.dtype)
    if weight.ndim == 1 and weight.numel() > 1 and kept.ndim > 2:
        weight = weight.reshape(-1, *[1] * (kept.ndim - 2))
    return torch.where(kept > 0, gradient, gradient * weight)


def _elu(gradient: Tensor, kept: Tensor, settings: Settings, from_result: bool) -> Tensor:
    scales = settings["scale"], settings["input_scale"]
    return _call(_aten.elu_backward, gradient, settings["alpha"], *scales, from_result, kept)


def _selu(gradient: Tensor, kept: Tensor, settings: Settings, from_result: bool) -> Tensor:
    return _call(_aten.elu_backward, gradient, _SELU_ALPHA, _SELU_SCALE, 1.0, from_result, kept)


def _celu(gradient: Tensor, kept: Tensor, settings: Settings, from_result: bool) -> Tensor:
    alpha = settings["alpha"]
    return _call(_aten.elu_backward, gradient, alpha, 1.0, 1.0 / alpha, from_result, kept)


def _gelu(gradient: Tensor, kept: Tensor, settings: Settings, from_result: bool) -> Tensor:
    return _call(_aten.gelu_backward, gradient, kept, approximate=settings["approximate"])


def _silu(gradient: Tensor, kept: Tensor, settings: Settings, from_result: bool) -> Tensor:
    if torch.is_grad_enabled():  # the operator itself has no derivative
        bent = torch.sigmoid(kept)
        return gradient * (bent * (1 + kept * (1 - bent)))
    return _call(_aten.silu_backward, gradient, kept)


def _mish(gradient: Tensor, kept: Tensor, settings: Settings, from_result: bool) -> Tensor:
    if torch.is_grad_enabled():  # the operator itself has no derivative
        bent = torch.tanh(functional.softplus(kept))
        return gradient * (bent + kept * (1 - bent * bent) * torch.sigmoid(kept))
    return _call(_aten.mish_backward, gradient, kept)


def _hardswish(gradient: Tensor, kept: Tensor, settings: Settings, from_result: bool) -> Tensor:
    return _call(_aten.hardswish_backward, gradient, kept)


def _softplus(gradient: Tensor, kept: Tensor, settings: Settings, from_result: bool) -> Tensor:
    return _call(_aten.softplus_backward, gradient, kept, settings["beta"], settings["threshold"])


_RELU6 = Rectifier("hardtanh", _hardtanh, {"min_val": 0.0, "max_val": 6.0}, "in-place", monotone=True)

RECTIFIERS = (
    Rectifier("relu", _relu, {}, "always", monotone=True),
    Rectifier("hardtanh", _hardtanh, {"min_val": -1.0, "max_val": 1.0}, "in-place", monotone=True),
    Rectifier("threshold", _threshold, {"threshold": None, "value": None}, monotone=True),
    Rectifier("leaky_relu", _leaky_relu, {"negative_slope": 0.01}, "in-place"),
    Rectifier("prelu", _prelu, {"weight": None}, kernels=("_prelu_kernel",)),
    Rectifier("rrelu", _rrelu, {"lower": 1.0 / 8, "upper": 1.0 / 3, "training": False}, "in-place"),
    Rectifier("elu", _elu, {"alpha": 1.0, "scale": 1.0, "input_scale": 1.0}, "in-place"),
    Rectifier("selu", _selu, {}, "in-place", monotone=True),
    Rectifier("celu", _celu, {"alpha": 1.0}, "in-place"),
    Rectifier("gelu", _gelu, {"approximate": "none"}),
    Rectifier("silu", _silu, {}),
    Rectifier("mish", _mish, {}),
    Rectifier("hardswish", _hardswish, {}),
    Rectifier("softplus", _softplus, {"beta": 1.0, "threshold": 20.0}, monotone=True),
)
"""What backward rules change; sigmoid, tanh, hardsigmoid, logsigmoid and softmax do not rectify."""
