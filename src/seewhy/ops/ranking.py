"""Orders of places by value in which ties are broken at random: raster order would favour the top of a picture."""

from __future__ import annotations

import torch
from torch import Tensor

from .seeds import generator


def descending(values: Tensor, *seed: str | int) -> Tensor:
    """Returns the numbers of the values (n,), highest first, long on the CPU; equal values stand in random order.

    The order of equal values is a fixed function of `seed` and n.
    """
    wide = values.detach().to("cpu", torch.float64)
    shuffled = torch.randperm(len(wide), generator=generator(*seed), device="cpu")
    return shuffled[torch.argsort(wide[shuffled], descending=True, stable=True)]


def ranks(order: Tensor) -> Tensor:
    """Returns the place of each number in the order (n,): 0 for the first, int32."""
    found = torch.empty(len(order), dtype=torch.int32, device="cpu")
    found[order] = torch.arange(len(order), dtype=torch.int32, device="cpu")
    return found
