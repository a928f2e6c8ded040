"""Gaussian blur of signals, pictures and volumes: it takes detail away and brings nothing new in."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.errors import InputError, InputTypeError, SettingError

_TRUNCATE = 4.0
"""The kernel ends at this many sigmas, as in scipy."""

_MEAN_FROM = 64
"""From a sigma of this many side lengths on the blur is the mean, to 4e-6 of the values."""


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Returns `x` (N, C, *spatial) blurred along its one to three spatial dimensions, in x's shape and dtype.

    The kernel is exp(-k^2 / 2 sigma^2), cut off at 4 sigma and normalised; `sigma` is in pixels, and 0 leaves
    x as it is. At the borders the picture is mirrored with its edge pixels doubled (dcba | abcd | dcba), as
    often as needed: a kernel wider than the picture and a picture of one pixel are both right. This equals
    `scipy.ndimage.gaussian_filter` with its defaults. It is differentiable, and is computed in float32
    (float64 for float64) with an error of about 1e-7 of the largest value.

    Raises:
        InputError: x has no spatial dimension, or more than three.
        InputTypeError: x is not of a float dtype.
        SettingError: sigma is negative or not finite.
    """
    if not x.is_floating_point():
        raise InputTypeError(f"Blur needs a float tensor, but got {x.dtype}. Convert it with .float().")
    if not 3 <= x.ndim <= 5:
        raise InputError(
            f"Blur needs (N, C, *spatial) with one to three spatial dimensions, but got {tuple(x.shape)}. "
            f"Add the missing dimensions with unsqueeze."
        )
    if not (math.isfinite(sigma) and sigma >= 0):
        raise SettingError(f"The blur's sigma is in pixels, finite and at least 0, but got {sigma!r}.")
    if x.numel() == 0 or sigma == 0:
        return x.clone()
    out = x.to(torch.promote_types(x.dtype, torch.float32))
    for dim in range(2, x.ndim):
        if x.shape[dim] > 1:
            out = _blur_axis(out, dim, float(sigma))
    return out.to(x.dtype) if out is not x else x.clone()


def _blur_axis(x: Tensor, dim: int, sigma: float) -> Tensor:
    """Returns `x` blurred along one dimension.

    The mirrored signal repeats after twice its length, so the blur is a product of spectra: the cost does not
    grow with sigma, no padding limits it, and no reduced-precision matrix unit (TF32, autocast) takes part.
    """
    length = x.shape[dim]
    spectrum = _spectrum(length, sigma).to(device=x.device, dtype=x.dtype)
    shape = [1] * x.ndim
    shape[dim] = length + 1
    mirrored = torch.cat([x, x.flip(dim)], dim)
    product = torch.fft.rfft(mirrored, dim=dim) * spectrum.reshape(shape)
    blurred: Tensor = torch.fft.irfft(product, n=2 * length, dim=dim)
    return blurred.narrow(dim, 0, length)


def _spectrum(length: int, sigma: float) -> Tensor:
    """Returns the (length + 1) real Fourier coefficients of the kernel wrapped around 2 length pixels."""
    wrapped = torch.zeros(2 * length, dtype=torch.float64, device="cpu")
    if sigma >= _MEAN_FROM * length:
        wrapped += 1
    else:
        radius = int(_TRUNCATE * sigma + 0.5)
        offsets = torch.arange(-radius, radius + 1, device="cpu")
        wrapped.index_add_(0, offsets % (2 * length), torch.exp(-0.5 * (offsets.double() / sigma) ** 2))
    # The kernel is symmetric about 0, so the imaginary part is rounding only.
    spectrum: Tensor = torch.fft.rfft(wrapped / wrapped.sum()).real
    return spectrum
