"""Rules that replace an integral over [0, 1] by a weighted sum: integrated gradients is such a sum."""

from __future__ import annotations

import operator

import numpy as np
import torch
from torch import Tensor

from ..core.errors import SettingError, nearest

RULES: tuple[str, ...] = ("midpoint", "gauss-legendre", "trapezoid", "left", "right")
"""The names that `quadrature` knows."""


def quadrature(rule: str, steps: int) -> tuple[Tensor, Tensor]:
    """Returns nodes (steps,), ascending in [0, 1], and weights (steps,) that sum to 1, float64 on the CPU.

    `steps` is the number of points, which for integrated gradients is the number of gradients computed:

    * midpoint: (k + 1/2) / n for k = 0..n-1, error of order n^-2;
    * gauss-legendre: exact for polynomials up to degree 2n - 1;
    * trapezoid: n points from 0 to 1 with both ends (n >= 2), error of order (n - 1)^-2;
    * left: k / n for k = 0..n-1, and right: k / n for k = 1..n, error of order n^-1.

    Raises:
        SettingError: the rule is unknown, or `steps` is not a whole number of at least 1 (trapezoid: 2).
    """
    if rule not in RULES:
        raise SettingError(f"The rule is one of {', '.join(RULES)}, but got {rule!r}.{nearest(str(rule), RULES)}")
    count = _checked(rule, steps)
    if rule == "gauss-legendre":
        points, masses = np.polynomial.legendre.leggauss(count)
        nodes, weights = (points + 1) / 2, masses / masses.sum()
    elif rule == "trapezoid":
        nodes, weights = np.linspace(0.0, 1.0, count), np.full(count, 1 / (count - 1))
        weights[[0, -1]] /= 2
    else:
        shift = {"midpoint": 0.5, "left": 0.0, "right": 1.0}[rule]
        nodes, weights = (np.arange(count) + shift) / count, np.full(count, 1 / count)
    return _tensor(nodes), _tensor(weights)


def _checked(rule: str, steps: int) -> int:
    try:
        count = operator.index(steps)
    except TypeError:
        raise SettingError(f"steps is a whole number, but got {steps!r}. Give an int.") from None
    least = 2 if rule == "trapezoid" else 1
    if count < least:
        raise SettingError(f"The {rule} rule needs steps of at least {least}, but got {steps!r}.")
    return count


def _tensor(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64, device="cpu")
