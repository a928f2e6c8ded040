"""Pictures written as their spectrum, so that gradient ascent draws shapes of all sizes and no fine noise."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""A square root of the covariance of red, green and blue over ImageNet's pixels, one row a colour.

Its columns are brightness, blue against yellow-red, and green against purple, each as long as it varies. Published
with Olah, Mordvintsev, Schubert, "Feature Visualization", Distill 2017, in the library Lucid.
"""


@lru_cache(maxsize=16)
def frequency_scale(height: int, width: int) -> Tensor:
    """Returns 1 / frequency of each coefficient of `torch.fft.rfft2`, (H, W // 2 + 1), float64.

    In cycles a pixel; the constant term gets the scale of the lowest frequency, 1 / max(H, W).
    """
    rows = torch.fft.fftfreq(height, dtype=torch.float64, device="cpu")[:, None]
    columns = torch.fft.rfftfreq(width, dtype=torch.float64, device="cpu")[None]
    scale: Tensor = 1 / (rows.square() + columns.square()).sqrt().clamp(min=1 / max(height, width))
    return scale


def from_spectrum(spectrum: Tensor, width: int) -> Tensor:
    """Returns the pictures (N, C, H, W) of scaled spectra (N, C, H, W // 2 + 1, 2): real and imaginary parts.

    Coefficients are divided by their frequency, as amplitudes of photographs fall with it, so that a step of equal
    size on all of them changes shapes of all sizes alike. The transform is orthonormal, divided by 4.

    Reference: Olah, Mordvintsev, Schubert, "Feature Visualization", Distill 2017, "Preconditioning".
    """
    height = spectrum.shape[-3]
    scale = frequency_scale(height, width).to(spectrum)
    scaled = torch.view_as_complex(spectrum.contiguous()) * scale
    pictures: Tensor = torch.fft.irfft2(scaled, s=(height, width), norm="ortho") / 4
    return pictures


def correlated(x: Tensor) -> Tensor:
    """Returns (N, 3, H, W) with uncorrelated channels as colours that vary together as those of photographs do.

    Other numbers of channels are returned as they are. The longest column of `COLOURS` is scaled to length 1.
    """
    if x.shape[1] != 3:
        return x
    root = x.new_tensor(COLOURS)
    return torch.einsum("kc,nchw->nkhw", root / root.norm(dim=0).amax(), x)
