"""What "absence" looks like: the inputs that integrated gradients start from and perturbations put in."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TypeAlias

import torch
from torch import Tensor

from ..core.errors import InputError, InputTypeError, SettingError, nearest
from .blur import gaussian_blur
from .noise import gaussian_rows, uniform_rows

BaselineSpec: TypeAlias = "str | float | Tensor | Sequence[BaselineSpec]"
"""A name from `NAMES`, a number, a tensor, or a sequence of these."""

BLUR_SHARE = 1 / 15
"""Sigma of 'blur' as a share of the picture's shortest side."""

GAUSSIAN_SHARE = 0.5
"""Sigma of 'gaussian' as a share of the range of values."""

_ALIASES = {"uniform-noise": "uniform", "gaussian-noise": "gaussian", "max-distance": "maximum-distance"}


@dataclass(frozen=True, slots=True)
class _Request:
    """One name to be resolved: for which input, in which range, with which draw."""

    x: Tensor
    low: Tensor | None
    high: Tensor | None
    draw: int
    seed: int
    case_id: str

    def range(self, name: str) -> tuple[Tensor, Tensor]:
        """Returns the ends of the range of values; of x's own values where the model's range is not known."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        low, high = self.x.amin(), self.x.amax()
        if bool(low == high):
            raise SettingError(
                f"baseline={name!r} needs the range of the model's input; it is not known, and all values of "
                f"this input are {float(low):g}. Give value_range=(low, high) when you wrap the model."
            )
        return low, high


def baselines(  # noqa: PLR0913 - no record known to ops holds an input, its range and its seed
    spec: BaselineSpec, x: Tensor, low: Tensor | None, high: Tensor | None, *, seed: int, case_id: str
) -> Tensor:
    """Returns the baselines (B, C, *spatial) of one input `x` (1, C, *spatial), with its dtype and device.

    `x` may also be (1, F) numbers of a table or (1, T, D) embeddings. `low` and `high` are black and white in
    the model's input, one number or one for each channel (C,), None where they are not known. `spec` is

    * 'black', 'white': `low`, `high`; 'zero': 0 in the model's input, which is seldom black;
    * 'blur': x blurred with a sigma of 1/15 of its shortest side (pictures and volumes only);
    * 'maximum-distance': for each element the end of the range farther from it, `low` when both are as far;
    * 'uniform': noise uniform in the range;
    * 'gaussian': x plus normal noise of half the range, clipped to the range;
    * a number;
    * a tensor of x's shape, with or without the first dimension, which may be any B; 1 wherever it repeats;
    * a sequence of these, whose baselines follow each other along B: three numbers are three baselines, not a
      colour. A colour is a tensor (C, 1, 1).

    Where the range is not known, 'maximum-distance', 'uniform' and 'gaussian' use x's smallest and largest
    value. Repeated noise names draw anew: ["uniform"] * 8 is eight baselines. Averaging over B is left to the
    caller.

    Differences: Sturmfels et al. blur pictures of 299 pixels with a sigma of 5 to 50, and of 20, 1/15 of the
    side, in their ablation; their Gaussian noise there is 1 on inputs from -1 to 1. Both became shares here.

    Raises:
        SettingError: unknown name, 'black' or 'white' without a known range, a shape that does not fit, a
            value that is not finite, or no range to draw from (unknown, and x constant).
        InputError: `x` is not one row with at least one value.
        InputTypeError: `x` is not of a float dtype.

    Reference: Sturmfels, Lundberg, Lee, "Visualizing the impact of feature attribution baselines", Distill
    (2020).
    """
    _check_input(x)
    draws: Counter[str] = Counter()
    found = []
    for item in _flat(spec):
        if isinstance(item, str):
            name = _canonical(item)
            ends = _per_channel(low, x, "low"), _per_channel(high, x, "high")
            request = _Request(_wide(x), *ends, draws[name], seed, case_id)
            draws[name] += 1
            made = _NAMED[name](request)
        else:
            made = _given(item, x)
        found.append(made.to(x.dtype).expand(-1, *x.shape[1:]))
    return torch.cat(found)


def check_baseline(spec: BaselineSpec) -> None:
    """Checks what can be checked of `spec` before there is an input: names, kinds, finite values.

    Raises:
        SettingError: the specification can fit no input.
    """
    for item in _flat(spec):
        if isinstance(item, str):
            _canonical(item)


def _flat(spec: BaselineSpec) -> Iterator[str | float | Tensor]:
    """Yields the single specifications of a possibly nested one."""
    if isinstance(spec, str):
        yield spec
    elif isinstance(spec, Tensor):
        if spec.is_complex() or not bool(torch.isfinite(spec).all()):
            raise SettingError(
                f"A baseline tensor holds finite real numbers, but the one of shape {tuple(spec.shape)} and "
                f"dtype {spec.dtype} does not. Replace them, with torch.nan_to_num for example."
            )
        yield spec.detach()
    elif isinstance(spec, Real) and not isinstance(spec, bool):
        if not math.isfinite(spec):
            raise SettingError(f"A baseline is a finite number, but got {spec!r}. Give 0 or a name.")
        yield float(spec)
    elif isinstance(spec, Sequence) and not isinstance(spec, (bytes, bytearray)):
        if not spec:
            raise SettingError("A list of baselines needs at least one, but got none. Leave baseline= out.")
        for part in spec:
            yield from _flat(part)
    else:
        raise SettingError(
            f"A baseline is a name, a number, a tensor or a list of these, but got {spec!r} of type "
            f"{type(spec).__name__}. Convert arrays with torch.as_tensor; names: {', '.join(NAMES)}."
        )


def _canonical(name: str) -> str:
    found = _ALIASES.get(name, name)
    if found not in _NAMED:
        known = (*NAMES, *_ALIASES)
        raise SettingError(f"A baseline is one of {', '.join(NAMES)}, but got {name!r}.{nearest(name, known)}")
    return found


def _check_input(x: Tensor) -> None:
    if not x.is_floating_point():
        raise InputTypeError(f"A baseline is made for a float tensor, but got {x.dtype}. Convert it with .float().")
    if x.ndim < 2 or x.shape[0] != 1 or x.numel() == 0:
        raise InputError(
            f"A baseline is made for one row (1, C, *spatial) with at least one value, but got "
            f"{tuple(x.shape)}. Ask for each row on its own."
        )


def _wide(x: Tensor) -> Tensor:
    """Returns `x` without its graph, in at least float32: half precision would round noise twice."""
    return x.detach().to(torch.promote_types(x.dtype, torch.float32))


def _per_channel(end: Tensor | None, x: Tensor, name: str) -> Tensor | None:
    """Returns one end of the range of values shaped to broadcast along x's channels."""
    if end is None:
        return None
    if end.ndim > 1 or end.numel() not in (1, x.shape[1]):
        raise SettingError(
            f"value_range: {name} is one number or one for each of the {x.shape[1]} channels of an input "
            f"{tuple(x.shape)}, but has shape {tuple(end.shape)}."
        )
    if not bool(torch.isfinite(end).all()):
        raise SettingError(f"value_range: {name} is finite, but got {end.tolist()}. Give value_range=(low, high).")
    wide = end.detach().to(device=x.device, dtype=torch.promote_types(x.dtype, torch.float32))
    return wide.reshape(1, -1, *[1] * (x.ndim - 2))


def _given(item: float | Tensor, x: Tensor) -> Tensor:
    """Returns a number or tensor as (B, ...) with dimensions that broadcast to x's."""
    tensor = torch.as_tensor(item).to(device=x.device, dtype=x.dtype)
    if not bool(torch.isfinite(tensor).all()):
        raise SettingError(f"The baseline is too large for the input's {x.dtype}. Give values within its range.")
    if tensor.ndim == 0:
        return tensor.reshape([1] * x.ndim)
    rows = tensor.unsqueeze(0) if tensor.ndim == x.ndim - 1 else tensor
    fits = rows.ndim == x.ndim and len(rows) > 0
    if not fits or any(have not in (1, want) for have, want in zip(rows.shape[1:], x.shape[1:], strict=True)):
        raise SettingError(
            f"A baseline has the input's shape {tuple(x.shape)}, with or without the first dimension and "
            f"with 1 where it repeats, but got {tuple(tensor.shape)}. Reshape it; a colour is (C, 1, 1)."
        )
    return rows


def _known(end: Tensor | None, name: str) -> Tensor:
    if end is None:
        raise SettingError(
            f"baseline={name!r} needs to know what {name} is in the model's input, but its range is not "
            f"known. Give value_range=(low, high) when you wrap the model, or baseline='zero', a number or a "
            f"tensor."
        )
    return end


def _blurred(request: _Request) -> Tensor:
    x = request.x
    if x.ndim < 4:
        raise SettingError(
            f"baseline='blur' is for pictures (1, C, H, W) and volumes (1, C, D, H, W), but the input is "
            f"{tuple(x.shape)}. Choose another baseline; for a signal, blur it yourself and pass the tensor."
        )
    return gaussian_blur(x, BLUR_SHARE * min(x.shape[2:]))


def _farthest(request: _Request) -> Tensor:
    low, high = request.range("maximum-distance")
    return torch.where((request.x - low).abs() >= (request.x - high).abs(), low, high)


def _uniform(request: _Request) -> Tensor:
    low, high = request.range("uniform")
    return torch.lerp(low, high, _noise(uniform_rows, request, "baseline-uniform"))


def _gaussian(request: _Request) -> Tensor:
    low, high = request.range("gaussian")
    noise = _noise(gaussian_rows, request, "baseline-gaussian")
    # Black may be the larger number, in a model that takes negatives.
    ends = torch.minimum(low, high), torch.maximum(low, high)
    return torch.clamp(request.x + GAUSSIAN_SHARE * (high - low).abs() * noise, *ends)


def _noise(draw: Callable[..., Tensor], request: _Request, purpose: str) -> Tensor:
    rows = range(request.draw, request.draw + 1)
    noise = draw(request.x.shape[1:], rows, seed=request.seed, case_id=request.case_id, purpose=purpose)
    return noise.to(device=request.x.device, dtype=request.x.dtype)


_NAMED: dict[str, Callable[[_Request], Tensor]] = {
    "black": lambda request: _known(request.low, "black"),
    "zero": lambda request: request.x.new_zeros([1] * request.x.ndim),
    "white": lambda request: _known(request.high, "white"),
    "blur": _blurred,
    "maximum-distance": _farthest,
    "uniform": _uniform,
    "gaussian": _gaussian,
}

NAMES: tuple[str, ...] = tuple(_NAMED)
"""The names a baseline can have."""
