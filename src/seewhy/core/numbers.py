"""Small questions about numbers that several parts ask."""

from __future__ import annotations

import torch
from torch import Tensor


def finite(tensor: Tensor) -> bool:
    """Returns whether all is finite; the sum is looked at first, which is cheap and nearly always enough."""
    return bool(torch.isfinite(tensor.sum())) or bool(torch.isfinite(tensor).all())
