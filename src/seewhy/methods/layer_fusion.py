"""The maps of several layers as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ..core.upsample import resize_map

Combine = Literal["mean", "max", "product"]
COMBINED_UNITS = "share of each layer's largest value"


def fuse(maps: Sequence[Tensor], combine: Combine) -> Tensor:
    """Returns (1, *places) on the finest layer's grid, from maps (1, *places) of one kind.

    Layers differ in scale, so each map enters as a share of its own largest magnitude; an empty one stays empty.

    Differences: LayerCAM's authors pass the maps of early layers through tanh(2 M / max M) before they take the
    maximum. Done to all layers alike, as here, that would change no order, only the contrast; it is left out.

    Reference: Jiang et al., "LayerCAM", IEEE TIP 2021, sec. III-C, for the maximum.
    """
    finest = [max(sizes) for sizes in zip(*(one.shape[1:] for one in maps), strict=True)]
    scaled = torch.stack([resize_map(share(one), finest) for one in maps])
    match combine:
        case "mean":
            return scaled.mean(0)
        case "max":
            return scaled.amax(0)
        case "product":
            return scaled.prod(0)


def share(values: Tensor) -> Tensor:
    """Returns a map divided by its largest magnitude; zeros where that is zero."""
    largest = values.abs().amax() if values.numel() else values.sum()
    return values / largest if bool(largest) else torch.zeros_like(values)
