"""Blurs with small windows, as two published protocols have them; for everything else there is `blur`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from ..core.errors import InputError
from .blur import gaussian_blur


def rise_blur(x: Tensor) -> Tensor:
    """Returns pictures (N, C, H, W) blurred as RISE's evaluation does, in x's dtype.

    The window has 11 x 11 weights: a Gaussian of sigma 5 whose tails are mirrored into the window, so that they fall
    to 0.94 of the middle at its ends only. Beyond the border the network's input is 0.

    Raises:
        InputError: x is no picture.

    Reference: Petsiuk, Das, Saenko, "RISE", BMVC 2018, arXiv 1806.07421, and its published evaluation.
    """
    _check(x, "rise-blur")
    impulse = torch.zeros((1, 1, 11), dtype=torch.float64, device="cpu")
    impulse[0, 0, 5] = 1
    return _filtered(x, gaussian_blur(impulse, 5.0).flatten(), "constant")


def igos_blur(x: Tensor) -> Tensor:
    """Returns pictures (N, C, H, W) blurred as I-GOS's evaluation does, in x's dtype.

    A Gaussian of sigma 50 cut off to 51 x 51 weights; the border is mirrored without doubling its pixels.

    Differences: there the photograph's 8-bit values are blurred and rounded, here the network's input is.

    Raises:
        InputError: x is no picture.

    Reference: Qi, Khorram, Fuxin, "Visualizing Deep Networks by Optimizing with Integrated Gradients", AAAI 2020,
    arXiv 1905.00954, and the published code of its successor.
    """
    _check(x, "i-gos-blur")
    offsets = torch.arange(-25, 26, dtype=torch.float64, device="cpu")
    weights = torch.exp(-0.5 * (offsets / 50.0).square())
    return _filtered(x, weights / weights.sum(), "mirrored")


BLURS: Mapping[str, Callable[[Tensor], Tensor]] = {"rise-blur": rise_blur, "i-gos-blur": igos_blur}
"""The blurs by the names that measures know them by."""


def _check(x: Tensor, name: str) -> None:
    if x.dim() != 4 or not x.numel():
        raise InputError(
            f"{name} is for pictures (N, C, H, W); given {tuple(x.shape)}. Choose another baseline, such as 'zero'."
        )


def _filtered(x: Tensor, weights: Tensor, border: str) -> Tensor:
    """Returns x filtered along both axes, in at least float32."""
    wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    for axis in (2, 3):
        wide = _along(wide, axis, weights.to(wide.device, wide.dtype), border)
    return wide.to(x.dtype)


def _along(x: Tensor, axis: int, weights: Tensor, border: str) -> Tensor:
    size, radius = x.shape[axis], len(weights) // 2
    if border == "mirrored":
        # Mirrored as often as needed: a window may be wider than the picture.
        period = max(1, 2 * size - 2)
        at = torch.arange(-radius, size + radius, device=x.device) % period
        padded = x.index_select(axis, torch.minimum(at, period - at).clamp(max=size - 1))
    else:
        sides = (radius, radius) if axis == 3 else (0, 0, radius, radius)
        padded = functional.pad(x, sides)
    lines = padded.movedim(axis, -1)
    found = functional.conv1d(lines.reshape(-1, 1, lines.shape[-1]), weights.reshape(1, 1, -1))
    return found.reshape(*lines.shape[:-1], size).movedim(-1, axis)
