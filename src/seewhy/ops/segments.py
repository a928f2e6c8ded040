"""Pieces of an input: which elements are hidden together, what hides them, and how the pieces are found."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..core.errors import InputError, SettingError

Picture: TypeAlias = NDArray[np.float64]
SegmentSpec: TypeAlias = "int | Tensor | NDArray[Any] | Callable[[Picture], Any] | None"
"""How many pieces, a label map, or a function from the picture (H, W, C) to one; None is the method's default."""

PIECES = 200
"""Pieces of a picture where nothing is asked for."""
_BITS = {
    torch.float64: torch.int64,
    torch.float32: torch.int32,
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
}
"""Whole numbers as wide as a dtype: a choice between two of its values by their bits is exact, whatever they are, and
takes less than half of `torch.where`, which no processor's vector instructions help."""


def check_segments(spec: object) -> None:
    """Checks what can be checked of `segments` before there is an input.

    Raises:
        SettingError: it is neither None, a whole number of pieces, a label map nor a function.
    """
    if isinstance(spec, (Tensor, np.ndarray)):
        contiguous(spec)
    elif isinstance(spec, bool) or not (
        spec is None or (isinstance(spec, int) and spec >= 1) or (callable(spec) and not isinstance(spec, type))
    ):
        raise SettingError(
            "segments takes None, about how many pieces there should be, a label map of the input's spatial shape "
            f"(tensor or array of whole numbers), or a function from the picture (H, W, C) to one; given {spec!r}."
        )


def contiguous(labels: object) -> Tensor:
    """Returns a label map as long on the CPU, its labels renumbered 0..n-1 in the order of their size.

    Raises:
        SettingError: it is no tensor or array of whole numbers, or is empty.
    """
    given = labels.detach().cpu() if isinstance(labels, Tensor) else labels
    if isinstance(given, np.ndarray) and given.dtype.kind in "uib":
        given = torch.from_numpy(np.ascontiguousarray(given.astype(np.int64)))
    whole = isinstance(given, Tensor) and not given.is_floating_point() and not given.is_complex()
    if not isinstance(given, Tensor) or not whole or given.numel() == 0:
        found = (
            f"{type(labels).__name__} of dtype {labels.dtype} and shape {tuple(labels.shape)}"
            if isinstance(labels, (Tensor, np.ndarray))
            else repr(labels)
        )
        raise SettingError(
            "A label map gives each place the number of its piece, whole numbers in a tensor or array, such as "
            f"(H, W); given {found}. Convert it with .long() or .astype(int)."
        )
    _, ids = torch.unique(given.long(), return_inverse=True)
    found_ids: Tensor = ids
    return found_ids


def segment_map(spec: SegmentSpec, x: Tensor, low: Tensor | None, high: Tensor | None, default: int = PIECES) -> Tensor:
    """Returns the piece of each place of one input x (1, C, *spatial) or (1, F): (*spatial) or (F,) long on the CPU.

    Pieces are numbered 0..n-1. `spec` is

    * None: about `default` pieces of a picture, by SLIC; each feature of a vector is its own piece; each place of
      other inputs is, up to `default` places, and about `default` boxes beyond that;
    * a number: about so many, by SLIC in pictures, boxes of equal size elsewhere; each place where it is larger;
    * a label map of the spatial shape; labels need not be contiguous;
    * a function from the picture to a label map: it gets (H, W, C), for other inputs (*spatial, C) or (F,), float64
      brought to 0..1 by the model's value range, or by the input's smallest and largest value where it is not known.

    Raises:
        InputError: `x` is not one row with at least one place.
        SettingError: the label map does not fit.
    """
    if x.dim() < 2 or len(x) != 1 or x.numel() == 0:
        raise InputError(
            f"Pieces are made for one row (1, C, *spatial) or (1, F) with at least one value; given {tuple(x.shape)}. "
            "Ask for each row on its own."
        )
    places = spatial(x)
    if isinstance(spec, (Tensor, np.ndarray)):
        return _fitting(contiguous(spec), places)
    if callable(spec):
        return _fitting(contiguous(spec(unit_picture(x, low, high))), places)
    pieces = spec
    if spec is None:
        pieces = math.prod(places) if len(places) == x.dim() - 1 else default
    if pieces is None or pieces >= math.prod(places):
        return torch.arange(math.prod(places), device="cpu").reshape(places)
    if x.dim() == 4:
        return slic(unit_picture(x, low, high), pieces)
    return boxes(places, pieces)


def spatial(x: Tensor) -> tuple[int, ...]:
    """Returns the spatial shape of x (N, C, *spatial), or (F,) of vectors (N, F)."""
    return tuple(x.shape[2:]) if x.dim() > 2 else tuple(x.shape[1:])


def _fitting(labels: Tensor, places: tuple[int, ...]) -> Tensor:
    if tuple(labels.shape) != places:
        raise SettingError(
            f"A label map has the input's spatial shape {places}; given {tuple(labels.shape)}. Resize it with "
            "nearest-neighbour interpolation, or make it with a function of the picture."
        )
    return labels


def unit_picture(x: Tensor, low: Tensor | None, high: Tensor | None) -> Picture:
    """Returns one input (1, C, *spatial) as (*spatial, C) float64 in 0..1, or (1, F) as (F,).

    0 and 1 are black and white where the model's range is known (numbers outside are clipped), else the input's
    smallest and largest value.
    """
    wide = x.detach().cpu().double()[0]
    if low is not None and high is not None:
        ends = [end.detach().cpu().double().reshape(-1, *[1] * (wide.dim() - 1)) for end in (low, high)]
    else:
        ends = [wide.amin(), wide.amax()]
    span = ends[1] - ends[0]
    scaled = ((wide - ends[0]) / torch.where(span == 0, 1.0, span)).clamp(0, 1)
    picture: Picture = (scaled.movedim(0, -1) if scaled.dim() > 1 else scaled).contiguous().numpy()
    return picture


def slic(picture: Picture, pieces: int = PIECES, compactness: float = 1.0, sigma: float = 1.0) -> Tensor:
    """Returns about `pieces` pieces of like colour of a picture (H, W, C) in 0..1, (H, W) long, numbered 0..n-1.

    Pictures of three channels are compared in CIELAB. The same picture always has the same pieces.

    Reference: Achanta et al., "SLIC superpixels compared to state-of-the-art superpixel methods", IEEE PAMI 34, 2012;
    scikit-image's implementation, with the numbers that LIME's authors use.
    """
    from skimage.segmentation import slic as find  # here: it loads much of scipy, which few calls need

    found = find(picture, n_segments=pieces, compactness=compactness, sigma=sigma, start_label=0, channel_axis=-1)
    return contiguous(found)


def boxes(places: Sequence[int], pieces: int) -> Tensor:
    """Returns boxes of nearly equal size, about `pieces` of them and never more, as labels (*places) long."""
    counts = [1] * len(places)
    while True:  # the axis with the longest boxes is divided next
        open_axes = [axis for axis, size in enumerate(places) if counts[axis] < size]
        open_axes.sort(key=lambda axis: places[axis] / counts[axis], reverse=True)
        for axis in open_axes:
            if math.prod(counts) // counts[axis] * (counts[axis] + 1) <= pieces:
                counts[axis] += 1
                break
        else:
            return grid(places, counts)


def grid(places: Sequence[int], cells: Sequence[int]) -> Tensor:
    """Returns a regular grid with `cells` along each axis as labels (*places) long, numbered row by row.

    Cells along an axis differ by at most one place; there are never more than places.
    """
    labels = torch.zeros(tuple(places), dtype=torch.long, device="cpu")
    for axis, (size, cell) in enumerate(zip(places, cells, strict=True)):
        count = min(cell, size)
        numbers = torch.arange(size, device="cpu") * count // size
        labels = labels * count + numbers.reshape([-1 if other == axis else 1 for other in range(len(places))])
    return labels


def windows(size: int, window: int, stride: int) -> list[range]:
    """Returns windows along an axis, `stride` apart; the last one ends at the border and may be shorter.

    There are as many as are needed to reach the border: the next one would start only where all is covered.
    """
    count = max(0, -(-(size - window) // stride)) + 1
    return [range(place * stride, min(place * stride + window, size)) for place in range(count)]


def piece_means(x: Tensor, labels: Tensor) -> Tensor:
    """Returns x (1, C, *spatial) or (1, F) with each piece replaced by its mean, of each channel on its own."""
    flat = x.detach().reshape(-1, labels.numel()) if x.dim() > 2 else x.detach()
    # On the CPU and in float64: sums must not depend on the order in which threads add.
    wide, where = flat.cpu().double(), labels.reshape(-1).cpu()
    pieces = int(where.max()) + 1
    sums = torch.zeros((len(wide), pieces), dtype=torch.float64, device="cpu").index_add_(1, where, wide)
    means = sums / torch.bincount(where, minlength=pieces).clamp(min=1)
    return means[:, where].reshape(x.shape).to(x.device, x.dtype)


def hide(x: Tensor, baseline: Tensor, labels: Tensor, keep: Tensor) -> Tensor:
    """Returns n copies of x (1, C, *spatial) in which only the kept pieces are left: (n, C, *spatial).

    baseline: (1, C, *spatial), or (n, ...) one for each copy. labels: (*spatial). keep: (n, pieces); True or 1 is x,
    False or 0 the baseline, exactly, and weights between mix the two.
    """
    bits = _BITS.get(x.dtype)
    if keep.dtype == torch.bool and bits is not None and not (x.requires_grad or baseline.requires_grad):
        both, under = x.view(bits) ^ baseline.view(bits), baseline.view(bits)
        return (_spread(-keep.to(bits), labels, x) & both).bitwise_xor_(under).view(x.dtype)
    chosen = _spread(keep, labels, x)
    if chosen.dtype == torch.bool:
        return torch.where(chosen, x, baseline)
    weights = chosen.to(x.dtype)
    mixed = weights * x + (1 - weights) * baseline
    return torch.where(weights == 1, x, torch.where(weights == 0, baseline, mixed))


def _spread(values: Tensor, labels: Tensor, x: Tensor) -> Tensor:
    """Returns the value of each place's piece, to be laid on x (1, C, *spatial): (n, 1, *spatial)."""
    found = values.to(x.device)[:, labels.to(x.device)]
    return found.unsqueeze(1) if x.dim() > 2 else found
