"""Maps that never saw the network: what a measure gives by chance, by edges, and by looking at the middle."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ..core.errors import InputError, SettingError
from ..core.upsample import resize_map
from .blur import gaussian_blur
from .noise import gaussian_rows

PURPOSE = "chance"
CELLS = 7
MARGIN = 1
EDGE_SHARE = 1 / 100
CENTRE_SHARE = 1 / 4
ROUNDING = 1e-6


def random_smooth_maps(shape: Sequence[int], count: int, seed: int, case_id: str) -> Tensor:
    """Returns `count` random maps (count, *shape), float32 on the CPU: as coarse as a class activation map is.

    Independent normal numbers on a grid of 7 cells along each axis are stretched linearly to `shape`. The grid goes
    on for a cell beyond the border, so that corners are as smooth as the middle. Along an axis of 7 places or fewer,
    and of vectors with so few features, each place is a cell. Map i depends on the seed, the case and i only.

    Raises:
        SettingError: `shape` does not have one to three lengths of at least 1, or `count` is negative.
    """
    places = tuple(shape)
    if not 1 <= len(places) <= 3 or min(places) < 1 or count < 0:
        raise SettingError(
            f"Random maps have one to three axes of at least one place, and a count of 0 or more; given {places} and "
            f"{count}."
        )
    stretched = [size > CELLS for size in places]
    cells = [CELLS + 2 * MARGIN if long else size for size, long in zip(places, stretched, strict=True)]
    drawn = gaussian_rows(cells, range(count), seed=seed, case_id=case_id, purpose=PURPOSE)
    wide = [
        -(-size * (CELLS + 2 * MARGIN) // CELLS) if long else size for size, long in zip(places, stretched, strict=True)
    ]
    found = resize_map(drawn, wide)
    for axis, (size, whole) in enumerate(zip(places, wide, strict=True), 1):
        found = found.narrow(axis, (whole - size) // 2, size)
    return found.contiguous()


def edge_map(x: Tensor) -> Tensor:
    """Returns how strong the edges of inputs (N, C, *spatial) are: (N, *spatial), in x's dtype and device.

    The length of the gradient by Scharr's filters, over all axes and channels, blurred with a sigma of a hundredth
    of the shortest side. Of vectors (N, F), which have no edges, the distance of each feature from 0.

    Raises:
        InputError: x has more than three spatial axes, or no value.
    """
    if not 2 <= x.dim() <= 5 or not x.numel():
        raise InputError(f"Edges are of inputs (N, C, *spatial) with one to three axes; given {tuple(x.shape)}.")
    if x.dim() == 2:
        return x.detach().abs()
    wide = x.detach().to(torch.promote_types(x.dtype, torch.float32))
    axes = range(2, x.dim())
    squares = [_derivative(wide, along, axes).square() for along in axes]
    strength = torch.stack(squares).sum(0).sum(1, keepdim=True).sqrt()
    smooth = gaussian_blur(strength, EDGE_SHARE * min(x.shape[2:]))
    # The blur's rounding must not rank places where there is no edge.
    floor = ROUNDING * strength.amax(tuple(axes), keepdim=True)
    return torch.where(smooth > floor, smooth, 0)[:, 0].to(x.dtype)


def centre_map(shape: Sequence[int]) -> Tensor:
    """Returns a Gaussian (*shape) around the middle with a sigma of a quarter of each side, float32 on the CPU."""
    total = torch.zeros(tuple(shape), dtype=torch.float32, device="cpu")
    for axis, size in enumerate(shape):
        away = (torch.arange(size, dtype=torch.float32, device="cpu") - (size - 1) / 2) / (CENTRE_SHARE * size)
        total = total + away.square().reshape([-1 if other == axis else 1 for other in range(len(shape))])
    return torch.exp(-0.5 * total)


def _derivative(x: Tensor, along: int, axes: range) -> Tensor:
    """Returns the central difference along one axis, smoothed along the others."""
    for axis in axes:
        weights = (-0.5, 0.0, 0.5) if axis == along else (3 / 16, 10 / 16, 3 / 16)
        lines = x.movedim(axis, -1)
        padded = functional.pad(lines.reshape(-1, 1, lines.shape[-1]), (1, 1), mode="replicate")
        kernel = torch.tensor(weights, device=x.device, dtype=x.dtype).reshape(1, 1, 3)
        x = functional.conv1d(padded, kernel).reshape(lines.shape).movedim(-1, axis)
    return x
