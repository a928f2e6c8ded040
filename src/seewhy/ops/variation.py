"""How rough a mask is: total variation, plain or weaker across the edges of a picture, with its gradient."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def total_variation(mask: Tensor, beta: float = 2.0, weights: Sequence[Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """Returns the total variation of `mask` (*cells), a number, and its gradient (*cells).

    The sum over axes of the mean of w |m[i + 1] - m[i]|^beta; an axis of one cell adds nothing. weights: for each axis
    w (*cells, one fewer along it), 1 where there are none. beta is at least 1; at 1 the gradient of an equal pair is 0.

    Reference: Fong, Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation", ICCV 2017, eq. 4.
    """
    value, gradient = mask.new_zeros(()), torch.zeros_like(mask)
    for axis, length in enumerate(mask.shape):
        if length < 2:
            continue
        step = mask.diff(dim=axis)
        weight = torch.ones_like(step) if weights is None else weights[axis]
        size = step.abs()
        value = value + (weight * size**beta).mean()
        slope = weight * beta * size ** (beta - 1) * step.sign() / step.numel()
        gradient.narrow(axis, 1, length - 1).add_(slope)
        gradient.narrow(axis, 0, length - 1).sub_(slope)
    return value, gradient


def edge_weights(x: Tensor, sigma: float) -> tuple[Tensor, ...]:
    """Returns for each spatial axis of `x` (1, C, *places) how little its neighbours differ, (*places, one fewer).

    exp(-d^2 / sigma^2), d^2 the mean over channels of the squared difference in units of x's standard deviation: 1
    inside an even patch, near 0 across an edge. A constant input has weights of 1.

    Reference: Khorram, Lawson, Li, "iGOS++: Integrated Gradient Optimized Saliency by Bilateral Perturbations", CHIL
    2021, arXiv 2012.15783, bilateral total variation.
    """
    values = x[0].to("cpu", torch.float64)
    spread = values.std(correction=0)
    scale = spread if bool(spread > 0) else values.new_ones(())
    found = []
    for axis in range(1, values.dim()):
        step = values.diff(dim=axis) / scale
        found.append(torch.exp(-step.square().mean(0) / sigma**2))
    return tuple(found)
