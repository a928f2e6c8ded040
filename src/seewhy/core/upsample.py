"""Resizing of heat maps from a layer's grid to the picture's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from .errors import InputError, InputTypeError, SettingError

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def resize_map(values: Tensor, size: Sequence[int]) -> Tensor:
    """Returns `values` (N, *spatial) at `size`: (N, *size), by linear interpolation, in the same dtype.

    One to three spatial dimensions. Pixels are areas (align_corners=False), so the map keeps its place in the
    picture; there is no anti-aliasing when it shrinks. Half precision is computed in float32. Where the size
    is equal already, `values` itself is returned.

    Raises:
        InputError: `values` has no spatial dimension, more than three, or one of length 0.
        InputTypeError: `values` is not of a float dtype.
        SettingError: `size` does not have one length of at least 1 for each spatial dimension.
    """
    if not values.is_floating_point():
        raise InputTypeError(f"A map is a float tensor, but got {values.dtype}. Convert it with .float().")
    spatial, wanted = tuple(values.shape[1:]), tuple(size)
    if len(spatial) not in _MODES or 0 in spatial:
        raise InputError(
            f"A map is (N, *spatial) with one to three spatial dimensions of at least 1, but got {tuple(values.shape)}."
        )
    if len(wanted) != len(spatial) or min(wanted) < 1:
        raise SettingError(
            f"size needs a length of at least 1 for each of the {len(spatial)} spatial dimensions of a map "
            f"{tuple(values.shape)}, but got {wanted}."
        )
    if spatial == wanted:
        return values
    if values.shape[0] == 0:
        return values.new_empty((0, *wanted))
    wide = values.to(torch.promote_types(values.dtype, torch.float32)).unsqueeze(1)
    resized = functional.interpolate(wide, size=wanted, mode=_MODES[len(spatial)], align_corners=False)
    return resized.squeeze(1).to(values.dtype)
