"""How alike two maps are: by the order of their places, and by structure."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from ..core.errors import InputError, SettingError
from .statistics import rank_correlation

__all__ = ["rank_correlation", "ssim"]

_RADIUS = 5
_SIGMA = 1.5
_LUMINANCE, _CONTRAST = 0.01, 0.03


def ssim(a: Tensor, b: Tensor, data_range: float | None = None) -> float:
    """Returns the mean structural similarity of two maps (*spatial) with one to three axes, in [-1, 1]; 1 is equality.

    The mean over all windows that lie inside the map of

        (2 m_a m_b + C1) (2 c_ab + C2) / ((m_a² + m_b² + C1) (v_a + v_b + C2)),

    with C1 = (0.01 range)², C2 = (0.03 range)², and means, variances and covariance under a Gaussian window of sigma
    1.5 and 11 places. `data_range`: what the values may span; None is what both maps together span, and 1.0 comes
    back where that is nothing. Computed in float64. NaN where a value is not finite.

    Differences: equal to scikit-image's `structural_similarity(gaussian_weights=True, use_sample_covariance=False)`.

    Raises:
        InputError: the shapes differ, or an axis is shorter than the window.
        SettingError: data_range is not positive.

    Reference: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", IEEE TIP 13, 2004.
    """
    size = 2 * _RADIUS + 1
    if a.shape != b.shape or not 1 <= a.dim() <= 3 or min(a.shape) < size:
        raise InputError(
            f"SSIM compares two maps of one shape with one to three axes of at least {size} places; given "
            f"{tuple(a.shape)} and {tuple(b.shape)}. Bring them to the input's size first."
        )
    if data_range is not None and not 0 < data_range < math.inf:
        raise SettingError(f"data_range must be a positive number; given {data_range!r}.")
    one, two = (part.detach().to("cpu", torch.float64) for part in (a, b))
    if not bool(torch.isfinite(one).all() and torch.isfinite(two).all()):
        return math.nan
    span = data_range or float(torch.maximum(one.max(), two.max()) - torch.minimum(one.min(), two.min()))
    if span == 0:
        return 1.0
    mean_a, mean_b, aa, bb, ab = (_windowed(part) for part in (one, two, one * one, two * two, one * two))
    low, high = (_LUMINANCE * span) ** 2, (_CONTRAST * span) ** 2
    product = mean_a * mean_b
    spread = (aa - mean_a.square()) + (bb - mean_b.square())
    similar = (2 * product + low) * (2 * (ab - product) + high)
    return float((similar / ((mean_a.square() + mean_b.square() + low) * (spread + high))).mean())


def _windowed(values: Tensor) -> Tensor:
    """Returns the weighted mean of each window that lies inside."""
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, dtype=torch.float64, device="cpu")
    weights = torch.exp(-0.5 * (offsets / _SIGMA).square())
    weights = (weights / weights.sum()).reshape(1, 1, -1)
    for axis in range(values.dim()):
        lines = values.movedim(axis, -1)
        found = functional.conv1d(lines.reshape(-1, 1, lines.shape[-1]), weights)
        values = found.reshape(*lines.shape[:-1], -1).movedim(-1, axis)
    return values
