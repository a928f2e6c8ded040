"""Small questions about numbers that several parts ask."""

from __future__ import annotations

import torch
from torch import Tensor

_TWO_DECIMALS = 0.095
"""What is as large has two significant digits at two decimals."""


def finite(tensor: Tensor) -> bool:
    """Returns whether all is finite; the sum is looked at first, which is cheap and nearly always enough."""
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())


def in_words(value: float | None) -> str:
    """Returns a number with two decimals, a small one with two significant digits: what is not 0 is never shown as 0.

    The minus sign is a real one. A dash where there is no number.
    """
    if value is None:
        return "–"
    if value == 0:
        return "0.00"
    text = f"{value:.2f}" if abs(value) >= _TWO_DECIMALS else f"{value:#.2g}"
    head, _, exponent = text.partition("e")
    return (f"{head}e{int(exponent)}" if exponent else head).replace("-", "−")
